"""Decoded training data on disk: each source once, whole or not at all, read by memory mapping.

    <cache>/<key>/*.npy         arrays
    <cache>/<key>/facts.json    what goes with them, and their sizes
    <cache>/.<token>.part/      what a process is making; it holds a lock there as long as it lives

Any number of processes may fill one cache: an entry gets its name in one step, once it is on the
disk, and where two made the same, the first stays.
"""

import fcntl
import hashlib
import json
import os
import shutil
import stat
import tempfile
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from batman_cli.errors import BadInput, OutputError
from batman_cli.output import reason, sync

VERSION = 4  # of what entries hold; with another one all is decoded again
DECODES = 4  # sources decoded side by side at most; a burst of 20 MP takes 0.6 to 1.2 GB by its bin
FACTS = "facts.json"

Facts = dict[str, Any]  # what JSON can hold
OnItem = Callable[[int, int], None]  # items done, all items


@dataclass(frozen=True)
class Entry:
    """A whole source in the cache."""

    folder: Path
    facts: Facts


@dataclass(frozen=True)
class Draft:
    """An entry in the making: a folder of its own, and whether anybody still wants it."""

    folder: Path
    stopped: threading.Event

    def save(self, name: str, array: NDArray[np.generic]) -> None:
        """Writes an array as `name`. Raises OSError."""
        with (self.folder / name).open("wb") as file:
            _write_header(file, array.shape, array.dtype)
            file.write(np.ascontiguousarray(array).data)

    def save_frames(self, name: str, frames: Iterable[NDArray[np.generic]]) -> int:
        """Writes frames of one shape and type as an array (T, ...), one by one; gives T.

        Not through a memory map: there a full disk kills the process. Raises OSError.
        """
        count, shape, kind = 0, (0,), np.dtype(np.uint8)
        with (self.folder / name).open("wb") as file:
            for frame in frames:
                if self.stopped.is_set():
                    raise CancelledError
                if not count:
                    shape, kind = frame.shape, frame.dtype
                    _write_header(file, (0, *shape), kind)
                if (frame.shape, frame.dtype) != (shape, kind):
                    raise ValueError(f"frame {frame.shape} {frame.dtype}, not {shape} {kind}")
                file.write(np.ascontiguousarray(frame).data)
                count += 1
            file.seek(0)  # NumPy leaves room in the header for any number of frames
            _write_header(file, (count, *shape), kind)
        return count

    def check_room(self, needed: int) -> None:
        """Raises OutputError unless so many bytes are free."""
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            why = f"No space left on device: {needed:,} bytes needed, {free:,} free"
            raise _no_cache(self.folder.parents[1], why)


@dataclass(frozen=True)
class Item:
    """A source that the cache shall hold."""

    name: str  # what messages call it
    key: str  # of its entry
    write: Callable[[Draft], Facts]  # decodes it into a draft; raises BadInput


