"""Noise that a camera has cut off at black, put back on average.

Some cameras take their black level off themselves and store 0 for whatever falls below: of pure
noise of standard deviation s only the upper half is left, and its mean is 0.4 s instead of 0. White
balance makes a magenta veil of that. A mean of many samples does not take it away, but how high it
is above black tells how much was cut off.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from batman_cli.noise import Noise, estimate, estimate_single
from batman_cli.pack import Planes, bin_planes

BLOCK, PART = 12, 4  # samples, sides of the blocks that are measured, and of parts of these
SHARES = (0.3, 0.7)  # of zeros, where share and mean tell the noise best
# Zeros of noise lie all over a block, but across an edge of the scene on one side of it. The most
# variance of the shares in parts, over that of noise, and the fewest of dark blocks that pass.
STREWN, COMMON = 2.0, 0.5
FEWEST = 32  # blocks of such shares in a burst worth mending
COARSE = 0.7  # steps of the file's numbers: rounding makes the zeros where noise deviates less
AROUND = 2  # samples: the mean that tells how much was cut off is over 5 x 5
LEVELS = np.linspace(0.0, 6.0, 241)  # of a scene before cutting, in deviations of dark noise
TABLE = 1024  # means for which it is looked up what was cut off

_NORMAL = NormalDist()


@dataclass(frozen=True, eq=False)
class BlackClipping:
    """What was cut off, by the mean of what is left, on the scale of planes that are not binned.

    noise: before cutting, of all planes; iso: of the shots that all this is of.
    """

    noise: Noise
    highest: NDArray[np.float32]  # (4,) mean of an area, samples that were cut off counted as 0
    below: NDArray[np.float32]  # (4, TABLE) means of what was cut off, for means 0 to `highest`
    iso: float | None

    def restore(self, planes: Planes, iso: float | None) -> None:
        """Puts into each 0 of planes (4, h, w) of a shot what on average was there."""
        gain = np.float32(iso / self.iso if iso and self.iso else 1)  # all noise grows with ISO
        for plane, highest, below in zip(planes, self.highest, self.below, strict=True):
            zero, step = plane <= 0, gain * highest / np.float32(TABLE - 1)
            at = np.minimum(_mean_around(plane)[zero] / step, TABLE - 1).astype(np.int32)
            plane[zero] = gain * below[at]


def find_clipping(frames: Sequence[Planes], iso: float | None) -> BlackClipping | None:
    """How frames were cut off at 0, and how noisy they were before.

    frames: one, or two neighbours in a burst, (4, h, w), not binned and not amplified.
    Returns None where hardly anything was cut off, or what was tells nothing of the noise: edges
    and texture on black, numbers so coarse that they make the zeros.
    """
    if sum(np.count_nonzero(f <= 0) for f in frames) < FEWEST * SHARES[0] * BLOCK**2:
        return None  # too few for any fit, which is found out before seconds are spent on the noise
    clipping = fit_clipping(frames, _measured(frames), iso)
    if clipping is None:
        return None
    # Noise that is cut off in the dark seems to grow faster with the level than it does.
    mended = [frame.copy() for frame in frames]
    for frame in mended:
        clipping.restore(frame, iso)
    return fit_clipping(frames, _measured(mended), iso)


def _measured(frames: Sequence[Planes]) -> Noise:
    return estimate([(frames[0], frames[1])]) if len(frames) > 1 else estimate_single(frames[0])


def fit_clipping(frames: Sequence[Planes], noise: Noise, iso: float | None) -> BlackClipping | None:
    """The same for noise whose shot part is known."""
    half_step = min((float(f[f > 0].min(initial=1)) for f in frames), default=1.0) / 2
    found = [_read_noise(frame, noise.shot, half_step) for frame in frames]
    planes = [np.concatenate(parts) for parts in zip(*(read for read, _ in found), strict=True)]
    read = np.concatenate(planes)
    if len(read) < max(FEWEST, COMMON * sum(dark for _, dark in found)):
        return None
    variance = float(np.median(read))
    if variance < (2 * COARSE * half_step) ** 2:
        return None
    noise = Noise(noise.shot, variance, f"{noise.reason}, and the share of zeros")
    # Cameras that cut off often multiply red and blue before.
    own = [float(np.median(p)) if len(p) >= FEWEST else variance for p in planes]
    tables = [_table(noise.shot, max(v, half_step**2), half_step) for v in own]
    highest = np.array([mean for mean, _ in tables], np.float32)
    return BlackClipping(noise, highest, np.stack([below for _, below in tables]), iso)


def _table(shot: float, read: float, half_step: float) -> tuple[float, NDArray[np.float32]]:
    """The highest mean of what is left, and what was cut off for means from 0 to that."""
    level = LEVELS * np.sqrt(read)
    sigma = np.sqrt(shot * level + read)
    density, kept = _normal((level - half_step) / sigma)
    mean = level * kept + sigma * density
    below = level - sigma * density / (1 - kept)
    # Straight on below the mean of black: means of few samples scatter, evenly to both sides.
    slope = (below[1] - below[0]) / (mean[1] - mean[0])
    mean, below = np.array([0, *mean]), np.array([below[0] - slope * mean[0], *below])
    means = np.linspace(0, mean[-1], TABLE)
    return float(mean[-1]), np.interp(means, mean, below).astype(np.float32)


def _read_noise(
    planes: Planes, shot: float, half_step: float
) -> tuple[list[NDArray[np.float64]], int]:
    """Variance of the read noise by each block where noise was cut off, for each of the planes.

    With it how many blocks are as dark. Of a normal distribution the share of zeros tells how many
    deviations its mean lies above the cut, and the mean of what is left how large such a one is.
    """
    zero = (planes <= 0).astype(np.float32)
    share, left = bin_planes(zero, BLOCK).astype(np.float64), bin_planes(planes, BLOCK)
    dark = share >= SHARES[0]
    chosen = dark & (share <= SHARES[1])
    parts = BLOCK // PART
    height, width = parts * share.shape[1], parts * share.shape[2]
    inside = bin_planes(zero, PART)[:, :height, :width].reshape(4, -1, parts, width // parts, parts)
    chosen &= inside.var((2, 4)) <= STREWN * share * (1 - share) / PART**2
    found: list[NDArray[np.float64]] = []
    for plane in range(4):
        # A block has one of few shares, so these are looked up.
        zeros, of = np.unique(share[plane][chosen[plane]], return_inverse=True)
        over = np.array([-_NORMAL.inv_cdf(x) for x in zeros])
        density, kept = _normal(over)
        sigma = (left[plane][chosen[plane]] - half_step * kept[of]) / (over * kept + density)[of]
        found.append(sigma**2 - shot * np.maximum(half_step + over[of] * sigma, 0))
    return found, int(dark.sum())


def _normal(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Density and distribution of the normal distribution, for few values."""
    return np.array([_NORMAL.pdf(x) for x in values]), np.array([_NORMAL.cdf(x) for x in values])


def _mean_around(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of the samples around each of (h, w), which is 0 itself; beyond borders mirrored."""
    height, width = plane.shape
    side = 2 * AROUND + 1
    padded = np.pad(plane, AROUND, mode="symmetric")
    rows, total = np.zeros_like(padded[:height]), np.zeros_like(plane)
    for n in range(side):
        rows += padded[n : n + height]
    for n in range(side):
        total += rows[:, n : n + width]
    return total / np.float32(side**2 - 1)
