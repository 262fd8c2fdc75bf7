"""Where in LibRaw's raw image the Bayer mosaic of the picture lies, whole cells from red on."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from batman_cli.rawfile import refuse

if TYPE_CHECKING:
    import rawpy

PADDING = 64  # px; a wider difference of visible area and camera crop is not picture, see _picture


@dataclass(frozen=True)
class BayerArea:
    """The mosaic's place in LibRaw's raw image, and the CFA's phase there."""

    rows: slice
    columns: slice
    cell: NDArray[np.uint8]  # (2, 2) colour index of R G1 / G2 B; the second green may be 3
    pattern: str


def bayer_area(raw: "rawpy.RawPy", sizes: "rawpy.ImageSizes", path: Path) -> BayerArea:
    """The part of the picture that starts on red and has even sides. Raises BadShot.

    sizes: of the whole file, which may be higher than what `raw` decoded.
    """
    cells = raw.raw_pattern
    if cells is None:
        refuse(path, "not a Bayer mosaic but full colours per pixel (linear DNG, sRAW, Foveon)", "")
    desc = raw.color_desc.decode("ascii", "replace")
    if cells.shape != (2, 2):
        kind = {1: "monochrome", 6: "X-Trans"}.get(len(cells), f"a {len(cells)} x {len(cells)} CFA")
        refuse(path, f"not a Bayer mosaic: {kind}", "")
    if abs(sizes.pixel_aspect - 1) > 0.01:
        refuse(path, f"its pixels are not square (aspect {sizes.pixel_aspect:.3g})", "")
    # Index of each position of the visible area's first cell; raw_pattern counts from the margins.
    visible = np.roll(cells, (-sizes.top_margin, -sizes.left_margin), axis=(0, 1))
    pattern = "".join(desc[index] if index < len(desc) else "?" for index in visible.flat)
    if pattern not in ("RGGB", "GRBG", "GBRG", "BGGR"):
        refuse(path, f"not a Bayer mosaic: its colours are {pattern}", "")
    top, left, height, width = _picture(sizes)
    red_row, red_column = divmod(pattern.index("R"), 2)
    down = (sizes.top_margin + red_row - top) % 2
    right = (sizes.left_margin + red_column - left) % 2
    height, width = (height - down) & ~1, (width - right) & ~1
    if height < 2 or width < 2:
        refuse(path, "it has no pixels")
    top, left = top + down, left + right
    return BayerArea(
        rows=slice(top, top + height),
        columns=slice(left, left + width),
        cell=np.roll(visible, (-red_row, -red_column), axis=(0, 1)),
        pattern=pattern,
    )


def _picture(sizes: "rawpy.ImageSizes") -> tuple[int, int, int, int]:
    """Top, left, height and width of the picture in the raw image.

    That is LibRaw's visible area. Only where the camera's own crop is much smaller (lossless Sony
    files are padded to whole tiles; pictures framed in another aspect) the crop is taken.
    """
    top, left, height, width = sizes.top_margin, sizes.left_margin, sizes.height, sizes.width
    crop_top, crop_left = sizes.crop_top_margin, sizes.crop_left_margin
    crop_height, crop_width = sizes.crop_height, sizes.crop_width
    inside = (
        crop_left >= left
        and crop_top >= top
        and crop_left + crop_width <= left + width
        and crop_top + crop_height <= top + height
    )
    plausible = 2 * crop_width >= width and 2 * crop_height >= height
    if inside and plausible and max(width - crop_width, height - crop_height) > PADDING:
        return crop_top, crop_left, crop_height, crop_width
    return top, left, height, width
