"""Every way a command can end, and the errors that lead there."""

from enum import IntEnum
from pathlib import Path


class ExitCode(IntEnum):
    """Exit status of every `batman` command."""

    OK = 0
    BUG = 1
    USAGE = 2
    BAD_INPUT = 3
    PARTIAL = 4  # some frames, bursts or systems were left out
    WEIGHTS = 5
    MEMORY = 6
    OUTPUT = 7
    INTERRUPTED = 130  # Ctrl-C


class BatmanError(Exception):
    """What went wrong, why, and what the user can do about it."""

    exit_code = ExitCode.BUG

    def __init__(self, what: str, why: str = "", fix: str = "") -> None:
        super().__init__(what, why, fix)
        self.what = what
        self.why = why
        self.fix = fix

    def __str__(self) -> str:
        return ": ".join(part for part in (self.what, self.why) if part)


class UsageError(BatmanError):
    """The options contradict each other or cannot be met."""

    exit_code = ExitCode.USAGE


class BadInput(BatmanError):
    """The burst as a whole cannot be processed."""

    exit_code = ExitCode.BAD_INPUT


class BadShot(BadInput):
    """One raw file cannot be used."""

    def __init__(self, path: Path, why: str, fix: str = "") -> None:
        super().__init__(path.name, why, fix)
        self.path = path


class WeightsError(BatmanError):
    """A checkpoint is missing, damaged or does not fit its network."""

    exit_code = ExitCode.WEIGHTS


class MemoryExhausted(BatmanError):
    """The picture does not fit, even in the smallest tile."""

    exit_code = ExitCode.MEMORY


class OutputError(BatmanError):
    """The result cannot be written."""

    exit_code = ExitCode.OUTPUT


class Unheard(OutputError):
    """Standard output cannot be written: whoever reads the events will miss what comes."""


class NotFinite(BatmanError):
    """The network produced NaN or infinity: never written as a frame."""