def entry_key(files: Sequence[Path], *parameters: object) -> str:
    """Key of what becomes of some files with some parameters.

    It goes by names, sizes and times, as a hash of all content would take as long as decoding;
    and not by whole paths, so that data may be moved. Raises BadInput for a file that is not there.
    """
    told: list[tuple[str, str, int, int]] = []
    for file in files:
        try:
            status = file.stat()
        except OSError as error:
            raise BadInput(file.name, f"cannot be read: {reason(error)}") from error
        if not stat.S_ISREG(status.st_mode):  # to open a FIFO waits for ever
            raise BadInput(file.name, "is not a regular file")
        told.append((file.parent.name, file.name, status.st_size, status.st_mtime_ns))
    content = json.dumps([VERSION, told, parameters])  # names that are no UTF-8 are escaped
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def find(cache: Path, key: str) -> Entry | None:
    """A whole entry of the cache, if there is one."""
    folder = cache / key
    try:
        told = json.loads((folder / FACTS).read_bytes())
        sizes = {name: (folder / name).stat().st_size for name in told["sizes"]}
        return Entry(folder, told["facts"]) if sizes == told["sizes"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def build(
    cache: Path,
    items: Iterable[Item],
    *,
    stop_at_bad: bool,
    share: tuple[int, int] = (0, 1),
    on_item: OnItem | None = None,
) -> dict[str, Entry | BadInput]:
    """The entries of all items by key, decoded where they are missing; an error for a bad item.

    share: (rank, world) of processes that build the same cache: this one begins with every
        world-th item, then makes what is still missing, beginning where the others end.
    Raises the first BadInput if `stop_at_bad`, and OutputError where the cache cannot be written.
    Nothing is written where nothing is missing.
    """
    unique = {item.key: item for item in items}
    results: dict[str, Entry | BadInput] = {}

    def done(item: Item, result: Entry | BadInput) -> None:
        if stop_at_bad and isinstance(result, BadInput):
            raise result
        results[item.key] = result
        if on_item:
            on_item(len(results), len(unique))

    rank, world = share
    mine: list[Item] = []
    others: list[Item] = []
    for number, item in enumerate(unique.values()):
        if entry := find(cache, item.key):
            done(item, entry)
        else:
            (mine if number % world == rank else others).append(item)
    if mine or others:
        threads = max(1, min(DECODES, (os.cpu_count() or 1) // world))
        _make_all(cache, [*mine, *reversed(others)], threads, done)
    return {key: results[key] for key in unique}


def _make_all(
    cache: Path, items: Sequence[Item], threads: int, done: Callable[[Item, Entry | BadInput], None]
) -> None:
    """Makes every item, some at a time, and tells of each in order."""
    stopped = threading.Event()
    with _workspace(cache) as work, ThreadPoolExecutor(threads, "decode") as pool:
        try:
            made = [
                (item, pool.submit(_make, item, cache, Draft(work / item.key, stopped)))
                for item in items
            ]
            for item, result in made:
                done(item, result.result())
        finally:
            stopped.set()
            pool.shutdown(cancel_futures=True)


def _make(item: Item, cache: Path, draft: Draft) -> Entry | BadInput:
    """Decodes one item, unless another process has meanwhile. Raises OutputError."""
    if entry := find(cache, item.key):
        return entry
    try:
        draft.folder.mkdir()
        facts = item.write(draft)
        _complete(draft.folder, facts)
        _put_in_place(draft.folder, cache, item.key)
        return Entry(cache / item.key, facts)
    except BadInput as error:
        return error
    except OSError as error:
        raise _no_cache(cache, reason(error)) from error
    finally:
        shutil.rmtree(draft.folder, ignore_errors=True)


def _complete(folder: Path, facts: Facts) -> None:
    """Adds the facts, and waits until all is on the disk."""
    files = sorted(folder.iterdir())
    sizes = {file.name: file.stat().st_size for file in files}
    (folder / FACTS).write_text(json.dumps({"sizes": sizes, "facts": facts}, indent=1) + "\n")
    for path in (*files, folder / FACTS, folder):
        sync(path)


def _put_in_place(folder: Path, cache: Path, key: str) -> None:
    target = cache / key
    try:
        folder.rename(target)
    except OSError:
        if find(cache, key):
            return  # another process was faster
        if not target.is_dir():
            raise
        shutil.rmtree(target)  # entries appear whole: this one was damaged since
        folder.rename(target)
    sync(cache)


@contextmanager
def _workspace(cache: Path) -> Generator[Path]:
    """A hidden folder for drafts, gone afterwards; those of processes that died are removed."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / ".lock").open("w") as door:  # while it is held nobody else comes in
            if _lock(door, wait=True):
                for left in cache.glob(".*.part"):
                    if _is_abandoned(left):
                        shutil.rmtree(left, ignore_errors=True)
            work = Path(tempfile.mkdtemp(dir=cache, prefix=".", suffix=".part"))
            alive = (work / "lock").open("w")  # dropped by the kernel, however this process ends
            _lock(alive)
    except OSError as error:
        raise _no_cache(cache, reason(error)) from error
    try:
        with alive:
            yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _is_abandoned(work: Path) -> bool:
    try:
        with (work / "lock").open("r+") as alive:
            return _lock(alive)
    except FileNotFoundError:  # it died before it had a lock
        return True
    except OSError:
        return False


def _lock(file: IO[str], *, wait: bool = False) -> bool:
    """Whether this process has the file's lock now; never on a disk without locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def _write_header(file: IO[bytes], shape: tuple[int, ...], kind: np.dtype[Any]) -> None:
    """Start of a .npy file, of the same length for any number of rows."""
    described = np.lib.format.dtype_to_descr(kind)
    header = {"descr": described, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)


def _no_cache(cache: Path, why: str) -> OutputError:
    fix = "Free some space on that disk, or name a folder elsewhere with --cache."
    return OutputError(f"cannot write to the cache {cache}", why, fix)
