"""Frames as numbered pictures in a folder, single previews, and reading photos."""

# imageio types its plugin options as unknown.
# pyright: reportUnknownMemberType=false

import contextlib
import os
import re
import shutil
from pathlib import Path
from typing import Self

import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray

from batman_cli.errors import BadInput, OutputError, UsageError
from batman_cli.ffmpeg import Ffmpeg, file_url
from batman_cli.output import (
    check_folder,
    check_space,
    check_target,
    exclusive,
    exists_already,
    hidden,
    new_part,
    put_in_place,
    reason,
    spelled_out,
    sync,
)
from batman_cli.settings import Stills

SUFFIXES = {"png": ".png", "tiff16": ".tiff"}
TIFF16_BYTES = 6  # of a pixel: three samples of 16 bits, not compressed
PNG_HEAD = 24  # bytes: signature, then the first chunk up to width and height
_STILL = re.compile(r"\d{5,}\.(png|tiff)")  # what StillsWriter writes, and alone may replace


class StillsWriter:
    """A folder 00001.png, 00002.png, ... that appears once all of it is written.

    Leaving the block by an exception leaves nothing behind, and what was there untouched.
    """

    def __init__(self, folder: Path, *, kind: Stills, overwrite: bool) -> None:
        """Checks the options; nothing is written before the block is entered.

        kind: "png", 8 bits per channel, or "tiff16", 16 bits, which keeps every bit.
        overwrite: replace a folder that holds nothing but such stills.
        Raises UsageError for another kind.
        """
        if kind not in SUFFIXES:
            raise UsageError(f"stills {kind}", "unknown", f"Choose one of {', '.join(SUFFIXES)}.")
        self.folder, self.kind, self.overwrite = folder, kind, overwrite
        self.frames = 0  # written so far

    def __enter__(self) -> Self:
        """Takes the lock and makes a hidden folder. Raises OutputError."""
        self._target = check_stills(self.folder, overwrite=self.overwrite)
        with contextlib.ExitStack() as opened:
            opened.enter_context(exclusive(self._target))
            self._part = new_part(self._target)
            try:
                _restore(self._target)
                self._part.mkdir()
            except OSError as error:
                raise OutputError(self._target.name, reason(error)) from error
            opened.callback(shutil.rmtree, self._part, ignore_errors=True)
            self._opened = opened.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Names the folder; after an exception, removes what there is of it.

        Raises OutputError where it could not be completed.
        """
        with self._opened:
            if kind is None:
                self._finish()

    def write(self, frame: NDArray[np.uint16]) -> None:
        """Adds the next picture.

        frame: (H, W, 3) uint16 RGB, coded with the BT.709 curve, 0..65535.
        Raises OutputError for another shape or type, and when it cannot be written.
        """
        path = self._part / f"{self.frames + 1:05d}{SUFFIXES[self.kind]}"
        subject = f"{self._target.name}/{path.name}"
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint16:
            raise OutputError(subject, f"is {frame.shape} {frame.dtype}, not (H, W, 3) uint16")
        if self.kind == "tiff16":
            _write_tiff16(path, frame, subject)
        else:
            _write_png(path, frame, subject)
        self.frames += 1

    def _finish(self) -> None:
        if not self.frames:
            raise OutputError(self._target.name, "no frame was written")
        old = hidden(self._target, "old")
        try:
            sync(self._part)
            if _names(self._target):
                check_stills(self._target, overwrite=self.overwrite)  # it may have changed
                self._target.rename(old)
            self._part.rename(self._target)  # over an empty folder too; fails over a filled one
            sync(self._target.parent)
        except OSError as error:
            _restore(self._target)
            raise OutputError(self._target.name, reason(error)) from error
        shutil.rmtree(old, ignore_errors=True)


def stills_folder(output: Path, burst: Path) -> Path:
    """The output's name without its suffix, with `_stills` where that is the burst itself."""
    folder = output.with_suffix("")
    if spelled_out(folder) == spelled_out(burst):
        return folder.with_name(f"{folder.name}_stills")
    return folder


def stills_bytes(kind: Stills, *, frames: int, width: int, height: int) -> int:
    """What so many stills need at least; 0 where that depends on what they show."""
    return frames * width * height * TIFF16_BYTES if kind == "tiff16" else 0


def check_stills(
    folder: Path, *, overwrite: bool, needed: int = 0, look_only: bool = False
) -> Path:
    """The absolute path of the folder to make, links followed; nothing is written yet.

    needed: bytes of its stills. look_only: try nothing out, as in `check_target`.
    Raises OutputError where they have no room, where the folder cannot be made, or holds something:
    anything without `overwrite`, and with it anything but numbered stills, for the raw files of a
    burst must never be lost.
    """
    target = Path(os.path.realpath(folder))
    if os.path.lexists(target) and not target.is_dir():
        raise OutputError(target.name, "is not a folder", "Choose another name.")
    if _names(target) and not overwrite:
        raise exists_already(target)
    if not _only_stills(target):
        fix = "Name a new folder for the stills."
        raise OutputError(target.name, "holds other files than stills", fix)
    check_folder(target, look_only=look_only)
    check_space(target, needed, "Free some space, write to another disk, or take --stills png.")
    return target


