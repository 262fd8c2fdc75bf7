"""The ARW and DNG files of `batman simulate`, judged by LibRaw and, for their tags, by Pillow."""

import datetime
import struct
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import rawpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from batman_cli.simulate.arw import arw2_encode, arw2_quantise, write_arw
from batman_cli.simulate.dng import PATTERNS, write_dng
from batman_cli.simulate.tiff_writer import Exposure, Kind, Tag, tiff_bytes

EXPOSURE = Exposure(
    iso=6400,
    exposure_s=1 / 30,
    time=datetime.datetime(2024, 5, 6, 7, 8, 9, 123456),
    white_balance=(2.1, 1.0, 1.6),
    shot_number=42,
)
RX100M6 = [[0.7325, -0.2321, -0.0596], [-0.3494, 1.1674, 0.2055], [-0.0668, 0.1562, 0.5031]]
OTHER_CAMERA = ((0.9, -0.3, -0.1), (-0.5, 1.3, 0.2), (-0.1, 0.2, 0.6))
SRGB_TO_XYZ = [
    [0.412453, 0.357580, 0.180423],
    [0.212671, 0.715160, 0.072169],
    [0.019334, 0.119193, 0.950227],
]
# The tone curve 8000 10400 12900 14100, by its corners: slopes 1 2 4 8 16. A code is two entries.
CURVE_AT, CURVE_IS = [0, 2000, 2600, 3225, 3525, 4095], [0, 2000, 3200, 5700, 8100, 17220]
LEVELS = np.interp(2 * np.arange(2048), CURVE_AT, CURVE_IS).round().astype(int)


def uint16(values):
    return np.asarray(values).clip(0, 16383).astype(np.uint16)


def noise(largest, height=64, width=96, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, largest + 1, (height, width)).astype(np.uint16)


def dark_shot(height=512, width=768):
    rng = np.random.default_rng(1)
    return uint16(800 + rng.poisson(8, (height, width)) * 6.1 + rng.normal(0, 7, (height, width)))


def one_bright_pixel_per_block():
    mosaic = np.full((32, 512), 800, np.uint16)
    for row in range(32):
        mosaic[row, row::32] = 16300
    return mosaic


def every_span():
    """One block pair per row, its codes spread evenly over a span that grows with the row."""
    spread = np.linspace(0, 1, 32)
    return uint16([LEVELS[(100 + span * spread).astype(int)] for span in range(0, 1920, 2)])


SCENES = {
    "dark shot": dark_shot(),
    "noise over the full range": noise(16383),
    "noise over the linear range": noise(2000),
    "gradient": uint16(np.linspace(0, 16383, 256 * 64).reshape(64, 256)),
    "columns": uint16(np.tile(np.linspace(0, 16383, 512), (32, 1))),
    "flat black": np.zeros((32, 64), np.uint16),
    "flat white": np.full((32, 64), 16383, np.uint16),
    "black and white columns": uint16(np.tile([0, 0, 16383, 16383], (32, 16))),
    "one bright pixel per block": one_bright_pixel_per_block(),
    "one dark pixel per block": 16300 - one_bright_pixel_per_block(),
    "every span": every_span(),
    "every value": np.arange(16384, dtype=np.uint16).repeat(2).reshape(64, 512),
}
scene = pytest.mark.parametrize("mosaic", SCENES.values(), ids=SCENES)


def read(path: Path) -> SimpleNamespace:
    """What rawpy makes of a file."""
    with path.open("rb") as file, rawpy.imread(file) as raw:
        assert raw.raw_pattern is not None
        letters = [chr(raw.color_desc[index]) for index in raw.raw_pattern.ravel()]
        return SimpleNamespace(
            mosaic=raw.raw_image_visible.copy(),
            pattern="".join(letters),
            black=raw.black_level_per_channel,
            white=raw.white_level,
            white_balance=np.array(raw.camera_whitebalance),
            xyz_to_camera=raw.rgb_xyz_matrix[:3],
            camera_to_srgb=raw.color_matrix[:, :3],
            other=raw.other,
            flip=raw.sizes.flip,
        )


def tags(path: Path) -> tuple[ImageFileDirectory_v2, ImageFileDirectory_v2]:
    """The image directory and the Exif directory as Pillow reads them."""
    with path.open("rb") as file:
        main = ImageFileDirectory_v2(file.read(8))
        file.seek(main.next)
        main.load(file)
        exif = ImageFileDirectory_v2(b"II*\0" + bytes(4))
        file.seek(main[0x8769])
        exif.load(file)
    return main, exif


