"""Raw files become checked mosaics: equal to LibRaw's own development, or refused with a reason."""

import datetime
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rawpy
from conftest import samples
from numpy.typing import NDArray

from batman_cli.errors import BadShot
from batman_cli.raw import RAW_SUFFIXES, Mosaic, read_info, read_mosaic
from batman_cli.simulate.arw import write_arw
from batman_cli.simulate.dng import write_dng
from batman_cli.simulate.tiff_writer import Exposure, Kind, Tag, picture_tags, tiff_bytes

GOOD = ("gopro_hero6.dng", "gopro_hero7.dng", "canon.CRW", "canon_x4_colorchart.dng")
DARK = tuple(f"sony/slt_a55v_dark_{n}.ARW" for n in range(4))
ACCEPTED = (*(f"good/{name}" for name in (*GOOD, "kodak_dc50.KDC")), *DARK)
REFUSED = {
    "bad/all_zero_bayer.dng": "22 bytes cannot hold its 3516 x 2328 pixels",
    "bad/damaged_d70s.nef": "ends before its picture does, or its header is damaged",
    "bad/iphone_proraw_zero_pixels.dng": "end at byte 29195592, the file at byte 64104",
    "bad/linear_not_bayer.dng": "not a Bayer mosaic but full colours",
    "bad/linear_not_bayer_2.dng": "not a Bayer mosaic but full colours",
    "bad/mostly_zero.rw2": "truncated: its pixel data end at byte 20511792",
    "bad/stub.arw": "not a raw file that LibRaw knows",
    "bad/truncated.raf": "ends before its picture does",
    "bad/truncated_a330.arw": "end at byte 9571748, the file at byte 102400",
    "bad/truncated_d1.nef": "end at byte 4055474, the file at byte 76800",
    "bad/truncated_s90.cr2": "end at byte 13287537, the file at byte 51200",
    "sony/slt_a55v_header_only.ARW": "end at byte 17474560, the file at byte 1293760",
}
EXPOSURE = Exposure(
    iso=6400,
    exposure_s=1 / 30,
    time=datetime.datetime(2024, 2, 3, 4, 5, 6, 250000),
    white_balance=(2.0, 1.0, 1.5),
    shot_number=7,
)
XYZ_TO_CAMERA = ((0.7, -0.2, -0.05), (-0.4, 1.2, 0.2), (-0.05, 0.2, 0.6))
Write = Callable[[Path, NDArray[np.uint16]], None]


def dark(height: int = 512, width: int = 768, *, seed: int = 0) -> NDArray[np.uint16]:
    noise = np.random.default_rng(seed).normal(812, 9, (height, width))
    return np.clip(noise, 0, 16383).astype(np.uint16)


def lossy(path: Path, mosaic: NDArray[np.uint16]) -> None:
    write_arw(path, mosaic, EXPOSURE, lossy=True)


def plain(path: Path, mosaic: NDArray[np.uint16]) -> None:
    write_arw(path, mosaic, EXPOSURE, lossy=False)


def dng(path: Path, mosaic: NDArray[np.uint16], *, pattern: str = "RGGB") -> None:
    levels = {"black": 800, "white": 16300}
    write_dng(
        path,
        mosaic,
        EXPOSURE,
        **levels,
        xyz_to_camera=XYZ_TO_CAMERA,
        make="Any",
        model="Any One",
        pattern=pattern,
        noise_profile=(2e-4, 3e-6),
    )


WRITERS = {"lossy.arw": lossy, "plain.arw": plain, "any.dng": dng}
writers = pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)


def tagged_dng(path: Path, mosaic: NDArray[np.uint16], *extra: Tag, pattern: str = "RGGB") -> None:
    """A DNG with chosen tags; those of the same number as usual ones take their place."""
    height, width = mosaic.shape
    usual = picture_tags(
        width=width,
        height=height,
        bits=16,
        compression=1,
        pattern=pattern,
        make="A",
        model="B",
        software="C",
    )
    usual += [
        Tag(50706, Kind.BYTE, [1, 4, 0, 0]),
        Tag(50714, Kind.LONG, [800]),
        Tag(50717, Kind.LONG, [16300]),
    ]
    taken = {tag.number for tag in extra}
    tags = [*(tag for tag in usual if tag.number not in taken), *extra]
    path.write_bytes(tiff_bytes(tags, [], mosaic.astype("<u2").tobytes()))


