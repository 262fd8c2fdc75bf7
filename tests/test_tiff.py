"""The facts in a TIFF-based raw file, and that no bytes at all can make the reader stumble."""

import struct
import time
from collections.abc import Sequence

import pytest
from conftest import samples
from hypothesis import given, settings
from hypothesis import strategies as st

from batman_cli.black import BlackLevels
from batman_cli.tiff import MAX_IFDS, TiffInfo, first_rows, read_tiff

SHORT, LONG, RATIONAL, ASCII, DOUBLE, SLONG = 3, 4, 5, 2, 12, 9
CODES = {SHORT: "H", LONG: "I", RATIONAL: "II", DOUBLE: "d", SLONG: "i"}
Entry = tuple[int, int, Sequence[float] | bytes]  # tag, kind, values; rationals flat


def directory(order: str, at: int, entries: Sequence[Entry], following: int = 0) -> bytes:
    """A directory that starts at byte `at`, its long values behind it."""
    head, tail = struct.pack(order + "H", len(entries)), b""
    tail_at = at + 2 + 12 * len(entries) + 4
    for tag, kind, values in entries:
        if isinstance(values, bytes):
            field, count = values, len(values)
        else:
            code = CODES[kind]
            count = len(values) // len(code)
            field = struct.pack(order + code * count, *values)
        if len(field) > 4:
            tail, field = tail + field, struct.pack(order + "I", tail_at + len(tail))
        head += struct.pack(order + "HHI", tag, kind, count) + field.ljust(4, b"\0")
    return head + struct.pack(order + "I", following) + tail


def tiff(*entries: Entry, order: str = "<", exif: Sequence[Entry] = ()) -> bytes:
    """A file of one directory, with an Exif directory if that has entries."""
    mark = b"II" if order == "<" else b"MM"
    header = mark + struct.pack(order + "HI", 42, 8)
    if not exif:
        return header + directory(order, 8, entries)
    empty = directory(order, 8, [*entries, (34665, LONG, [0])])
    main = directory(order, 8, [*entries, (34665, LONG, [8 + len(empty)])])
    return header + main + directory(order, 8 + len(main), exif)


EXIF: list[Entry] = [
    (33434, RATIONAL, [1, 30]),
    (34855, SHORT, [6400]),
    (36867, ASCII, b"2024:02:03 04:05:06\0"),
    (37521, ASCII, b"25\0"),
]
CAMERA: list[Entry] = [(271, ASCII, b"SONY\0"), (272, ASCII, b"DSC-RX100M6 \0\0")]
STRIP: list[Entry] = [
    (256, SHORT, [64]),
    (257, SHORT, [100]),
    (258, SHORT, [14]),
    (259, SHORT, [1]),
    (273, LONG, [400]),
    (279, LONG, [12800]),
]


@pytest.mark.parametrize("order", ["<", ">"])
def test_camera_and_exposure_are_read_in_both_byte_orders(order: str) -> None:
    info = read_tiff(tiff(*CAMERA, order=order, exif=EXIF))
    assert (info.make, info.model) == ("SONY", "DSC-RX100M6")
    assert (info.iso, info.exposure_s) == (6400, 1 / 30)
    assert info.time_s == 1706933106.25  # 2024-02-03 04:05:06.25 UTC
    assert info.has_subsecond


@pytest.mark.parametrize(
    ("digits", "fraction"), [(b"5", 0.5), (b"05", 0.05), (b"250000", 0.25), (b"999 ", 0.999)]
)
def test_sub_seconds_are_decimal_digits_of_any_length(digits: bytes, fraction: float) -> None:
    whole = read_tiff(tiff(exif=EXIF[:3])).time_s
    time_s = read_tiff(tiff(exif=[*EXIF[:3], (37521, ASCII, digits)])).time_s
    assert whole is not None and time_s == pytest.approx(whole + fraction, abs=1e-6)


@pytest.mark.parametrize("digits", [b"   \0", b"\0\0", b"x1\0", b"-4\0"])
def test_sub_seconds_without_digits_are_unknown(digits: bytes) -> None:
    info = read_tiff(tiff(exif=[*EXIF[:3], (37521, ASCII, digits)]))
    assert info.time_s == 1706933106 and not info.has_subsecond


