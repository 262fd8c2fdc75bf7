"""What a TIFF-based raw file (ARW, DNG, NEF, CR2, ...) says about itself, read from its bytes.

LibRaw does not report the maker, fractions of a second, the place of the pixel data in the file
nor the DNG noise profile. Tag numbers follow TIFF 6.0, Exif 2.32 and DNG 1.7. Every size in a file
is a claim: all loops, counts and offsets are bounded, and any bytes at all give a result.
"""

import calendar
import math
import re
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

from batman_cli.black import BlackLevels, black_levels

MAX_IFDS = 64  # image file directories followed in one file; cameras write 3 to 10
MAX_ENTRIES = 1024  # tags read in one directory; cameras write up to 80
MAX_VALUE_BYTES = 1 << 20  # bytes of tag values read in one file; 20 000 strips take 160 000

# File type numbers that share the TIFF layout: TIFF, Panasonic RW2, Olympus ORF (two).
_MAGIC = frozenset({42, 0x55, 0x4F52, 0x5352})
# Field type: (bytes of one value, struct code); rationals are pairs, text and raw bytes have none.
_TYPES = {
    1: (1, "B"), 2: (1, ""), 3: (2, "H"), 4: (4, "I"), 5: (8, "II"), 6: (1, "b"), 7: (1, ""),
    8: (2, "h"), 9: (4, "i"), 10: (8, "ii"), 11: (4, "f"), 12: (8, "d"), 13: (4, "I"),
}  # fmt: skip

_WIDTH, _HEIGHT, _BITS, _COMPRESSION = 256, 257, 258, 259
_MAKE, _MODEL, _DATE_TIME = 271, 272, 306
_STRIP_OFFSETS, _STRIP_BYTE_COUNTS, _TILE_OFFSETS, _TILE_BYTE_COUNTS = 273, 279, 324, 325
_SUB_IFDS, _EXIF_IFD = 330, 34665
_EXPOSURE_TIME, _ISO, _EXPOSURE_INDEX = 33434, 34855, 34866
_DATE_TIME_ORIGINAL, _SUB_SEC, _SUB_SEC_ORIGINAL = 36867, 37520, 37521
_DNG_VERSION, _LINEARISATION, _ACTIVE_AREA, _NOISE_PROFILE = 50706, 50712, 50829, 51041
_BLACK_REPEAT, _BLACK_LEVEL = 50713, 50714
_BLACK_DELTA_H, _BLACK_DELTA_V, _MASKED_AREAS = 50715, 50716, 50830
_WANTED = frozenset({
    _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _MAKE, _MODEL, _DATE_TIME, _STRIP_OFFSETS,
    _STRIP_BYTE_COUNTS, _TILE_OFFSETS, _TILE_BYTE_COUNTS, _SUB_IFDS, _EXIF_IFD, _EXPOSURE_TIME,
    _ISO, _EXPOSURE_INDEX, _DATE_TIME_ORIGINAL, _SUB_SEC, _SUB_SEC_ORIGINAL, _DNG_VERSION,
    _LINEARISATION, _ACTIVE_AREA, _NOISE_PROFILE, _BLACK_REPEAT, _BLACK_LEVEL, _BLACK_DELTA_H,
    _BLACK_DELTA_V, _MASKED_AREAS,
})  # fmt: skip
_ELSEWHERE = 0xFFFFFFFF  # strip offset in RW2: another tag has it
ISO_TOO_BIG = 65535  # a 16-bit tag at its end: the real value stands in _EXPOSURE_INDEX

Numbers = tuple[float, ...]


@dataclass(frozen=True)
class _Field:
    """Value of a tag, and where in the file it stands in which struct format."""

    value: Numbers | bytes  # numbers, or bytes for text
    place: int
    form: str


Ifd = dict[int, _Field]


@dataclass(frozen=True)
class TiffImage:
    """One picture of the file, be it the raw mosaic or a preview."""

    width: int  # pixels; 0 where the directory does not say (CR2)
    height: int
    bits: int  # per sample; 0 unknown
    compression: int  # 1 none, 7 JPEG, 32767 Sony, 34713 Nikon, ...
    linearised: bool  # stored values go through a table, so they exceed `bits`
    offsets: tuple[int, ...]  # first byte of each strip or tile
    byte_counts: tuple[int, ...]
    # Where the file states the height or a multiple of it: (place, struct format, units per row).
    # Empty unless the picture is one strip of rows of equal length; also where masked pixels, which
    # lie beside all of them, tell black.
    heights: tuple[tuple[int, str, int], ...] = ()
    black: BlackLevels | None = None  # of a DNG; None where that is not all there is to black

    @property
    def end(self) -> int:
        """First byte after the last strip or tile, at least their length if places are unknown."""
        places = zip(self.offsets, self.byte_counts, strict=True)
        return max((n if o == _ELSEWHERE else o + n for o, n in places), default=0)