def test_isos_that_a_short_tag_cannot_hold_are_read_from_the_long_one(tmp_path: Path) -> None:
    """LibRaw takes the end of the short one for most makers' ISO."""
    for make in ("SONY", "PENTAX", "Panasonic", "Google"):
        path = tmp_path / f"{make}.dng"
        write_dng(
            path,
            np.full((64, 96), 900, np.uint16),
            replace(EXPOSURE, iso=102_400),
            black=800,
            white=16300,
            xyz_to_camera=[[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]],
            make=make,
            model="B",
        )
        assert read_info(path).iso == 102_400


def test_a_compression_that_libraw_cannot_decode_is_no_damage(tmp_path: Path) -> None:
    """JPEG XL, as in DNG 1.7; nothing is gained by copying such a file again."""
    path = tmp_path / "jxl.dng"
    tagged_dng(path, np.full((64, 96), 900, np.uint16), Tag(0x0103, Kind.SHORT, [52546]))
    with pytest.raises(BadShot, match="cannot decode the compression") as caught:
        read_info(path)
    assert "convert it" in (caught.value.fix or "")


def refusal(path: Path, read: Callable[[Path], object] = read_mosaic) -> str:
    """Why a file is refused; fails if it is not."""
    with pytest.raises(BadShot) as caught:
        read(path)
    assert caught.value.path == path and caught.value.what == path.name
    return caught.value.why


# ---- colour, levels, geometry


