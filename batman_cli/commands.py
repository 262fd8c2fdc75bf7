"""What the commands do between their options and the functions that do the work."""

import contextlib
import shlex
import time
import unicodedata
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from batman_cli.errors import (
    BatmanError,
    ExitCode,
    MemoryExhausted,
    OutputError,
    Unheard,
    UsageError,
)
from batman_cli.output import check_target, reason
from batman_cli.plan import Plan, check_frame, make_plan
from batman_cli.progress import Reporter
from batman_cli.raw import RAW_SUFFIXES
from batman_cli.settings import EnhanceSettings, SimulateSettings
from batman_cli.shipped import check_choice, list_models
from batman_cli.stills import check_stills, stills_bytes, stills_folder, write_png
from batman_cli.tell import tell_plan, tell_result
from batman_cli.video import CLIP_SUFFIXES, check_output, default_output

Echo = Callable[[str], None]


@dataclass(frozen=True)
class EnhanceCommand:
    """A call of `batman enhance`."""

    bursts: Sequence[Path]
    output: Path | None
    settings: EnhanceSettings
    preview: int | None
    dry_run: bool
    verbose: bool


def run_enhance(command: EnhanceCommand, reporter: Reporter) -> ExitCode:
    """Every burst in turn; one that fails is told and the others go on.

    Returns PARTIAL if shots or bursts were left out, and the error's code if nothing was made.
    """
    codes: list[ExitCode] = []
    check_choice(command.settings.model, command.settings.weights)
    _refuse_shots(command.bursts)
    for burst, output in zip(command.bursts, _outputs(command), strict=True):
        try:
            with memory_told():
                codes.append(_enhance_one(burst, output, command, reporter))
        except Unheard:  # nor would anything of the next burst be heard
            raise
        except BatmanError as error:
            if len(command.bursts) == 1:
                raise
            error.what = f"{burst}: {error.what}"
            reporter.fail(error)
            codes.append(error.exit_code)
    made_some = {ExitCode.OK, ExitCode.PARTIAL} & set(codes)
    return ExitCode.PARTIAL if made_some and len(set(codes)) > 1 else codes[0]


@contextlib.contextmanager
def memory_told(
    what: str = "no memory for a frame", fix: str = "use --bin 2 or 4, or close other programs"
) -> Generator[None]:
    """A block in which memory that runs out, wherever it does, becomes MemoryExhausted."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        from batman_cli.device import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        why = str(error).partition("\n")[0]
        raise MemoryExhausted(what, why, fix) from error


def run_simulate(
    pictures: Sequence[Path], output: Path, settings: SimulateSettings, reporter: Reporter
) -> None:
    """Scenes from photos and clips."""
    from batman_cli.pictures import Sources
    from batman_cli.simulate.run import simulate

    sources = Sources(pictures, settings.frames)
    with (
        memory_told("no memory for a scene", "choose a smaller --size or fewer --frames"),
        reporter.frames(len(pictures) * settings.frames) as tick,
    ):
        scenes = simulate(sources, output, settings, on_shot=tick)
    for scene in scenes:
        reporter.say(f"{scene.short}: {settings.frames} shots of {scene.size[0]}x{scene.size[1]}")
        reporter.event("scene", {"short": scene.short, "long": scene.long})


def list_models_text(reporter: Reporter, echo: Echo) -> None:
    """A line for each shipped checkpoint."""
    models = list_models()
    width = max(map(len, models), default=0)
    for model in models.values():
        reporter.event("model", {"name": model.name, "kind": model.kind, **model.facts})
        if not reporter.json:
            echo(f"{model.name:{width}}  {model.facts.get('summary', model.kind)}")


def model_info_text(name: str, reporter: Reporter, echo: Echo) -> None:
    """Everything that models.json says about a checkpoint."""
    models = list_models()
    if name not in models:
        raise UsageError(f"no model '{name}'", f"shipped are {', '.join(models)}")
    model = models[name]
    reporter.event("model", {"name": name, "kind": model.kind, **model.facts})
    if not reporter.json:
        fields = {"file": model.file, "sha256": model.sha256, "kind": model.kind, **model.facts}
        for field, value in fields.items():
            echo(f"{field}: {value}")


def verify_models(reporter: Reporter, echo: Echo) -> None:
    """Raises WeightsError at the first damaged checkpoint."""
    from batman_cli.weights import load_network

    for model in list_models().values():
        load_network(model.name)
        reporter.event("verified", {"name": model.name})
        if not reporter.json:
            echo(f"{model.name}: undamaged")


def _outputs(command: EnhanceCommand) -> list[Path]:
    """Where each burst's video goes. Raises UsageError where two would share a name."""
    several, output = len(command.bursts) > 1, command.output
    if output is not None and not several and not output.is_dir():
        return [output]
    if output is not None and not output.is_dir() and output.suffix.lower() in CLIP_SUFFIXES:
        what = f"{output} is one file for {len(command.bursts)} bursts"
        raise UsageError(what, fix="give -o a folder")
    videos = [default_output(burst, command.settings.codec) for burst in command.bursts]
    if output is not None:
        videos = [output / video.name for video in videos]
    if len(set(map(_as_disks_do, videos))) < len(videos):
        raise UsageError("two bursts have the same name", fix="run them one by one with -o")
    if output is not None and not command.dry_run:
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make {output}", reason(error), "choose another") from error
    return videos


