"""Bytes of a raw file and what can be told without decoding: is it readable, is it all there."""

import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from batman_cli.container import tiff_blocks
from batman_cli.errors import BadShot, MemoryExhausted
from batman_cli.tiff import TiffImage, TiffInfo, first_rows, read_tiff

MAX_FILE_BYTES = 2**31 - 1  # LibRaw's limit for a buffer
HEAD_BYTES = 1 << 18  # holds the directories of Sony's files and of most DNGs
HEAD_ROWS = 64  # LibRaw refuses pictures below 22 rows
TAIL_BYTES = 1024  # after the picture; more than padding may be tags that a header must not lose
MIN_BITS_PER_PIXEL = 1 / 16  # lossless noise takes 2 or more, the JPEG of a black preview 0.14
COPY_AGAIN = "copy it again from the card"

_STORED_BY_ROWS = (1, 32767)  # TIFF compression: none, Sony lossy


@dataclass(frozen=True)
class RawFile:
    """A raw file in memory, whole or its start."""

    path: Path
    content: bytes
    size_bytes: int  # of the file
    mtime_ns: int
    tiff: TiffInfo  # empty if the file is none and has none inside


def refuse(path: Path, why: str, fix: str = COPY_AGAIN) -> NoReturn:
    """Raises BadShot, without the error that led to it."""
    raise BadShot(path, why, fix) from None


def plain(error: BaseException) -> str:
    """Text of an error: LibRaw's come as bytes, those of the system as number and text."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = error.args[0] if error.args else type(error).__name__
    return text.decode("ascii", "replace") if isinstance(text, bytes) else str(text)


def read_file(path: Path, *, limit: int = MAX_FILE_BYTES) -> RawFile:
    """A regular file, its first `limit` bytes. Raises BadShot."""
    try:
        # Looked at before opening: to open a FIFO waits for ever, to open a device may act on it.
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            refuse(path, "not a regular file", "name a raw file")
        if status.st_size == 0:
            refuse(path, "the file is empty")
        if status.st_size > MAX_FILE_BYTES:
            refuse(path, f"too big for a raw file ({status.st_size} bytes)", "name a raw file")
        with path.open("rb") as stream:
            content = stream.read(limit)
            status = os.fstat(stream.fileno())
    except FileNotFoundError:
        refuse(path, "no such file", "check the name")
    except PermissionError:
        refuse(path, "permission denied", "allow reading it (chmod u+r)")
    except MemoryError:
        raise MemoryExhausted(
            f"no memory to read {path.name}", fix="close other programs"
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        refuse(path, f"cannot be read ({plain(error)})")
    if not any(content[:4096]):
        refuse(path, "it starts with nothing but zeros: never fully written, or erased")
    return RawFile(path, content, status.st_size, status.st_mtime_ns, _tiff_of(content))


def _tiff_of(content: bytes) -> TiffInfo:
    """What the tags of a file say; of TIFF blocks inside it without places, which are not its."""
    blocks = tiff_blocks(content)
    return read_tiff(content) if blocks is None else replace(read_tiff(*blocks), images=())


def check_complete(file: RawFile) -> None:
    """Raises BadShot for a TIFF-based file that ends before its raw picture does, or has no room.

    LibRaw reads Sony's lossy format past the end of the file without a word, and gives unset memory
    for what an empty stream leaves out.
    """
    images, size = file.tiff.images, file.size_bytes
    if not images:
        return
    # Previews may be stale in edited files: the raw is the largest in area, or in bytes (CR2).
    raw = largest(images)
    heaviest = max(images, key=lambda image: sum(image.byte_counts))
    end = max(raw.end, heaviest.end)
    if end > size:
        refuse(file.path, f"truncated: its pixel data end at byte {end}, the file at byte {size}")
    stored = sum(raw.byte_counts)
    if 8 * stored < MIN_BITS_PER_PIXEL * raw.width * raw.height:
        refuse(file.path, f"{stored} bytes cannot hold its {raw.width} x {raw.height} pixels")


def largest(images: tuple[TiffImage, ...]) -> TiffImage:
    """The image with most pixels: the raw, where the file states sizes."""
    return max(images, key=lambda image: image.width * image.height)


def read_head(path: Path) -> tuple[RawFile, bytes] | None:
    """A file's start up to its first rows, and those bytes with a height of so few rows.

    None where a header cannot stand for the file: only Sony's and DNG files whose rows follow each
    other uncompressed or in the lossy format, at the end of the file. Raises BadShot.
    """
    tiff = read_file(path, limit=HEAD_BYTES).tiff
    if not tiff.images or not (tiff.is_dng or tiff.make == "SONY"):
        return None
    image = largest(tiff.images)
    if image.compression not in _STORED_BY_ROWS or not image.heights or image.height <= HEAD_ROWS:
        return None
    rows_end = image.offsets[0] + HEAD_ROWS * image.byte_counts[0] // image.height
    head = read_file(path, limit=rows_end)
    if not 0 <= head.size_bytes - image.end < TAIL_BYTES or image not in head.tiff.images:
        return None
    try:
        return head, first_rows(head.content, image, HEAD_ROWS)
    except ValueError:
        return None
