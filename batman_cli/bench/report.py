"""The tables as JSON, CSV and Markdown, and in the terminal: the same numbers everywhere."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from batman_cli import __version__
from batman_cli.bench.page import page, quality_against_work
from batman_cli.bench.plot import alone
from batman_cli.bench.run import Outcome
from batman_cli.bench.store import REPORTS, to_json, write_whole
from batman_cli.bench.tables import TABLES, Row, cells, notes_of, rows_of
from batman_cli.progress import Reporter


def write_report(outcome: Outcome, folder: Path, device: str) -> list[Row]:
    """Writes the files into the folder, the plot if there is one. Raises OutputError."""
    rows = rows_of(outcome)
    notes = [*notes_of(outcome, rows), f"batman {__version__} on {device}."]
    contents = (
        page(outcome, rows, notes),
        _json(outcome, rows, notes, device),
        _csv(rows),
        _markdown(rows, notes),
        alone(quality_against_work(rows)),
    )
    for name, content in zip(REPORTS, contents, strict=True):
        if content:
            write_whole(folder / name, content)
    return rows


def tell(rows: Sequence[Row], reporter: Reporter) -> None:
    """The tables for people at a terminal."""
    for title, columns in TABLES:
        headings = [column.heading for column in columns]
        reporter.table(title, headings, [cells(row, columns) for row in rows])


def _json(outcome: Outcome, rows: Sequence[Row], notes: Sequence[str], device: str) -> str:
    scenes = [
        {
            "scene": scene.name,
            "title": scene.title,
            "data": scene.data,
            "still": scene.still,
            "results": {
                system.key: {
                    "score": asdict(measured.score),
                    "cost": asdict(measured.cost),
                    "size": measured.size,
                }
                for system in outcome.systems
                if (measured := outcome.results.get((scene.name, system.key)))
            },
        }
        for scene in outcome.scenes
    ]
    failures = [
        {"system": failure.system, "scene": failure.scene, "reason": failure.reason}
        for failure in outcome.failures
    ]
    return to_json(
        {
            "version": __version__,
            "device": device,
            "rows": [asdict(row) for row in rows],
            "failures": failures,
            "notes": notes,
            "scenes": scenes,
        }
    )


def _csv(rows: Sequence[Row]) -> str:
    """A line for each system, with all fields of `Row`; empty where there is no number."""
    names = [field.name for field in fields(Row)]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        values = (getattr(row, name) for name in names)
        writer.writerow(["" if value != value else value for value in values])  # NaN alone differs
    return file.getvalue()


def _markdown(rows: Sequence[Row], notes: Sequence[str]) -> str:
    lines = ["# batman bench", ""]
    for title, columns in TABLES:
        lines += [f"## {title}", "", _line([column.heading for column in columns])]
        lines.append(_line(["---" if c.digits is None else "---:" for c in columns]))
        lines += [*(_line(cells(row, columns)) for row in rows), ""]
    if failed := [row for row in rows if row.failed]:
        lines += ["## Left out", "", *(f"* {row.label}: {row.failed}" for row in failed), ""]
    return "\n".join([*lines, "## Notes", "", *(f"* {note}" for note in notes), ""])


def _line(words: Sequence[str]) -> str:
    return f"| {' | '.join(word.replace('|', '/') for word in words)} |"
