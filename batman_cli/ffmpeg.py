"""One ffmpeg process: fed, read and watched, with honest reasons when it fails."""

import contextlib
import functools
import os
import re
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import imageio_ffmpeg  # pyright: ignore[reportMissingTypeStubs]

from batman_cli.errors import BadInput, OutputError
from batman_cli.output import reason, spelled_out

STALL_S = 60.0  # seconds without any progress after which ffmpeg counts as frozen
EXIT_S = 5.0  # seconds ffmpeg may take to exit once it has closed a pipe
POLL_S = 0.02  # seconds between looks at a process that is finishing
CHUNK = 1 << 20  # bytes offered to a pipe at once

# What ffmpeg says -> what to do. The wording is the C library's, the same in every build.
_CAUSES = {
    "No space left on device": "Free some space on that disk, or write to another one.",
    "Disk quota exceeded": "Free some of your quota, or write to another disk.",
    "File too large": "No space for more in one file: see `ulimit -f`; FAT disks end at 4 GiB.",
    "Read-only file system": "Write to another disk.",
}


@functools.cache
def ffmpeg_path() -> str:
    """Path of the ffmpeg that comes with imageio-ffmpeg, or of IMAGEIO_FFMPEG_EXE.

    Raises OutputError where there is none.
    """
    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise _no_ffmpeg("it was not found") from error


@functools.cache
def encoders() -> frozenset[str]:
    """Names of the video encoders this ffmpeg was built with ("libx264", ...)."""
    with Ffmpeg(["-encoders"], subject="the list of encoders", writes=True) as ffmpeg:
        listing = b"".join(iter(ffmpeg.read_some, b"")).decode(errors="replace")
        ffmpeg.finish()
    return frozenset(re.findall(r"^ V\S{5} (\S+)", listing, re.MULTILINE))


def file_url(path: Path) -> str:
    """The path as ffmpeg takes it literally, whatever dashes, colons or bytes its name holds."""
    return f"file:{spelled_out(path)}"


