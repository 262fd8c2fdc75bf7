"""The two tables, and what each system costs: rows of rounded numbers, the same in every format."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from batman_cli.bench.data import SIMULATED
from batman_cli.bench.measure import Measured
from batman_cli.bench.run import Outcome
from batman_cli.bench.systems import System
from batman_cli.errors import WeightsError
from batman_cli.models import SmidConfig
from batman_cli.shipped import UNTRAINED, find_listed, list_models, listed_name
from batman_cli.weights import own_sizes

ABSENT = "-"
REMADE = "†"
SMID_GIVEN = {
    "average": "given batman's aligned average of the frames so far",
    "vbm4d": "given our V-BM4D",
}


@dataclass(frozen=True)
class Row:
    """One system. Numbers are rounded to the digits of COLUMNS; NaN where there is none."""

    system: str
    label: str
    data: str  # "simulated", or the folder of a dataset
    scenes: str  # such as "6 of 6"
    psnr: float  # dB, fifth frame; `_published` is from print, on DRV
    psnr_published: float
    ssim: float
    ssim_published: float
    tpsnr: float  # dB, still scenes
    tpsnr_published: float
    tssim: float
    tssim_published: float
    tmae: float  # hundredths of white
    tmae_published: float
    temporal_error: float  # hundredths of white, moving scenes
    ms: float  # of the network for a frame
    gmac: float  # for a frame of 1374 x 918
    parameters_m: float  # millions
    memory_mib: float
    delay: float  # frames
    training: str
    note: str
    failed: str  # why it is missing, in part or altogether


@dataclass(frozen=True)
class Column:
    """A column of a shown table."""

    heading: str
    field: str
    digits: int | None  # after the point; None for text


SYSTEM = (Column("system", "label", None), Column("data", "data", None))
TABLES: tuple[tuple[str, tuple[Column, ...]], ...] = (
    (
        "Table 1: the fifth frame against the long exposure",
        (
            *SYSTEM,
            Column("scenes", "scenes", None),
            Column("PSNR", "psnr", 2),
            Column("published", "psnr_published", 2),
            Column("SSIM", "ssim", 3),
            Column("published", "ssim_published", 3),
        ),
    ),
    (
        "Table 2: from frame to frame",
        (
            *SYSTEM,
            Column("TPSNR", "tpsnr", 2),
            Column("publ.", "tpsnr_published", 2),
            Column("TSSIM", "tssim", 3),
            Column("publ.", "tssim_published", 3),
            Column("TMAE", "tmae", 2),
            Column("publ.", "tmae_published", 2),
            Column("error", "temporal_error", 2),
        ),
    ),
    (
        "Cost",
        (
            *SYSTEM,
            Column("ms/frame", "ms", 1),
            Column("GMAC", "gmac", 1),
            Column("M param.", "parameters_m", 3),
            Column("MiB", "memory_mib", 0),
            Column("delay", "delay", 0),
        ),
    ),
)
DIGITS = {c.field: c.digits for _, columns in TABLES for c in columns if c.digits is not None}


def rows_of(outcome: Outcome) -> list[Row]:
    """A row for every system, in their order, also for those that failed."""
    return [_row(outcome, system) for system in outcome.systems]


def _row(outcome: Outcome, system: System) -> Row:
    results = outcome.of(system)
    measured = [result for _, result in results]
    published = system.published

    def mean(value: Callable[[Measured], float], field: str) -> float:
        return _rounded(_mean(map(value, measured)), field)

    return Row(
        system=system.key,
        label=_label(system),
        data=", ".join(sorted({scene.data for scene in outcome.scenes})),
        scenes=f"{len(results)} of {len(outcome.scenes)}",
        psnr=mean(lambda m: m.score.psnr, "psnr"),
        psnr_published=published.psnr,
        ssim=mean(lambda m: m.score.ssim, "ssim"),
        ssim_published=published.ssim,
        tpsnr=mean(lambda m: m.score.tpsnr, "tpsnr"),
        tpsnr_published=published.tpsnr,
        tssim=mean(lambda m: m.score.tssim, "tssim"),
        tssim_published=published.tssim,
        tmae=mean(lambda m: m.score.tmae, "tmae"),
        tmae_published=published.tmae,
        temporal_error=mean(lambda m: m.score.temporal_error, "temporal_error"),
        ms=_rounded(_median(m.cost.ms for m in measured), "ms"),
        gmac=mean(lambda m: _number(m.cost.gmac), "gmac"),
        parameters_m=mean(lambda m: m.cost.parameters / 1e6, "parameters_m"),
        memory_mib=_rounded(
            max((_number(m.cost.memory_mib) for m in measured), default=math.nan), "memory_mib"
        ),
        delay=mean(lambda m: m.cost.delay, "delay"),
        training=_training(system),
        note=note_of(system),
        failed=_failed(outcome, system),
    )


def cells(row: Row, columns: Sequence[Column]) -> list[str]:
    """What a table shows of a row."""
    return [text(getattr(row, column.field), column.digits) for column in columns]


def text(value: float | str, digits: int | None) -> str:
    """A number with its digits, a dash for none."""
    if isinstance(value, str):
        return value
    return ABSENT if math.isnan(value) else f"{value:.{digits or 0}f}"


def notes_of(outcome: Outcome, rows: Sequence[Row]) -> list[str]:
    """What must be known to read the tables, in sentences."""
    sizes = sorted({f"{w} x {h}" for w, h in (m.size for m in outcome.results.values())})
    still = sum(scene.still for scene in outcome.scenes)
    marks = sorted({scene.data for scene in outcome.scenes})
    notes = [
        f"Data: {', '.join(marks)}; {len(outcome.scenes)} scenes, {still} of them still; frames of"
        f" {', '.join(sizes)} pixels.",
        "Published figures were measured by others, with other programs, on the 49 test scenes of"
        " DRV. Compare them with figures measured on DRV alone.",
        "PSNR and SSIM: fifth frame, 8 bits, mean over scenes. TPSNR, TSSIM, TMAE: neighbouring"
        " frames of still scenes; they see no reference, so a constant grey would win them. Error:"
        " of the change from frame to frame of moving scenes, against the scene without noise.",
        "ms/frame: of the network alone, median over scenes, at the size above. GMAC: for a frame"
        " of 1374 x 918. MiB: the highest of the whole process on a CPU, of the card on CUDA.",
    ]
    if SIMULATED in marks:
        notes.insert(1, "Simulated: dark raw files made from pictures. These are no scores on DRV.")
    notes += [f"{row.label}: {row.note}." for row in rows]
    own = sum(bool(scene.denoised) for scene in outcome.scenes)
    if own and any(row.system == "vbm4d" for row in rows):
        notes.append(
            f"V-BM4D: of {own} scenes these are the dataset's own pictures, made by its authors"
            " with their program, not by our re-implementation."
        )
    return notes


def _training(system: System) -> str:
    listed = list_models().get(listed_name(system.name))
    return "" if system.weights or not listed else str(listed.facts.get("training", ""))


def _label(system: System) -> str:
    """Marked where the row in print is of another program."""
    return system.label + (REMADE if system.reimplemented else "")


def note_of(system: System) -> str:
    """What is to be known of a row: which network it is, and given what."""
    sizes = _own_sizes(system)
    parts = [system.note]
    if system.name == "smid":
        given = sizes.pop("input", SmidConfig.input)
        parts.append(SMID_GIVEN[given])
    if sizes:
        told = ", ".join(f"{name} {value}" for name, value in sizes.items())
        parts.append(f"of another size than usual: {told}")
    if system.reimplemented:
        parts.append(f"{REMADE} our re-implementation")
    return "; ".join(parts)


def _own_sizes(system: System) -> dict[str, Any]:
    """In what the network that was measured is not the usual one of its kind."""
    if system.name in UNTRAINED:
        return {}
    try:
        return own_sizes(system.weights or find_listed(system.name).file)
    except WeightsError:  # told among the failures
        return {}


def _failed(outcome: Outcome, system: System) -> str:
    reasons = [
        f"scene {failure.scene}: {failure.reason}" if failure.scene else failure.reason
        for failure in outcome.failures
        if failure.system in (None, system.key)
    ]
    return "; ".join(dict.fromkeys(reasons))


def _mean(values: Iterable[float]) -> float:
    """Over what is defined."""
    defined = _defined(values)
    return sum(defined) / len(defined) if defined else math.nan


def _median(values: Iterable[float]) -> float:
    """Over what is defined."""
    defined = _defined(values)
    return median(defined) if defined else math.nan


def _defined(values: Iterable[float]) -> list[float]:
    return [value for value in values if not math.isnan(value)]


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _rounded(value: float, field: str) -> float:
    return round(value, DIGITS[field])