def test_the_time_of_writing_stands_in_for_a_missing_capture_time() -> None:
    written: list[Entry] = [(306, ASCII, b"2024:02:03 04:05:06\0"), (37520, ASCII, b"75\0")]
    assert read_tiff(tiff(*written)).time_s == 1706933106.75


@pytest.mark.parametrize(
    "clock", [b"    :  :     :  :  \0", b"0000:00:00 00:00:00\0", b"2024:13:40 99:99:99\0", b"\0"]
)
def test_a_clock_that_was_never_set_is_unknown(clock: bytes) -> None:
    info = read_tiff(tiff(exif=[(36867, ASCII, clock), (37521, ASCII, b"11\0")]))
    assert info.time_s is None and not info.has_subsecond


def test_black_is_read_of_dngs_that_state_all_of_it() -> None:
    version: Entry = (50706, 1, b"\1\4\0\0")
    black: list[Entry] = [(50713, SHORT, [1, 2]), (50714, RATIONAL, [649, 10, 647, 10])]
    area: Entry = (50829, LONG, [7, 5, 90, 60])
    (image,) = read_tiff(tiff(*STRIP, *black, area, version)).images
    assert image.black == BlackLevels((64.9, 64.7), 1, 2, top=7, left=5)
    (of_no_dng,) = read_tiff(tiff(*STRIP, *black)).images
    assert of_no_dng.black is None
    for more in ((50715, RATIONAL, [1, 1]), (50716, RATIONAL, [1, 1]), (50830, LONG, [0] * 4)):
        (image,) = read_tiff(tiff(*STRIP, *black, version, more)).images
        assert image.black is None


def test_zero_means_unknown() -> None:
    zeros: list[Entry] = [(33434, RATIONAL, [0, 1]), (34855, SHORT, [0])]
    info = read_tiff(tiff(exif=zeros))
    assert info.iso is None and info.exposure_s is None
    assert read_tiff(tiff(exif=[(33434, RATIONAL, [1, 0])])).exposure_s is None


def test_an_iso_beyond_16_bits_is_read_from_its_longer_tag() -> None:
    high: list[Entry] = [(34855, SHORT, [65535]), (34866, LONG, [102400])]
    assert read_tiff(tiff(exif=high)).iso == 102400


def test_the_noise_profile_is_the_mean_of_its_planes() -> None:
    planes: Entry = (51041, DOUBLE, [1e-4, 1e-6, 3e-4, 3e-6])
    assert read_tiff(tiff(planes)).noise_profile == pytest.approx((2e-4, 2e-6))


@pytest.mark.parametrize(
    "values", [[1e-4], [-1e-4, 1e-6], [0.0, 0.0], [1e-4, 1e-6, 1e-4], [float("nan"), -1.0]]
)
def test_an_absurd_noise_profile_is_none(values: list[float]) -> None:
    assert read_tiff(tiff((51041, DOUBLE, values))).noise_profile is None


def test_strips_tell_where_the_pixels_end() -> None:
    (image,) = read_tiff(tiff(*STRIP)).images
    assert (image.width, image.height, image.bits, image.compression) == (64, 100, 14, 1)
    assert image.end == 400 + 12800


def test_tiles_tell_where_the_pixels_end() -> None:
    tiles: list[Entry] = [(324, LONG, [100, 900, 500]), (325, LONG, [10, 40, 20])]
    (image,) = read_tiff(tiff(*STRIP[:4], *tiles)).images
    assert image.end == 940


def test_sub_directories_are_images_of_the_same_file() -> None:
    header = b"II" + struct.pack("<HI", 42, 8)
    main = directory("<", 8, [*CAMERA, (330, LONG, [500, 900])])
    raw, preview = directory("<", 500, STRIP), directory("<", 900, STRIP)
    content = (header + main).ljust(500, b"\0") + raw.ljust(400, b"\0") + preview
    assert len(read_tiff(content).images) == 2


def test_a_file_can_be_shown_as_if_it_had_fewer_rows() -> None:
    area: Entry = (50829, LONG, [2, 4, 98, 60])
    content = tiff(*STRIP, area).ljust(400, b"\0") + bytes(range(256)) * 50
    (image,) = read_tiff(content).images
    short = first_rows(content, image, 10)
    (fewer,) = read_tiff(short).images
    assert (fewer.width, fewer.height, fewer.end) == (64, 10, len(short))
    assert short[400:] == content[400 : 400 + 1280]
    place = image.heights[2][0]
    assert struct.unpack_from("<I", short, place) == (10,)


