"""Signs of damage in raw files that decode without an error."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from batman_cli.tiff import TiffImage

ARW2 = 32767  # TIFF compression number of Sony's lossy format
ARW2_BLOCK = 16  # bytes, and pixels, of one block

EDGE_ROWS = 32  # constant rows this near to an edge may be padding of a camera unknown to LibRaw
FLAT_ROWS = 3  # neighbouring constant rows taken for damage: 64 KiB hold 3 rows of 8000 pixels
FADE_ROWS = 2  # distance at which a real dark or blown-out area still shows beside its last row
SURE_BLACK = 4  # raw units; below, rounding may make dark pixels 0
ZERO_SHARE = 0.9  # of a row of a camera with black above 0: noise alone gives at most half
SATURATED = (0.9, 1.1)  # constant rows at this share of the white level are overexposed
OVERSHOOT = 1.25  # share of the white level that some sensors reach in highlights
SAMPLE_STEP = 7  # px between samples for statistics; odd, so that all CFA positions take part


def damaged_arw2(content: bytes, images: Sequence[TiffImage]) -> str | None:
    """Where Sony's lossy blocks break their own rule; None if they do not, or there are none.

    A block of 16 bytes, read as a little-endian number, holds from its lowest bit: maximum (11
    bits), minimum (11), place of the maximum (4), place of the minimum (4), 14 differences of 7
    bits. The two places always differ, even in a flat block. Zero bytes break this in every block,
    random bytes in one of 16. Only files with one byte per pixel: the number 32767 also stands for
    older formats.
    """
    for image in images:
        width, total = image.width, sum(image.byte_counts)
        if image.compression != ARW2 or total != width * image.height or width % ARW2_BLOCK:
            continue
        strips = list(zip(image.offsets, image.byte_counts, strict=True))
        if any(offset + count > len(content) for offset, count in strips):
            continue  # no picture that LibRaw decoded
        bad: list[NDArray[np.int64]] = []
        before = 0  # bytes in earlier strips
        for offset, count in strips:
            words = np.frombuffer(content, "<u4", count // 4, offset)[:: ARW2_BLOCK // 4]
            same = ((words >> 22) ^ (words >> 26)) & 15 == 0
            bad.append(np.flatnonzero(same) * ARW2_BLOCK + before)
            before += count
        places = np.concatenate(bad)
        if places.size:
            return (
                f"damaged pixel data: {places.size} of {total // ARW2_BLOCK} compressed blocks, "
                f"the first in row {places[0] // width}"
            )
    return None


def constant_rows(data: NDArray[np.uint16], black: Sequence[float], white: float) -> str | None:
    """Where neighbouring rows hold a single value as only lost data do; None if nowhere.

    data: (H, W) mosaic; black: level per CFA position; white: level.
    A sensor adds noise to every pixel. Constant all the same are overexposed rows, and dark ones
    of cameras that cut off at black; both fade into the picture, where lost data end at once.
    A camera with a black level above 0 has no rows of zeros at all.
    """
    low, high = data.min(axis=1), data.max(axis=1)
    if low.min() == high.max():
        return f"every pixel is {low[0]}"
    share = low / white
    flat = (low == high) & ~((SATURATED[0] <= share) & (share <= SATURATED[1]))
    zero = np.zeros_like(flat)
    if min(black) >= SURE_BLACK:
        rows = np.flatnonzero(low == 0)
        zero[rows] = np.count_nonzero(data[rows], axis=1) < (1 - ZERO_SHARE) * data.shape[1]
    edge = EDGE_ROWS if len(data) > 8 * EDGE_ROWS else 0
    turns = np.flatnonzero(np.diff((flat | zero).astype(np.int8), prepend=0, append=0))
    for first, after in zip(turns[::2].tolist(), turns[1::2].tolist(), strict=True):
        inside = min(after, len(data) - edge) - max(first, edge)
        if inside >= FLAT_ROWS and (zero[first:after].all() or _is_sharp(data, first, after)):
            return f"damaged pixel data: rows {first} to {after - 1} hold nothing but {low[first]}"
    return None


def _is_sharp(data: NDArray[np.uint16], first: int, after: int) -> bool:
    """Whether constant rows first..after-1 end abruptly above or below."""
    for row, beyond in ((first, first - FADE_ROWS), (after - 1, after - 1 + FADE_ROWS)):
        if 0 <= beyond < len(data) and np.mean(data[beyond] == data[row, 0]) < 0.5:
            return True
    return False


def contradicts_levels(
    data: NDArray[np.uint16],
    black: Sequence[float],
    white: float,
    images: Sequence[TiffImage],
) -> str | None:
    """How the pixels contradict the file's black and white level; None if they do not.

    data: (H, W) mosaic; black: per CFA position; images: of the file's TIFF structure, if any.
    Even a frame taken in the dark lies around black, half of its pixels above.
    """
    sample = data[::SAMPLE_STEP, ::SAMPLE_STEP]
    upper = float(np.quantile(sample, 0.75))
    if upper < min(black) / 2:
        return f"its levels make no sense: black is {min(black):g}, most pixels are below {upper:g}"
    if np.mean(sample > OVERSHOOT * white) > 0.01:
        return f"its levels make no sense: white is {white:g}, pixels reach {sample.max()}"
    raw = max(images, key=lambda image: image.width * image.height, default=None)
    if raw is not None and 0 < raw.bits < 16 and not raw.linearised and raw.compression != ARW2:
        full = 1 << raw.bits
        if white == 65535 and max(black) == 0 and data.max() < full:
            return f"its levels make no sense: white is 65535 in a file of {raw.bits} bits"
    return None
