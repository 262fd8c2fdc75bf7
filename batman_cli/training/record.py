"""What a training run leaves to look at: log.csv, strips of pictures, TensorBoard's events."""

import contextlib
import re
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from batman_cli.errors import OutputError
from batman_cli.output import reason
from batman_cli.stills import write_png
from batman_cli.training.events import Events

STEP_COLUMNS = (
    "step",
    "minutes",  # of training so far
    "loss",
    "gradient",  # norm before it is clipped
    "rate",  # learning rate
    "bursts_per_s",
    "waiting",  # share of the time spent waiting for data, 0..1
    "skipped",  # steps without effect so far: their loss or gradient was not finite
)
LOG, STRIPS, EVENTS = "log.csv", "strips", "events"  # in the folder of the run
SCORE_COLUMNS = ("psnr", "ssim", "tpsnr")  # of validation; empty in the rows of other steps
LOG_COLUMNS = STEP_COLUMNS + SCORE_COLUMNS

_STRIP = re.compile(r"(\d{6,})_\d+\.png")


class Record:
    """The record of a run in its folder: `log.csv`, `strips/` and `events/`.

    The log has one row per step. A row is on its way to the disk before the next step begins, so a
    killed run leaves at most one incomplete row, the last. All methods raise OutputError for what
    cannot be written.
    """

    def __init__(self, folder: Path, *, from_step: int) -> None:
        """Nothing is written before the block is entered.

        from_step: the last step that counts; what an earlier run recorded after it is removed.
        """
        self.folder, self.from_step = folder, from_step
        self.log = folder / LOG
        self.strips = folder / STRIPS
        self._events: Events | None = None
        self._row_at = 0  # byte of the log at which its last row begins
        self._row = list[str]()  # that row

    @property
    def tensorboard(self) -> bool:
        """Whether there are events for TensorBoard; without its package there are none."""
        return self._events is not None

    def __enter__(self) -> Self:
        """Makes the folders and opens the log behind the row of `from_step`."""
        with contextlib.ExitStack() as opened, _telling(self.folder):
            self.strips.mkdir(parents=True, exist_ok=True)
            self.log.touch()
            self._file = opened.enter_context(self.log.open("r+b", buffering=0))
            self._rewind()
            for strip in self.strips.iterdir():
                match = _STRIP.fullmatch(strip.name)
                if match and int(match[1]) > self.from_step:
                    strip.unlink()
            with contextlib.suppress(ImportError):
                events = Events(self.folder / EVENTS, from_step=self.from_step)
                self._events = opened.enter_context(events)
            self._opened = opened.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Closes all files. An exception of the block passes, whatever happens here."""
        try:
            with _telling(self.folder):
                self._opened.close()
        except OutputError:
            if kind is None:
                raise

    def step(
        self,
        step: int,
        *,
        minutes: float,
        loss: float,
        gradient: float,
        rate: float,
        bursts_per_s: float,
        waiting: float,
        skipped: int,
    ) -> None:
        """Adds the row of a step; see STEP_COLUMNS. Floats are read back as the very same."""
        values = (step, minutes, loss, gradient, rate, bursts_per_s, waiting, skipped)
        self._append([_text(value) for value in values] + [""] * len(SCORE_COLUMNS))
        if self._events is not None:
            shown: dict[str, float] = dict(zip(STEP_COLUMNS[1:], values[1:], strict=True))
            with _telling(self.folder):
                self._events.scalars("training", shown, step)

    def validation(
        self, step: int, scores: Mapping[str, float], strips: Sequence[NDArray[np.uint8]]
    ) -> None:
        """Adds the scores to the row of that step, the newest, and the strips as pictures.

        Step 0, before any training, gets a row with scores alone. Scores of the same step that are
        there already are replaced. scores: by names of SCORE_COLUMNS; strips: (H, W, 3) uint8 each,
        for `strips/000500_1.png` and so on.
        """
        told = [_text(scores[name]) if name in scores else "" for name in SCORE_COLUMNS]
        if self._row and self._row[0] == str(step):
            self._replace(self._row[: len(STEP_COLUMNS)] + told)
        else:
            empty = [""] * (len(STEP_COLUMNS) - 1)
            self._append([str(step), *empty, *told])
        with _telling(self.folder):
            if self._events is not None:
                self._events.scalars("validation", scores, step)
            for number, picture in enumerate(strips, 1):
                self._add_strip(step, number, picture)

    def _add_strip(self, step: int, number: int, picture: NDArray[np.uint8]) -> None:
        path = self.strips / f"{step:06d}_{number}.png"
        write_png(path, picture, overwrite=True)
        if self._events is not None:
            height, width = picture.shape[:2]
            self._events.picture(f"strip/{number}", path.read_bytes(), height, width, step)

    def _rewind(self) -> None:
        """Cuts the log behind the row of `from_step`, and gives a new one its header.

        Cutting a file is one call that a kill cannot divide, and needs no room on a full disk.
        """
        first, *lines = self._file.read().splitlines(keepends=True) or [b""]
        if not HEADER.startswith(first):
            fix = "Move it away, or name another folder."
            raise OutputError(str(self.log), "is not the log of a training", fix)
        end = len(first) if first == HEADER else 0  # 0: a run was killed while it wrote the header
        for line in lines:
            if not _counts(line, self.from_step):
                break
            self._row_at, self._row = end, line.decode().rstrip("\n").split(",")
            end += len(line)
        self._file.truncate(end)
        self._file.seek(end)
        if not end:
            self._write(HEADER)

    def _append(self, row: list[str]) -> None:
        self._row_at, self._row = self._file.tell(), row
        self._write(_line(row))

    def _replace(self, row: list[str]) -> None:
        """Writes the last row anew. It only grows, so that it is never without its beginning."""
        self._file.seek(self._row_at)
        self._row = row
        self._write(_line(row))
        self._file.truncate()

    def _write(self, line: bytes) -> None:
        with _telling(self.log):
            while line:
                line = line[self._file.write(line) :]


def strip(before: Tensor, after: Tensor, reference: Tensor) -> NDArray[np.uint8]:
    """Three developed pictures (3, H, W) side by side: (H, 3 W, 3) uint8; 0..1 becomes 0..255."""
    side_by_side = torch.cat([before, after, reference], 2).detach().clamp(0, 1)
    return (side_by_side * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()


def _line(row: Sequence[str]) -> bytes:
    return (",".join(row) + "\n").encode()


HEADER = _line(LOG_COLUMNS)


def _text(value: float) -> str:
    """A whole number, or the shortest text from which the very same float is read."""
    return str(value) if isinstance(value, int) else repr(float(value))


def _counts(line: bytes, from_step: int) -> bool:
    """Whether a line of the log is whole, and of a step up to `from_step`."""
    step, *rest = line.rstrip(b"\n").split(b",")
    whole = line.endswith(b"\n") and len(rest) == len(LOG_COLUMNS) - 1 and step.isdigit()
    return whole and int(step) <= from_step


@contextlib.contextmanager
def _telling(path: Path) -> Generator[None]:
    """A block whose OSError becomes an OutputError about `path`."""
    try:
        yield
    except OSError as error:
        fix = "Free some space on that disk, then go on with --resume."
        raise OutputError(f"cannot write {path}", reason(error), fix) from error


def is_log(path: Path) -> bool:
    """Whether a file is the log of a training, by its header."""
    try:
        with path.open("rb") as file:
            return file.readline() == _line(LOG_COLUMNS)
    except OSError:
        return False
