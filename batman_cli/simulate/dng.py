"""DNG files of any camera: uncompressed, any Bayer phase, the colour matrix inside."""

from collections.abc import Sequence
from pathlib import Path

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

PATTERNS = ("RGGB", "GRBG", "GBRG", "BGGR")
LARGEST_VALUE = 65535  # 16 bits
D65 = 21  # Exif LightSource code of the daylight that the matrix is for


def write_dng(
    path: Path,
    mosaic: NDArray[np.uint16],
    exposure: Exposure,
    *,
    black: int,
    white: int,
    xyz_to_camera: Sequence[Sequence[float]],
    make: str,
    model: str,
    pattern: str = "RGGB",
    noise_profile: tuple[float, float] | None = None,
) -> None:
    """Writes an uncompressed DNG (specification 1.4.0.0); every value comes back exactly.

    mosaic: (H, W) uint16, even sides; pattern: its 2x2 cell row by row; black, white: its levels.
    xyz_to_camera: 3x3, XYZ of D65 -> camera RGB, to 1e-6.
    noise_profile: (shot, read) variance on the 0..1 scale: variance = shot * level + read.
    Raises ValueError for odd sides, sides below 22, an unknown pattern, levels the wrong way
    round, a white balance that is not positive, or a matrix that is not 3x3.
    """
    check_mosaic(mosaic, largest=LARGEST_VALUE)
    check_sides(mosaic)
    if pattern not in PATTERNS:
        raise ValueError(f"the pattern is one of {', '.join(PATTERNS)}, not {pattern}")
    if not 0 <= black < white <= LARGEST_VALUE:
        raise ValueError(f"black {black} and white {white} must rise within 0..{LARGEST_VALUE}")
    if min(exposure.white_balance) <= 0:
        raise ValueError(f"the white balance {exposure.white_balance} must be above 0")
    if np.shape(xyz_to_camera) != (3, 3):
        raise ValueError(f"the colour matrix is 3x3, not {np.shape(xyz_to_camera)}")
    height, width = mosaic.shape
    stored = with_spare_columns(mosaic, 2)
    tags = picture_tags(
        width=stored.shape[1],
        height=height,
        bits=16,
        compression=1,
        pattern=pattern,
        make=make,
        model=model,
        software=exposure.software,
    )
    tags += [
        Tag(0x9211, Kind.LONG, [exposure.shot_number]),  # ImageNumber
        Tag(0xC612, Kind.BYTE, [1, 4, 0, 0]),  # DNGVersion
        Tag(0xC613, Kind.BYTE, [1, 1, 0, 0]),  # DNGBackwardVersion
        Tag(0xC614, Kind.ASCII, f"{make} {model}"),  # UniqueCameraModel
        Tag(0xC61A, Kind.LONG, [black]),  # BlackLevel
        Tag(0xC61D, Kind.LONG, [white]),  # WhiteLevel
        Tag(0xC621, Kind.SRATIONAL, [entry for row in xyz_to_camera for entry in row]),
        Tag(0xC628, Kind.RATIONAL, [1 / gain for gain in exposure.white_balance]),  # AsShotNeutral
        Tag(0xC65A, Kind.SHORT, [D65]),  # CalibrationIlluminant1, of ColorMatrix1 0xC621
        visible_area(width, height),
    ]
    if noise_profile is not None:
        tags.append(Tag(0xC761, Kind.DOUBLE, noise_profile))
    path.write_bytes(tiff_bytes(tags, exif_tags(exposure), stored.astype("<u2").tobytes()))