# ---- hostile bytes


@pytest.mark.parametrize(
    "content", [b"", b"I", b"II*\0", b"II*\0\x08\0\0\0", b"FUJIFILMCCD-RAW 0201", b"HEAPCCDR" * 9]
)
def test_other_files_give_an_empty_result(content: bytes) -> None:
    assert read_tiff(content) == TiffInfo()


def test_directories_that_point_at_each_other_end() -> None:
    header = b"II" + struct.pack("<HI", 42, 8)
    loop = directory("<", 8, [(330, LONG, [8, 8, 8]), (34665, LONG, [8]), *CAMERA], following=8)
    assert read_tiff(header + loop).make == "SONY"


def test_no_more_directories_are_read_than_a_camera_could_mean() -> None:
    header, size = b"II" + struct.pack("<HI", 42, 8), 6 * 12 + 6
    chain = b"".join(
        directory("<", 8 + k * size, STRIP, following=8 + (k + 1) * size) for k in range(1000)
    )
    assert len(read_tiff(header + chain).images) == MAX_IFDS


def test_absurd_counts_cost_no_time() -> None:
    header = b"II" + struct.pack("<HI", 42, 8)
    entry = struct.pack("<HHII", 273, LONG, 0xFFFFFFFF, 8)
    many = struct.pack("<HHII", 279, 1, 3_900_000, 8)  # fits into the file, again and again
    content = header + b"\xff\xff" + (entry + many) * 30_000 + bytes(4_000_000)
    start = time.perf_counter()
    read_tiff(content)
    assert time.perf_counter() - start < 1


def test_a_file_cut_anywhere_still_gives_a_result() -> None:
    content = tiff(*CAMERA, *STRIP, exif=EXIF)
    full = read_tiff(content)
    cuts = [read_tiff(content[:n]) for n in range(len(content))]
    assert all(cut.make in ("", "SONY") for cut in cuts)
    assert full not in cuts[:-1]  # each value counts


def test_directories_before_the_file_are_not_followed() -> None:
    assert read_tiff(tiff(*CAMERA, (330, SLONG, [-103, -1]))).make == "SONY"


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_damage_gives_a_result(data: st.DataObject) -> None:
    content = bytearray(tiff(*CAMERA, *STRIP, (330, LONG, [8, 60]), exif=EXIF))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(4, len(content) - 1))] = data.draw(st.integers(0, 255))
    info = read_tiff(bytes(content))
    assert info.exposure_s is None or info.exposure_s > 0
    assert all(image.end >= 0 for image in info.images)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_give_a_result(content: bytes) -> None:
    read_tiff(b"II*\0\x08\0\0\0" + content)
    read_tiff(b"MM\0*\0\0\0\x08" + content)


# ---- real files


@pytest.mark.parametrize(
    ("name", "camera", "iso", "exposure_s", "time_s"),
    [
        ("good/gopro_hero7.dng", "GoPro HERO7 Black", 252, 0.001736, 1537950327),
        ("sony/slt_a55v_dark_0.ARW", "SONY SLT-A55V", 6400, 1 / 30, 1508673260),
        ("bad/truncated_d1.nef", "NIKON CORPORATION NIKON D1", None, 0.004, 974638910.24),
    ],
)
def test_real_headers(
    name: str, camera: str, iso: float | None, exposure_s: float, time_s: float
) -> None:
    info = read_tiff(samples(f"raw/{name}").read_bytes())
    assert f"{info.make} {info.model}" == camera
    assert info.iso == iso
    assert info.exposure_s == pytest.approx(exposure_s, rel=1e-3)
    assert info.time_s == pytest.approx(time_s, abs=1e-3)


def test_a_real_noise_profile() -> None:
    info = read_tiff(samples("raw/good/gopro_hero6.dng").read_bytes())
    assert info.is_dng and info.noise_profile == pytest.approx((1.562e-4, 4.88e-8), rel=1e-3)


@pytest.mark.parametrize("name", ["good/canon.CRW", "bad/truncated.raf"])
def test_real_files_that_are_no_tiff(name: str) -> None:
    assert read_tiff(samples(f"raw/{name}").read_bytes()) == TiffInfo()