def through_file(folder: Path, mosaic, *, lossy: bool):
    path = folder / "shot.ARW"
    write_arw(path, mosaic, EXPOSURE, lossy=lossy)
    return read(path).mosaic


def blocks(mosaic):
    """(rows, groups, 2, 16): columns of one parity in a group of 32."""
    rows = mosaic.reshape(mosaic.shape[0], -1, 16, 2)
    return rows.transpose(0, 1, 3, 2)


def code_fields(mosaic):
    """Largest, smallest, their places: the head of every coded block, (N,) each."""
    head = np.frombuffer(arw2_encode(mosaic), "<u4")[::4].astype(int)
    return head & 0x7FF, head >> 11 & 0x7FF, head >> 22 & 15, head >> 26 & 15


def small_mosaics(largest: int):
    """Any even sides; mostly one level and outliers, so that every kind of block turns up."""
    side = st.integers(11, 40).map(lambda half: 2 * half)
    value = st.integers(0, largest)
    return hnp.arrays(np.uint16, st.tuples(side, side), elements=value, fill=value)


# --- lossy ARW ---


@scene
def test_a_lossy_file_comes_back_within_one_code_step(tmp_path, mosaic):
    back = through_file(tmp_path, mosaic, lossy=True)

    # Largest and smallest of a block are exact, so the step of its shift can be told from outside.
    code = np.searchsorted(LEVELS, blocks(back))
    assert np.array_equal(LEVELS[code], blocks(back)), "only values of the curve come back"
    span = np.ptp(code, axis=-1, keepdims=True)
    step = 2 ** sum((span >= limit).astype(int) for limit in (128, 256, 512, 1024))
    error = blocks(mosaic).astype(int) - LEVELS[code]
    padded = np.append(LEVELS, LEVELS[-1] + 32 * np.arange(1, 17))
    assert (error < padded[code + step] - LEVELS[code]).all()
    assert (2 * error >= LEVELS[np.maximum(code - 1, 0)] - LEVELS[code]).all()


def test_a_dark_shot_comes_back_within_one_unit_and_without_bias(tmp_path):
    mosaic = SCENES["dark shot"]
    error = through_file(tmp_path, mosaic, lossy=True).astype(int) - mosaic
    assert abs(error).max() == 1
    assert abs(error.mean()) < 0.005


@scene
def test_quantise_equals_libraw_bit_for_bit(tmp_path, mosaic):
    assert np.array_equal(arw2_quantise(mosaic), through_file(tmp_path, mosaic, lossy=True))


@given(mosaic=small_mosaics(16383))
@settings(max_examples=60, deadline=None)
def test_quantise_equals_libraw_for_any_mosaic(tmp_path_factory, mosaic):
    folder = tmp_path_factory.getbasetemp()
    assert np.array_equal(arw2_quantise(mosaic), through_file(folder, mosaic, lossy=True))


@given(mosaic=small_mosaics(16383))
@settings(max_examples=60, deadline=None)
def test_coding_twice_changes_nothing_more(mosaic):
    once = arw2_quantise(mosaic)
    assert np.array_equal(arw2_quantise(once), once)


@scene
def test_largest_and_smallest_never_share_a_place(mosaic):
    largest, smallest, largest_at, smallest_at = code_fields(mosaic)
    assert (largest_at != smallest_at).all()
    assert (largest >= smallest).all()


@scene
def test_largest_and_smallest_stand_where_their_place_says(mosaic):
    largest, smallest, largest_at, smallest_at = code_fields(mosaic)
    decoded = blocks(arw2_quantise(mosaic)).reshape(-1, 16)
    each = np.arange(len(decoded))
    assert np.array_equal(decoded[each, largest_at], LEVELS[largest])
    assert np.array_equal(decoded[each, smallest_at], LEVELS[smallest])


def test_a_lossy_file_is_a_byte_per_pixel_and_ends_with_its_strip(tmp_path):
    path = tmp_path / "shot.ARW"
    write_arw(path, SCENES["dark shot"], EXPOSURE, lossy=True)
    main, _ = tags(path)
    assert (main[0x0103], main[0x0102], main[0x0117]) == (32767, (8,), (768 * 512,))
    assert main[0x0111][0] + main[0x0117][0] == path.stat().st_size < 768 * 512 + 1024


def test_a_768x512_frame_is_coded_in_a_tenth_of_a_second():
    mosaic, took = SCENES["dark shot"], []
    for _ in range(5):
        start = time.perf_counter()
        arw2_encode(mosaic)
        took.append(time.perf_counter() - start)
    assert min(took) < 0.1


# --- both kinds of ARW ---

both = pytest.mark.parametrize("lossy", [True, False], ids=["lossy", "uncompressed"])


