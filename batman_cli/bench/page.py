"""The report as one page that needs nothing but itself: tables, plots, pictures, clips."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from statistics import fmean

from batman_cli.bench.data import SIMULATED, Scene
from batman_cli.bench.plot import COLOURS, Line, Point, lines, scatter
from batman_cli.bench.run import DARK, REFERENCE, Outcome
from batman_cli.bench.systems import System
from batman_cli.bench.tables import TABLES, Column, Row, cells

TEMPLATES = Path(__file__).parent
QUALITY = "PSNR (dB)"

Shown = Mapping[str, Mapping[str, str]]  # by name: label, picture, clip


def page(outcome: Outcome, rows: Sequence[Row], notes: Sequence[str]) -> str:
    """HTML text. Whatever comes from outside (names of folders, reasons) is escaped."""
    shown = {scene.name: _shown(outcome, scene) for scene in outcome.scenes}
    shown = {name: pictures for name, pictures in shown.items() if pictures}
    scenes = [scene for scene in outcome.scenes if scene.name in shown]
    return _filled(
        _template("page.html"),
        {
            "style": _template("page.css"),
            "script": _template("page.js"),
            "banner": _banner(outcome),
            "tables": "".join(_table(title, columns, rows) for title, columns in TABLES),
            "training": _list(f"{row.label}: {row.training}" for row in rows if row.training),
            "failed": _failed(rows),
            "legend": _legend(outcome, rows),
            "plots": "".join(_plots(outcome, rows)),
            "scenes": "".join(_scene(scene, shown[scene.name]) for scene in scenes),
            "notes": _list(notes),
            # "</script>" inside would end the element.
            "data": json.dumps(shown).replace("<", "\\u003c"),
        },
    )


def _template(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _filled(template: str, parts: Mapping[str, str]) -> str:
    """The template with its {{names}} replaced, in one go, so that no part is searched itself."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def _banner(outcome: Outcome) -> str:
    marks = sorted({scene.data for scene in outcome.scenes})
    if SIMULATED in marks:
        return "Measured on <strong>simulated</strong> bursts. Published figures are of DRV."
    return f"Measured on {escape(', '.join(marks))}. Published figures are of DRV."


def _table(title: str, columns: Sequence[Column], rows: Sequence[Row]) -> str:
    kinds = ["text" if column.digits is None else "number" for column in columns]
    published = [column.field.endswith("_published") for column in columns]
    kinds = [f"{kind} published" if p else kind for kind, p in zip(kinds, published, strict=True)]
    head = "".join(
        f'<th scope="col" class="{kind}">{escape(column.heading)}</th>'
        for kind, column in zip(kinds, columns, strict=True)
    )
    body = "".join(_table_row(cells(row, columns), kinds) for row in rows)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(title)}">'
        f"<table><caption>{escape(title)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def _table_row(texts: Sequence[str], kinds: Sequence[str]) -> str:
    first = f'<th scope="row">{escape(texts[0])}</th>'
    rest = "".join(
        f'<td class="{kind}">{escape(text)}</td>'
        for text, kind in zip(texts[1:], kinds[1:], strict=True)
    )
    return f"<tr>{first}{rest}</tr>"


def _list(texts: Iterable[str]) -> str:
    return "".join(f"<li>{escape(text)}</li>" for text in texts)


def _failed(rows: Sequence[Row]) -> str:
    items = _list(f"{row.label}: {row.failed}" for row in rows if row.failed)
    return f"<h2>Left out</h2><ul>{items}</ul>" if items else ""


def quality_against_work(rows: Sequence[Row]) -> str:
    """PSNR over multiply-adds, as SVG; systems without any that are learned are levels.

    It stands alone as well, so it says by itself what was simulated.
    """
    simulated = any(row.data == SIMULATED for row in rows)
    quality = f"{QUALITY}, {SIMULATED} bursts" if simulated else QUALITY
    points = [
        Point(row.label, colour, row.gmac, row.psnr)
        for row, colour in zip(rows, _colours(rows), strict=True)
    ]
    return scatter("GMAC for a frame of 1374 x 918", quality, points)


def _colours(systems: Sequence[object]) -> list[str]:
    return [COLOURS[number % len(COLOURS)] for number in range(len(systems))]


def _legend(outcome: Outcome, rows: Sequence[Row]) -> str:
    return "".join(
        f'<li><span style="background:{colour}"></span>{escape(row.label)}</li>'
        for row, system, colour in zip(
            rows, outcome.systems, _colours(outcome.systems), strict=True
        )
        if outcome.of(system)
    )


def _plots(outcome: Outcome, rows: Sequence[Row]) -> list[str]:
    colours = _colours(outcome.systems)
    coloured = list(zip(rows, colours, strict=True))
    speed = [Point(row.label, colour, row.ms, row.psnr) for row, colour in coloured]
    time = [
        Line(system.label, colour, _over_time(outcome, system))
        for system, colour in zip(outcome.systems, colours, strict=True)
    ]
    plots = (
        ("Quality against speed", scatter("ms for a frame", QUALITY, speed)),
        ("Quality against work", quality_against_work(rows)),
        ("Still scenes over time", lines("frame", QUALITY, time)),
    )
    return [f"<figure><figcaption>{t}</figcaption>{plot}</figure>" for t, plot in plots if plot]


def _over_time(outcome: Outcome, system: System) -> list[float]:
    """Mean PSNR of each frame over still scenes, as long as all of them last."""
    curves = [m.score.psnr_frames for scene, m in outcome.of(system) if scene.still]
    return [fmean(values) for values in zip(*curves, strict=False)]


def _shown(outcome: Outcome, scene: Scene) -> dict[str, dict[str, str]]:
    """Pictures of a scene by name, dark one first, reference last; empty without any."""
    stills = outcome.pictures.get(scene.name, {})
    found = {
        system.key: {"label": system.label, "picture": m.picture, "clip": m.clip or ""}
        for system in outcome.systems
        if (m := outcome.results.get((scene.name, system.key))) and m.picture
    }
    ends = {
        name: {"label": name, "picture": stills[name], "clip": ""}
        for name in (DARK, REFERENCE)
        if name in stills
    }
    if len(found) + len(ends) < 2:
        return {}
    reference = {name: ends.pop(name) for name in (REFERENCE,) if name in ends}
    return {**ends, **found, **reference}


def _scene(scene: Scene, shown: Shown) -> str:
    systems = [name for name in shown if name not in (DARK, REFERENCE)]
    first, last = next(iter(shown)), list(shown)[-1]
    left = "rawpy" if "rawpy" in shown else first
    right = systems[-1] if systems and systems[-1] != left else last
    values = {
        "name": escape(scene.name, quote=True),
        "title": escape(f"{scene.data}: {scene.title}"),
        "left": _options(shown, left),
        "right": _options(shown, right),
    }
    return _filled(_template("scene.html"), values)


def _options(shown: Shown, chosen: str) -> str:
    return "".join(
        f'<option value="{escape(name, quote=True)}"{" selected" if name == chosen else ""}>'
        f"{escape(of['label'])}</option>"
        for name, of in shown.items()
    )
