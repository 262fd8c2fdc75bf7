"""What the tests of `batman bench` share: tiny bursts, and reading what a report says."""

import csv
import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import photo
from running import Word

from batman_cli.bench import data
from batman_cli.settings import SimulateSettings
from batman_cli.stills import write_png

TINY = SimulateSettings(frames=8, width=96, height=64)
CONDITIONS = (("a7s2", 60, 3200, "static", 0), ("a7s2", 60, 3200, "pan", 1))


@contextmanager
def tiny_bursts() -> Generator[None]:
    """A block in which `--quick` means two tiny bursts, one still and one moving."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "QUICK", TINY)
        patch.setattr(data, "QUICK_CONDITIONS", CONDITIONS)
        yield


def photos(folder: Path, count: int = 2) -> Path:
    """A folder of made-up photos."""
    folder.mkdir(parents=True)
    for number in range(count):
        write_png(folder / f"{number}.png", photo(200, 260, number))
    return folder


def words(models: str, report: Path, *more: Word) -> tuple[Word, ...]:
    """The words of a call."""
    return ("bench", "--quick", "--models", models, "-o", report, *more)


def read_json(report: Path) -> dict[str, Any]:
    return json.loads((report / "report.json").read_text())


def read_csv(report: Path) -> list[dict[str, str]]:
    with (report / "report.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def read_markdown(report: Path) -> list[list[list[str]]]:
    """The cells of each table, row by row, the heading first."""
    tables: list[list[list[str]]] = [[]]
    for line in (report / "report.md").read_text().splitlines():
        if line.startswith("|"):
            tables[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        elif tables[-1]:
            tables.append([])
    return [[rows[0], *rows[2:]] for rows in tables if rows]


def without_times(results: Sequence[dict[str, Any]]) -> list[Any]:
    """Scenes of a report without what differs from run to run."""
    return [{name: one["score"] for name, one in scene["results"].items()} for scene in results]
