"""The order of shots and their frame rate, from capture times and file numbers."""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby, pairwise
from pathlib import Path
from statistics import fmean, linear_regression, median

from batman_cli.errors import BadShot
from batman_cli.raw import ShotInfo
from batman_cli.settings import Order

DEFAULT_FPS = Fraction(20)  # frames/s where the files do not tell: typical of fast bursts
SLOWEST_FPS, FASTEST_FPS = 1, 240  # frames/s, outside of which a measured rate is not believed
STANDARD_FPS = (  # frames/s of cameras and players; the NTSC rates are exact fractions
    *(Fraction(n) for n in (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 16, 20, 24, 25, 30)),
    *(Fraction(n) for n in (40, 48, 50, 60, 90, 100, 120, 240)),
    *(Fraction(n, 1001) for n in (24_000, 30_000, 60_000, 120_000)),
)
SNAP_FINE, SNAP_COARSE = 0.01, 0.02  # relative distance to a standard rate; whole seconds err more
SNAP_COARSEST = 0.06  # the same of few times that are hardly finer than the steps between them
COARSE_SPAN_S = 3.0  # seconds a burst must last before times without fractions give a rate
FINE_SPAN_S = 1.0  # the same for times with fractions that are coarser than the steps
MOST_LOST = 0.2  # of all steps, in which shots are lost
WHOLE = 1e-3  # how far a number of ticks may be from a whole one; times since 1970 are that exact
LONGEST_STEP_S = 2.0  # seconds between two shots that never count as a pause
LAST_NUMBER = 9999  # highest file number of the DCF rule, after which cameras start at 0001
MOST_MISSING = 100  # file numbers that may be absent around a roll-over

_COUNTER = re.compile(r"(.*)([0-9]{4})", re.DOTALL)

Item = ShotInfo | BadShot


def in_order(items: Sequence[Item], order: Order) -> tuple[list[Item], str, list[str]]:
    """Items in playing order, the rule that gave it, and warnings.

    order: "time" (capture time, then file number; by name where any shot has no time) | "name".
    """
    item_of = {item.path: item for item in items}
    names = by_name(item_of)
    by_number = [item_of[path] for path in names]
    shots = [item for item in by_number if isinstance(item, ShotInfo)]
    rolled = " (the file numbers roll over)" if names != sorted(names, key=_natural) else ""
    if order == "name":
        return by_number, f"file name, as asked{rolled}", []
    if timeless := sum(shot.time_s is None for shot in shots):
        reason = f"file name: {timeless} of {len(shots)} shots have no capture time"
        return by_number, reason + rolled, []
    reason = "capture time" if _is_fine(shots) else "capture time in whole seconds"
    timed = _by_time(shots)
    odd = next((new for new, old in zip(timed, shots, strict=True) if new is not old), None)
    doubts: list[str] = []
    if odd is not None:
        doubts.append(
            f"Capture times and file numbers disagree, first at {shown(odd.path.name)}: was the "
            "clock set back? The order is that of the times; --order name takes the numbers."
        )
    return _with_bad(timed, by_number), f"{reason}, then file number{rolled}", doubts


def by_name(paths: Iterable[Path]) -> list[Path]:
    """Paths in natural order (2 before 10), begun where the camera's counter rolled over.

    A roll-over is seen where all names are one prefix and four digits, the numbers lie on both
    sides of a gap wider than half of 0001..9999, and few are missing around 9999.
    """
    ordered = sorted(paths, key=_natural)
    counters = [match for path in ordered if (match := _COUNTER.fullmatch(path.stem))]
    if len(counters) < len(ordered) or len({match[1].casefold() for match in counters}) != 1:
        return ordered
    numbers = [int(match[2]) for match in counters]
    gap, first = max(((b - a, i) for i, (a, b) in enumerate(pairwise(numbers), 1)), default=(0, 0))
    missing = LAST_NUMBER - numbers[-1] + numbers[0] - 1
    if gap > LAST_NUMBER // 2 and missing <= MOST_MISSING:
        return ordered[first:] + ordered[:first]
    return ordered


def _natural(path: Path) -> tuple[str, str]:
    return re.sub(r"[0-9]+", lambda digits: digits[0].zfill(20), path.stem.casefold()), path.name


def _is_fine(shots: Sequence[ShotInfo]) -> bool:
    """Whether the times have fractions: all files claim so, and not all of them say .00."""
    return all(shot.has_subsecond for shot in shots) and any((s.time_s or 0) % 1 for s in shots)


def _by_time(shots: Sequence[ShotInfo]) -> list[ShotInfo]:
    fine = _is_fine(shots)

    def tick(shot: ShotInfo) -> float:
        time_s = shot.time_s or 0.0
        return time_s if fine else math.floor(time_s)

    timed: list[ShotInfo] = []
    for _, ties in groupby(sorted(shots, key=tick), key=tick):
        shot_of = {shot.path: shot for shot in ties}
        timed += [shot_of[path] for path in by_name(shot_of)]
    return timed


