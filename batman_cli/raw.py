"""Raw camera files to checked Bayer mosaics: the only user of rawpy."""

import io
import math
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path

import numpy as np
import rawpy
from numpy.typing import NDArray

from batman_cli.bayer import BayerArea, bayer_area
from batman_cli.black import CellLevels
from batman_cli.color import color_matrix, white_balance
from batman_cli.damage import constant_rows, contradicts_levels, damaged_arw2
from batman_cli.errors import BadShot, MemoryExhausted
from batman_cli.quiet import QuietStderr
from batman_cli.rawfile import (
    HEAD_ROWS,
    RawFile,
    check_complete,
    largest,
    plain,
    read_file,
    read_head,
    refuse,
)
from batman_cli.tiff import ISO_TOO_BIG

RAW_SUFFIXES = frozenset({
    ".3fr", ".ari", ".arw", ".bay", ".cap", ".cr2", ".cr3", ".crw", ".dcr", ".dcs", ".dng",
    ".drf", ".erf", ".fff", ".gpr", ".iiq", ".k25", ".kc2", ".kdc", ".mdc", ".mef", ".mos",
    ".mrw", ".nef", ".nrw", ".orf", ".ori", ".pef", ".ptx", ".pxn", ".qtk", ".raf", ".raw",
    ".rw2", ".rwl", ".rwz", ".sr2", ".srf", ".srw", ".sti", ".x3f",
})  # fmt: skip
MAX_PIXELS = 400_000_000  # LibRaw's own limit lies at 2 GiB; the largest cameras have 151 Mpx
FIRST_YEAR = 1990  # digital cameras did not date pictures before; LibRaw gives 1970 for none

# LibRaw's flip is bit 0: mirror columns, bit 1: mirror rows, bit 2: swap rows and columns.
_ROTATION_OF_FLIP = (0, 0, 3, 3, 5, 5, 6, 6)
_QUIET = QuietStderr()
# What rawpy raises beside the errors of LibRaw when a header makes no sense.
_RAWPY_ERRORS = (
    rawpy.LibRawError,
    rawpy.NotSupportedError,
    RuntimeError,
    ValueError,
    ArithmeticError,
    OSError,
)


@dataclass(frozen=True)
class ShotInfo:
    """Everything about a raw file but its pixels. Positions are those of the mosaic."""

    path: Path
    camera: str  # maker and model, "" where the file does not say
    width: int  # px of the mosaic, even
    height: int
    pattern: str  # CFA of the visible area as stored: RGGB, GRBG, GBRG or BGGR
    black: CellLevels  # raw units, fractions where the file states them
    white: float  # raw units
    white_balance: tuple[float, float, float]  # as-shot multipliers R G B, the smallest is 1
    color_matrix: tuple[tuple[float, float, float], ...]  # white-balanced camera -> linear sRGB
    color_source: str  # where matrix and, if not as shot, white balance come from
    iso: float | None  # None: unknown
    exposure_s: float | None
    time_s: float | None  # camera clock read as UTC, seconds since 1970
    has_subsecond: bool
    orientation: int  # 0, 3 (turn by 180 degrees), 5 (90 counter-clockwise), 6 (90 clockwise)
    noise_profile: tuple[float, float] | None  # (shot, read) variance on the 0..1 scale
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class Mosaic:
    """A decoded shot: data (H, W) uint16 in raw units, even sides, starts on red."""

    data: NDArray[np.uint16]
    info: ShotInfo


def read_info(path: Path) -> ShotInfo:
    """Facts of a raw file, checked as far as its header allows. Raises BadShot.

    LibRaw tells levels and colours only after decoding. Sony's and uncompressed DNG files get by
    with their first rows; others are decoded, and if that fails, refused here already.
    """
    info = _info_of_head(path)
    if info is None:
        with _opened(path) as (raw, file):
            info = _describe(raw, file, bayer_area(raw, raw.sizes, path))
    return info


