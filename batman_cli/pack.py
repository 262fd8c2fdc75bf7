"""Mosaic to linear planes and back, and the area average of planes."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Sample = TypeVar("Sample", bound=np.generic)
Planes = NDArray[np.float32]  # (4, h, w), order R G1 G2 B, linear


def pack(
    mosaic: NDArray[np.uint16], black: tuple[float, float, float, float], white: float
) -> Planes:
    """Black-subtracted, white-normalised planes of a mosaic that starts on red.

    Negative values stay: cutting the noise off at zero brightens and tints the dark.

    mosaic: (H, W) uint16, even sides.
    black: level of R G1 G2 B in the units of the mosaic; white: its saturation level.
    Returns (4, H/2, W/2) float32, order R G1 G2 B, 0 = black level, 1 = white level.
    """
    quads = np.stack(
        [mosaic[0::2, 0::2], mosaic[0::2, 1::2], mosaic[1::2, 0::2], mosaic[1::2, 1::2]]
    )
    levels = np.asarray(black, np.float32)[:, None, None]
    return ((quads - levels) / (np.float32(white) - levels)).astype(np.float32, copy=False)


def unpack(
    planes: Planes, black: tuple[float, float, float, float], white: float
) -> NDArray[np.float32]:
    """Mosaic (H, W) float32 whose `pack` is `planes`, in the units of black and white."""
    levels = np.asarray(black, np.float32)[:, None, None]
    quads = planes * (np.float32(white) - levels) + levels
    return interleave(quads.astype(np.float32, copy=False))


def interleave(quads: NDArray[Sample]) -> NDArray[Sample]:
    """Mosaic (..., 2h, 2w) of four planes (..., 4, h, w), values as they are."""
    *lead, _, h, w = quads.shape
    cells = np.moveaxis(quads.reshape(*lead, 2, 2, h, w), (-4, -3), (-3, -1))
    return np.ascontiguousarray(cells.reshape(*lead, 2 * h, 2 * w))


def bin_planes(planes: Planes, factor: int) -> Planes:
    """Area average of each plane over factor x factor; a rest at the right or bottom is cut off.

    Noise falls by the factor (standard deviation), the cost of everything after by its square.
    """
    if factor == 1:
        return planes
    c, h, w = planes.shape
    h, w = h // factor, w // factor
    cut = planes[:, : h * factor, : w * factor]
    return cut.reshape(c, h, factor, w, factor).mean((2, 4), dtype=np.float32)