def _with_bad(timed: Sequence[ShotInfo], by_number: Sequence[Item]) -> list[Item]:
    """Bad shots have no time: each follows the good shot that precedes it by number."""
    followers: defaultdict[Path | None, list[BadShot]] = defaultdict(list)
    previous = None
    for item in by_number:
        if isinstance(item, BadShot):
            followers[previous].append(item)
        else:
            previous = item.path
    sequence: list[Item] = [*followers[None]]
    for shot in timed:
        sequence += [shot, *followers[shot.path]]
    return sequence


@dataclass(frozen=True)
class Clock:
    """Ascending capture times in seconds, `names` beside them; fine where they have fractions."""

    times: list[float]
    names: list[str]
    fine: bool


def clock_of(shots: Iterable[ShotInfo]) -> Clock:
    """The clock of shots in any order; empty when one of them has no capture time."""
    shots = list(shots)
    fine = _is_fine(shots)
    if any(shot.time_s is None for shot in shots):
        return Clock([], [], fine)
    ordered = sorted((shot.time_s or 0.0, shown(shot.path.name)) for shot in shots)
    times = [time if fine else math.floor(time) for time, _ in ordered]
    return Clock(times, [name for _, name in ordered], fine)


def _stretches(clock: Clock) -> list[tuple[int, int]]:
    """First and end index of runs without a pause, a step of over 2 s and 5 times the usual."""
    steps = [b - a for a, b in pairwise(clock.times)]
    usual = median([step for step in steps if step] or [0.0])
    pause = max(LONGEST_STEP_S, 5 * usual)
    ends = [i for i, step in enumerate(steps, 1) if step > pause]
    return list(pairwise([0, *ends, len(clock.times)]))


def pauses(clock: Clock) -> list[str]:
    """A warning where the burst stands still for a while."""
    starts = [first for first, _ in _stretches(clock)[1:]]
    if not starts:
        return []
    wait = clock.times[starts[0]] - clock.times[starts[0] - 1]
    more = f" (and {len(starts) - 1} more)" if len(starts) > 1 else ""
    return [
        f"A pause of {wait:.0f} s before {clock.names[starts[0]]}{more}: "
        "do several bursts lie in one folder?"
    ]


def frame_rate(clock: Clock, step: int) -> tuple[Fraction, str]:
    """Frames/s of every step-th shot, and where it comes from."""
    interval, doubt, reason = _interval(clock)
    if interval is None:
        return DEFAULT_FPS, f"default: {reason}"
    measured = 1 / interval
    nearest = min(STANDARD_FPS, key=lambda rate: abs(rate - measured))
    if abs(nearest / measured - 1) > doubt:
        nearest = Fraction(measured).limit_denominator(100)
    if not SLOWEST_FPS <= nearest <= FASTEST_FPS:
        return DEFAULT_FPS, f"default: {measured:.3g} shots/s {reason} is no video's rate"
    every = f", one shot in {step}" if step > 1 else ""
    return nearest / step, f"measured {measured:.4g} {reason}{every}"


def _interval(clock: Clock) -> tuple[float | None, float, str]:
    """Seconds from shot to shot in the longest stretch without a pause, None when unknown.

    With it how far it may be off, relatively, and where it comes from.
    """
    if not clock.times:
        return None, 0.0, "not every shot has a capture time"
    times = max((clock.times[first:end] for first, end in _stretches(clock)), key=len)
    steps = [b - a for a, b in pairwise(times)]
    usual = median(steps) if steps else 0.0
    span, tick = times[-1] - times[0], _tick(clock.times)
    if clock.fine and usual:
        # The mean undoes the rounding of the times, the bound leaves out lost shots.
        longest = _longest(steps, usual, tick)
        counted = [step for step in steps if step <= longest]
        doubt = min(max(SNAP_FINE, tick / sum(counted)), SNAP_COARSEST)
        return fmean(counted), doubt, "from the capture times"
    if span < (COARSE_SPAN_S if tick == 1 else FINE_SPAN_S):
        return None, 0.0, "too few capture times, or too coarse, to measure it"
    # The slope of a line through all times: the ends alone err by up to a tick of the whole span.
    slope = linear_regression(range(len(times)), times).slope
    return slope, SNAP_COARSE, "from coarse capture times"


def _longest(steps: Sequence[float], usual: float, tick: float) -> float:
    """Seconds of the longest step in which no shot was lost.

    A clock that is hardly finer than the steps shows some of them a tick too long. Where many are,
    it is the clock; where few are, shots were lost.
    """
    bound = 1.5 * usual + WHOLE * tick
    many = sum(step > bound for step in steps) > MOST_LOST * len(steps)
    return bound + tick if many or 0 in steps else bound


def _tick(times: Sequence[float]) -> float:
    """Seconds that times are rounded to: 1, 0.1 and so on, 1 ms at least."""
    places = next((n for n in range(3) if all(_is_whole(time * 10**n) for time in times)), 3)
    return 10.0**-places


def _is_whole(value: float) -> bool:
    return abs(value - round(value)) < WHOLE


def shown(name: str) -> str:
    """A file name that is safe to print: line breaks and bytes outside of UTF-8 become '?'."""
    return "".join(letter if letter.isprintable() else "?" for letter in name)