@dataclass(frozen=True)
class TiffInfo:
    """Facts about a shot; empty or None where the file does not state them."""

    make: str = ""
    model: str = ""
    iso: float | None = None
    exposure_s: float | None = None
    time_s: float | None = None  # camera clock read as UTC, seconds since 1970
    has_subsecond: bool = False
    is_dng: bool = False
    noise_profile: tuple[float, float] | None = None  # (shot, read) variance on 0..1, plane mean
    images: tuple[TiffImage, ...] = ()

    @property
    def camera(self) -> str:
        """Maker and model, the maker once: "SONY DSC-RX100M6", "NIKON D500"."""
        brand = self.make.split(" ")[0].lower()
        known = self.model.lower().startswith(brand)
        return self.model if known else f"{self.make} {self.model}"


def read_tiff(*contents: bytes) -> TiffInfo:
    """Facts of a TIFF-based raw file; an empty result for any other bytes. Never raises.

    contents: the whole file, or at least all its directories; several that complete each other.
    """
    ifds = [ifd for content in contents for ifd in _walk(content)]
    if not ifds:
        return TiffInfo()
    facts: Ifd = {}
    for ifd in reversed(ifds):
        facts.update(ifd)  # the directory nearest to the start of the walk wins
    is_dng = _DNG_VERSION in ifds[0]
    time_s, has_subsecond = _capture_time(facts)
    iso = _number(facts, _ISO)
    if iso == ISO_TOO_BIG:
        iso = _number(facts, _EXPOSURE_INDEX) or iso
    return TiffInfo(
        make=_text(facts, _MAKE),
        model=_text(facts, _MODEL),
        iso=iso or None,
        exposure_s=_number(facts, _EXPOSURE_TIME) or None,
        time_s=time_s,
        has_subsecond=has_subsecond,
        is_dng=is_dng,
        noise_profile=_noise_profile(_numbers(facts, _NOISE_PROFILE)),
        images=tuple(i for ifd in ifds if (i := _image(ifd, is_dng=is_dng)) is not None),
    )


def _walk(content: bytes) -> Iterator[Ifd]:
    """Every directory once: the first, its Exif and sub-directories, then the next in the chain."""
    order = {b"II": "<", b"MM": ">"}.get(content[:2])
    if order is None or len(content) < 8:
        return
    magic, first = struct.unpack_from(order + "HI", content, 2)
    if magic not in _MAGIC:
        return
    waiting, seen, budget = [first], {0}, MAX_VALUE_BYTES
    while waiting and len(seen) <= MAX_IFDS:
        offset = waiting.pop()
        if offset in seen:
            continue
        seen.add(offset)
        ifd, following, used = _read_ifd(content, order, offset, budget)
        budget -= used
        yield ifd
        linked = _numbers(ifd, _EXIF_IFD)[:1] + _numbers(ifd, _SUB_IFDS)[:MAX_IFDS]
        # A link of a signed or floating kind may be anything, also before the file.
        waiting += [following, *(int(o) for o in reversed(linked) if 0 < o < len(content))]


def _read_ifd(content: bytes, order: str, offset: int, budget: int) -> tuple[Ifd, int, int]:
    """Wanted tags of one directory, the offset of the next one (0: none), value bytes read."""
    ifd: Ifd = {}
    if offset + 2 > len(content):
        return ifd, 0, 0
    (entries,) = struct.unpack_from(order + "H", content, offset)
    used = 0
    for k in range(min(entries, MAX_ENTRIES)):
        place = offset + 2 + 12 * k
        if place + 12 > len(content):
            return ifd, 0, used
        tag, kind, count = struct.unpack_from(order + "HHI", content, place)
        size, code = _TYPES.get(kind, (0, ""))
        length = size * count
        if tag not in _WANTED or tag in ifd or length == 0 or used + length > budget:
            continue
        start = place + 8
        if length > 4:
            (start,) = struct.unpack_from(order + "I", content, start)
        if start + length <= len(content):
            used += length
            value = _values(content[start : start + length], order, code)
            ifd[tag] = _Field(value, start, order + code[:1])
    place = offset + 2 + 12 * entries
    if entries > MAX_ENTRIES or place + 4 > len(content):
        return ifd, 0, used
    return ifd, struct.unpack_from(order + "I", content, place)[0], used


def _values(field: bytes, order: str, code: str) -> Numbers | bytes:
    """Numbers of a field, not finite ones as 0; its bytes if it is text."""
    if not code:
        return field
    count = len(field) // struct.calcsize(order + code)
    flat: Numbers = struct.unpack(order + code[0] * (count * len(code)), field)
    if len(code) == 2:  # rational
        flat = tuple(n / d if d else 0.0 for n, d in zip(flat[::2], flat[1::2], strict=True))
    return tuple(value if math.isfinite(value) else 0.0 for value in flat)


