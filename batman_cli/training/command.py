"""What `batman train` does between its options and the run: which settings, which folder."""

import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from batman_cli.errors import ExitCode, OutputError, UsageError
from batman_cli.output import exclusive, reason
from batman_cli.progress import Reporter
from batman_cli.settings import TrainSettings, check_training
from batman_cli.training.config import read_config
from batman_cli.training.loop import BEST, LAST, STATE
from batman_cli.training.ranks import own_rank
from batman_cli.training.run import TOML, export_run, saved_settings, train

OWN = (STATE, LAST, BEST, TOML, "log.csv", "strips", "events", "export")  # not the cache
# What a run under way may be told anew; all else would make it another run.
CHANGEABLE = {"steps", "minutes", "validate_every", "save_every", "cache", "device", "threads"}


@dataclass(frozen=True)
class TrainCommand:
    """A call of `batman train`."""

    folder: Path
    config: Path | None
    given: Mapping[str, Any]  # settings that the command line names
    resume: bool
    overwrite: bool
    export: Path | None
    licence: str | None  # of the data


def run_train(command: TrainCommand, reporter: Reporter) -> int:
    """Begins or resumes a run, and exports its best network; returns the exit code.

    A signal to end gives 128 plus its number, once everything is saved.
    """
    folder, ranks = command.folder, own_rank()
    if command.export and not (command.given or command.config or command.resume):
        return _export(command, reporter)
    settings = _resumed(command) if command.resume else _anew(command)
    check_training(settings)
    if settings.batch % ranks.world:
        raise UsageError(
            f"batch = {settings.batch} for {ranks.world} processes",
            "every process gets as many bursts",
            f"choose a multiple of {ranks.world}",
        )
    if not ranks.first:
        silent = Reporter(quiet=True)
        return _exit_code(train(settings, folder, silent, resume=command.resume))
    with _locked(folder):
        if not command.resume:
            _clear(folder, overwrite=command.overwrite)
        ended_by = train(settings, folder, reporter, resume=command.resume)
        if ended_by is None:
            return _export(command, reporter)
    reporter.say(f"ended early, everything saved: go on with --resume -o {folder}")
    return _exit_code(ended_by)


def _anew(command: TrainCommand) -> TrainSettings:
    """Defaults, then the TOML file, then the options; data named by absolute paths."""
    values = read_config(command.config) if command.config else {}
    settings = TrainSettings(**{**values, **command.given})
    data = tuple(Path(path).absolute() for path in settings.data)
    start = settings.start.absolute() if settings.start else None
    return replace(settings, data=data, start=start)


def _resumed(command: TrainCommand) -> TrainSettings:
    """The run's own settings, with what may change. Raises UsageError for anything else."""
    values = read_config(command.config) if command.config else {}
    given = {**values, **command.given}
    saved = saved_settings(command.folder)
    if "data" in given:
        given["data"] = tuple(Path(path).absolute() for path in given["data"])
    for name, value in given.items():
        if name not in CHANGEABLE and value != getattr(saved, name):
            raise UsageError(
                f"{name} cannot change in a run under way",
                f"it was {getattr(saved, name)}",
                f"leave it out, or begin a new run with --start {command.folder / LAST}",
            )
    return replace(saved, **given)


@contextmanager
def _locked(folder: Path) -> Generator[None]:
    """A block that has the folder for itself; made if need be, and removed if it stays empty."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {folder}", reason(error), "choose another -o") from error
    try:
        with exclusive(folder / STATE):
            yield
    finally:
        with suppress(OSError):
            folder.rmdir()


def _clear(folder: Path, *, overwrite: bool) -> None:
    """Removes an earlier run if the user says so. Raises OutputError else."""
    found = [folder / name for name in OWN if (folder / name).exists()]
    if found and not overwrite:
        raise OutputError(
            f"{folder} holds a training run",
            f"there is {found[0].name}",
            "--resume goes on with it, --overwrite replaces it, -o names another folder",
        )
    if found and not {STATE, TOML} & {path.name for path in found}:
        what = f"{folder} is not the folder of a training run"
        raise OutputError(what, f"but it has a {found[0].name}", "name another folder with -o")
    for path in found:
        try:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        except OSError as error:
            raise OutputError(f"cannot remove {path}", reason(error)) from error


def _export(command: TrainCommand, reporter: Reporter) -> int:
    """Writes the best network as a model with its card."""
    own = command.folder / "export"
    target = command.export or own
    overwrite = command.overwrite or target == own
    exported = export_run(command.folder, target, command.licence, overwrite=overwrite)
    model = exported.stem
    reporter.say(f"use it: batman enhance BURST --model {model} --weights {exported}")
    reporter.event("done", {"run": command.folder, "weights": exported})
    return ExitCode.OK


def _exit_code(ended_by: int | None) -> int:
    return 128 + ended_by if ended_by else ExitCode.OK