class Ffmpeg:
    """A running ffmpeg. As a context manager it never outlives its block.

    It gets a process group of its own, so that Ctrl-C reaches only this program, which then
    decides. Its messages go to a file without a name: an undrained pipe would block it.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        subject: str,
        error: type[OutputError] | type[BadInput] = OutputError,
        reads: bool = False,
        writes: bool = False,
    ) -> None:
        """Starts `ffmpeg ARGUMENTS`; `reads` opens its standard input, `writes` its output.

        subject: the file the errors are about. error: the class of those errors.
        Raises OutputError where it cannot be started.
        """
        self._subject, self._error = subject, error
        command = [ffmpeg_path(), "-hide_banner", "-nostdin", "-nostats", "-loglevel", "error"]
        pipe, null = subprocess.PIPE, subprocess.DEVNULL
        try:
            self._messages = tempfile.TemporaryFile()  # noqa: SIM115  (closed by close)
        except OSError as failure:
            what = "no temporary file can be made"
            fix = "Set TMPDIR to a folder with space that can be written."
            raise OutputError(what, reason(failure), fix) from failure
        try:
            self.process = subprocess.Popen(
                [*command, *arguments],
                stdin=pipe if reads else null,
                stdout=pipe if writes else null,
                stderr=self._messages,
                bufsize=0,
                start_new_session=True,
                # Ignored, as Python leaves it, a file size limit is an error with a text.
                restore_signals=False,
                env={**os.environ, "SVT_LOG": "1"},  # SVT-AV1 has no other way: errors only
            )
        except OSError as failure:
            self._messages.close()
            raise _no_ffmpeg(reason(failure)) from failure
        if self.process.stdin:
            os.set_blocking(self.process.stdin.fileno(), False)

    def __enter__(self) -> Self:
        """This process."""
        return self

    def __exit__(self, *_: object) -> None:
        """Kills ffmpeg if it still runs."""
        self.close()

    def feed(self, data: bytes) -> None:
        """Writes all of `data` to ffmpeg. Raises the error if it dies or freezes meanwhile."""
        assert self.process.stdin
        pipe, rest = self.process.stdin.fileno(), memoryview(data)
        try:
            while rest:
                if not select.select([], [pipe], [], STALL_S)[1]:
                    raise self._frozen(STALL_S)
                with contextlib.suppress(BlockingIOError):
                    rest = rest[os.write(pipe, rest[:CHUNK]) :]
        except BrokenPipeError:
            raise self._died() from None

    def read_some(self, size: int = CHUNK, *, extra_s: float = 0.0) -> bytes:
        """Up to `size` bytes of ffmpeg's output as soon as there are any; none at its end.

        extra_s: seconds of silence allowed beyond STALL_S, after which an error is raised.
        """
        assert self.process.stdout
        pipe = self.process.stdout.fileno()
        if not select.select([pipe], [], [], STALL_S + extra_s)[0]:
            raise self._frozen(STALL_S + extra_s)
        return os.read(pipe, size)

    def read(self, size: int) -> bytearray:
        """The next `size` bytes of ffmpeg's output; fewer only at its end."""
        data = bytearray()
        while len(data) < size and (chunk := self.read_some(min(size - len(data), CHUNK))):
            data += chunk
        return data

    def finish(self, growing: Path | None = None) -> None:
        """Ends ffmpeg's input and waits for a good exit. Raises the error otherwise.

        growing: the file it writes; as long as that changes, ffmpeg is not frozen.
        """
        if self.process.stdin:
            self.process.stdin.close()
        seen, since = _signature(growing), time.monotonic()
        while self.process.poll() is None:
            time.sleep(POLL_S)
            now = _signature(growing)
            if now != seen:
                seen, since = now, time.monotonic()
            if time.monotonic() - since > STALL_S:
                raise self._frozen(STALL_S)
        if self.process.returncode:
            raise self._died()

    def close(self) -> None:
        """Kills ffmpeg if it still runs, and gives back what it held. May be called twice."""
        if self.process.poll() is None:
            self.process.kill()  # works on a stopped process too
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self._messages):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _died(self) -> OutputError | BadInput:
        """The reason why ffmpeg ended, or closed its pipe."""
        try:
            status = self.process.wait(EXIT_S)
        except subprocess.TimeoutExpired:
            return self._frozen(EXIT_S)
        said = self._said()
        for cause, fix in _CAUSES.items():
            if any(cause in line for line in said):
                return self._error(self._subject, cause, fix)
        if status < 0:
            name = signal.Signals(-status).name
            fix = "The system may be short of memory." if name == "SIGKILL" else ""
            return self._error(self._subject, "; ".join([f"ffmpeg killed by {name}", *said]), fix)
        return self._error(self._subject, "; ".join([f"ffmpeg failed ({status})", *said]))

    def _frozen(self, after_s: float) -> OutputError | BadInput:
        """Kills an ffmpeg that makes no progress; the error to raise."""
        self.process.kill()
        why = f"ffmpeg made no progress for {after_s:g} s and was ended"
        fix = "Is the disk there and answering? Was ffmpeg stopped?"
        return self._error(self._subject, "; ".join([why, *self._said()]), fix)

    def _said(self) -> list[str]:
        """The first message of ffmpeg, often the cause, and the last five, without addresses."""
        file, half = self._messages.fileno(), 4096
        end = os.fstat(file).st_size
        # pread leaves the file offset alone: ffmpeg, if it lives, writes through the same one.
        text = os.pread(file, half, 0) + os.pread(file, half, max(half, end - half))
        plain = re.sub(r" @ 0x[0-9a-f]+", "", text.decode(errors="replace"))
        lines = [line.strip() for line in plain.splitlines() if line.strip()]
        return lines if len(lines) <= 6 else [lines[0], *lines[-5:]]


def _signature(path: Path | None) -> tuple[int, int] | None:
    """Size and time of a file, which change whenever something is written to it."""
    try:
        status = path.stat() if path else None
    except OSError:
        return None
    return (status.st_size, status.st_mtime_ns) if status else None


def _no_ffmpeg(why: str) -> OutputError:
    return OutputError(
        "ffmpeg cannot be started",
        why,
        "Reinstall imageio-ffmpeg, or let IMAGEIO_FFMPEG_EXE name an ffmpeg program.",
    )
