"""How noisy the burst is: variance = shot * level + read, estimated from its own frames."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batman_cli.pack import Planes, bin_planes

LEVEL_BINS = 24  # groups of equal size, by local brightness
BLOCK = 8  # samples, side of the blocks whose mean square is one measurement
# Moving texture only ever adds to a block's mean square, so the lower quartile of a group stands
# for it. For white noise it lies at this share of the variance (2^24 normal samples).
QUARTILE_SHARE = 0.863
MIN_VARIANCE = 1e-9  # 0..1 scale; 14-bit quantisation alone gives 3e-10
HIGH_PASS = 9  # the 3x3 mean is taken over so many samples


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


def estimate(pairs: Sequence[tuple[Planes, Planes]]) -> Noise:
    """Noise from pairs of neighbouring frames, by photon transfer.

    The difference of two frames over sqrt 2 keeps the noise of one and loses the scene; taking
    its 3x3 mean away loses what moved smoothly. The squares are averaged over blocks, the blocks
    grouped by level, and a weighted straight line through the groups gives shot and read.

    pairs: each two (4, h, w) float32 planes before amplification, of the same size.
    """
    levels: list[NDArray[np.float32]] = []
    squares: list[NDArray[np.float32]] = []
    for first, second in pairs:
        residual = _high_pass((second - first) / np.float32(np.sqrt(2)))
        levels.append(_blocks((first + second) * np.float32(0.5)))
        squares.append(_blocks(residual**2))
    shot, read = _photon_transfer(np.concatenate(levels), np.concatenate(squares))
    count = f"{len(pairs)} pair{'s' if len(pairs) > 1 else ''} of frames"
    return Noise(shot, read, f"photon transfer over {count}")


def estimate_single(planes: Planes) -> Noise:
    """Noise from one frame (4, h, w): what its 3x3 mean leaves, in the smoothest blocks."""
    shot, read = _photon_transfer(_blocks(planes), _blocks(_high_pass(planes) ** 2))
    return Noise(shot, read, "high-pass residuals of one frame")


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
    """Means over blocks of all planes, one after the other."""
    return bin_planes(planes, max(1, min(BLOCK, *planes.shape[1:]))).ravel()


def _photon_transfer(
    level: NDArray[np.float32], square: NDArray[np.float32]
) -> tuple[float, float]:
    """Slope and intercept of variance against level, both at least physically possible.

    The weight of a group is count / variance^2: the variance of a variance goes with its square.
    """
    groups = [g for g in np.array_split(np.argsort(level), LEVEL_BINS) if len(g)]
    x = np.array([level[group].mean() for group in groups])
    variance = np.array([np.percentile(square[group], 25) for group in groups]) / QUARTILE_SHARE
    variance = np.maximum(variance, MIN_VARIANCE)
    count = np.array([len(group) for group in groups])
    if np.ptp(x) < 1e-9:  # a frame of one level, such as a dark one
        return 0.0, float(np.median(variance))
    slope, intercept = np.polyfit(x, variance, 1, w=np.sqrt(count) / variance)
    if slope <= 0:
        return 0.0, float(np.average(variance, weights=count))
    return float(slope), max(float(intercept), MIN_VARIANCE)