def _numbers(ifd: Ifd, tag: int) -> Numbers:
    field = ifd.get(tag)
    return field.value if field and isinstance(field.value, tuple) else ()


def _number(ifd: Ifd, tag: int) -> float:
    """First number of a tag, 0 if absent or negative."""
    return max(0.0, *_numbers(ifd, tag)[:1], 0.0)


def _text(ifd: Ifd, tag: int) -> str:
    field = ifd.get(tag)
    if field is None or not isinstance(field.value, bytes):
        return ""
    text = field.value.split(b"\0")[0].decode("ascii", "replace")
    return "".join(c if c.isprintable() else " " for c in text).strip()


def _capture_time(facts: Ifd) -> tuple[float | None, bool]:
    """Seconds of the camera clock, and whether they include a fraction.

    The clock is read as UTC: time zones and summer time never bend the spacing of a burst.
    """
    for clock, fraction in ((_DATE_TIME_ORIGINAL, _SUB_SEC_ORIGINAL), (_DATE_TIME, _SUB_SEC)):
        fields = re.findall(r"\d+", _text(facts, clock))
        if len(fields) < 6:
            continue
        try:
            moment = time.strptime(" ".join(fields[:6]), "%Y %m %d %H %M %S")
        except ValueError:
            continue
        digits = _text(facts, fraction)
        known = digits.isascii() and digits.isdigit()
        whole = calendar.timegm(moment)
        return whole + (int(digits[:9]) / 10 ** len(digits[:9]) if known else 0.0), known
    return None, False


def _noise_profile(values: Numbers) -> tuple[float, float] | None:
    """Mean (shot, read) variance of the planes of a DNG NoiseProfile, None if absent or absurd."""
    shot, read = values[::2], values[1::2]
    if not shot or len(shot) != len(read) or min(values) < 0 or max(values) in (0, math.inf):
        return None
    return sum(shot) / len(shot), sum(read) / len(read)


def _image(ifd: Ifd, *, is_dng: bool) -> TiffImage | None:
    for offsets, counts in (
        (_STRIP_OFFSETS, _STRIP_BYTE_COUNTS),
        (_TILE_OFFSETS, _TILE_BYTE_COUNTS),
    ):
        places, sizes = _numbers(ifd, offsets), _numbers(ifd, counts)
        if places and len(places) == len(sizes):
            return TiffImage(
                width=int(_number(ifd, _WIDTH)),
                height=int(_number(ifd, _HEIGHT)),
                bits=int(_number(ifd, _BITS)),
                compression=int(_number(ifd, _COMPRESSION)),
                linearised=_LINEARISATION in ifd,
                offsets=tuple(int(o) for o in places),
                byte_counts=tuple(int(n) for n in sizes),
                heights=_heights(ifd),
                black=_black(ifd) if is_dng else None,
            )
    return None


def _black(ifd: Ifd) -> BlackLevels | None:
    """Black of a DNG's picture, None if it is not stated or changes from place to place."""
    if {_BLACK_DELTA_H, _BLACK_DELTA_V, _MASKED_AREAS} & ifd.keys():
        return None
    repeat, area = _numbers(ifd, _BLACK_REPEAT) or (1, 1), _numbers(ifd, _ACTIVE_AREA)
    return black_levels(_numbers(ifd, _BLACK_LEVEL), repeat, area)


def _heights(ifd: Ifd) -> tuple[tuple[int, str, int], ...]:
    height, counts = int(_number(ifd, _HEIGHT)), _numbers(ifd, _STRIP_BYTE_COUNTS)
    if height == 0 or len(counts) != 1 or int(counts[0]) % height or _MASKED_AREAS in ifd:
        return ()
    rows, size, active = ifd[_HEIGHT], ifd[_STRIP_BYTE_COUNTS], ifd.get(_ACTIVE_AREA)
    found = [(rows.place, rows.form, 1), (size.place, size.form, int(counts[0]) // height)]
    if active and len(active.value) == 4:  # top, left, bottom, right
        bottom = active.place + 2 * struct.calcsize(active.form)
        found.append((bottom, active.form, 1))
    return tuple(found)


def first_rows(content: bytes, image: TiffImage, rows: int) -> bytes:
    """The file as if its picture had but the first rows: a header for a decoder, quick to read.

    content: the file, or its part up to the end of those rows; image: its picture, with `heights`,
    more than `rows` high.
    Raises ValueError where a changed number does not fit.
    """
    edited = bytearray(content[: image.offsets[0] + rows * image.byte_counts[0] // image.height])
    for place, form, units in image.heights:
        try:
            struct.pack_into(form, edited, place, rows * units)
        except struct.error as error:
            raise ValueError("the height stands in a field that cannot hold it") from error
    return bytes(edited)