def developed(mosaic: Mosaic) -> NDArray[np.float64]:
    """The plainest development: 2x2 bin, white balance, matrix, curve; (H/2, W/2, 3) in 0..1."""
    data, info = mosaic.data.astype(np.float64), mosaic.info
    cells = data.reshape(info.height // 2, 2, info.width // 2, 2).transpose(0, 2, 1, 3)
    black = np.array(info.black).reshape(2, 2)
    level = (cells - black) / (info.white - black)
    red, green, blue = level[..., 0, 0], level[..., [0, 1], [1, 0]].mean(-1), level[..., 1, 1]
    camera = np.clip(np.stack([red, green, blue], axis=-1) * info.white_balance, 0, 1)
    linear = np.clip(camera @ np.array(info.color_matrix).T, 0, 1)
    return np.where(linear < 0.018, 4.5 * linear, 1.099 * linear**0.45 - 0.099)


@pytest.mark.parametrize("name", [*(f"good/{name}" for name in GOOD), DARK[0]])
def test_a_plain_development_equals_that_of_rawpy(name: str) -> None:
    path = samples(f"raw/{name}")
    mosaic = read_mosaic(path)
    with path.open("rb") as file, rawpy.imread(file) as raw:
        reference = raw.postprocess(
            half_size=True,
            # The CRW states no white balance: there rawpy would guess one from the picture.
            use_camera_wb=not name.endswith("CRW"),
            no_auto_bright=True,
            adjust_maximum_thr=0.0,
            output_bps=16,
            user_flip=0,
        )
    error = developed(mosaic) - reference / 65535
    assert -10 * np.log10(np.mean(error**2)) > 60


@pytest.mark.parametrize("pattern", ["RGGB", "GRBG", "GBRG", "BGGR"])
def test_every_cfa_phase_starts_on_red_with_black_per_position(
    tmp_path: Path, pattern: str
) -> None:
    height, width = 100, 120
    # Four blacks by position in the file, 2 green ones apart; the pixels tell where they came from.
    cell = np.array([[{"R": 100, "B": 400, "G": 200 + 100 * row}[pattern[2 * row + column]]
                      for column in (0, 1)] for row in (0, 1)])  # fmt: skip
    mosaic = np.tile(cell, (height // 2, width // 2)) + np.arange(height)[:, None] % 8 * 1000
    mosaic = (mosaic + np.arange(width) % 8 * 8).astype(np.uint16)
    tagged_dng(
        tmp_path / "a.dng",
        mosaic,
        Tag(50713, Kind.SHORT, [2, 2]),
        Tag(50714, Kind.LONG, cell.ravel().tolist()),
        pattern=pattern,
    )
    result = read_mosaic(tmp_path / "a.dng")
    down, right = divmod(pattern.index("R"), 2)
    expected = mosaic[down:, right:][: height - 2 * down or None, : width - 2 * right or None]
    assert result.info.pattern == pattern
    assert np.array_equal(result.data, expected[: result.info.height, : result.info.width])
    assert result.data.shape == (height - 2 * down, width - 2 * right)
    first_green = 200 + 100 * down  # the one in the row of the red
    assert result.info.black == (100, first_green, 500 - first_green, 400)


def test_margins_are_cut_and_shift_the_phase(tmp_path: Path) -> None:
    mosaic = dark(120, 140)
    area = Tag(50829, Kind.LONG, [7, 5, 117, 138])  # odd: the visible phase differs from the raw's
    tagged_dng(tmp_path / "a.dng", mosaic, area)
    result = read_mosaic(tmp_path / "a.dng")
    # The phase is stated for the visible area, so rows 7, 9, ... and columns 5, 7, ... are red.
    # LibRaw keeps margins even; what it shows starts at row 8, column 6, on blue.
    assert result.info.pattern == "BGGR"
    assert np.array_equal(result.data, mosaic[9:117, 7:137])


def test_padding_beyond_the_crop_is_cut_and_a_narrow_border_kept(tmp_path: Path) -> None:
    mosaic = dark(400, 500)
    for size, expected in (([420, 390], mosaic[2:392, 4:422]), ([460, 390], mosaic)):
        crop = [Tag(50719, Kind.LONG, [3, 2]), Tag(50720, Kind.LONG, size)]
        tagged_dng(tmp_path / "a.dng", mosaic, *crop)
        assert np.array_equal(read_mosaic(tmp_path / "a.dng").data, expected)


@pytest.mark.parametrize(
    ("exif", "turn"), [(1, 0), (2, 0), (3, 3), (4, 3), (5, 5), (6, 6), (7, 6), (8, 5)]
)
def test_orientation_is_a_rotation(tmp_path: Path, exif: int, turn: int) -> None:
    tagged_dng(tmp_path / "a.dng", dark(100, 120), Tag(274, Kind.SHORT, [exif]))
    assert read_info(tmp_path / "a.dng").orientation == turn


def test_the_facts_of_a_shot_come_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "a.dng"
    dng(path, dark())
    info = read_info(path)
    assert (info.camera, info.iso, info.width, info.height) == ("Any One", 6400, 768, 512)
    assert info.exposure_s == pytest.approx(1 / 30) and info.noise_profile == (2e-4, 3e-6)
    assert info.time_s == 1706933106.25 and info.has_subsecond
    assert info.black == (800,) * 4 and info.white == 16300
    assert info.white_balance == pytest.approx((2.0, 1.0, 1.5))
    assert np.sum(info.color_matrix, axis=1) == pytest.approx([1, 1, 1])
    assert (info.size_bytes, info.mtime_ns) == (path.stat().st_size, path.stat().st_mtime_ns)


def test_unknown_exposure_iso_and_time_are_none(tmp_path: Path) -> None:
    tagged_dng(tmp_path / "a.dng", dark(100, 120))
    info = read_info(tmp_path / "a.dng")
    assert info.iso is None and info.exposure_s is None
    assert info.time_s is None and not info.has_subsecond


def test_a_shot_without_white_balance_takes_daylight_and_says_so() -> None:
    info = read_info(samples("raw/good/canon.CRW"))
    assert info.white_balance == pytest.approx((2.102, 1, 1.057), abs=1e-3)
    assert "daylight" in info.color_source


# ---- what is accepted


@pytest.mark.parametrize("name", ACCEPTED)
def test_real_shots_are_accepted(name: str) -> None:
    path = samples(f"raw/{name}")
    mosaic = read_mosaic(path)
    assert mosaic.data.dtype == np.uint16
    assert mosaic.data.shape == (mosaic.info.height, mosaic.info.width)
    assert mosaic.info.height % 2 == mosaic.info.width % 2 == 0
    assert mosaic.data.flags.owndata  # no view of memory that LibRaw frees
    assert path.suffix.lower() in RAW_SUFFIXES


@pytest.mark.parametrize("name", ACCEPTED)
def test_the_header_of_a_real_shot_says_what_its_decoding_says(name: str) -> None:
    path = samples(f"raw/{name}")
    assert read_info(path) == read_mosaic(path).info


@writers
@pytest.mark.parametrize("size", [(22, 22), (64, 64), (66, 96), (600, 1000)])
def test_the_header_says_what_the_decoding_says(
    tmp_path: Path, write: Write, size: tuple[int, int]
) -> None:
    write(tmp_path / "a", dark(*size))
    mosaic = read_mosaic(tmp_path / "a")
    assert read_info(tmp_path / "a") == mosaic.info
    assert mosaic.data.shape == size


@writers
def test_a_header_is_read_without_the_pixels(tmp_path: Path, write: Write) -> None:
    path = tmp_path / "a"
    write(path, dark(2000, 3000))
    info = read_info(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    path.write_bytes(content)
    assert replace(read_info(path), mtime_ns=0) == replace(info, mtime_ns=0)


@writers
def test_dark_frames_are_never_taken_for_damaged(tmp_path: Path, write: Write) -> None:
    for seed in range(12):
        level, noise = 790 + 3 * seed, 0.6 + 2 * (seed % 4)
        rng = np.random.default_rng(seed)
        mosaic = np.clip(rng.normal(level, noise, (300, 400)), 0, 16383).astype(np.uint16)
        mosaic[rng.random(mosaic.shape) < 1e-3] = 16383  # hot pixels
        write(tmp_path / "a", mosaic)
        read_mosaic(tmp_path / "a")


# ---- what is refused


@pytest.mark.parametrize("name", REFUSED)
def test_bad_files_are_refused_with_their_reason(name: str) -> None:
    path = samples(f"raw/{name}")
    assert REFUSED[name] in refusal(path, read_info)
    assert REFUSED[name] in refusal(path, read_mosaic)


@writers
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, write: Write) -> None:
    path = tmp_path / "a"
    write(path, dark())
    content = path.read_bytes()
    for part in (*np.linspace(0.0005, 0.99, 18), 1):
        path.write_bytes(content[: int(part * len(content)) - (part == 1)])
        assert refusal(path) and refusal(path, read_info)
    assert f"end at byte {len(content)}, the file at byte {len(content) - 1}" in refusal(path)


@pytest.mark.parametrize("at", [0.0, 0.25, 0.5, 0.777, 1.0])
@pytest.mark.parametrize("size", [512, 65536])
def test_zeros_in_a_lossy_file_are_found_with_their_row(
    tmp_path: Path, at: float, size: int
) -> None:
    path = tmp_path / "a.arw"
    lossy(path, dark())
    content = bytearray(path.read_bytes())
    strip = len(content) - 512 * 768
    start = strip + int(at * (512 * 768 - size))
    content[start : start + size] = bytes(size)
    path.write_bytes(content)
    row = -(-(start - strip) // 16) * 16 // 768
    assert f"the first in row {row}" in refusal(path)


@pytest.mark.parametrize("write", [plain, dng])
@pytest.mark.parametrize("at", [0.2, 0.51, 0.8])
def test_zeros_in_an_uncompressed_file_are_found(tmp_path: Path, write: Write, at: float) -> None:
    path = tmp_path / "a"
    write(path, dark(600, 5000))  # 65536 bytes hold six rows
    content = bytearray(path.read_bytes())
    start = int(at * len(content))
    content[start : start + 65536] = bytes(65536)
    path.write_bytes(content)
    assert "hold nothing but 0" in refusal(path)


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ([Tag(50714, Kind.LONG, [20000])], "white level 16300 is not above black 20000"),
        ([Tag(50714, Kind.LONG, [16000])], "black is 16000, most pixels are below"),
        ([Tag(50718, Kind.RATIONAL, [2, 1])], "pixels are not square"),
        ([Tag(33422, Kind.BYTE, [1, 1, 1, 1])], "not a Bayer mosaic"),
        ([Tag(33422, Kind.BYTE, [0, 2, 2, 0])], ""),
        ([Tag(33422, Kind.BYTE, [0, 1, 2, 1])], "not a Bayer mosaic"),
        ([Tag(33421, Kind.SHORT, [6, 6]), Tag(33422, Kind.BYTE, [1, 0, 2] * 12)], "not a Bayer"),
        ([Tag(262, Kind.SHORT, [34892])], "not a Bayer mosaic"),
        ([Tag(256, Kind.LONG, [60000]), Tag(257, Kind.LONG, [60000])], ""),
        ([Tag(259, Kind.SHORT, [12345])], ""),
    ],
)
def test_absurd_headers_are_refused(tmp_path: Path, tags: Sequence[Tag], reason: str) -> None:
    tagged_dng(tmp_path / "a.dng", dark(200, 240), *tags)
    assert reason in refusal(tmp_path / "a.dng")


def test_constant_pixels_are_refused(tmp_path: Path) -> None:
    dng(tmp_path / "a.dng", np.full((100, 120), 800, np.uint16))
    assert refusal(tmp_path / "a.dng") == "every pixel is 800"


def test_what_is_no_file_is_refused_without_opening_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.arw")  # opening it would wait for ever
    (tmp_path / "folder.arw").mkdir()
    (tmp_path / "empty.arw").touch()
    (tmp_path / "loop.arw").symlink_to(tmp_path / "loop.arw")
    (tmp_path / "text.arw").write_text("Not a raw file. " * 99)
    (tmp_path / "zeros.arw").write_bytes(bytes(99_999))
    reasons = {
        "fifo.arw": "not a regular file",
        "folder.arw": "not a regular file",
        "/dev/zero": "not a regular file",
        "empty.arw": "the file is empty",
        "none.arw": "no such file",
        "loop.arw": "cannot be read (",
        "text.arw": "not a raw file that LibRaw knows",
        "zeros.arw": "starts with nothing but zeros",
        "a\0b.arw": "cannot be read (",
    }
    for name, reason in reasons.items():
        assert reason in refusal(tmp_path / name)
        assert reason in refusal(tmp_path / name, read_info)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind here")
def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    lossy(tmp_path / "a.arw", dark(64, 64))
    (tmp_path / "a.arw").chmod(0)
    assert refusal(tmp_path / "a.arw") == "permission denied"


@pytest.mark.parametrize("name", [b"\xff\xfe.arw", b"-dash.arw", b"a:b'\"\n c.arw"])
def test_any_file_name_works(tmp_path: Path, name: bytes) -> None:
    path = Path(os.fsdecode(bytes(tmp_path) + b"/" + name))
    lossy(path, dark(64, 64))
    assert read_mosaic(path).info == read_info(path)


@writers
def test_mutants_are_read_or_refused_and_nothing_else(tmp_path: Path, write: Write) -> None:
    path, rng = tmp_path / "a", np.random.default_rng(20)
    write(path, dark(200, 256))
    content = path.read_bytes()
    refused = 0
    for k in range(100):
        mutant = bytearray(content)
        end = 1200 if k % 2 else len(content)  # headers are small, so hit them often
        for at in rng.integers(0, end, 1 + k % 7).tolist():
            size = int(rng.choice([1, 1, 2, 4, 64]))
            fill = rng.choice([b"\0", b"\xff", b"\x80"]) if k % 3 else rng.bytes(1)
            mutant[at : at + size] = bytes(fill) * min(size, len(mutant) - at)
        path.write_bytes(mutant)
        for read in (read_info, read_mosaic):
            try:
                read(path)
            except BadShot as error:
                assert error.why
                refused += 1
    assert refused  # the mutants are damaged enough to tell


# ---- quiet, and in many threads


def test_what_libraw_prints_stays_off_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("truncated.raf", "truncated_a330.arw", "damaged_d70s.nef"):
        refusal(samples(f"raw/bad/{name}"))
    sys.stderr.write("still here\n")
    sys.stderr.flush()
    assert capfd.readouterr().err == "still here\n"


def test_what_others_print_meanwhile_arrives(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    lossy(tmp_path / "a.arw", dark(1000, 1536))
    done = threading.Event()

    def chatter() -> None:
        for number in range(200):
            os.write(2, f"line {number}\n".encode())
            done.wait(0.001)

    thread = threading.Thread(target=chatter)
    thread.start()
    while thread.is_alive():
        read_mosaic(tmp_path / "a.arw")
    lines = capfd.readouterr().err.splitlines()
    assert sorted(lines) == sorted(f"line {number}" for number in range(200))


def test_threads_read_the_same_as_one(tmp_path: Path) -> None:
    paths = [tmp_path / f"{seed}.arw" for seed in range(8)]
    for seed, path in enumerate(paths):
        lossy(path, dark(seed=seed))
    before = os.fstat(2)
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(read_mosaic, paths * 3))
    alone = [read_mosaic(path) for path in paths] * 3
    assert all(np.array_equal(a.data, b.data) for a, b in zip(together, alone, strict=True))
    assert (before.st_dev, before.st_ino) == (os.fstat(2).st_dev, os.fstat(2).st_ino)


def test_no_file_stays_open(tmp_path: Path) -> None:
    lossy(tmp_path / "a.arw", dark(64, 64))
    listing = Path("/proc/self/fd")
    count = len(list(listing.iterdir())) if listing.exists() else 0
    for _ in range(20):
        read_mosaic(tmp_path / "a.arw")
        refusal(tmp_path / "none.arw")
    assert not count or len(list(listing.iterdir())) == count