@scene
def test_an_uncompressed_file_comes_back_exactly(tmp_path, mosaic):
    assert np.array_equal(through_file(tmp_path, mosaic, lossy=False), mosaic)


@both
@pytest.mark.parametrize(
    ("height", "width"),
    [(22, 22), (24, 34), (26, 100), (684, 1024)]
    # Stored widths that LibRaw cuts for whole sensors, and real sizes of the RX100 VI.
    + [(24, w) for w in (3984, 4288, 4600, 4928, 5472, 5496, 5504, 6048, 7392, 8000, 9568, 9600)],
)
def test_the_visible_area_is_what_was_written(tmp_path, lossy, height, width):
    mosaic = noise(16383, height, width)
    expected = arw2_quantise(mosaic) if lossy else mosaic
    assert np.array_equal(through_file(tmp_path, mosaic, lossy=lossy), expected)


@both
def test_an_arw_keeps_everything_the_camera_noted(tmp_path, lossy):
    path = tmp_path / "shot.ARW"
    write_arw(path, noise(16383), EXPOSURE, lossy=lossy)
    shot = read(path)
    assert (shot.pattern, shot.black, shot.white, shot.flip) == ("RGGB", [800] * 4, 16300, 0)
    assert shot.white_balance[[0, 2]] / shot.white_balance[1] == pytest.approx([2.1, 1.6], abs=5e-4)
    assert np.allclose(shot.xyz_to_camera, RX100M6, atol=1e-6)
    assert (shot.other.iso_speed, shot.other.shot_order) == (6400, 42)
    assert shot.other.shutter_speed == pytest.approx(1 / 30)
    assert shot.other.timestamp == EXPOSURE.time.replace(microsecond=0)
    main, exif = tags(path)
    assert (main[0x010F], main[0x0110]) == ("SONY", "DSC-RX100M6")
    assert (exif[0x9003], exif[0x9291]) == ("2024:05:06 07:08:09", "123456")


@pytest.mark.parametrize("iso", [50, 51200, 102400, 409600])
@pytest.mark.parametrize("exposure_s", [1 / 64000, 1 / 8000, 0.4, 30])
def test_an_arw_keeps_any_iso_and_exposure(tmp_path, iso, exposure_s):
    path = tmp_path / "shot.ARW"
    exposure = Exposure(iso, exposure_s, EXPOSURE.time, (1.7, 1.0, 3.1), 0)
    write_arw(path, noise(16383), exposure, lossy=True)
    other = read(path).other
    assert (other.iso_speed, other.shot_order) == (iso, 0)
    assert other.shutter_speed == pytest.approx(exposure_s)


@pytest.mark.parametrize(
    "mosaic",
    [
        np.zeros((24, 33), np.uint16),
        np.zeros((25, 32), np.uint16),
        np.zeros((20, 32), np.uint16),
        np.zeros((24, 32, 1), np.uint16),
        np.zeros((24, 32), np.float32),
        np.full((24, 32), 16384, np.uint16),
    ],
    ids=["odd width", "odd height", "too small", "three axes", "floats", "above 14 bits"],
)
@both
def test_a_mosaic_that_cannot_be_written_is_refused(tmp_path, mosaic, lossy):
    path = tmp_path / "shot.ARW"
    with pytest.raises(ValueError):
        write_arw(path, mosaic, EXPOSURE, lossy=lossy)
    assert not path.exists()


@pytest.mark.parametrize("white_balance", [(0.0, 1.0, 1.5), (40.0, 1.0, 1.5)])
def test_a_white_balance_no_file_can_hold_is_refused(tmp_path, white_balance):
    exposure = Exposure(100, 1.0, EXPOSURE.time, white_balance, 1)
    with pytest.raises(ValueError, match="white balance"):
        write_arw(tmp_path / "shot.ARW", noise(16383), exposure, lossy=False)


def test_the_bare_coding_names_its_rule_for_widths():
    with pytest.raises(ValueError, match="multiple of 32"):
        arw2_encode(np.zeros((24, 48), np.uint16))


# --- DNG ---


def to_dng(path: Path, mosaic, *, exposure=EXPOSURE, **changes):
    values: dict[str, Any] = {"black": 512, "white": 16383, "xyz_to_camera": OTHER_CAMERA}
    camera: dict[str, Any] = {"make": "Example", "model": "One"}
    write_dng(path, mosaic, exposure, **{**values, **camera, **changes})
    return read(path)


@given(mosaic=small_mosaics(65535), pattern=st.sampled_from(PATTERNS))
@settings(max_examples=60, deadline=None)
def test_a_dng_comes_back_exactly_in_every_pattern(tmp_path_factory, mosaic, pattern):
    shot = to_dng(tmp_path_factory.getbasetemp() / "shot.dng", mosaic, pattern=pattern)
    assert np.array_equal(shot.mosaic, mosaic)
    assert shot.pattern == pattern