def write_png(
    path: Path, frame: NDArray[np.uint16] | NDArray[np.uint8], *, overwrite: bool = False
) -> None:
    """Writes one 8-bit PNG, whole or not at all.

    frame: (H, W, 3) RGB, uint16 0..65535 or uint8 0..255, coded for display.
    Raises OutputError when it cannot be written, or exists without `overwrite`.
    """
    target = check_target(path, overwrite=overwrite)
    with exclusive(target):
        part = new_part(target)
        try:
            _write_png(part, frame, target.name)
            put_in_place(part, target, overwrite=overwrite)
        finally:
            part.unlink(missing_ok=True)


def jpeg(picture: NDArray[np.uint8], *, quality: int) -> bytes:
    """A JPEG file of a picture (H, W, 3) RGB coded for display; quality 1 to 95, 95 the best."""
    return iio.imwrite(
        "<bytes>",
        picture,
        plugin="pillow",
        extension=".jpg",
        quality=quality,
        subsampling=0,  # full colour: coloured noise must not look better than it is
    )


def read_image(path: Path) -> NDArray[np.uint8]:
    """A photo, upright, as (H, W, 3) uint8 RGB coded for display.

    Gray becomes equal R, G and B; an alpha channel is dropped; of an animation the first picture
    is taken; 16 bits are rounded to 8. Raises BadInput for what is no readable picture.
    """
    try:
        data = path.read_bytes()
        mode = iio.immeta(data, plugin="pillow", index=0, exclude_applied=False)["mode"]
        if mode.startswith("I"):  # 16-bit gray, which Pillow clips instead of scaling
            gray = iio.imread(data, plugin="pillow", index=0, rotate=True)
            return np.repeat(to_8_bits(gray.clip(0, 65535).astype(np.uint16))[..., None], 3, 2)
        if mode == "F":
            raise BadInput(path.name, "holds floating-point numbers of unknown range")
        return iio.imread(data, plugin="pillow", index=0, mode="RGB", rotate=True)
    except BadInput:
        raise
    # Pillow's decoders raise nearly anything for damaged files: SyntaxError, struct.error, ...
    except Exception as error:
        why = reason(error) if isinstance(error, OSError) and error.errno else "no picture"
        raise BadInput(path.name, f"cannot be read: {why}") from error


def read_png16(path: Path) -> NDArray[np.uint16]:
    """A PNG with all of its 16 bits, which imageio cannot: (H, W, 3) uint16 RGB, as it is stored.

    Raises BadInput for what is no PNG, or damaged.
    """
    try:
        with path.open("rb") as file:
            head = file.read(PNG_HEAD)
    except OSError as error:
        raise BadInput(path.name, f"cannot be read: {reason(error)}") from error
    if len(head) < PNG_HEAD or not head.startswith(b"\x89PNG\r\n\x1a\n"):
        raise BadInput(path.name, "is no PNG")
    width, height = int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
    arguments = [
        *("-xerror", "-protocol_whitelist", "file", "-f", "png_pipe", "-i", file_url(path)),
        *("-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb48le", "pipe:1"),
    ]
    with Ffmpeg(arguments, subject=path.name, error=BadInput, writes=True) as ffmpeg:
        pixels = ffmpeg.read(6 * width * height)
        ffmpeg.finish()
    if len(pixels) != 6 * width * height:
        raise BadInput(path.name, "is damaged: it ends before its picture does")
    return np.frombuffer(pixels, "<u2").reshape(height, width, 3).astype(np.uint16, copy=False)


def _write_png(path: Path, frame: NDArray[np.generic], subject: str) -> None:
    """Writes and syncs an 8-bit PNG. Raises OutputError about `subject`."""
    if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype.name not in ("uint8", "uint16"):
        raise OutputError(subject, f"is {frame.shape} {frame.dtype}, not (H, W, 3) uint16 or uint8")
    pixels = to_8_bits(frame) if frame.dtype == np.uint16 else frame
    coded = iio.imwrite("<bytes>", pixels, plugin="pillow", extension=".png", compress_level=3)
    try:
        path.write_bytes(coded)
        sync(path)
    except OSError as error:
        fix = "Free some space on that disk, or write to another one."
        raise OutputError(subject, reason(error), fix) from error


def _write_tiff16(path: Path, frame: NDArray[np.uint16], subject: str) -> None:
    """Writes and syncs a 16-bit RGB TIFF, which imageio cannot. Raises OutputError."""
    height, width = frame.shape[:2]
    arguments = [
        *("-f", "rawvideo", "-pixel_format", "rgb48le", "-video_size", f"{width}x{height}"),
        *("-i", "pipe:0", "-c:v", "tiff", "-compression_algo", "raw", "-pix_fmt", "rgb48le"),
        *("-fflags", "+bitexact", "-f", "image2pipe", file_url(path)),
    ]
    with Ffmpeg(arguments, subject=subject, reads=True) as ffmpeg:
        ffmpeg.feed(frame.astype("<u2", copy=False).tobytes())
        ffmpeg.finish(growing=path)
    try:
        sync(path)
    except OSError as error:
        raise OutputError(subject, reason(error)) from error


def to_8_bits(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Values 0..65535 rounded to 0..255, any shape, so that both ends stay ends."""
    return ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def _restore(target: Path) -> None:
    """Undoes a replacement that was cut short between its two renames, or completes it."""
    old = hidden(target, "old")
    if old.is_dir():
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(target)


def _only_stills(folder: Path) -> bool:
    return all(_STILL.fullmatch(name) for name in _names(folder))


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []
