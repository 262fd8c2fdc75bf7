"""A one-picture TIFF file in memory: an image directory, its Exif directory and one strip."""

import datetime
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

HEADER_BYTES = 8  # byte order, 42, offset of the first directory
ENTRY_BYTES = 12  # number, kind, count, value or offset
INLINE_BYTES = 4  # a value this short sits in its entry, a longer one behind the directory
STRIP_ALIGNMENT = 16  # bytes: the strip starts on a multiple of the lossy coding's block
LARGEST_DENOMINATOR = 1_000_000  # of a RATIONAL: 1 us of exposure, far below 1e-4 of a matrix entry
SHORT_LIMIT = 0xFFFF  # Exif's ISO is a SHORT; 65535 says "see RecommendedExposureIndex"

SMALLEST_SIDE = 22  # pixels: LibRaw takes anything smaller for no picture
# LibRaw takes these stored widths for whole Sony sensors and cuts columns off.
CROPPED_WIDTHS = frozenset({3984, 4288, 4928, 5504, 6048, 7392, 8000, 9600})

SOFTWARE = "batman simulate"
MOVING = f"{SOFTWARE}, moving"  # of shots between which the scene changes

EXIF_POINTER, STRIP_OFFSET, STRIP_SIZE = 0x8769, 0x0111, 0x0117  # filled in by `tiff_bytes`


class Kind(Enum):
    """Type of a tag's values: the code in the file and the `struct` format of one value."""

    BYTE = (1, "B")
    ASCII = (2, "s")
    SHORT = (3, "H")
    LONG = (4, "I")
    RATIONAL = (5, "II")
    UNDEFINED = (7, "s")
    SRATIONAL = (10, "ii")
    DOUBLE = (12, "d")


@dataclass(frozen=True)
class Tag:
    """One entry of a directory: text for ASCII, bytes for UNDEFINED, numbers for the others."""

    number: int
    kind: Kind
    values: str | bytes | Sequence[float]


@dataclass(frozen=True)
class Exposure:
    """What the camera notes about one shot.

    iso: sensitivity, above 0; exposure_s: seconds; time: the camera's clock, any time zone is
    left out; white_balance: as-shot R G B multipliers with G = 1; shot_number: counter, 0 or more;
    software: what made the file, which says that no camera did.
    """

    iso: int
    exposure_s: float
    time: datetime.datetime
    white_balance: tuple[float, float, float]
    shot_number: int
    software: str = SOFTWARE


def tiff_bytes(main: Sequence[Tag], exif: Sequence[Tag], strip: bytes) -> bytes:
    """The whole little-endian file: header, image directory, Exif directory, strip.

    main: the picture's tags without strip and Exif pointers, which are added here.
    Raises ValueError for a value that its kind cannot hold.
    """

    def image_directory(exif_at: int, strip_at: int) -> bytes:
        pointers = [
            Tag(STRIP_OFFSET, Kind.LONG, [strip_at]),
            Tag(STRIP_SIZE, Kind.LONG, [len(strip)]),
            Tag(EXIF_POINTER, Kind.LONG, [exif_at]),
        ]
        return _directory([*main, *pointers], HEADER_BYTES)

    # A directory's length does not depend on the values of its pointers.
    exif_at = HEADER_BYTES + len(image_directory(0, 0))
    exif_directory = _directory(exif, exif_at)
    end = exif_at + len(exif_directory)
    strip_at = -(-end // STRIP_ALIGNMENT) * STRIP_ALIGNMENT
    header = struct.pack("<2sHI", b"II", 42, HEADER_BYTES)
    parts = [header, image_directory(exif_at, strip_at), exif_directory, bytes(strip_at - end)]
    return b"".join([*parts, strip])


def picture_tags(
    *,
    width: int,
    height: int,
    bits: int,
    compression: int,
    pattern: str,
    make: str,
    model: str,
    software: str,
) -> list[Tag]:
    """The tags every mosaic in one strip needs (TIFF 6.0; CFA tags of TIFF/EP).

    width, height: pixels as stored; pattern: the 2x2 cell row by row, such as "RGGB".
    """
    return [
        Tag(0x00FE, Kind.LONG, [0]),  # NewSubfileType: the full picture
        Tag(0x0100, Kind.LONG, [width]),
        Tag(0x0101, Kind.LONG, [height]),
        Tag(0x0102, Kind.SHORT, [bits]),  # BitsPerSample
        Tag(0x0103, Kind.SHORT, [compression]),
        Tag(0x0106, Kind.SHORT, [32803]),  # PhotometricInterpretation: colour filter array
        Tag(0x010F, Kind.ASCII, make),
        Tag(0x0110, Kind.ASCII, model),
        Tag(0x0112, Kind.SHORT, [1]),  # Orientation: as stored
        Tag(0x0115, Kind.SHORT, [1]),  # SamplesPerPixel
        Tag(0x0116, Kind.LONG, [height]),  # RowsPerStrip
        Tag(0x011C, Kind.SHORT, [1]),  # PlanarConfiguration
        Tag(0x0131, Kind.ASCII, software),
        Tag(0x828D, Kind.SHORT, [2, 2]),  # CFARepeatPatternDim
        Tag(0x828E, Kind.BYTE, ["RGB".index(colour) for colour in pattern]),  # CFAPattern
    ]


def check_mosaic(mosaic: NDArray[np.uint16], *, largest: int) -> None:
    """Raises ValueError unless the mosaic is (H, W) uint16 with even sides, up to `largest`."""
    if mosaic.ndim != 2 or not mosaic.size or mosaic.shape[0] % 2 or mosaic.shape[1] % 2:
        raise ValueError(f"a mosaic has two even sides, not the shape {mosaic.shape}")
    if mosaic.dtype != np.uint16:
        raise ValueError(f"a mosaic is uint16, not {mosaic.dtype}")
    if mosaic.max() > largest:
        raise ValueError(f"the mosaic holds {mosaic.max()}, above {largest}")


def check_sides(mosaic: NDArray[np.uint16]) -> None:
    """Raises ValueError for a mosaic too small for a file that LibRaw opens."""
    if min(mosaic.shape) < SMALLEST_SIDE:
        raise ValueError(f"a raw file needs sides of {SMALLEST_SIDE} or more, not {mosaic.shape}")


def with_spare_columns(mosaic: NDArray[np.uint16], multiple: int) -> NDArray[np.uint16]:
    """The mosaic, widened by repeating its last two columns to a width that can be stored whole.

    multiple: even, what the stored width must be a multiple of. `visible_area` hides the rest.
    """
    width = mosaic.shape[1]
    stored = -(-width // multiple) * multiple
    if stored in CROPPED_WIDTHS:
        stored += multiple
    last_cell = mosaic[:, width - 2 :]
    return np.concatenate([mosaic] + [last_cell] * ((stored - width) // 2), axis=1)


def visible_area(width: int, height: int) -> Tag:
    """ActiveArea: readers cut off whatever is stored to the right of or below this size."""
    return Tag(0xC68D, Kind.LONG, [0, 0, height, width])


def exif_tags(exposure: Exposure) -> list[Tag]:
    """The Exif directory of one shot (Exif 2.32), its time to the microsecond."""
    when = exposure.time.strftime("%Y:%m:%d %H:%M:%S")
    return [
        Tag(0x829A, Kind.RATIONAL, [exposure.exposure_s]),
        Tag(0x8827, Kind.SHORT, [min(exposure.iso, SHORT_LIMIT)]),  # PhotographicSensitivity
        Tag(0x8830, Kind.SHORT, [2]),  # SensitivityType: recommended exposure index
        Tag(0x8832, Kind.LONG, [exposure.iso]),  # RecommendedExposureIndex
        Tag(0x9000, Kind.UNDEFINED, b"0232"),  # ExifVersion
        Tag(0x9003, Kind.ASCII, when),  # DateTimeOriginal
        Tag(0x9004, Kind.ASCII, when),  # DateTimeDigitized
        Tag(0x9291, Kind.ASCII, f"{exposure.time.microsecond:06d}"),  # SubSecTimeOriginal
    ]


def _directory(tags: Sequence[Tag], at: int) -> bytes:
    """A directory that starts at byte `at`, sorted by tag number, with its long values behind."""
    ordered = sorted(tags, key=lambda tag: tag.number)
    entries = struct.pack("<H", len(ordered))
    values = b""
    values_at = at + len(entries) + len(ordered) * ENTRY_BYTES + INLINE_BYTES
    for tag in ordered:
        packed, count = _pack(tag)
        if len(packed) <= INLINE_BYTES:
            field = packed.ljust(INLINE_BYTES, b"\0")
        else:
            field = struct.pack("<I", values_at + len(values))
            values += packed + bytes(len(packed) % 2)  # offsets must be even
        entries += struct.pack("<HHI", tag.number, tag.kind.value[0], count) + field
    return entries + struct.pack("<I", 0) + values  # 0: no further picture


def _pack(tag: Tag) -> tuple[bytes, int]:
    """The values as bytes and their count as TIFF counts it."""
    values = tag.values
    if isinstance(values, str):
        values = values.encode("ascii") + b"\0"
    if isinstance(values, bytes):
        return values, len(values)
    numbers: list[float] = list(values)
    if tag.kind in (Kind.RATIONAL, Kind.SRATIONAL):
        most = 2**31 - 1 if tag.kind is Kind.SRATIONAL else 2**32 - 1  # a numerator can be
        parts = (
            Fraction(value).limit_denominator(
                max(1, min(LARGEST_DENOMINATOR, int(most // max(1, abs(value)))))
            )
            for value in values
        )
        numbers = [part for value in parts for part in (value.numerator, value.denominator)]
    try:
        return struct.pack("<" + tag.kind.value[1] * len(values), *numbers), len(values)
    except struct.error as error:
        raise ValueError(f"tag {tag.number:#06x} cannot hold {list(values)}: {error}") from error
