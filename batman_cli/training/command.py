"""What `batman train` does between its options and the run: which settings, which folder."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from batman_cli.errors import ExitCode, UsageError
from batman_cli.models import KINDS
from batman_cli.output import check_target
from batman_cli.progress import Reporter
from batman_cli.settings import PUBLISHED, TrainSettings, check_training
from batman_cli.training.config import plain, read_config
from batman_cli.training.folder import EXPORT, LAST, check_new, locked
from batman_cli.training.ranks import own_rank
from batman_cli.training.run import export_run, saved_settings, train

# What a run under way may be told anew; all else would make it another run.
CHANGEABLE = {
    *("steps", "minutes", "patience"),
    *("validate_every", "save_every", "cache", "device", "threads"),
}


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
    if command.resume and command.overwrite:
        raise UsageError("--resume and --overwrite", "one keeps the run, the other replaces it")
    settings = _under_way(command) if command.resume else _anew(command)
    check_training(settings)
    if settings.model not in KINDS:
        raise UsageError(f"unknown network '{settings.model}'", f"known are {', '.join(KINDS)}")
    if settings.batch % ranks.world:
        raise UsageError(
            f"batch = {settings.batch} for {ranks.world} processes",
            "every process gets as many bursts",
            f"choose a multiple of {ranks.world}",
        )
    if not ranks.first:
        silent = Reporter(quiet=True)
        return _exit_code(train(settings, folder, silent, resume=command.resume))
    with locked(folder):
        if not command.resume:
            check_new(folder, overwrite=command.overwrite)
        _check_export(command, settings.model)
        ended_by = train(settings, folder, reporter, resume=command.resume)
        if ended_by is None:
            return _export(command, reporter)
    reporter.say(f"ended early: go on with --resume -o {folder}")
    reporter.event("ended", {"run": folder, "signal": ended_by})
    return _exit_code(ended_by)


def _anew(command: TrainCommand) -> TrainSettings:
    """Defaults, those of the model, then the TOML file, then the options; absolute paths."""
    values = read_config(command.config) if command.config else {}
    chosen = {**values, **command.given}
    published = dict(PUBLISHED.get(chosen.get("model", TrainSettings.model), {}))
    if chosen.get("optimiser", published.get("optimiser")) != published.get("optimiser"):
        for name in ("rate", "weight_decay"):  # of the published optimiser, not of this one
            published.pop(name, None)
    return TrainSettings(**{**published, **_absolute(chosen)})


def _under_way(command: TrainCommand) -> TrainSettings:
    """The run's own settings, with what may change. Raises UsageError for anything else."""
    values = read_config(command.config) if command.config else {}
    given = _absolute({**values, **command.given})
    saved = saved_settings(command.folder)
    for name, value in given.items():
        if name not in CHANGEABLE and value != getattr(saved, name):
            raise UsageError(
                f"{name} cannot change in a run under way",
                f"it was {plain(saved).get(name, 'not given')}",
                f"leave it out, or begin a new run with --start {command.folder / LAST}",
            )
    return replace(saved, **given)


def _absolute(values: dict[str, Any]) -> dict[str, Any]:
    """The values with absolute paths, so that a run can be resumed from anywhere."""
    found = dict(values)
    for name in {"start", "cache"} & values.keys():
        found[name] = Path(values[name]).absolute()
    if "data" in values:
        found["data"] = tuple(Path(path).absolute() for path in values["data"])
    return found


def _target(command: TrainCommand) -> tuple[Path, bool]:
    """Where the model goes, and whether it may replace one there."""
    own = command.folder / EXPORT
    target = command.export or own
    return target, command.overwrite or target == own


def _check_export(command: TrainCommand, model: str) -> None:
    """Raises OutputError for a model that is there already, before hours of training."""
    target, overwrite = _target(command)
    if target.is_dir():
        check_target(target / f"{model}.safetensors", overwrite=overwrite)


def _export(command: TrainCommand, reporter: Reporter) -> int:
    """Writes the best network as a model with its card."""
    target, overwrite = _target(command)
    exported = export_run(command.folder, target, command.licence, overwrite=overwrite)
    model = exported.stem
    reporter.say(f"use it: batman enhance BURST --model {model} --weights {exported}")
    reporter.event("done", {"run": command.folder, "weights": exported})
    return ExitCode.OK


def _exit_code(ended_by: int | None) -> int:
    return 128 + ended_by if ended_by else ExitCode.OK
