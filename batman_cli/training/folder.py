"""The folder of a training run: what lies in it, who may write there, and how it is replaced.

state.safetensors   everything, for --resume
last.safetensors    averaged weights at the last save, for `enhance --weights`
best.safetensors    those of the best validation
train.toml          the settings, for --config
log.csv, strips/, events/     see record.py
cache/              decoded data, see cache.py
export/             at the end: the best as a model, with its card
"""

from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from batman_cli.errors import OutputError
from batman_cli.models import KINDS
from batman_cli.output import exclusive, reason
from batman_cli.training.record import EVENTS, LOG, STRIPS, is_log

STATE, LAST, BEST = "state.safetensors", "last.safetensors", "best.safetensors"
TOML, CACHE, EXPORT = "train.toml", "cache", "export"

# All that a run writes, the cache apart; nothing else in its folder is ever removed.
_FILES = (STATE, LAST, BEST, TOML, LOG)
_FOLDERS = {
    STRIPS: ("[0-9]*_[0-9]*.png",),
    EVENTS: ("events.out.tfevents.*",),
    EXPORT: (
        "models.json",
        *(f"{kind}.{end}" for kind in KINDS for end in ("safetensors", "md")),
    ),
}


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """A block that has the folder for itself; made if need be, and removed if it stays empty.

    Raises OutputError where it cannot be made, or another run is in it.
    """
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


def is_run(folder: Path) -> bool:
    """Whether a training run wrote it."""
    return (folder / STATE).is_file() or is_log(folder / LOG)


def check_new(folder: Path, *, overwrite: bool) -> None:
    """Raises OutputError unless a new run may be written to the folder.

    overwrite: it may replace another run, but nothing else.
    """
    found = [name for name in (*_FILES, *_FOLDERS) if (folder / name).exists()]
    if not found:
        return
    if not is_run(folder):
        what = f"{folder} is not the folder of a training run"
        raise OutputError(what, f"but it has a {found[0]}", "name another folder with -o")
    if not overwrite and (folder / STATE).is_file():  # else it never came to save anything
        raise OutputError(
            f"{folder} holds a training run",
            f"there is {found[0]}",
            "--resume goes on with it, --overwrite replaces it, -o names another folder",
        )


def clear(folder: Path) -> None:
    """Removes an earlier run. Raises OutputError."""
    inner = [(folder / name, patterns) for name, patterns in _FOLDERS.items()]
    files = [folder / name for name in _FILES]
    files += [file for path, patterns in inner for one in patterns for file in path.glob(one)]
    try:
        for file in files:
            file.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot clear {folder}", reason(error), "choose another -o") from error
    for path, _ in inner:
        with suppress(OSError):  # something else is in it
            path.rmdir()
