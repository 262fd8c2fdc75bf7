"""Sony ARW files, with the lossy coding of the camera (ARW2) or without.

The lossy coding keeps 11-bit codes of a tone curve. A row is cut into groups of 32 columns; the
even and then the odd columns of a group make a block of 16 codes in 16 bytes: the largest, the
smallest, their places, and for the other 14 the distance to the smallest in 7 bits, without the
low bits where the block's range is too wide for 7. LibRaw's decoder is the reference.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from batman_cli.simulate.tiff_writer import (
    Exposure,
    Kind,
    Tag,
    check_mosaic,
    check_sides,
    exif_tags,
    picture_tags,
    tiff_bytes,
    visible_area,
    with_spare_columns,
)

MAKE, MODEL = "SONY", "DSC-RX100M6"
BLACK, WHITE = 800, 16300  # 14-bit levels of this camera
LARGEST_VALUE = 16383  # 14 bits
WHITE_BALANCE_UNIT = 1024  # Sony's level for a multiplier of 1
LARGEST_LEVEL = 0x7FFF  # of white balance: signed 16 bit, a multiplier just below 32

BLOCK_PIXELS = 16  # in 16 bytes
GROUP_COLUMNS = 32  # one block of even columns, one of odd columns
LARGEST_SHIFT = 4
DELTA_BITS = 7
FIRST_DELTA_BIT = 30  # after 11 + 11 + 4 + 4 bits of largest, smallest and their places
WORD_BITS = 64

# The tone curve as tag 0x7010 stores it: the ends of its pieces, in quarters of a table entry.
# The table has 4096 entries, each piece twice as steep as the one before; codes are even entries.
CURVE_POINTS = (8000, 10400, 12900, 14100)
CURVE_ENTRIES = 4096


def write_arw(path: Path, mosaic: NDArray[np.uint16], exposure: Exposure, *, lossy: bool) -> None:
    """Writes a shot of a Sony DSC-RX100M6.

    mosaic: (H, W) uint16, RGGB, even sides, 0..16383, black 800, white 16300.
    lossy: ARW2 coding, 1 byte per pixel; otherwise 14 bits in 2 bytes, exact.
    A width that cannot be stored is widened out of sight: any even size comes back as it is.
    Raises ValueError for odd sides, sides below 22, values beyond 14 bits, or a white balance
    outside 1/1024 to 32.
    """
    check_mosaic(mosaic, largest=LARGEST_VALUE)
    check_sides(mosaic)
    height, width = mosaic.shape
    stored = with_spare_columns(mosaic, GROUP_COLUMNS if lossy else 2)
    strip = arw2_encode(stored) if lossy else stored.astype("<u2").tobytes()
    tags = picture_tags(
        width=stored.shape[1],
        height=height,
        bits=8 if lossy else 14,
        compression=32767 if lossy else 1,
        pattern="RGGB",
        make=MAKE,
        model=MODEL,
        software=exposure.software,
    )
    tags += [
        Tag(0x7310, Kind.SHORT, [BLACK] * 4),
        Tag(0x7313, Kind.SHORT, _white_balance_levels(exposure)),
        Tag(0x9211, Kind.LONG, [exposure.shot_number]),  # ImageNumber
        Tag(0xC61D, Kind.SHORT, [WHITE]),  # WhiteLevel
    ]
    if lossy:
        tags.append(Tag(0x7010, Kind.SHORT, CURVE_POINTS))
    if stored.shape != mosaic.shape:
        tags.append(visible_area(width, height))
    path.write_bytes(tiff_bytes(tags, exif_tags(exposure), strip))


def arw2_encode(mosaic: NDArray[np.uint16]) -> bytes:
    """The lossy coding of a mosaic: 1 byte per pixel, row by row.

    mosaic: (H, W) uint16, 0..16383, W a multiple of 32; H W bytes come out.
    Raises ValueError for any other width or value.
    """
    check_mosaic(mosaic, largest=LARGEST_VALUE)
    if mosaic.shape[1] % GROUP_COLUMNS:
        raise ValueError(f"a coded row needs a multiple of 32 columns, not {mosaic.shape[1]}")
    blocks = _blocks(mosaic)
    deltas = (blocks.codes - blocks.smallest) >> blocks.shift
    words = np.zeros((blocks.codes.shape[1], 2), "<u8")
    low, high = words[:, 0], words[:, 1]
    low |= blocks.largest
    low |= blocks.smallest.astype(np.uint64) << 11
    low |= blocks.largest_at.astype(np.uint64) << 22
    low |= blocks.smallest_at.astype(np.uint64) << 26
    first = np.minimum(blocks.largest_at, blocks.smallest_at)
    second = np.maximum(blocks.largest_at, blocks.smallest_at)
    for slot in range(BLOCK_PIXELS - 2):
        # The pixel in this slot lies one further for each of the two left out before it.
        pixel = slot + (slot >= first).astype(np.intp) + (slot + 1 >= second)
        delta = np.take_along_axis(deltas, pixel[None], axis=0)[0].astype(np.uint64)
        bit = FIRST_DELTA_BIT + slot * DELTA_BITS
        if bit < WORD_BITS:
            low |= delta << bit
            high |= delta >> (WORD_BITS - bit)
        else:
            high |= delta << (bit - WORD_BITS)
    return words.tobytes()


def arw2_quantise(mosaic: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """The mosaic as it comes back from a lossy file, without the file.

    mosaic: (H, W) uint16, even sides, 0..16383; same shape and type out, values up to 16372.
    Raises ValueError for an odd side or a value beyond 14 bits.
    """
    check_mosaic(mosaic, largest=LARGEST_VALUE)
    height, width = mosaic.shape
    stored = with_spare_columns(mosaic, GROUP_COLUMNS)
    blocks = _blocks(stored)
    coarse = (blocks.codes - blocks.smallest) >> blocks.shift << blocks.shift
    codes = coarse + blocks.smallest
    np.put_along_axis(codes, blocks.largest_at[None], blocks.largest[None], axis=0)
    rows = LEVEL_OF_CODE[codes].reshape(BLOCK_PIXELS, height, -1, 2).transpose(1, 2, 0, 3)
    return np.ascontiguousarray(rows.reshape(stored.shape)[:, :width])


class _Blocks(NamedTuple):
    """N blocks in the order of the file: codes (16, N), all else (N,), uint16."""

    codes: NDArray[np.uint16]
    largest: NDArray[np.uint16]
    smallest: NDArray[np.uint16]
    largest_at: NDArray[np.intp]
    smallest_at: NDArray[np.intp]
    shift: NDArray[np.uint16]


def _blocks(mosaic: NDArray[np.uint16]) -> _Blocks:
    height = mosaic.shape[0]
    groups = CODE_OF_VALUE[mosaic].reshape(height, -1, BLOCK_PIXELS, 2)
    codes = np.ascontiguousarray(groups.transpose(2, 0, 1, 3)).reshape(BLOCK_PIXELS, -1)
    largest, smallest = codes.max(axis=0), codes.min(axis=0)
    largest_at, smallest_at = codes.argmax(axis=0), codes.argmin(axis=0)
    # Both are 0 in a flat block; the decoder needs two places, and any second one is as right.
    smallest_at[largest_at == smallest_at] = 1
    span = largest - smallest
    shift = np.zeros_like(span)
    for bits in range(LARGEST_SHIFT):
        shift += span >= 1 << (DELTA_BITS + bits)
    return _Blocks(codes, largest, smallest, largest_at, smallest_at, shift)


def _levels() -> NDArray[np.uint16]:
    """(2048,) uint16: the 14-bit value that each code stands for, rising."""
    ends = [0, *(point // 4 for point in CURVE_POINTS), CURVE_ENTRIES - 1]
    steps = np.repeat([1, 2, 4, 8, 16], np.diff(ends))
    return np.concatenate([[0], np.cumsum(steps)])[::2].astype(np.uint16)


def _nearest_codes(levels: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """(16384,) uint16: the code nearest to each value; halves go to the even code, so no bias."""
    values = np.arange(LARGEST_VALUE + 1)
    above = np.searchsorted(levels, values)
    below = np.maximum(above - 1, 0)
    up, down = levels[above] - values, values - levels[below]
    return np.where((up < down) | ((up == down) & (above % 2 == 0)), above, below).astype(np.uint16)


LEVEL_OF_CODE = _levels()
CODE_OF_VALUE = _nearest_codes(LEVEL_OF_CODE)


def _white_balance_levels(exposure: Exposure) -> list[int]:
    """As-shot white balance R G G B, G = 1024."""
    red, green, blue = (round(WHITE_BALANCE_UNIT * gain) for gain in exposure.white_balance)
    if not 0 < min(red, green, blue) <= max(red, green, blue) <= LARGEST_LEVEL:
        raise ValueError(f"no file can hold the white balance {exposure.white_balance}")
    return [red, green, green, blue]
