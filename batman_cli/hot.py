"""Hot pixels: samples of the sensor that are too bright in every shot, found and replaced."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from batman_cli.noise import Noise
from batman_cli.pack import Planes

# How far a hot pixel stands above the mean of its neighbours, at least: standard deviations, and
# a share of that mean, for the texture of a scene stands out too, and what is less cannot be seen.
SURE, RISE = 6.0, 0.5
LONE = 0.5  # share of this height that the highest neighbour reaches at most
# Share that the pixels next to it, of other colours, reach at most in the mean. A lens spreads a
# star: with a blur of 1.3 pixels (full width at half maximum) they have a fifth of it.
SHARP = 0.2
MOST = 1e-3  # of all samples: what is found more often is no defect, but noise underestimated
RING = 8  # neighbours of a sample in its plane


@dataclass(frozen=True)
class HotPixels:
    """Hot pixels of planes (4, h, w), and what takes their place."""

    places: NDArray[np.intp]  # (N,) in the flattened planes
    beside: NDArray[np.intp]  # (N, RING) samples around each in its plane
    shares: NDArray[np.float32]  # (N, RING) of each in the replacement; 0 for one that is hot too

    def __len__(self) -> int:
        return len(self.places)

    def replace(self, planes: Planes) -> None:
        """Puts the mean of its neighbours in the place of each, in planes (4, h, w)."""
        samples = planes.reshape(-1)
        samples[self.places] = (samples[self.beside] * self.shares).sum(1)


NO_HOT_PIXELS = HotPixels(
    np.zeros(0, np.intp), np.zeros((0, RING), np.intp), np.zeros((0, RING), np.float32)
)


class _Places(NamedTuple):
    """Samples of planes (4, h, w): three arrays of one shape, an index of all of them."""

    plane: NDArray[np.intp]
    row: NDArray[np.intp]
    column: NDArray[np.intp]

    def where(self, chosen: NDArray[np.bool_]) -> "_Places":
        return _Places(*(index[chosen] for index in self))


def find_hot_pixels(
    mean: Planes, noise: Noise, white_balance: tuple[float, float, float]
) -> HotPixels:
    """Samples that stand alone above all around them, farther than noise explains.

    What moves in the picture is not bright at one place in the mean of several frames. What stands
    still and is as small as a pixel, such as a star, has a lens before it: it is bright in the
    next pixels too, which have other colours.

    mean: (4, h, w) of frames of a burst, before amplification; noise: of this mean.
    """
    shot, read = noise.amplified(1.0, white_balance)
    planes, height = mean.copy(), np.empty_like(mean)
    high = np.empty(mean.shape, np.bool_)
    for number in range(4):
        planes[number] *= white_balance[(0, 1, 1, 2)[number]]
        around = _mean_of_ring(planes[number])
        height[number] = planes[number] - around
        level = np.maximum(around, 0)
        noisy = SURE * np.sqrt(shot[number] * level + read[number])
        high[number] = height[number] > noisy + RISE * level
    found = _Places(*np.nonzero(high))
    highest = planes[_ring(found, mean.shape)].max(1) - (planes[found] - height[found])
    found = found.where(highest < LONE * height[found])
    beside = np.abs(height[_next(found, mean.shape)]).mean(1)
    return _replacing(found.where(beside < SHARP * height[found]), mean.shape)


def _replacing(found: _Places, shape: tuple[int, ...]) -> HotPixels:
    if not 0 < len(found.row) <= MOST * np.prod(shape):
        return NO_HOT_PIXELS
    hot = np.zeros(shape, np.bool_)
    hot[found] = True
    ring = _ring(found, shape)
    good = ~hot[ring]
    count = good.sum(1)
    some = count > 0
    return HotPixels(
        np.ravel_multi_index(found.where(some), shape),
        np.ravel_multi_index(ring.where(some), shape),
        (good[some] / count[some, None]).astype(np.float32),
    )


def _mean_of_ring(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of the eight neighbours of each of (h, w); beyond borders mirrored."""
    padded = np.pad(samples, 1, mode="reflect")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    total = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    return ((total - samples) / RING).astype(np.float32, copy=False)


def _ring(found: _Places, shape: tuple[int, ...]) -> _Places:
    """The eight neighbours of N places in their planes, (N, 8); beyond borders mirrored."""
    moves = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]
    down, right = (np.array(moved) for moved in zip(*moves, strict=True))
    row, column = (np.pad(np.arange(length), 1, mode="reflect") for length in shape[1:])
    plane = np.broadcast_to(found.plane[:, None], (len(found.plane), RING))
    return _Places(
        plane, row[found.row[:, None] + 1 + down], column[found.column[:, None] + 1 + right]
    )


def _next(found: _Places, shape: tuple[int, ...]) -> _Places:
    """The pixels next to N places in the mosaic, (N, 4): two in its row, two in its column."""
    # Planes R G1 G2 B lie at (0, 0), (0, 1), (1, 0), (1, 1): bit 0 is the column, bit 1 the row.
    plane, row, column = found
    above = np.clip(row + plane // 2 * 2 - 1, 0, shape[1] - 1)
    beside = np.clip(column + plane % 2 * 2 - 1, 0, shape[2] - 1)
    return _Places(
        np.stack([plane ^ 1, plane ^ 1, plane ^ 2, plane ^ 2], 1),
        np.stack([row, row, row, above], 1),
        np.stack([column, beside, column, column], 1),
    )
