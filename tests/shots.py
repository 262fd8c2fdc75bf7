"""Shots made up from their header facts."""

from collections.abc import Sequence
from pathlib import Path

from batman_cli.errors import BadShot
from batman_cli.raw import ShotInfo

NOON = 1_700_000_000.0  # any whole second


def a_shot(
    path: Path | str, time_s: float | None = None, *, has_subsecond: bool = True
) -> ShotInfo:
    return ShotInfo(
        path=Path(path),
        camera="SONY DSC-RX100M6",
        width=5496,
        height=3670,
        pattern="RGGB",
        black=(800.0, 800.0, 800.0, 800.0),
        white=16300.0,
        white_balance=(2.1, 1.0, 1.8),
        color_matrix=((1.8, -0.7, -0.1), (-0.2, 1.6, -0.4), (0.0, -0.5, 1.5)),
        color_source="file",
        iso=6400.0,
        exposure_s=0.01,
        time_s=time_s,
        has_subsecond=has_subsecond,
        orientation=0,
        noise_profile=None,
        size_bytes=1,
        mtime_ns=0,
    )


def a_bad_shot(name: str, why: str = "the file is cut short") -> BadShot:
    return BadShot(Path(name), why)


def names_of(items: Sequence[ShotInfo | BadShot]) -> list[str]:
    return [item.path.name for item in items]


def dsc(number: int) -> str:
    return f"DSC{number:05d}.ARW"
