"""Writing the video, verified before it gets its name, and reading frames of other videos."""

import contextlib
import queue
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from batman_cli.codecs import CODECS, Codec, coded_size, encode_arguments, find_codec, known_codec
from batman_cli.errors import BadInput, OutputError, UsageError
from batman_cli.ffmpeg import Ffmpeg, ffmpeg_path, file_url
from batman_cli.output import (
    check_space,
    check_target,
    exclusive,
    new_part,
    put_in_place,
    spelled_out,
)
from batman_cli.settings import MAX_FPS_TERM

__all__ = ["CODECS", "Codec", "VideoWriter", "check_output", "ffmpeg_path", "read_clip"]

CLIP_SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v"})
QUEUED_FRAMES = 2  # finished frames that wait for ffmpeg while the next is computed
SKIP_S = 0.1  # seconds of patience per frame skipped in reading, far above what decoding takes


def default_output(burst: Path, codec: str) -> Path:
    """`<burst>.mp4` beside the burst, a folder or one raw file; the suffix goes with the codec.

    Raises UsageError for an unknown codec.
    """
    burst = spelled_out(burst)
    stem = burst.stem if burst.is_file() else burst.name
    return burst.parent / f"{stem}{known_codec(codec).suffixes[0]}"


def check_output(
    path: Path,
    codec: str,
    *,
    overwrite: bool,
    frames: int,
    width: int,
    height: int,
    crf: int | None = None,
    fps: Fraction | None = None,
    look_only: bool = False,
) -> None:
    """Refuses, before any work is done, a video that could not be written at its end.

    fps: None where it is not known yet.
    look_only: make no file, not even for a moment; whether another run writes it stays unknown.
    Raises UsageError for an unknown codec, wrong suffix, impossible crf or rate, and OutputError
    for a folder that is missing or read-only, a file that is there already (without `overwrite`)
    or being written, an impossible size, a missing encoder, and a disk far too small.
    """
    found = find_codec(codec, path, crf, fps)
    width, height = coded_size(found, width, height)
    target = check_target(path, overwrite=overwrite, look_only=look_only)
    if not look_only:
        with exclusive(target):
            pass
    needed = int(frames * width * height * found.least_bits / 8)
    fix = "Free some space, write to another disk, or use a codec with smaller files (h264)."
    check_space(target, needed, fix)


