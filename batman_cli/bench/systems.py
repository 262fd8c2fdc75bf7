"""The systems of both tables, in their order, and what others measured of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from batman_cli.errors import UsageError
from batman_cli.output import spelled_out


@dataclass(frozen=True)
class Published:
    """Scores from print, all on the 49 test scenes of DRV; NaN where there is none."""

    psnr: float = math.nan  # dB
    ssim: float = math.nan
    tpsnr: float = math.nan  # dB
    tssim: float = math.nan
    tmae: float = math.nan  # hundredths of white


@dataclass(frozen=True)
class System:
    """A row of the tables."""

    name: str  # as --models and `enhance --model` call it
    label: str
    published: Published
    reimplemented: bool  # the row in print is of another program and other weights
    note: str
    weights: Path | None = None  # a checkpoint of the user's, instead of the listed one
    checkpoint: str = ""  # what tells that file from others: its stem, or folder/stem

    @property
    def key(self) -> str:
        """Its name in reports; two rows never share one."""
        return self.name if self.weights is None else f"{self.name}={self.checkpoint}"


# Figures: Chen et al., Seeing Motion in the Dark, ICCV 2019, as quoted in both tables of the report
# "Be a Batman - See Motion in the Dark"; those of its two networks are its own.
SYSTEMS = (
    System(
        "rawpy", "Input + rawpy", Published(12.94, 0.165), False, "amplified and developed only"
    ),
    System("vbm4d", "V-BM4D + rawpy", Published(14.77, 0.315), True, "nothing learned"),
    System("kpn", "KPN + rawpy", Published(18.81, 0.540), True, "8 frames, predicted kernels"),
    System(
        "sid",
        "SID",
        Published(tpsnr=33.72, tssim=0.939, tmae=1.56),
        True,
        "each frame alone; published without V-BM4D",
    ),
    System(
        "smid",
        "SMID",
        Published(28.26, 0.815, 38.31, 0.974, 0.89),
        True,
        "published after V-BM4D",
    ),
    System(
        "clstm-paper",
        "CLSTM (report)",
        Published(18.42, 0.593, 29.32, 0.924, 2.85),
        True,
        "as the report describes it; its authors' program reads V-BM4D's output",
    ),
    System(
        "3dcnn-paper",
        "3D-CNN (report)",
        Published(17.18, 0.615, 35.31, 0.964, 1.38),
        True,
        "as the report describes it; its authors' program reads V-BM4D's output",
    ),
    System("clstm", "batman clstm", Published(), False, "recurrent"),
    System("3dcnn", "batman 3dcnn", Published(), False, "two frames of look-ahead"),
)


def choose(asked: str) -> tuple[System, ...]:
    """The systems that `--models` names, in the order of the tables.

    asked: "all", or names with commas between; NAME=CHECKPOINT adds a row for a file. Raises
    UsageError for an unknown or repeated one.
    """
    if asked == "all":
        return SYSTEMS
    known = {system.name: system for system in SYSTEMS}
    chosen: list[System] = []
    files: dict[str, list[Path]] = {}  # checkpoints, by system
    for word in filter(None, (word.strip() for word in asked.split(","))):
        name, _, file = word.partition("=")
        if name not in known:
            raise UsageError(
                f"no system '{name}'", f"there are {', '.join(known)}", "name some of these, or all"
            )
        if file:
            files.setdefault(name, []).append(Path(file))
        else:
            chosen.append(known[name])
    for name, own in files.items():
        called = _called(own)
        chosen += [_own(known[name], *pair) for pair in zip(own, called, strict=True)]
    _check(asked, chosen)
    return tuple(sorted(chosen, key=lambda system: list(known).index(system.name)))


def _own(system: System, file: Path, called: str) -> System:
    """The row of a checkpoint of the user's; nothing in print is about it."""
    label = f"{system.label}, {called}"
    return System(system.name, label, Published(), system.reimplemented, system.note, file, called)


def _called(files: Sequence[Path]) -> list[str]:
    """A name for each file: its stem, with as many folders before it as tell it from the others."""
    parts = [(*spelled_out(file).parts[:-1], file.stem) for file in files]
    return ["/".join(own[-_needed(own, parts) :]) for own in parts]


def _needed(own: Sequence[str], all_parts: Sequence[Sequence[str]]) -> int:
    """How many of the last parts only this path has, 1 or more; all where another is the same."""
    counts = range(1, len(own))
    alone = (n for n in counts if sum(own[-n:] == other[-n:] for other in all_parts) == 1)
    return next(alone, len(own))


def _check(asked: str, chosen: Sequence[System]) -> None:
    keys = [system.key for system in chosen]
    if not keys:
        raise UsageError(f"--models '{asked}' names no system", fix="name some, or all")
    if len(set(keys)) < len(keys):
        raise UsageError(f"--models {asked}", "a system stands there twice", "name each once")