def read_mosaic(path: Path) -> Mosaic:
    """Decoded and checked mosaic of a raw file. Raises BadShot, also for damaged pixel data."""
    with _opened(path) as (raw, file):
        area = bayer_area(raw, raw.sizes, path)
        info = _describe(raw, file, area)
        # A copy, for LibRaw frees its picture on closing: a view would read freed memory.
        data = raw.raw_image[area.rows, area.columns].copy()
    why = (
        damaged_arw2(file.content, file.tiff.images)
        or constant_rows(data, info.black, info.white)
        or contradicts_levels(data, info.black, info.white, file.tiff.images)
    )
    if why:
        refuse(path, why)
    return Mosaic(data, info)


def read_developed(path: Path) -> NDArray[np.uint16]:
    """A raw file as LibRaw develops it, before any tone curve, on the grid of its mosaic.

    Returns (H, W, 3) linear sRGB, 65535 = white, in the white balance and matrix of `ShotInfo`, not
    turned upright. Raises BadShot, also for damaged pixel data.
    """
    red, green, blue = read_mosaic(path).info.white_balance  # the check for damage comes with it
    with _opened(path) as (raw, _):
        sizes, area = raw.sizes, bayer_area(raw, raw.sizes, path)
        picture = raw.postprocess(
            user_wb=[red, green, blue, green],  # rawpy guesses one where the file states none
            no_auto_bright=True,
            adjust_maximum_thr=0.0,  # the white level of the file, not of the picture
            output_bps=16,
            gamma=(1, 1),
            user_flip=0,
        )
    if picture.shape != (sizes.height, sizes.width, 3):
        refuse(path, f"LibRaw develops it to {picture.shape}, not to its visible area", "")
    top, left = area.rows.start - sizes.top_margin, area.columns.start - sizes.left_margin
    height = area.rows.stop - area.rows.start
    width = area.columns.stop - area.columns.start
    return picture[top : top + height, left : left + width].astype(np.uint16, copy=False)


@contextmanager
def _opened(path: Path) -> Generator[tuple[rawpy.RawPy, RawFile], None, None]:
    """A decoded file, closed afterwards; whatever LibRaw or rawpy raises comes out as BadShot."""
    file = read_file(path)
    check_complete(file)
    try:
        with _QUIET, rawpy.RawPy() as raw:
            raw.open_buffer(io.BytesIO(file.content))
            sizes = raw.sizes
            if sizes.raw_width * sizes.raw_height > MAX_PIXELS:
                refuse(path, f"claims {sizes.raw_width} x {sizes.raw_height} pixels")
            _unpack(raw, path)
            yield raw, file
    except rawpy.LibRawFileUnsupportedError:
        refuse(path, "not a raw file that LibRaw knows, or its header is damaged")
    except rawpy.LibRawIOError:
        refuse(path, "the file ends before its picture does, or its header is damaged")
    except rawpy.LibRawDataError:
        refuse(path, "the pixel data are damaged: they cannot be decoded")
    except rawpy.LibRawTooBigError:
        refuse(path, "claims a picture too big to decode")
    except (MemoryError, rawpy.LibRawUnsufficientMemoryError):
        raise MemoryExhausted(
            f"no memory to decode {path.name}", fix="close other programs"
        ) from None
    except _RAWPY_ERRORS as error:
        refuse(path, f"LibRaw cannot decode it ({plain(error)})")


def _unpack(raw: rawpy.RawPy, path: Path) -> None:
    """Decodes the picture of a file whose header LibRaw understood."""
    try:
        raw.unpack()
    except rawpy.LibRawFileUnsupportedError:
        fix = "convert it to a DNG without loss, or choose another compression in the camera"
        refuse(path, "LibRaw cannot decode the compression of its picture", fix)


