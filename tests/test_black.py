"""Black levels of DNGs: with fractions, at their places, and the same in header and decoding."""

from pathlib import Path

import numpy as np
import pytest
from test_raw import dark, tagged_dng

from batman_cli.black import BlackLevels
from batman_cli.pack import pack
from batman_cli.raw import read_info, read_mosaic
from batman_cli.simulate.tiff_writer import Kind, Tag

FULL = Tag(50829, Kind.LONG, [0, 0, 200, 240])
ODD = Tag(50829, Kind.LONG, [7, 5, 197, 238])
WHITE_10_BITS = Tag(50717, Kind.LONG, [1023])


def repeat(rows: int, columns: int) -> Tag:
    return Tag(50713, Kind.SHORT, [rows, columns])


def black_of(path: Path, *tags: Tag, pattern: str = "RGGB") -> tuple[float, ...]:
    """Black of a DNG with these tags, which header and decoding agree on."""
    tagged_dng(path, dark(200, 240), *tags, pattern=pattern)
    info = read_info(path)
    assert info == read_mosaic(path).info
    return info.black


def test_fractions_of_black_are_kept(tmp_path: Path) -> None:
    levels = [64.9, 64.7, 64.7, 64.8]
    tags = (repeat(2, 2), Tag(50714, Kind.RATIONAL, levels), WHITE_10_BITS)
    assert black_of(tmp_path / "a.dng", *tags) == pytest.approx(levels)
    one = Tag(50714, Kind.RATIONAL, [64.9])
    assert black_of(tmp_path / "a.dng", one, WHITE_10_BITS) == pytest.approx([64.9] * 4)


def test_the_dark_of_a_phone_is_neither_lifted_nor_tinted_at_ratio_100(tmp_path: Path) -> None:
    cell = np.array([[64.9, 64.7], [64.7, 64.8]])
    noise = np.random.default_rng(1).normal(np.tile(cell, (300, 300)), 2)
    tags = (repeat(2, 2), Tag(50714, Kind.RATIONAL, cell.ravel().tolist()), WHITE_10_BITS)
    tagged_dng(tmp_path / "a.dng", np.rint(noise).astype(np.uint16), *tags)
    shot = read_mosaic(tmp_path / "a.dng")
    planes = pack(shot.data, shot.info.black, shot.info.white)
    assert np.abs(100 * planes.mean((1, 2))).max() < 0.003


@pytest.mark.parametrize("kind", [Kind.SHORT, Kind.LONG, Kind.RATIONAL])
def test_a_longer_repetition_is_averaged_over_each_colour(tmp_path: Path, kind: Kind) -> None:
    four = Tag(50714, kind, [800 + i for i in range(16)])  # rows of four
    assert black_of(tmp_path / "a.dng", repeat(4, 4), four) == (805, 806, 809, 810)
    two = Tag(50714, kind, [800 + i for i in range(8)])  # rows of two
    assert black_of(tmp_path / "a.dng", repeat(4, 2), two) == (802, 803, 804, 805)
    three = Tag(50714, kind, [800, 801, 805])  # every row meets every colour
    assert black_of(tmp_path / "a.dng", repeat(3, 1), three) == (802,) * 4


@pytest.mark.parametrize("pattern", ["RGGB", "GRBG", "GBRG", "BGGR"])
@pytest.mark.parametrize("area", [FULL, ODD])
def test_each_colour_has_its_own_black_at_any_origin(
    tmp_path: Path, pattern: str, area: Tag
) -> None:
    of = {"R": 800, "B": 830}
    greens = iter((810, 820))
    levels = [of[colour] if colour in of else next(greens) for colour in pattern]
    tags = (repeat(2, 2), Tag(50714, Kind.LONG, levels), area)
    red, green, other_green, blue = black_of(tmp_path / "a.dng", *tags, pattern=pattern)
    assert (red, blue) == (800, 830)
    in_red_rows = 810 if pattern in ("RGGB", "GRBG") else 820  # the greens in order of rows
    assert (green, other_green) == (in_red_rows, 1630 - in_red_rows)


def test_where_black_is_not_all_that_is_stated_the_decoder_tells_it(tmp_path: Path) -> None:
    black = Tag(50714, Kind.RATIONAL, [800.5])
    for delta, count in ((50715, 240), (50716, 200)):  # for each column, for each row
        more = Tag(delta, Kind.RATIONAL, [3] * count)
        assert black_of(tmp_path / "a.dng", black, more) == (803,) * 4
    for tags in ((repeat(2, 2), black), (repeat(0, 0), black)):  # too few for their rectangle
        tagged_dng(tmp_path / "a.dng", dark(200, 240), *tags)
        assert all(level.is_integer() for level in read_info(tmp_path / "a.dng").black)


def test_levels_far_from_those_decoded_are_not_used() -> None:
    stated = BlackLevels((0.25, 0.5, 0.5, 0.75), 2, 2)  # of floating-point samples, say
    assert stated.at(0, 0, decoded=(1000, 2000, 2000, 3000)) == (1000, 2000, 2000, 3000)
    assert stated.at(0, 0, decoded=(0, 0, 0, 0)) == (0.25, 0.5, 0.5, 0.75)
    assert stated.at(1, 0, decoded=(0, 0, 0, 0)) == (0.5, 0.75, 0.25, 0.5)


def test_black_of_masked_pixels_is_that_of_all_their_rows(tmp_path: Path) -> None:
    mosaic = dark(200, 240)
    mosaic[:, :16] = 800 + np.arange(200)[:, None] // 2  # the mask drifts from top to bottom
    area = Tag(50829, Kind.LONG, [0, 16, 200, 240])
    mask = Tag(50830, Kind.LONG, [0, 0, 200, 14])
    for more in ((), (repeat(2, 2), Tag(50714, Kind.RATIONAL, [800.5] * 4))):
        tagged_dng(tmp_path / "a.dng", mosaic, area, mask, *more)
        info = read_info(tmp_path / "a.dng")
        assert info == read_mosaic(tmp_path / "a.dng").info
        assert info.black == pytest.approx([849.5] * 4, abs=1)
