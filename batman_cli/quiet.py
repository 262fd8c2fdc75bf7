"""Keeping C libraries from writing to the terminal."""

import os
import re
import tempfile
import threading
from contextlib import suppress
from types import TracebackType
from typing import IO

_LIBRAW_CHATTER = re.compile(rb"[^\n]*(Unexpected end of file|data corrupted at -?\d+|JPEG)")


class QuietStderr:
    """Keeps what LibRaw prints to the C-level stderr off the terminal.

    File descriptor 2 belongs to the whole process: the first decoding thread turns it aside, the
    last one turns it back, and lines that others wrote meanwhile are handed on then, a little late.
    """

    def __init__(self) -> None:
        """Nothing is turned aside yet."""
        self._lock = threading.Lock()
        self._users = 0
        self._saved: int | None = None
        self._aside: IO[bytes] | None = None

    def __enter__(self) -> None:
        """Turns stderr aside, unless another thread did."""
        with self._lock:
            self._users += 1
            if self._users == 1:
                with suppress(OSError):  # no stderr, or no room: then LibRaw may chatter
                    self._aside = tempfile.TemporaryFile()
                    self._saved = os.dup(2)
                    os.dup2(self._aside.fileno(), 2)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Turns stderr back, unless another thread still decodes."""
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._turn_back()

    def _turn_back(self) -> None:
        saved, aside = self._saved, self._aside
        self._saved = self._aside = None
        if saved is not None:
            os.dup2(saved, 2)
            os.close(saved)
        if aside is None:
            return
        with aside, suppress(OSError):
            aside.seek(0)
            for line in aside:
                if saved is not None and not _LIBRAW_CHATTER.match(line):
                    os.write(2, line)
