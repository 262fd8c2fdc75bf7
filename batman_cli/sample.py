"""Shots decoded to planes: one by one, and the few that stand for a burst."""

import math
from collections.abc import Sequence, Set
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path

import numpy as np

from batman_cli.clipping import BlackClipping
from batman_cli.errors import BadInput, BadShot
from batman_cli.hot import NO_HOT_PIXELS, HotPixels
from batman_cli.pack import Planes, bin_planes, pack
from batman_cli.raw import ShotInfo, read_mosaic

ALIKE_EV = 1 / 32  # in which ISO or exposure time may differ and count as the same
SAMPLE_PLACES = 3  # pairs of neighbouring shots are looked at, over the length of the burst
BAD_IN_SAMPLE = 8  # unreadable shots that the sample steps over before it gives up


@dataclass(frozen=True)
class Sample:
    """A few decoded shots of one exposure."""

    frames: list[Planes]  # binned
    pairs: list[tuple[Planes, Planes]]  # neighbours, binned
    mean: Planes | None  # of the pairs' frames, not binned, if it is wanted and there are pairs


def commonest_exposure(shots: Sequence[ShotInfo]) -> list[ShotInfo]:
    """The largest group of shots with the same ISO and exposure time, in order.

    Cameras that state both exactly have them differ a little from shot to shot: they are sorted
    into bins, and into such that lie half a bin off, so that no group lies across an edge.
    """
    groups: dict[tuple[object, ...], list[ShotInfo]] = {}
    for off in product((0.0, 0.5), repeat=2):
        for shot in shots:
            values = zip((shot.iso, shot.exposure_s), off, strict=True)
            bins = [value and math.floor(math.log2(value) / ALIKE_EV + by) for value, by in values]
            groups.setdefault((off, *bins), []).append(shot)
    return max(groups.values(), key=len)


def exposed_alike(shot: ShotInfo, other: ShotInfo) -> bool:
    """Whether ISO and exposure time are the same, but for how exactly they are stated."""
    pairs = ((shot.iso, other.iso), (shot.exposure_s, other.exposure_s))
    return all(a == b or (a and b and abs(math.log2(a / b)) < ALIKE_EV) for a, b in pairs)


def neighbours_of(shots: Sequence[ShotInfo], metered: ShotInfo) -> list[tuple[ShotInfo, ShotInfo]]:
    """Pairs with the exposure of `metered` that follow each other as closely as any of them."""
    places = [place for place, shot in enumerate(shots) if exposed_alike(shot, metered)]
    nearest = min((after - before for before, after in pairwise(places)), default=0)
    return [(shots[a], shots[b]) for a, b in pairwise(places) if b - a == nearest]


def take_sample(
    shots: Sequence[ShotInfo],
    neighbours: Sequence[tuple[ShotInfo, ShotInfo]],
    factor: int,
    needed: Set[Path],
    clipping: BlackClipping | None,
    *,
    mean_wanted: bool,
) -> Sample:
    """Pairs of neighbours over the length of the burst; one frame of `shots` where there is none.

    Raises BadShot at a bad one of those needed, else BadInput if none can be read.
    """
    pairs: list[tuple[Planes, Planes]] = []
    total: Planes | None = None
    bad: list[BadShot] = []
    for start in pair_starts(len(neighbours) + 1):
        try:
            first, second = (_read_whole(shot, clipping) for shot in neighbours[start])
            pairs.append((bin_planes(first, factor), bin_planes(second, factor)))
            if mean_wanted:
                total = np.zeros_like(first) if total is None else total
                total += first
                total += second
        except BadShot as error:
            if error.path in needed:
                raise stopping(error) from error
            bad.append(error)
    if pairs:
        frames = [frame for pair in pairs for frame in pair]
        if total is not None:
            total /= np.float32(len(frames))
        return Sample(frames, pairs, total)
    for shot in shots[:: max(1, len(shots) // BAD_IN_SAMPLE)]:
        try:
            return Sample([read_planes(shot, factor, clipping=clipping)], [], None)
        except BadShot as error:
            if error.path in needed:
                raise stopping(error) from error
            bad.append(error)
    raise BadInput("no shot of the burst can be read", str(bad[0]), bad[0].fix)


def pair_starts(count: int) -> list[int]:
    """Where pairs of neighbours begin that stand for a burst of `count` frames."""
    places = min(SAMPLE_PLACES, count // 2)
    return [i * (count - 2) // max(1, places - 1) for i in range(places)]


def read_planes(
    shot: ShotInfo,
    factor: int,
    hot: HotPixels = NO_HOT_PIXELS,
    clipping: BlackClipping | None = None,
) -> Planes:
    """Binned linear planes of a shot, black restored, `hot` replaced, not amplified.

    Raises BadShot.
    """
    planes = _read_whole(shot, clipping, hot)
    return bin_planes(planes, factor)


def _read_whole(
    shot: ShotInfo, clipping: BlackClipping | None, hot: HotPixels = NO_HOT_PIXELS
) -> Planes:
    """Planes of a shot, black restored, `hot` replaced, not binned. Raises BadShot."""
    mosaic = read_mosaic(shot.path)
    if (mosaic.info.size_bytes, mosaic.info.mtime_ns) != (shot.size_bytes, shot.mtime_ns):
        raise BadShot(shot.path, "it changed while the burst was being read", "run again")
    planes = pack(mosaic.data, shot.black, shot.white)
    hot.replace(planes)
    if clipping is not None:
        clipping.restore(planes, shot.iso)  # by the samples around, hot ones no longer among them
        hot.replace(planes)
    return planes


def stopping(error: BadShot) -> BadShot:
    """The error of a shot that ends a run, with what can be done instead."""
    fix = error.fix or "copy it again"
    more = f"{fix}, or go on without it: --on-bad-frame skip (or repeat)"
    return BadShot(error.path, error.why, more)
