"""Plots as SVG: quality against what it costs, and quality over time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import count

WIDTH, HEIGHT = 440, 320  # of the drawing; at this width letters have their size in pixels
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 14, 44  # margins
LETTER = 6.0  # width of a letter, about
LINE = 13.0  # height of a line of letters
RADIUS = 5  # of a point
TICKS = 6  # at most, about
ALONE = (  # what a page's style sheet says of plots
    "<style>text{font:11px sans-serif;fill:#1b1d21}.grid{stroke:#d9dce1}</style>"
    f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>'
)
# Told apart on white and on black, and by those who see red and green alike (Okabe and Ito 2008,
# black and yellow replaced).
COLOURS = (
    *("#8a8f98", "#e69f00", "#56b4e9", "#009e73", "#b59f00"),
    *("#0072b2", "#d55e00", "#cc79a7", "#7b61ff"),
)


@dataclass(frozen=True)
class Point:
    """A system in a scatter plot."""

    label: str
    colour: str
    x: float  # above 0
    y: float


@dataclass(frozen=True)
class Line:
    """A system over time; the first value is at 1."""

    label: str
    colour: str
    values: Sequence[float]


@dataclass(frozen=True)
class _Axis:
    """A range of values along one side."""

    low: float
    high: float
    start: float  # of the drawing
    end: float

    def at(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def scatter(x_label: str, y_label: str, points: Sequence[Point]) -> str:
    """Points with their labels over a logarithmic x axis; empty without points.

    A line joins those that none beats with less of x. What has no x, NaN, is a level: a dashed
    line across.
    """
    known = [p for p in points if math.isfinite(p.y)]
    seen = [p for p in known if p.x > 0 and math.isfinite(p.x)]
    if not seen:
        return ""
    levels = [p for p in known if math.isnan(p.x)]
    exponents = [math.log10(p.x) for p in seen]
    x = _Axis(min(exponents) - 0.15, max(exponents) + 0.15, LEFT, WIDTH - RIGHT)
    y = _vertical([p.y for p in known])
    parts = [_grid_y(y), _grid_log(x), _names(x_label, y_label), _front(seen, x, y)]
    seen.sort(key=lambda p: -p.y)
    places = [(x.at(math.log10(p.x)), y.at(p.y)) for p in seen]
    taken = [(across - RADIUS, across + RADIUS, down) for across, down in places]
    for level in sorted(levels, key=lambda p: -p.y):
        parts.append(_level(level, y.at(level.y)))
        parts.append(_label(level.label, WIDTH - RIGHT, y.at(level.y) - LINE, taken))
    for point, (across, down) in zip(seen, places, strict=True):
        parts.append(
            f'<circle cx="{across:.1f}" cy="{down:.1f}" r="{RADIUS}" fill="{point.colour}"/>'
        )
        parts.append(_label(point.label, across, down, taken))
    told = [f"{p.label}: {p.x:.3g}, {p.y:.2f}" for p in seen]
    told += [f"{p.label}: {p.y:.2f}" for p in levels]
    return _drawing(f"{x_label} and {y_label}: {'; '.join(told)}", parts)


def lines(x_label: str, y_label: str, curves: Sequence[Line]) -> str:
    """A curve for each system over frames; empty without curves of two values or more."""
    seen = [
        line for line in curves if len(line.values) > 1 and all(map(math.isfinite, line.values))
    ]
    if not seen:
        return ""
    x = _Axis(1, max(len(line.values) for line in seen), LEFT, WIDTH - RIGHT)
    y = _vertical([value for line in seen for value in line.values])
    parts = [_grid_y(y), _grid_x(x), _names(x_label, y_label)]
    for line in seen:
        way = " ".join(f"{x.at(n):.1f},{y.at(v):.1f}" for n, v in enumerate(line.values, 1))
        parts.append(
            f'<polyline points="{way}" fill="none" stroke="{line.colour}" stroke-width="2"/>'
        )
    told = "; ".join(f"{c.label}: from {c.values[0]:.2f} to {c.values[-1]:.2f}" for c in seen)
    return _drawing(f"{y_label} over {x_label}: {told}", parts)


def alone(drawing: str) -> str:
    """A plot as a file of its own, on white; empty for an empty one."""
    head, _, rest = drawing.partition(">")
    return drawing and f'{head} xmlns="http://www.w3.org/2000/svg">{ALONE}{rest}\n'


def _front(points: Sequence[Point], x: _Axis, y: _Axis) -> str:
    """Through the points of highest y so far, from the least x on."""
    best = [
        p
        for p in points
        if not any(o.x <= p.x and o.y >= p.y and (o.x, o.y) != (p.x, p.y) for o in points)
    ]
    way = " ".join(
        f"{x.at(math.log10(p.x)):.1f},{y.at(p.y):.1f}" for p in sorted(best, key=lambda p: p.x)
    )
    return f'<polyline class="grid" points="{way}" fill="none" stroke-width="2"/>'


def _level(point: Point, down: float) -> str:
    return (
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{down:.1f}" y2="{down:.1f}" '
        f'stroke="{point.colour}" stroke-dasharray="4 4"/>'
    )


def _vertical(values: Sequence[float]) -> _Axis:
    low, high = min(values), max(values)
    room = 0.08 * (high - low) or 1.0
    return _Axis(low - room, high + room, HEIGHT - BOTTOM, TOP)


def _drawing(told: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(told)}">'
        f"{''.join(parts)}</svg>"
    )


def _names(x_label: str, y_label: str) -> str:
    middle = (TOP + HEIGHT - BOTTOM) / 2
    return (
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">'
        f"{escape(x_label)}</text>"
        f'<text x="12" y="{middle}" text-anchor="middle" transform="rotate(-90 12 {middle})">'
        f"{escape(y_label)}</text>"
    )


def _grid_y(axis: _Axis) -> str:
    return "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{axis.at(v):.1f}" '
        f'y2="{axis.at(v):.1f}"/>'
        f'<text x="{LEFT - 5}" y="{axis.at(v) + 4:.1f}" text-anchor="end">{v:g}</text>'
        for v in _round_values(axis.low, axis.high)
    )


def _grid_x(axis: _Axis) -> str:
    values = [v for v in _round_values(axis.low, axis.high) if v == int(v)]
    return "".join(_vertical_line(axis.at(v), f"{v:g}") for v in values)


def _grid_log(axis: _Axis) -> str:
    """Lines at 1, 10, 100 and, where those are few, at others between them."""
    if axis.high - axis.low < 1:
        even = _round_values(10**axis.low, 10**axis.high)
        return "".join(_vertical_line(axis.at(math.log10(v)), f"{v:g}") for v in even)
    decades = range(math.floor(axis.low), math.ceil(axis.high) + 1)
    steps = (1,) if axis.high - axis.low > 3 else (1, 2, 5)
    values = [step * 10.0**decade for decade in decades for step in steps]
    inside = [v for v in values if axis.low <= math.log10(v) <= axis.high]
    return "".join(_vertical_line(axis.at(math.log10(v)), f"{v:g}") for v in inside)


def _vertical_line(across: float, text: str) -> str:
    bottom = HEIGHT - BOTTOM
    return (
        f'<line class="grid" x1="{across:.1f}" x2="{across:.1f}" y1="{TOP}" y2="{bottom}"/>'
        f'<text x="{across:.1f}" y="{bottom + 16}" text-anchor="middle">{text}</text>'
    )


def _round_values(low: float, high: float) -> list[float]:
    """Values such as 0, 5, 10 between two numbers."""
    rough = (high - low) / TICKS
    unit = 10 ** math.floor(math.log10(rough))
    step = next(unit * n for n in (1, 2, 5, 10) if unit * n >= rough)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [round(n * step, 10) for n in range(first, last + 1)]


def _label(text: str, across: float, down: float, taken: list[tuple[float, float, float]]) -> str:
    """A label beside its point, or above or below, as near as it is free and inside the drawing.

    `taken` has the left end, right end and row of points and labels, and is given this one's.
    """
    width = LETTER * len(text)
    right = (across + 9, across + 9, "start")
    left = (across - 9 - width, across - 9, "end")
    middle = (across - width / 2, across, "middle")

    def inside(sides: Sequence[tuple[float, float, str]]) -> list[tuple[float, float, str]]:
        return [side for side in sides if side[0] >= LEFT and side[0] + width < WIDTH]

    def free(start: float, row: float) -> bool:
        return row > LINE and not any(
            abs(row - other) < LINE and start < end and begin < start + width
            for begin, end, other in taken
        )

    beside = inside((right, left)) or [(LEFT, LEFT, "start")]
    around = beside + inside([middle])
    places = (
        (side, down + 4 + way * 2 * n)
        for n in count()
        for side in (beside if 2 * n < LINE else around)
        for way in (1, -1)
    )
    (start, x, anchor), row = next((side, row) for side, row in places if free(side[0], row))
    taken.append((start, start + width, row))
    return f'<text x="{x:.1f}" y="{row:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
