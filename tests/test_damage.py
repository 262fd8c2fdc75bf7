"""Damage that LibRaw decodes without a word is noticed, and real pictures never are."""

import numpy as np
import pytest
import rawpy
from conftest import samples
from numpy.typing import NDArray

from batman_cli.damage import constant_rows, contradicts_levels, damaged_arw2
from batman_cli.simulate.arw import arw2_encode
from batman_cli.tiff import TiffImage

BLACK, WHITE = (800.0,) * 4, 16300.0


def scene(height: int = 600, width: int = 800, *, seed: int = 0) -> NDArray[np.uint16]:
    """A picture that goes from dark at the top to overexposed at the bottom, with noise."""
    rng = np.random.default_rng(seed)
    level = np.linspace(800, 20000, height)[:, None] + rng.normal(0, 20, (height, width))
    return np.clip(level, 0, 16383).astype(np.uint16)


def arw2_image(width: int, height: int, *, size: int | None = None) -> TiffImage:
    total = width * height if size is None else size
    return TiffImage(width, height, 8, 32767, False, (0,), (total,))


def test_lossy_blocks_of_a_camera_are_sound() -> None:
    for seed in range(5):
        mosaic = scene(seed=seed)
        assert damaged_arw2(arw2_encode(mosaic), [arw2_image(800, 600)]) is None


def test_random_bytes_are_damaged_lossy_blocks() -> None:
    content = bytearray(arw2_encode(scene()))
    content[40_000:44_000] = np.random.default_rng(1).bytes(4000)
    why = damaged_arw2(bytes(content), [arw2_image(800, 600)])
    assert why is not None and "the first in row 5" in why


def test_the_row_counts_over_several_strips() -> None:
    content = bytearray(arw2_encode(scene()))
    content[500 * 800 : 501 * 800] = bytes(800)
    strips = TiffImage(800, 600, 8, 32767, False, (0, 240_000), (240_000, 240_000))
    assert damaged_arw2(bytes(content), [strips]) == (
        "damaged pixel data: 50 of 30000 compressed blocks, the first in row 500"
    )


@pytest.mark.parametrize(
    "image",
    [
        arw2_image(800, 600, size=800 * 600 + 16),  # the older coding under the same number
        arw2_image(800, 600, size=800 * 600 // 2),
        TiffImage(800, 600, 14, 1, False, (0,), (480_000,)),
        TiffImage(800, 600, 8, 32767, False, (200_000,), (480_000,)),  # beyond the end
        TiffImage(800, 600, 8, 32767, False, (0xFFFFFFFF,), (480_000,)),
        TiffImage(0, 0, 8, 32767, False, (700_000,), (0,)),
    ],
)
def test_other_codings_are_not_judged_as_lossy_blocks(image: TiffImage) -> None:
    assert damaged_arw2(bytes(600_000), [image]) is None


def test_lost_rows_are_found() -> None:
    for first, count, value in ((100, 3, 0), (300, 200, 5), (0, 100, 800), (450, 150, 65535)):
        data = scene()
        data[first : first + count] = value
        why = constant_rows(data, BLACK, WHITE)
        assert why is not None and f"to {first + count - 1} hold nothing but {value}" in why


def test_rows_lost_to_a_decoder_are_found() -> None:
    with samples("raw/bad/mostly_zero.rw2").open("rb") as file, rawpy.imread(file) as raw:
        assert constant_rows(raw.raw_image_visible.copy(), (15.0,) * 4, 4095.0) is not None


def test_overexposed_rows_are_no_damage() -> None:
    data = scene()
    data[-300:] = 16383
    data[200:260] = 16000  # a lamp across the picture, cut sharply
    assert constant_rows(data, BLACK, WHITE) is None


def test_rows_cut_off_at_black_are_no_damage() -> None:
    rng = np.random.default_rng(0)
    level = np.concatenate([np.full(200, -150), np.linspace(-150, 2000, 400)])
    data = np.clip(level[:, None] + rng.normal(0, 15, (600, 800)), 0, None).astype(np.uint16)
    assert (data[:200] == 0).all()
    assert constant_rows(data, (0.0,) * 4, WHITE) is None


def test_dark_rows_of_a_camera_with_a_low_black_level_are_no_damage() -> None:
    noise = np.random.default_rng(0).normal(15, 30, (600, 800))
    data = np.clip(noise, 0, None).astype(np.uint16)  # a third of the pixels is 0
    assert constant_rows(data, (15.0,) * 4, 4095.0) is None
    assert contradicts_levels(data, (15.0,) * 4, 4095.0, []) is None


def test_zeros_with_stray_pixels_are_found() -> None:
    data = scene()
    data[200:230] = 0
    data[200:230, ::50] = 77
    why = constant_rows(data, BLACK, WHITE)
    assert why == "damaged pixel data: rows 200 to 229 hold nothing but 0"


def test_padding_at_an_edge_is_no_damage() -> None:
    data = scene()
    data[:32] = 0
    data[-30:] = 4095
    assert constant_rows(data, BLACK, WHITE) is None


def test_a_single_dead_row_is_no_damage() -> None:
    data = scene()
    data[300] = 0
    assert constant_rows(data, BLACK, WHITE) is None


def test_sound_levels_are_not_contradicted() -> None:
    dark = np.random.default_rng(0).normal(801, 3, (300, 400)).astype(np.uint16)
    for data in (scene(), dark):
        assert contradicts_levels(data, BLACK, WHITE, []) is None


def test_levels_are_contradicted_by_pixels() -> None:
    assert "most pixels are below" in str(
        contradicts_levels(scene() // 8, (9000.0,) * 4, WHITE, [])
    )
    assert "white is 4095" in str(contradicts_levels(scene(), BLACK, 4095.0, []))
    image = TiffImage(800, 600, 14, 1, False, (0,), (1,))
    assert "14 bits" in str(contradicts_levels(scene(), (0.0,) * 4, 65535.0, [image]))
    table = TiffImage(800, 600, 14, 1, True, (0,), (1,))
    assert contradicts_levels(scene(), (0.0,) * 4, 65535.0, [table]) is None
