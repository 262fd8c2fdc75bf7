"""What a command tells while it runs: lines and a progress bar for people, JSON for programs."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Generator, Mapping
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from tqdm import tqdm

from batman_cli.errors import BatmanError

LINE_S = 5.0  # seconds between progress lines where nothing can be redrawn
EVENT_S = 1.0  # seconds between progress events

Tick = Callable[[], None]  # counts one frame as done


class Reporter:
    """All that a command says: people read standard error, programs standard output.

    On a terminal people see a bar, elsewhere a line now and then. With `json` standard output
    holds one JSON object per line and nothing else; without, it stays empty.
    """

    def __init__(self, *, quiet: bool = False, json: bool = False) -> None:
        """`quiet` silences all but warnings, `json` switches events on."""
        self.quiet, self.json = quiet, json
        self._console = Console(
            file=_own_stderr(), soft_wrap=True, highlight=False, markup=False, emoji=False
        )

    def say(self, text: str) -> None:
        """A line for people."""
        if not self.quiet:
            self._console.print(text)

    def warn(self, text: str) -> None:
        """A line people must not miss, and an event "warning" for programs."""
        self._console.print(f"warning: {text}")
        self.event("warning", {"text": text})

    def fail(self, error: BatmanError) -> None:
        """What went wrong, why and what to do, for people and as an event "error"."""
        self._console.print(f"error: {error}")
        if error.fix:
            self._console.print(f"       {error.fix}")
        fields = {"what": error.what, "why": error.why, "fix": error.fix}
        self.event("error", {**fields, "exit_code": int(error.exit_code)})

    def event(self, name: str, fields: Mapping[str, object]) -> None:
        """A JSON line `{"event": name, **fields}` for programs; names need not be UTF-8.

        Fields hold what JSON can, besides that anything else appears as its `str` (paths,
        fractions). Raises ValueError for numbers that are not finite.
        """
        if self.json:
            line = json.dumps({"event": name, **fields}, default=str, allow_nan=False)
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    @contextlib.contextmanager
    def frames(self, total: int) -> Generator[Tick]:
        """A block that processes `total` frames and calls the yielded function after each.

        It shows the frames done, their speed and the time left.
        """
        if self.json:
            with self._paced(total, EVENT_S, self._progress_event) as tick:
                yield tick
        elif self.quiet:
            yield lambda: None
        elif self._console.is_terminal:
            with self._bar(total) as tick:
                yield tick
        else:
            with self._paced(total, LINE_S, self._progress_line) as tick:
                yield tick

    @contextlib.contextmanager
    def _bar(self, total: int) -> Generator[Tick]:
        columns = (
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
        )
        # Standard output is not redirected: it belongs to whoever reads the results.
        with Progress(*columns, console=self._console, redirect_stdout=False) as bar:
            task, start = bar.add_task("frames", total=total, speed=""), time.monotonic()

            def tick() -> None:
                done = bar.tasks[0].completed + 1
                speed = f"{_rate(int(done), time.monotonic() - start):.2f} frames/s"
                bar.update(task, advance=1, speed=speed)

            yield tick

    @contextlib.contextmanager
    def _paced(
        self, total: int, every_s: float, show: Callable[[int, int, float], None]
    ) -> Generator[Tick]:
        """Calls `show(done, total, elapsed_s)` every `every_s` seconds, and for the last frame."""
        start = shown = time.monotonic()
        done = 0

        def tick() -> None:
            nonlocal done, shown
            done += 1
            now = time.monotonic()
            if done == total or now - shown >= every_s:
                shown = now
                show(done, total, now - start)

        yield tick

    def _progress_event(self, done: int, total: int, elapsed_s: float) -> None:
        fps = _rate(done, elapsed_s)
        left_s = (total - done) / fps if fps else 0.0
        fields = {"done": done, "total": total, "fps": round(fps, 3), "left_s": round(left_s, 1)}
        self.event("progress", fields)

    def _progress_line(self, done: int, total: int, elapsed_s: float) -> None:
        form = "{n_fmt}/{total_fmt} frames, {rate_noinv_fmt}, {remaining} left"
        line = tqdm.format_meter(done, total, elapsed_s, unit=" frames", bar_format=form)
        self._console.print(" ".join(line.split()))  # the meter pads its numbers


def _own_stderr() -> TextIO:
    """Standard error under a descriptor of its own.

    Reading a raw file turns descriptor 2 aside for a moment, in another thread (see quiet.py).
    """
    try:
        if sys.stderr.fileno() == 2:
            return os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
    except (AttributeError, OSError, ValueError):
        pass  # replaced by something without a descriptor, or closed
    return sys.stderr


def _rate(done: int, elapsed_s: float) -> float:
    """Frames per second, 0 before any time has passed."""
    return done / elapsed_s if elapsed_s > 0 else 0.0