@pytest.mark.parametrize(("black", "white"), [(0, 255), (64, 1023), (2047, 15892), (0, 65535)])
def test_a_dng_keeps_its_levels(tmp_path, black, white):
    shot = to_dng(tmp_path / "shot.dng", noise(65535), black=black, white=white)
    assert (shot.black, shot.white) == ([black] * 4, white)


@pytest.mark.parametrize(
    ("make", "model"),
    [("Example", "One"), ("Canon", "Canon EOS 70D"), ("NIKON CORPORATION", "NIKON D850")],
)
def test_a_dng_keeps_everything_the_camera_noted(tmp_path, make, model):
    path = tmp_path / "shot.dng"
    shot = to_dng(path, noise(65535), make=make, model=model, noise_profile=(1e-4, 3e-7))
    assert shot.white_balance[:3] == pytest.approx([2.1, 1.0, 1.6], abs=1e-5)
    assert (shot.other.iso_speed, shot.other.shot_order) == (6400, 42)
    assert shot.other.shutter_speed == pytest.approx(1 / 30)
    assert shot.other.timestamp == EXPOSURE.time.replace(microsecond=0)
    main, exif = tags(path)
    assert (main[0x010F], main[0x0110]) == (make, model)
    assert np.array_equal(main[0xC761], (1e-4, 3e-7))
    assert main[0xC65A] == 21  # the matrix is for D65
    assert exif[0x9291] == "123456"


@pytest.mark.parametrize("model", ["One", "Canon EOS 70D"])
def test_a_dng_carries_its_own_colour_even_for_a_known_camera(tmp_path, model):
    shot = to_dng(tmp_path / "shot.dng", noise(65535), make="Canon", model=model)
    from_srgb = np.array(OTHER_CAMERA) @ SRGB_TO_XYZ
    from_srgb /= from_srgb.sum(axis=1, keepdims=True)
    assert np.allclose(shot.camera_to_srgb, np.linalg.inv(from_srgb), atol=1e-4)


@pytest.mark.parametrize("width", [3984, 4288, 4928, 5504, 6048])
def test_a_dng_of_a_sony_keeps_the_widths_of_whole_sensors(tmp_path, width):
    mosaic = noise(16383, 24, width)
    shot = to_dng(tmp_path / "shot.dng", mosaic, make="SONY", model="DSC-RX100M6")
    assert np.array_equal(shot.mosaic, mosaic)


@pytest.mark.parametrize(
    "changes",
    [
        {"pattern": "RGBG"},
        {"black": 1023, "white": 1023},
        {"black": -1},
        {"white": 65536},
        {"xyz_to_camera": ((1.0, 0.0, 0.0),)},
        {"exposure": Exposure(100, 1.0, EXPOSURE.time, (0.0, 1.0, 1.0), 1)},
    ],
    ids=["pattern", "no range", "black", "white", "matrix", "white balance"],
)
def test_a_dng_that_makes_no_sense_is_refused(tmp_path, changes):
    path = tmp_path / "shot.dng"
    with pytest.raises(ValueError):
        to_dng(path, noise(65535), **changes)
    assert not path.exists()


# --- TIFF ---


def test_directories_are_sorted_and_long_values_start_on_even_bytes():
    main = [Tag(0x0110, Kind.ASCII, "even"), Tag(0x010F, Kind.ASCII, "odd length")]
    data = tiff_bytes(main, [Tag(0x9003, Kind.ASCII, "odd")], b"strip")
    count = struct.unpack_from("<H", data, 8)[0]
    entries = [struct.unpack_from("<HHII", data, 10 + 12 * index) for index in range(count)]
    assert [entry[0] for entry in entries] == [0x010F, 0x0110, 0x0111, 0x0117, 0x8769]
    assert all(value % 2 == 0 for number, _, _, value in entries if number != 0x0117)
    make, model, strip = entries[:3]
    assert data[make[3] :][: make[2]] == b"odd length\0"
    assert data[model[3] :][: model[2]] == b"even\0"
    assert data[strip[3] :] == b"strip"


def test_a_tag_refuses_a_value_it_cannot_hold():
    with pytest.raises(ValueError, match="0x0102"):
        tiff_bytes([Tag(0x0102, Kind.SHORT, [70000])], [], b"")


def test_the_writers_do_not_need_torch():
    code = "import sys, batman_cli.simulate.arw, batman_cli.simulate.dng; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "torch" not in loaded.stdout.split()
