"""What a command tells while it runs: lines and a progress bar for people, JSON for programs."""

import contextlib
import io
import itertools
import json
import math
import os
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Protocol, TextIO, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from tqdm import tqdm

from batman_cli.errors import BatmanError, Unheard

LINE_S = 5.0  # seconds between progress lines where nothing can be redrawn
TRAINING_LINE_S = 30.0  # the same of a training, which takes hours
EVENT_S = 1.0  # seconds between progress events
BAR_WIDTH = 20  # characters; leaves 58 of 80 for words

Fields = Mapping[str, object]  # of an event
Tick = Callable[[], None]  # counts one frame as done
NO_FIELDS: Fields = {}


class Advance(Protocol):
    """Tells how far the work has come."""

    def __call__(self, done: int, note: str, fields: Fields = NO_FIELDS) -> None:
        """All that is done, a note for people, and what programs are told beside it."""
        ...


class Reporter:
    """All that a command says: people read standard error, programs standard output.

    On a terminal people see a bar, elsewhere a line now and then. With `json` standard output
    holds one JSON object per line and nothing else; without, it stays empty. Where people cannot
    be told, for their terminal is gone or their disk full, the work goes on in silence.
    """

    def __init__(self, *, quiet: bool = False, json: bool = False) -> None:
        """`quiet` silences all but warnings, `json` switches events on."""
        self.quiet, self.json = quiet, json
        self._console = Console(
            file=cast("TextIO", _Stderr()),
            soft_wrap=True,
            highlight=False,
            markup=False,
            emoji=False,
        )

    def say(self, text: str) -> None:
        """A line for people."""
        if not self.quiet:
            self._console.print(text)

    def warn(self, text: str) -> None:
        """A line people must not miss, and an event "warning" for programs."""
        self._console.print(f"warning: {text}")
        self.event("warning", {"text": text})

    def fail(self, error: BatmanError) -> None:
        """What went wrong, why and what to do, for people and as an event "error"."""
        self._console.print(f"error: {error}")
        if error.fix:
            self._console.print(f"       {error.fix}")
        fields = {"what": error.what, "why": error.why, "fix": error.fix}
        self.event("error", {**fields, "exit_code": int(error.exit_code)})

    def table(self, title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table for people: the first column to the left, the others to the right.

        Where it is too narrow for all, the first column is folded; numbers are never cut.
        """
        if self.quiet:
            return
        shown = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for number, cells in enumerate(zip(headings, *rows, strict=True)):
            width = max(map(len, cells)) if number else None
            shown.add_column(
                cells[0],
                justify="right" if number else "left",
                min_width=width,
                no_wrap=number > 0,
                overflow="fold",
            )
        for row in rows:
            shown.add_row(*row)
        self._console.print(shown)

    def event(self, name: str, fields: Fields) -> None:
        """A JSON line `{"event": name, **fields}` for programs; names need not be UTF-8.

        Fields hold what JSON can, besides that numbers that are not finite become null and
        anything else appears as its `str` (paths, fractions).
        Raises Unheard where standard output cannot be written; later events are dropped.
        """
        if self.json:
            told = {"event": name, **_finite(fields)}
            line = json.dumps(told, default=str, allow_nan=False)
            try:
                _write_line(line)
            except OSError as error:
                self.json = False
                why = error.strerror or str(error)
                fix = "See what reads it, or leave out --json."
                raise Unheard("standard output cannot be written", why, fix) from error

    def counting(self, event: str, verb: str, what: str) -> Callable[[int, int], None]:
        """Tells now and then how many of all are done: nothing where that is quick.

        For people a line such as "looked at 3 of 40 shots", of the verb and what is counted.
        """
        due = _every(LINE_S)

        def count(done: int, total: int) -> None:
            if done < total and due():
                self.say(f"{verb} {done} of {total} {what}")
                self.event(event, {"done": done, "total": total})

        return count

    @contextlib.contextmanager
    def frames(self, total: int) -> Generator[Tick]:
        """A block that processes `total` frames and calls the yielded function after each.

        It shows the frames done, their speed and the time left.
        """
        began, done = time.monotonic(), itertools.count(1)
        with self._progress(total, "frames", 0, LINE_S) as advance:

            def tick() -> None:
                now_done = next(done)
                fps = _rate(now_done, time.monotonic() - began)
                advance(now_done, f"{fps:.2f} frames/s", {"fps": round(fps, 3)})

            yield tick

    def training(
        self, total: int, unit: str, *, start: int = 0
    ) -> contextlib.AbstractContextManager[Advance]:
        """A block that trains and calls the yielded function as it gets on.

        It shows what is done of `total` in `unit`, such as "steps", the note, and the time left.
        start: done already when the block begins, by the run that this one resumes. Call
        `advance(done, note, fields)` with all that is done, `start` included; the note, such as
        "loss 0.0512", is for people, the optional fields are for programs, where numbers that are
        not finite appear as null.
        """
        return self._progress(total, unit, start, TRAINING_LINE_S)

    @contextlib.contextmanager
    def _progress(self, total: int, unit: str, start: int, line_s: float) -> Generator[Advance]:
        """Shows progress to whom it concerns: an event, nothing, a bar, or a line now and then."""
        began = time.monotonic()

        def left_s(done: int) -> float:
            rate = _rate(done - start, time.monotonic() - began)
            return max(total - done, 0) / rate if rate else 0.0

        def words(done: int, note: str) -> str:
            left = tqdm.format_interval(left_s(done))
            return f"{done}/{total} {unit}, {note}, {left} left"

        def event(done: int, _note: str, fields: Fields) -> None:
            numbers = {"done": done, "total": total, **fields}
            self.event("progress", {**numbers, "left_s": round(left_s(done), 1)})

        def line(done: int, note: str, _fields: Fields) -> None:
            self._console.print(words(done, note))

        if self.json:
            yield _now_and_then(event, total, EVENT_S)
        elif self.quiet:
            yield lambda done, note, fields=NO_FIELDS: None
        elif self._console.is_terminal:
            with self._bar(f"{start}/{total} {unit}", total, start) as update:
                yield lambda done, note, fields=NO_FIELDS: update(done, words(done, note))
        else:
            yield _now_and_then(line, total, line_s)

    @contextlib.contextmanager
    def _bar(self, text: str, total: int, start: int) -> Generator[Callable[[int, str], None]]:
        """A bar and a text, both changed by the yielded function: `update(done, text)`."""
        columns = (BarColumn(BAR_WIDTH), TextColumn("{task.description}", markup=False))
        # Standard output is not redirected: it belongs to whoever reads the results.
        with Progress(*columns, console=self._console, redirect_stdout=False) as bar:
            task = bar.add_task(text, total=total, completed=start)
            yield lambda done, text: bar.update(task, completed=done, description=text)


def _now_and_then(show: Callable[[int, str, Fields], None], total: int, every_s: float) -> Advance:
    """Calls `show` every `every_s` seconds, and for the last."""
    due = _every(every_s)

    def advance(done: int, note: str, fields: Fields = NO_FIELDS) -> None:
        if due() or done == total:
            show(done, note, fields)

    return advance


def _every(seconds: float) -> Callable[[], bool]:
    """Says whether so long has passed since it last said yes, or was made."""
    last = time.monotonic()

    def due() -> bool:
        nonlocal last
        now = time.monotonic()
        if now - last < seconds:
            return False
        last = now
        return True

    return due


def _finite(fields: Fields) -> dict[str, object]:
    """The fields with None for numbers that JSON cannot hold."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in fields.items()
    }


class _Stderr(io.TextIOBase):
    """Standard error for as long as it can be written; from then on, silence.

    Its descriptor is its own: reading a raw file turns descriptor 2 aside for a moment, in another
    thread (see quiet.py).
    """

    def __init__(self) -> None:
        self._stream: TextIO | None = sys.stderr  # None where it was closed from the start
        with contextlib.suppress(AttributeError, OSError, ValueError):  # one without a descriptor
            if sys.stderr.fileno() == 2:
                self._stream = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def write(self, text: str, /) -> int:
        with self._silenced() as stream:
            stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._silenced() as stream:
            stream.flush()

    @contextlib.contextmanager
    def _silenced(self) -> Generator[TextIO]:
        try:
            yield self._stream or io.StringIO()
        except OSError:
            self._stream = None


def _write_line(line: str) -> None:
    """Writes to standard output at once. Raises OSError where that fails, or it is closed."""
    if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison]  (closed from the start)
        raise OSError("it is closed")
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except OSError:
        # What is left in its buffer must go somewhere, or Python complains about it at its end.
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
        raise


def _rate(done: int, elapsed_s: float) -> float:
    """Done per second, 0 before any time has passed."""
    return done / elapsed_s if elapsed_s > 0 else 0.0