def _info_of_head(path: Path) -> ShotInfo | None:
    """Facts from the start of a file, None where only the whole can tell or refuse."""
    found = read_head(path)
    if found is None:
        return None
    file, few_rows = found
    try:
        with _QUIET, rawpy.RawPy() as whole, rawpy.RawPy() as raw:
            whole.open_buffer(io.BytesIO(file.content))
            raw.open_buffer(io.BytesIO(few_rows))
            sizes, short = whole.sizes, raw.sizes
            # The same camera to LibRaw, only lower; else the file is decoded after all.
            alike = (sizes.raw_width, sizes.top_margin, sizes.left_margin, sizes.flip) == (
                short.raw_width, short.top_margin, short.left_margin, short.flip
            )  # fmt: skip
            if not alike or short.raw_height != HEAD_ROWS or sizes.raw_height <= HEAD_ROWS:
                return None
            if sizes.raw_width * sizes.raw_height > MAX_PIXELS:
                return None
            raw.unpack()
            return _describe(raw, file, bayer_area(raw, sizes, path))
    except (*_RAWPY_ERRORS, MemoryError, BadShot):
        return None


def _describe(raw: rawpy.RawPy, file: RawFile, area: BayerArea) -> ShotInfo:
    """Everything ShotInfo holds. Raises BadShot for levels that make no sense."""
    black, white = _black(raw, file, area), float(raw.white_level)
    if white <= max(black):
        refuse(file.path, f"its white level {white:g} is not above black {max(black):g}")
    balance, balance_source = white_balance(raw.camera_whitebalance, raw.daylight_whitebalance)
    matrix, matrix_source = color_matrix(
        raw.color_matrix, raw.rgb_xyz_matrix, is_dng=file.tiff.is_dng
    )
    iso, exposure_s, time_s = _shooting_data(raw)
    if file.tiff.make:  # LibRaw's exposure has a made-up default; the tag is exact
        exposure_s, time_s = file.tiff.exposure_s, file.tiff.time_s or time_s
    return ShotInfo(
        path=file.path,
        camera=file.tiff.camera,
        width=area.columns.stop - area.columns.start,
        height=area.rows.stop - area.rows.start,
        pattern=area.pattern,
        black=black,
        white=white,
        white_balance=balance,
        color_matrix=matrix,
        color_source=matrix_source + balance_source,
        iso=iso if iso and iso < ISO_TOO_BIG else file.tiff.iso or iso,
        exposure_s=exposure_s,
        time_s=time_s,
        has_subsecond=file.tiff.has_subsecond,
        orientation=_ROTATION_OF_FLIP[raw.sizes.flip & 7],
        noise_profile=file.tiff.noise_profile,
        size_bytes=file.size_bytes,
        mtime_ns=file.mtime_ns,
    )


def _black(raw: rawpy.RawPy, file: RawFile, area: BayerArea) -> CellLevels:
    """Black of the mosaic's cell: as the file states it, for LibRaw's levels are whole numbers."""
    r, g1, g2, b = (float(raw.black_level_per_channel[index]) for index in area.cell.flat)
    stated = largest(file.tiff.images).black if file.tiff.images else None
    top, left = area.rows.start, area.columns.start
    return stated.at(top, left, decoded=(r, g1, g2, b)) if stated else (r, g1, g2, b)


def _shooting_data(raw: rawpy.RawPy) -> tuple[float | None, float | None, float | None]:
    """ISO, exposure in seconds, capture time in seconds: LibRaw's, None where unknown."""
    try:
        other = raw.other
    except (ValueError, OverflowError, OSError):  # a date that Python cannot hold
        return None, None, None
    iso, exposure_s, moment = other.iso_speed, other.shutter_speed, other.timestamp
    known = moment.year >= FIRST_YEAR
    return (
        iso if 0 < iso < math.inf else None,
        exposure_s if 0 < exposure_s < math.inf else None,
        moment.replace(tzinfo=UTC).timestamp() if known else None,
    )