class VideoWriter:
    """A video that appears under its name once all of it is written and found good.

    Frames wait in a short queue, and a thread hands them to ffmpeg, while the next is computed.
    ffmpeg writes to a hidden file beside the target. Leaving the block normally ends and decodes
    that file, then renames it; leaving it by an exception ends ffmpeg and removes it.
    """

    def __init__(
        self,
        path: Path,
        *,
        width: int,
        height: int,
        fps: Fraction,
        codec: str = "h264",
        crf: int | None = None,
        overwrite: bool = False,
    ) -> None:
        """Checks the options; nothing is written or started before the block is entered.

        width, height: of the frames, pixels. Codecs with subsampled chroma want even sides: of an
        odd one the last column or row is cut off. `self.width`, `self.height` tell the result.
        crf: quality, lower is better; the codec's own default if None.
        Raises UsageError, or OutputError for a missing encoder and an impossible size.
        """
        if not 0 < fps.numerator <= MAX_FPS_TERM or fps.denominator > MAX_FPS_TERM:
            raise UsageError(
                f"fps {fps}", "not a frame rate", "Say something like 25 or 30000/1001."
            )
        self.path, self.overwrite = path, overwrite
        self.codec = find_codec(codec, path, crf, fps)
        self.width, self.height = coded_size(self.codec, width, height)
        self.frames = 0  # written so far
        self._shape = (height, width, 3)
        self._arguments = encode_arguments(
            self.codec,
            width=self.width,
            height=self.height,
            fps=fps,
            crf=crf,
            suffix=path.suffix.lower(),
        )
        # Not queue.Queue: Ctrl-C inside its put leaves it locked, and both threads would wait.
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._places: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _ in range(QUEUED_FRAMES):
            self._places.put(None)
        self._failure: BaseException | None = None

    def __enter__(self) -> Self:
        """Takes the lock and starts ffmpeg. Raises OutputError."""
        self._target = check_target(self.path, overwrite=self.overwrite)
        with contextlib.ExitStack() as opened:
            opened.enter_context(exclusive(self._target))
            self._part = new_part(self._target)
            opened.callback(_unlink, self._part)
            arguments = [*self._arguments, "-y", file_url(self._part)]
            self._ffmpeg = Ffmpeg(arguments, subject=self._target.name, reads=True)
            opened.enter_context(self._ffmpeg)
            self._thread = threading.Thread(target=self._feed, name="video writer", daemon=True)
            self._thread.start()
            opened.callback(self._stop)
            self._opened = opened.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Finishes and names the video; after an exception, removes what there is of it.

        Raises OutputError where the video could not be completed.
        """
        with self._opened:
            if kind is None:
                self._finish()

    def write(self, frame: NDArray[np.uint16]) -> None:
        """Adds a frame; it is copied, so the array may be used again.

        frame: (H, W, 3) uint16 RGB, coded with the BT.709 curve, 0..65535.
        Raises OutputError for another shape or type, and as soon as ffmpeg has failed.
        """
        if frame.shape != self._shape or frame.dtype != np.uint16:
            raise OutputError(
                self._target.name,
                f"frame {self.frames} is {frame.shape} {frame.dtype}, not {self._shape} uint16",
            )
        picture = frame[: self.height, : self.width].astype("<u2", copy=False).tobytes()
        if self._failure is None:
            self._places.get()
            self._queue.put(picture)
        if self._failure is not None:
            raise self._failure
        self.frames += 1

    def _feed(self) -> None:
        """Hands queued frames to ffmpeg until None comes. After a failure it only empties."""
        while (picture := self._queue.get()) is not None:
            self._places.put(None)
            if self._failure is None:
                try:
                    self._ffmpeg.feed(picture)
                except BaseException as failure:
                    self._failure = failure

    def _finish(self) -> None:
        """Completes the file, decodes it as proof, and gives it its name."""
        self._queue.put(None)
        self._thread.join()
        if self._failure is not None:
            raise self._failure
        if not self.frames:
            raise OutputError(self._target.name, "no frame was written")
        self._ffmpeg.finish(growing=self._part)
        self._verify()
        put_in_place(self._part, self._target, overwrite=self.overwrite)

    def _verify(self) -> None:
        """Raises OutputError unless the file decodes to all the frames, of the right size."""
        arguments = [
            *("-xerror", "-i", file_url(self._part), "-map", "0:v:0", "-fps_mode", "passthrough"),
            # framecrc tells the size in a comment and then one line for each picture.
            *("-flush_packets", "1", "-f", "framecrc", "pipe:1"),
        ]
        size, frames, unfinished = b"", 0, b""
        with Ffmpeg(arguments, subject=self._target.name, writes=True) as judge:
            while chunk := judge.read_some():
                *lines, unfinished = (unfinished + chunk).split(b"\n")
                for line in lines:
                    frames += not line.startswith(b"#")
                    if line.startswith(b"#dimensions 0: "):
                        size = line.split()[-1]
            judge.finish()
        if frames != self.frames or size != f"{self.width}x{self.height}".encode():
            raise OutputError(
                self._target.name,
                f"decodes to {frames} frames of {size.decode()}, not {self.frames} of "
                f"{self.width}x{self.height}",
            )

    def _stop(self) -> None:
        """Ends the thread, and for that ffmpeg, whatever they are doing."""
        self._ffmpeg.process.kill()  # ends the thread's wait; harmless if it has exited
        self._queue.put(None)
        self._thread.join()


def read_clip(
    path: Path, *, width: int | None = None, start: int = 0, frames: int | None = None
) -> Iterator[NDArray[np.uint8]]:
    """Frames of a video, upright, in the colours its tags ask for.

    width: pixels to scale to, keeping the aspect; None leaves the size.
    start: index of the first frame wanted; those before it are decoded and dropped.
    frames: at most this many; None reads to the end.
    Yields (H, W, 3) uint8 RGB. Raises BadInput for what is no video, damaged, or ends before
    `start`. Only the named file is read: playlists that point elsewhere are refused.
    """
    if not path.is_file():
        raise BadInput(path.name, "is not a file")
    if start < 0 or (frames is not None and frames < 1) or (width is not None and width < 1):
        raise UsageError(path.name, "start, frames and width must be positive")
    return _decode(path, width, start, frames)


def _decode(
    path: Path, width: int | None, start: int, frames: int | None
) -> Iterator[NDArray[np.uint8]]:
    filters = [f"trim=start_frame={start}"] if start else []
    size = f"{width}:-1" if width else "iw:ih"
    filters += [f"scale={size}:flags=bicubic+accurate_rnd+full_chroma_int"]
    arguments = [
        *("-xerror", "-protocol_whitelist", "file", "-i", file_url(path), "-map", "0:V:0"),
        *("-vf", ",".join([*filters, "format=rgb24"]), "-fps_mode", "passthrough"),
        *(() if frames is None else ("-frames:v", str(frames))),
        # PPM: rgb24 with a header that tells the size after scaling and turning.
        *("-f", "image2pipe", "-c:v", "ppm", "pipe:1"),
    ]
    count, extra_s = 0, SKIP_S * start
    with Ffmpeg(arguments, subject=path.name, error=BadInput, writes=True) as ffmpeg:
        while size := _ppm_size(ffmpeg, extra_s):
            pixels = ffmpeg.read(size[0] * size[1] * 3)
            if len(pixels) < size[0] * size[1] * 3:
                break
            yield np.frombuffer(pixels, np.uint8).reshape(size[1], size[0], 3)
            count, extra_s = count + 1, 0.0
        ffmpeg.finish()
    if not count:
        raise BadInput(path.name, f"holds no frame {start}" if start else "holds no frame")


def _ppm_size(ffmpeg: Ffmpeg, extra_s: float) -> tuple[int, int] | None:
    """Width and height from the header of the next picture, None at the end."""
    header = bytearray()
    while header.count(b"\n") < 3:  # "P6", "width height", "255"
        byte = ffmpeg.read_some(1, extra_s=extra_s)
        if not byte:
            return None
        header += byte
    width, height = header.split()[1:3]
    return int(width), int(height)


def _unlink(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
