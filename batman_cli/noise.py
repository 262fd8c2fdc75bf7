"""How noisy the burst is: variance = shot * level + read, estimated from its own frames."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from batman_cli.pack import Planes, bin_planes

BLOCK = 4  # samples, side of the blocks whose mean square is one measurement
FARTHEST = 5  # samples that a camera may move between two frames and is still followed
SEARCHED = 60_000  # samples of a frame that the search for this motion looks at, about
GROUPS = 32  # of blocks of similar level, for each plane
SMALLEST_GROUP = 64  # blocks
QUIET = 10.0  # percentile of a group's blocks, by unrest, that hold noise alone
QUIET_RANGE = 1.5  # times that unrest may be texture too; of noise alone three blocks in four stay
CLIPPED = 0.9  # level above which white cuts the noise off
MIN_VARIANCE = 1e-9  # 0..1 scale; 14-bit quantisation alone gives 3e-10
HIGH_PASS = 9  # the 3x3 mean is taken over so many samples
SPREAD = 2.6  # variance of a high-passed square over its mean squared; 2 without the 3x3 mean
ROUNDS = 20  # of weighting; it has settled by then
OUTLIER = 3.0  # standard deviations above the line


@dataclass(frozen=True)
class Noise:
    """Noise of the planes before amplification, on the scale 0 = black level, 1 = white level.

    The variance of a sample at level x is shot * x + read.
    """

    shot: float
    read: float
    reason: str = ""

    def amplified(
        self, ratio: float, white_balance: tuple[float, float, float]
    ) -> NDArray[np.float32]:
        """Noise after amplification: (2, 4), shot and read of the planes R G1 G2 B.

        With x' = g x the variance shot x + read becomes (g shot) x' + g^2 read.
        """
        red, green, blue = white_balance
        gain = ratio * np.array([red, green, green, blue])
        return np.stack([self.shot * gain, self.read * gain**2]).astype(np.float32)


class _Blocks(NamedTuple):
    """What is measured in blocks of the planes: each (4, h, w)."""

    level: NDArray[np.float32]
    around: NDArray[np.float32]  # level over 3x3 blocks
    square: NDArray[np.float32]  # of the high-passed noise, its variance where there is no texture
    unrest: NDArray[np.float32]  # change and texture of the scene, and noise


def estimate(pairs: Sequence[tuple[Planes, Planes]]) -> Noise:
    """Noise from pairs of neighbouring frames, by photon transfer.

    The difference of two frames over sqrt 2, one of them moved after the camera's motion, keeps the
    noise of one and loses the scene; taking its 3x3 mean away loses what else moved smoothly. The
    squares are averaged over blocks, and the blocks grouped by level. Texture that moved only adds
    to them, so the blocks that hold some are left out. A line through the groups, which holds to
    the lower ones, gives shot and read.

    Both by which a block is chosen, its level and its unrest, are those of the other three planes:
    their noise is independent, so no choice favours blocks that are quiet by chance.

    pairs: each two (4, h, w) float32 planes before amplification, of the same size.
    """
    shot, read = _photon_transfer([_measured(*_aligned(*pair)) for pair in pairs], frames=2)
    count = f"{len(pairs)} pair{'s' if len(pairs) > 1 else ''} of frames"
    return Noise(shot, read, f"photon transfer over {count}")


def estimate_single(planes: Planes) -> Noise:
    """Noise from one frame (4, h, w): what its 3x3 mean leaves, in the smoothest blocks."""
    square = _blocks(_high_pass(planes) ** 2)
    level = _blocks(planes)
    shot, read = _photon_transfer([_Blocks(level, _box(level), square, square)], frames=1)
    return Noise(shot, read, "high-pass residuals of one frame")


def _aligned(first: Planes, second: Planes) -> tuple[Planes, Planes]:
    """The parts of both frames that show the same if the camera moved by whole samples.

    Large differences count alike, so that the scene decides and not an object that crosses it.
    """
    still, moved = (_box(frame.sum(0, keepdims=True))[0] for frame in (first, second))
    reach = min(FARTHEST, min(still.shape) // 4)
    step = max(1, int(np.sqrt(still.size / SEARCHED)))
    middle = _moved(still, 0, 0, reach, step)
    small = 9 * np.median((middle - _moved(moved, 0, 0, reach, step)) ** 2) + MIN_VARIANCE

    def misfit(move: tuple[int, int]) -> float:
        square = (middle - _moved(moved, *move, reach, step)) ** 2
        return float((square / (square + small)).mean())

    sides = range(-reach, reach + 1)
    down, right = min(((y, x) for y in sides for x in sides), key=misfit)
    _, height, width = first.shape
    rows, columns = height - abs(down), width - abs(right)
    top, left = max(0, -down), max(0, -right)
    return (
        first[:, top : top + rows, left : left + columns],
        second[:, top + down : top + down + rows, left + right : left + right + columns],
    )


def _moved(
    picture: NDArray[np.float32], down: int, right: int, reach: int, step: int
) -> NDArray[np.float32]:
    """The middle of a picture (h, w) and what lies so far from it; every so many samples."""
    height, width = picture.shape
    rows = slice(reach + down, height - reach + down, step)
    return picture[rows, reach + right : width - reach + right : step]


def _measured(first: Planes, second: Planes) -> _Blocks:
    """Blocks of two frames of one scene, both (4, h, w)."""
    change = (second - first) * np.float32(np.sqrt(0.5))
    mean = (first + second) * np.float32(0.5)
    level = _blocks(mean)
    unrest = change**2 + _high_pass(mean) ** 2
    return _Blocks(level, _box(level), _blocks(_high_pass(change) ** 2), _blocks(unrest))


def _high_pass(planes: Planes) -> Planes:
    """Planes minus their 3x3 mean, rescaled so that white noise keeps its variance."""
    return (planes - _box(planes)) * np.float32(np.sqrt(HIGH_PASS / (HIGH_PASS - 1)))


def _box(planes: Planes) -> Planes:
    """3x3 mean with replicated borders."""
    padded = np.pad(planes, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    total = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    return (total / HIGH_PASS).astype(np.float32, copy=False)


def _blocks(planes: Planes) -> NDArray[np.float32]:
    """Means over blocks: (4, h / BLOCK, w / BLOCK)."""
    return bin_planes(planes, max(1, min(BLOCK, *planes.shape[1:])))


def _of_others(blocks: NDArray[np.float32]) -> NDArray[np.float32]:
    """For each plane the mean of the other three: (4, N) in and out."""
    return (blocks.sum(0) - blocks) / 3


def _photon_transfer(measured: Sequence[_Blocks], *, frames: int) -> tuple[float, float]:
    """Shot and read noise of blocks, both at least physically possible.

    frames: that a block's level is the mean of.
    """
    level, around, square, unrest = (
        np.concatenate([part.reshape(4, -1) for part in parts], 1)
        for parts in zip(*measured, strict=True)
    )
    number = level.shape[1]
    groups = max(1, min(GROUPS, number // SMALLEST_GROUP))
    order = np.argsort(_of_others(around), 1)[:, : number // groups * groups]

    def grouped(blocks: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.take_along_axis(blocks, order, 1).reshape(4 * groups, -1)

    level, square, unrest = grouped(level), grouped(square), grouped(_of_others(unrest))
    quiet = unrest <= QUIET_RANGE * np.percentile(unrest, QUIET, axis=1, keepdims=True)
    quiet &= level < CLIPPED
    count = quiet.sum(1)
    used = count > 0
    if not used.any():  # white all over
        return 0.0, MIN_VARIANCE
    x = (level * quiet).sum(1)[used] / count[used]
    variance = (square * quiet).sum(1)[used] / count[used]
    return _lower_line(x, np.maximum(variance, MIN_VARIANCE), count[used], frames=frames)


def _lower_line(
    level: NDArray[np.float64],
    variance: NDArray[np.float64],
    count: NDArray[np.int64],
    *,
    frames: int,
) -> tuple[float, float]:
    """Slope and intercept of variance against level, over groups of `count` blocks.

    Groups above the line weigh less, the more so the farther: there texture was left. With that
    settled, all those near the line count in full. Weights go with the variance of a variance,
    2 variance^2 / samples, of the line and not of the group, or groups that are low by chance
    would weigh most.
    """
    samples = count * BLOCK**2
    line = variance
    weight = samples / variance**2
    slope, intercept = 0.0, 0.0
    for turn in range(ROUNDS + 1):
        slope, intercept = _line(level, variance, weight, line / (frames * samples))
        line = np.maximum(slope * level + intercept, variance.min())  # levels may be below 0
        above = (variance - line) / (line * np.sqrt(SPREAD / samples))
        trust = above < OUTLIER if turn == ROUNDS - 1 else 1 / (1 + np.maximum(above, 0) ** 2)
        weight = samples / line**2 * trust
    return slope, intercept


def _line(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    weight: NDArray[np.float64],
    x_variance: NDArray[np.float64],
) -> tuple[float, float]:
    """Weighted straight line, its slope 0 or more, its intercept MIN_VARIANCE or more.

    x is itself a mean of noise, which makes slopes too small unless its variance is taken off.
    """
    mean_x, mean_y = np.average(x, weights=weight), np.average(y, weights=weight)
    noise = np.average(x_variance, weights=weight)
    spread = np.average((x - mean_x) ** 2, weights=weight) - noise
    if spread <= noise:  # a frame of one level, such as a dark one
        return 0.0, float(mean_y)
    slope = max(0.0, np.average((x - mean_x) * (y - mean_y), weights=weight) / spread)
    return float(slope), max(float(mean_y - slope * mean_x), MIN_VARIANCE)
