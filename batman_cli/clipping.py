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

from batman_cli.noise import Noise
from batman_cli.pack import Planes, bin_planes

BLOCK = 12  # samples, side of the blocks whose share of zeros is one measurement
SHARES = (0.3, 0.7)  # of zeros, where share and mean tell the noise best
FEWEST = 32  # blocks of such shares in a burst worth mending
AROUND = 2  # samples: the mean that tells how much was cut off is over 5 x 5
LEVELS = np.linspace(-1.5, 6.0, 301)  # of a scene before cutting, in deviations of dark noise

_NORMAL = NormalDist()


@dataclass(frozen=True, eq=False)
class BlackClipping:
    """What was cut off, by the mean of what is left: (N,) each, ascending, planes' scale.

    noise: before cutting, of planes that are not binned; iso: of the shots that all this is of.
    """

    noise: Noise
    mean: NDArray[np.float64]  # of an area, samples that were cut off counted as 0
    below: NDArray[np.float64]  # mean of the samples that were cut off there, below 0
    iso: float | None

    def restore(self, planes: Planes, iso: float | None) -> None:
        """Puts into each 0 of planes (4, h, w) of a shot what on average was there."""
        gain = iso / self.iso if iso and self.iso else 1.0  # all of the noise grows with ISO
        for plane in planes:
            zero = plane <= 0
            around = _mean_around(plane)[zero] / gain
            plane[zero] = np.interp(around, self.mean, self.below) * gain


def find_clipping(
    frames: Sequence[Planes], noise: Noise, *, half_step: float, iso: float | None, stated: bool
) -> BlackClipping | None:
    """How frames (4, h, w), not binned and not amplified, were cut off; None if hardly at all.

    noise: as found in them, whose read noise is too low for that; stated: it comes from the file,
    and holds. half_step: of the file's numbers, below which a sample is rounded to 0.
    """
    found = [_read_noise(frame, noise.shot, half_step) for frame in frames]
    read = np.concatenate(found) if found else np.zeros(0)
    if len(read) < FEWEST:
        return None
    if not stated:
        reason = f"{noise.reason}, and the share of zeros"
        noise = Noise(noise.shot, max(float(np.median(read)), half_step**2), reason)
    level = LEVELS * np.sqrt(noise.read)
    sigma = np.sqrt(noise.shot * np.maximum(level, 0) + noise.read)
    over = (level - half_step) / sigma
    density = np.array([_NORMAL.pdf(x) for x in over])
    kept = np.array([_NORMAL.cdf(x) for x in over])
    mean = level * kept + sigma * density
    return BlackClipping(noise, mean, level - sigma * density / (1 - kept), iso)


def _read_noise(planes: Planes, shot: float, half_step: float) -> NDArray[np.float64]:
    """Variance of the read noise by each block where about half of the samples were cut off.

    Of a normal distribution the share of zeros tells how many deviations its mean lies above the
    cut, and the mean of what is left how large such a deviation is.
    """
    zeros = np.rint(bin_planes((planes <= 0).astype(np.float32), BLOCK) * BLOCK**2).astype(int)
    left = bin_planes(planes, BLOCK)
    chosen = (zeros >= SHARES[0] * BLOCK**2) & (zeros <= SHARES[1] * BLOCK**2)
    over = np.array([0.0, *(-_NORMAL.inv_cdf(n / BLOCK**2) for n in range(1, BLOCK**2)), 0.0])
    density = np.array([_NORMAL.pdf(x) for x in over])
    over, density, kept = over[zeros[chosen]], density[zeros[chosen]], 1 - zeros[chosen] / BLOCK**2
    sigma = (left[chosen] - half_step * kept) / (over * kept + density)
    return sigma**2 - shot * np.maximum(half_step + over * sigma, 0)


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