def _refuse_shots(bursts: Sequence[Path]) -> None:
    """Raises UsageError for shots of one folder, which `burst/*.ARW` names one by one."""
    shots = [path for path in bursts if path.suffix.lower() in RAW_SUFFIXES and not path.is_dir()]
    folders = [shot.parent for shot in shots]
    if len(set(folders)) < len(folders):
        raise UsageError(
            f"{len(shots)} shots, each for a video of its own",
            "a burst is a folder",
            f"name it: batman enhance {shlex.quote(str(max(folders, key=folders.count)))}",
        )


def _as_disks_do(path: Path) -> str:
    """What two names share that are one file to the disks of macOS and Windows."""
    return unicodedata.normalize("NFC", str(path)).casefold()


def _enhance_one(
    burst: Path, output: Path, command: EnhanceCommand, reporter: Reporter
) -> ExitCode:
    settings = command.settings
    still = None if command.preview is None else _still(output, command.preview)
    planned = command.dry_run and len(command.bursts) > 1 and not output.parent.exists()
    if not planned:
        try:
            _check_results(burst, output, still, settings, look_only=command.dry_run)
        except OutputError as error:
            if not command.dry_run:
                raise
            reporter.warn(". ".join(part for part in (str(error), error.fix) if part))
    reporter.say(f"reading {burst}")
    plan = make_plan(burst, settings, on_shot=reporter.counting("looking", "looked at", "shots"))
    if command.preview is not None:
        check_frame(plan, command.preview)
    tell_plan(plan, settings, reporter, every_shot=command.verbose)
    if command.dry_run:
        reporter.say(f"would write {still or output}")
        return ExitCode.PARTIAL if plan.burst.bad else ExitCode.OK
    return _run_plan(plan, output, command, reporter)


def _still(output: Path, number: int) -> Path:
    """Where the preview of a frame goes."""
    return output.with_name(f"{output.stem}_{number}.png")


def _check_results(
    burst: Path, output: Path, still: Path | None, settings: EnhanceSettings, *, look_only: bool
) -> None:
    """Raises OutputError or UsageError, before anything is read, for results that cannot be."""
    if still is not None:
        check_target(still, overwrite=True, look_only=look_only)
        return
    check_output(  # its size comes later, with the plan
        output,
        settings.codec,
        crf=settings.crf,
        fps=settings.fps,
        overwrite=settings.overwrite,
        frames=0,
        width=16,
        height=16,
        look_only=look_only,
    )
    if settings.stills:
        folder = stills_folder(output, burst if burst.is_dir() else burst.parent)
        check_stills(folder, overwrite=settings.overwrite, look_only=look_only)


def _run_plan(plan: Plan, output: Path, command: EnhanceCommand, reporter: Reporter) -> ExitCode:
    from batman_cli.pipeline import Result, frame_size, preview, start, write_video

    settings = command.settings
    run = start(plan, settings)
    reporter.say(f"model {settings.model} on {run.device.name} ({run.device.reason})")
    if command.preview is not None:
        still = _still(output, command.preview)
        # Previews are for trying things: the next one replaces the last.
        began = time.monotonic()
        write_png(still, preview(run, command.preview), overwrite=True)
        seconds = time.monotonic() - began
        return tell_result(Result(still, None, 1, tuple(run.bad), seconds), plan, reporter)
    width, height = frame_size(plan, settings)
    check_output(
        output,
        settings.codec,
        crf=settings.crf,
        overwrite=settings.overwrite,
        frames=run.total,
        width=width,
        height=height,
    )
    if settings.stills:
        check_stills(
            stills_folder(output, plan.burst.folder),
            overwrite=settings.overwrite,
            needed=stills_bytes(settings.stills, frames=run.total, width=width, height=height),
        )
    with reporter.frames(run.total) as tick:
        result = write_video(run, output, on_frame=lambda _done, _total: tick())
    return tell_result(result, plan, reporter)
