"""The loop of a training run: steps, and now and then a validation and a save."""

import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batman_cli.ahead import read_ahead
from batman_cli.errors import NotFinite
from batman_cli.progress import Reporter
from batman_cli.settings import TrainSettings
from batman_cli.training.bursts import Stock
from batman_cli.training.folder import BEST, LAST, STATE
from batman_cli.training.record import Record, strip
from batman_cli.training.signals import Ending
from batman_cli.training.state import Run, is_finite, save_run
from batman_cli.training.step import Crew, Stepped, draws, take_step
from batman_cli.training.validate import validate
from batman_cli.weights import save

# Steps in a row that were not finite:
DOUBTFUL = 3  # after which the weights may be at fault and are not saved
SKIPPED_IN_A_ROW = 20  # after which a run will not recover


@dataclass
class Loop:
    """A run under way, and all that it reads and writes."""

    settings: TrainSettings
    folder: Path
    facts: dict[str, Any]  # saved with the run
    training: Stock
    validation: Stock
    crew: Crew
    run: Run
    record: Record | None  # of the first process alone
    reporter: Reporter
    ending: Ending
    _began: float = field(init=False)  # on the monotonic clock, the run's earlier time included

    def go_on(self) -> int | None:
        """Steps until the settings' end, a signal, or patience is lost. Saves at the end.

        Returns the signal. Raises NotFinite after too many steps without effect in a row.
        """
        position, ended_by = self.run.position, self._steps()
        # After a signal nothing is done that other processes would have to join in.
        if ended_by is None and position.validated != position.step:
            self._validate()
        self._save()
        before, best = (scores.get("psnr", 0.0) for scores in (position.before, position.best))
        if ended_by is None and not best > before:
            self.reporter.warn(f"training did not help: {before:.2f} dB before, {best:.2f} after")
        return ended_by

    def _steps(self) -> int | None:
        settings, position = self.settings, self.run.position
        self._began = time.monotonic() - position.seconds
        if not position.before:
            position.before = self._validated()
            self._save()
        if position.validated != position.step and self._validation_due():  # a signal left it out
            self._validate()
            self._save()
        if self._over(self._share(position.seconds)):
            longer = "more --steps or --minutes"
            more = "a larger patience by --config" if self._tired() else longer
            self.reporter.say(f"the run is over: give it {more}")
            return None
        total, unit = self._whole()
        todo = draws(
            self.training,
            settings,
            position.step,
            self.crew.ranks,
            delay=self.run.network.delay,
        )
        progress = self.reporter.training(total, unit, start=self._done())
        with progress as advance, closing(read_ahead(todo)) as bursts:
            began = time.monotonic()
            for drawn in bursts:
                waited = time.monotonic() - began
                share = self._share(time.monotonic() - self._began)
                step = take_step(
                    self.run, drawn, settings, self.crew, share=share, signal=self.ending.signal
                )
                seconds = time.monotonic() - began
                speed = settings.batch / seconds
                fields = {"step": position.step, "loss": step.loss, "bursts_per_s": speed}
                self._note(step, seconds, waited)
                advance(self._done(), f"loss {step.loss:.4f}, {speed:.1f} bursts/s", fields)
                if step.ended_by is not None:
                    return step.ended_by
                self._keep()
                if self._over(step.share):
                    break
                began = time.monotonic()
        return None

    def _note(self, step: Stepped, seconds: float, waited: float) -> None:
        """Writes a step into the log. Raises NotFinite when training has gone astray."""
        position = self.run.position
        position.seconds = time.monotonic() - self._began
        if self.record:
            self.record.step(
                position.step,
                minutes=position.seconds / 60,
                loss=step.loss,
                gradient=step.norm,
                rate=step.rate,
                bursts_per_s=self.settings.batch / seconds,
                waiting=(waited + step.making) / seconds,
                skipped=position.skipped,
            )
        if position.skipped_in_a_row >= SKIPPED_IN_A_ROW:
            start = BEST if (self.folder / BEST).exists() else LAST
            raise NotFinite(
                f"{SKIPPED_IN_A_ROW} steps in a row gave no finite gradient",
                f"the last good state is in {self.folder / STATE}",
                f"begin anew with a lower --rate, perhaps with --start {self.folder / start}",
            )

    def _keep(self) -> None:
        """Validates and saves where it is time."""
        due = self._validation_due()
        if due:
            self._validate()
        if due or self.run.position.step % self.settings.save_every == 0:
            self._save()

    def _validation_due(self) -> bool:
        step = self.run.position.step
        return step > 0 and step % self.settings.validate_every == 0

    def _over(self, share: float) -> bool:
        return share >= 1 or self.run.position.step >= self.settings.steps or self._tired()

    def _tired(self) -> bool:
        patience = self.settings.patience
        return patience is not None and self.run.position.since_best >= patience

    def _share(self, seconds: float) -> float:
        """Of the run that is over: by steps or by the clock, whichever is further."""
        by_step = self.run.position.step / self.settings.steps
        if self.settings.minutes is None:
            return by_step
        return max(by_step, seconds / (60 * self.settings.minutes))

    def _whole(self) -> tuple[int, str]:
        """What the progress bar counts: seconds where the clock ends the run, else steps."""
        if self.settings.minutes is None:
            return self.settings.steps, "steps"
        return round(60 * self.settings.minutes), "s"

    def _done(self) -> int:
        position = self.run.position
        if self.settings.minutes is None:
            return position.step
        return min(int(position.seconds), round(60 * self.settings.minutes))

    def _validate(self) -> None:
        """Scores the averaged weights, and keeps them if they are the best so far."""
        position = self.run.position
        scores = self._validated()
        position.validated = position.step
        position.since_best += 1
        if scores["psnr"] > position.best.get("psnr", float("-inf")):
            position.best, position.since_best = scores, 0
            if self.crew.ranks.first:
                save(self.folder / BEST, self.run.average, self.run.kind, self._about(scores))

    def _validated(self) -> dict[str, float]:
        settings, position = self.settings, self.run.position
        result = validate(
            self.run.average,
            self.validation,
            settings.validation_bursts,
            settings.size,
            self.crew,
        )
        scores = {"psnr": result.psnr, "ssim": result.ssim, "tpsnr": result.tpsnr}
        if self.record:
            strips = [strip(*frames) for frames in result.strips]
            self.record.validation(position.step, scores, strips)
            self.reporter.event("validation", {"step": position.step, **scores})
            self.reporter.say(
                f"step {position.step}: PSNR {result.psnr:.2f} dB, SSIM {result.ssim:.3f}, "
                f"TPSNR {result.tpsnr:.2f} dB"
            )
        return scores

    def _save(self) -> None:
        # What half precision cannot hold is no checkpoint: the last good one stays.
        good = self.run.position.skipped_in_a_row < DOUBTFUL and is_finite(self.run)
        if not good:
            self.reporter.warn("not saved, for the last steps were not finite")
        elif self.crew.ranks.first:
            save_run(self.run, self.folder / STATE, self.facts)
            save(self.folder / LAST, self.run.average, self.run.kind, self._about({}))

    def _about(self, scores: dict[str, float]) -> dict[str, Any]:
        """Facts that go with weights that are used before the run is over."""
        return {
            "summary": f"in training, step {self.run.position.step}",
            "minutes": round(self.run.position.seconds / 60, 1),
            "scores": scores,
        }
