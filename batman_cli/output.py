"""Results that appear whole or not at all: hidden names, locks, and the move into place."""

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Generator
from pathlib import Path

from batman_cli.errors import OutputError

# Bytes of a name that a hidden name beside it still shows; 255 is the limit of most file systems.
READABLE_NAME = 120


def spelled_out(path: Path) -> Path:
    """The path from the root, without "..", which has no name; links are not followed."""
    return Path(os.path.abspath(path))  # noqa: PTH100  (Path.absolute keeps "..")


def check_target(path: Path, *, overwrite: bool, look_only: bool = False) -> Path:
    """The absolute path of the file to write, links followed; nothing is written yet.

    look_only: try nothing out either, so that not even times of folders change.
    Raises OutputError where its folder is missing or not writable, and where something is there
    already: anything without `overwrite`, and with it all but a regular file.
    """
    target = Path(os.path.realpath(path))
    if os.path.lexists(target) and not target.is_file():
        kind = "a folder" if target.is_dir() else "not a regular file"
        raise OutputError(target.name or str(target), f"is {kind}", "Choose another name.")
    if os.path.lexists(target) and not overwrite:
        raise exists_already(target)
    check_folder(target, look_only=look_only)
    longest = os.pathconf(target.parent, "PC_NAME_MAX")
    if len(os.fsencode(target.name)) > longest:
        fix = "Give a shorter name with -o."
        raise OutputError(target.name, f"the name is too long, {longest} bytes at most", fix)
    return target


def check_folder(target: Path, *, look_only: bool = False) -> None:
    """Raises OutputError unless something can be written beside `target`.

    That is tried out, for permissions do not tell all; with `look_only` they must do.
    """
    folder = target.parent
    if not folder.is_dir():
        fix = f"Make it first: mkdir -p {folder}"
        raise OutputError(target.name, f"there is no folder {folder}", fix)
    try:
        if look_only and not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        if not look_only:
            with tempfile.TemporaryFile(dir=folder):
                pass
    except OSError as error:
        fix = "Write to another folder."
        raise OutputError(target.name, f"cannot write in {folder}: {reason(error)}", fix) from error


def check_space(target: Path, needed: int, fix: str) -> None:
    """Raises OutputError with that remedy where the disk of `target` has not `needed` bytes."""
    free = shutil.disk_usage(target.parent).free
    if needed > free:
        raise OutputError(
            target.name,
            f"No space left on device: at least {needed:,} bytes needed, {free:,} free",
            fix,
        )


def exists_already(target: Path) -> OutputError:
    """The error for a result that would replace another."""
    return OutputError(target.name, "exists already", "Name another file, or use --overwrite.")


@contextlib.contextmanager
def exclusive(target: Path) -> Generator[None]:
    """A block in which no other run, on this machine, writes `target`.

    Raises OutputError at once if one does. The kernel drops the lock of a killed run; what such a
    run left beside `target` is removed at the start, for nobody else can be using it. On a disk
    without locks nothing is kept out, and nothing removed: another run may be writing it.
    """
    lock = hidden(target, "lock")
    file, held = _lock(lock, target)
    try:
        for stale in _parts(target) if held else []:
            _remove(stale)
        yield
    finally:
        with contextlib.suppress(OSError):
            lock.unlink()  # still locked: whoever opened it meanwhile sees that it is gone
        os.close(file)


def hidden(target: Path, ending: str) -> Path:
    """A dotted name beside `target`, short enough even where the name of `target` is not."""
    name = target.name
    if len(os.fsencode(name)) > READABLE_NAME:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return target.with_name(f".{name}.{ending}")


def new_part(target: Path) -> Path:
    """An unused hidden name beside `target` to write to. Call it within `exclusive`."""
    return hidden(target, f"{secrets.token_hex(4)}.part")


def put_in_place(part: Path, target: Path, *, overwrite: bool) -> None:
    """Gives the finished file `part` its name `target`, in one step, once it is on the disk.

    Raises OutputError, with `target` as it was, if one appeared there and `overwrite` is not set.
    """
    try:
        sync(part)
        if overwrite:
            part.replace(target)
        else:
            _move_without_replacing(part, target)
        sync(target.parent)
    except FileExistsError:
        raise exists_already(target) from None
    except OSError as error:
        raise OutputError(target.name, reason(error)) from error


def sync(path: Path) -> None:
    """Waits until a file or folder is on the disk. Late write errors show here as OSError."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    except OSError:
        if not path.is_dir():  # some file systems cannot sync folders
            raise
    finally:
        os.close(file)


def _move_without_replacing(part: Path, target: Path) -> None:
    """Raises FileExistsError where `target` exists, without a moment in which it could appear."""
    try:
        os.link(part, target)
    except FileExistsError:
        raise
    except OSError:  # no hard links here (FAT, some network disks): reserve the name, then fill it
        os.close(os.open(target, os.O_CREAT | os.O_EXCL))
        try:
            part.replace(target)
        except OSError:
            target.unlink()
            raise
    else:
        part.unlink()


def _lock(lock: Path, target: Path) -> tuple[int, bool]:
    """File descriptor of the lock file, and whether it is locked: not every disk can."""
    while True:
        try:
            file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise OutputError(target.name, f"cannot be locked: {reason(error)}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(file, 300, 0).decode(errors="replace") or "another process"
            os.close(file)
            fix = "Wait for it to end, or name another file."
            raise OutputError(target.name, f"another run is writing it ({owner})", fix) from None
        except OSError:  # a disk without locks: better unguarded than no video
            return file, False
        # The owner before may have removed the file between our two calls: then lock the new one.
        try:
            current = lock.stat().st_ino == os.fstat(file).st_ino
        except FileNotFoundError:
            current = False
        if current:
            with contextlib.suppress(OSError):  # who holds it is for people; a full disk is no bar
                os.truncate(file, 0)
                os.pwrite(file, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
            return file, True
        os.close(file)


def _parts(target: Path) -> list[Path]:
    """Unfinished results for `target`."""
    start = hidden(target, "").name
    return [
        path
        for path in target.parent.iterdir()
        if path.name.startswith(start)
        and path.name.endswith(".part")
        and len(path.name) == len(start) + len("01234567.part")
    ]


def _remove(path: Path) -> None:
    """Removes a file or folder as far as that is possible."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def reason(error: OSError) -> str:
    """The cause of an error in words, without number and path."""
    return error.strerror or str(error)
