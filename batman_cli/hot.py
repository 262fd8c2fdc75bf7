"""Hot pixels: samples of the sensor that are too bright in every shot, found and replaced."""

from collections.abc import Sequence
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
# How far those around it stand out on average, at most: a share of its height, and what noise does,
# in standard deviations; absolute for other colours, for texture goes both ways. Of a light that
# the lens has spread over 2 pixels (full width at half maximum) the next pixels have half, if their
# colour sees it, those at the corners a quarter, the next of its own colour 0.06.
SPREAD, NOISY, NOISY_OWN = 0.05, 1.25, 1.4
RING = 8  # neighbours of a sample in its plane
FARTHEST = 2  # samples that are looked at around it


class Places(NamedTuple):
    """Samples of planes (4, h, w): three arrays of one shape, an index of all of them."""

    plane: NDArray[np.intp]
    row: NDArray[np.intp]
    column: NDArray[np.intp]

    def where(self, chosen: NDArray[np.bool_]) -> "Places":
        """Those chosen of N."""
        return Places(*(index[chosen] for index in self))

    def moved(self, down: int, right: int, shape: tuple[int, ...]) -> "Places":
        """So many samples away in their planes of (4, h, w); beyond borders mirrored."""
        row, column = (np.pad(np.arange(length), FARTHEST, mode="reflect") for length in shape[1:])
        return Places(
            self.plane,
            row[self.row + (FARTHEST + down)],
            column[self.column + (FARTHEST + right)],
        )


@dataclass(frozen=True, eq=False)
class HotPixels:
    """Hot pixels of planes (4, h, w), and what takes their place."""

    places: Places  # (N,)
    beside: Places  # (RING, N): their neighbours, none of which is hot

    def __len__(self) -> int:
        return len(self.places.plane)

    def replace(self, planes: Planes) -> None:
        """Puts the mean of its neighbours in the place of each, in planes (4, h, w)."""
        planes[self.places] = planes[self.beside].mean(0)


_NOWHERE = np.zeros(0, np.intp)
NO_HOT_PIXELS = HotPixels(
    Places(_NOWHERE, _NOWHERE, _NOWHERE), Places(*[np.zeros((RING, 0), np.intp)] * 3)
)


def find_hot_pixels(
    mean: Planes, noise: Noise, white_balance: tuple[float, float, float]
) -> HotPixels:
    """Samples that stand alone above all around them, farther than noise explains.

    What moves in the picture is not bright at one place in the mean of several frames. What stands
    still and is as small as a pixel, such as a star, has a lens before it: it is bright in the
    pixels around too, be it in those of its own colour alone.

    mean: (4, h, w) of frames of a burst, before amplification; noise: of this mean.
    """
    gain = np.array([white_balance[i] for i in (0, 1, 1, 2)], np.float32)
    height, high = np.empty_like(mean), np.empty(mean.shape, np.bool_)
    for plane, samples in enumerate(mean):
        around = _mean_of_ring(samples)
        height[plane] = samples - around
        sigma = np.sqrt(noise.shot * np.maximum(around, 0) + noise.read)
        high[plane] = height[plane] > SURE * sigma + RISE * np.maximum(around, 0)
    found = Places(*np.nonzero(high))
    found = found.where(_alone(found, mean, height))
    found = found.where(_sharp(found, mean, height, noise, gain))
    return HotPixels(found, _around(found, mean.shape, _RING))


_RING = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]
_OUTER = [(y, x) for y in range(-2, 3) for x in range(-2, 3) if 2 in (abs(y), abs(x))]


def _alone(found: Places, mean: Planes, height: Planes) -> NDArray[np.bool_]:
    """Which have no neighbour near their height; of two neighbours so not both."""
    highest = mean[_around(found, mean.shape, _RING)].max(0)
    return highest < mean[found] - (1 - LONE) * height[found]


def _sharp(
    found: Places, mean: Planes, height: Planes, noise: Noise, gain: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Which have nothing in the pixels next to them, at their corners, or next of their colour.

    gain: of the planes, for a white light to have one height in all.
    """
    level = np.maximum(mean[found] - height[found], 0)
    sigma = np.sqrt(noise.shot * level + noise.read)  # of each plane's samples there, times `gain`
    limit = SPREAD * height[found] * gain[found.plane]

    direct = [move for move in _RING if 0 in move]
    own = mean[_around(found, mean.shape, direct)].mean(0)
    own = (own - mean[_around(found, mean.shape, _OUTER)].mean(0)) * gain[found.plane]
    quiet = own < limit + NOISY_OWN * sigma * gain[found.plane]
    for places in _in_mosaic(found, mean.shape):
        others = np.abs(height[places] * gain[places.plane]).mean(0)
        quiet &= others < limit + NOISY * sigma * gain[places.plane].mean(0)
    return quiet


def _mean_of_ring(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of the eight neighbours of each of (h, w); beyond borders mirrored."""
    padded = np.pad(samples, 1, mode="reflect")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    total = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    return ((total - samples) / RING).astype(np.float32, copy=False)


def _around(found: Places, shape: tuple[int, ...], moves: Sequence[tuple[int, int]]) -> Places:
    """Samples of the same planes around N places: (moves, N)."""
    return _stacked([found.moved(*move, shape) for move in moves])


def _in_mosaic(found: Places, shape: tuple[int, ...]) -> tuple[Places, Places]:
    """The pixels next to N places in the mosaic, (4, N), and those at their corners, (4, N)."""
    # Planes R G1 G2 B lie at (0, 0), (0, 1), (1, 0), (1, 1): bit 0 is the column, bit 1 the row.
    down, right = found.plane // 2 * 2 - 1, found.plane % 2 * 2 - 1
    rows = found.row, np.clip(found.row + down, 0, shape[1] - 1)
    columns = found.column, np.clip(found.column + right, 0, shape[2] - 1)
    beside = [Places(found.plane ^ 1, rows[0], column) for column in columns]
    above = [Places(found.plane ^ 2, row, columns[0]) for row in rows]
    corners = [Places(found.plane ^ 3, row, column) for row in rows for column in columns]
    return _stacked([*beside, *above]), _stacked(corners)


def _stacked(parts: Sequence[Places]) -> Places:
    return Places(*(np.stack(indices) for indices in zip(*parts, strict=True)))
