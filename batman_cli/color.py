"""White balance and colour matrix of a camera, as LibRaw would use them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MAX_BALANCE = 100  # largest multiplier over the smallest; cameras stay below 10
MAX_COEFFICIENT = 1000  # of a colour matrix; cameras stay below 10

# XYZ (D65) of linear sRGB's primaries, as columns: IEC 61966-2-1, to the digits LibRaw uses.
_XYZ_OF_SRGB = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)

Triple = tuple[float, float, float]


def white_balance(as_shot: Sequence[float], daylight: Sequence[float]) -> tuple[Triple, str]:
    """Multipliers of R G B, the smallest 1, and a remark if they are not those of the shot.

    as_shot, daylight: R G B and a second green, which is often 0; 0, negative or NaN if unknown.
    """
    for stated, remark in (
        (as_shot, ""),
        (daylight, "; daylight white balance, the file states none"),
    ):
        r, g, b = stated[:3]
        smallest = min(r, g, b)
        if smallest > 0 and max(r, g, b) <= MAX_BALANCE * smallest and r + g + b > 0:
            return (r / smallest, g / smallest, b / smallest), remark
    return (1.0, 1.0, 1.0), "; no white balance known"


def color_matrix(
    embedded: NDArray[np.float32], table: NDArray[np.float32], *, is_dng: bool
) -> tuple[tuple[Triple, ...], str]:
    """White-balanced camera RGB to linear sRGB, rows sum to 1, and where it comes from.

    embedded: (3, 4) camera to linear sRGB; table: (4, 3) XYZ to camera; zeros if unknown.
    LibRaw takes the embedded matrix of a DNG, of any other file its own table of cameras. The
    latter gives sRGB to camera; its rows are divided by their sums, so that white balance alone
    decides what is white, and inverted.
    """
    direct = embedded[:, :3].astype(np.float64)
    if is_dng and _is_usable(direct):
        return _rows(direct), "matrix of the DNG"
    with np.errstate(all="ignore"):
        srgb_to_camera = table[:3].astype(np.float64) @ _XYZ_OF_SRGB
    if _is_usable(srgb_to_camera):
        neutral = srgb_to_camera / srgb_to_camera.sum(axis=1, keepdims=True)
        inverse = np.asarray(np.linalg.inv(neutral), dtype=np.float64)
        if _is_usable(inverse):
            return _rows(inverse), "LibRaw's table of cameras"
    if _is_usable(direct):
        return _rows(direct), "LibRaw's color_matrix"
    return _rows(np.eye(3)), "no matrix known: camera colours as they are"


def _is_usable(matrix: NDArray[np.float64]) -> bool:
    """Finite, not huge, each row with a sum, invertible: damaged headers make any matrix."""
    return bool(
        np.isfinite(matrix).all()
        and np.abs(matrix).max() < MAX_COEFFICIENT
        and matrix.sum(axis=1).min() > 1 / MAX_COEFFICIENT
        and abs(np.linalg.det(matrix)) > 1 / MAX_COEFFICIENT
    )


def _rows(matrix: NDArray[np.float64]) -> tuple[Triple, ...]:
    """Rows, each divided by its sum, so that white stays white."""
    return tuple((float(r), float(g), float(b)) for r, g, b in matrix / matrix.sum(1)[:, None])
