"""White balance and colour matrix of a camera, whatever its file leaves out."""

import numpy as np
import pytest

from batman_cli.color import color_matrix, white_balance

SRGB_OF_CAMERA = np.array([[1.8, -0.7, -0.1, 0], [-0.2, 1.6, -0.4, 0], [0, -0.5, 1.5, 0]], "f4")
TABLE = np.array([[0.59, -0.15, -0.04], [-0.48, 1.23, 0.29], [-0.07, 0.15, 0.67], [0, 0, 0]], "f4")
NONE = np.zeros((3, 4), "f4"), np.zeros((4, 3), "f4")


@pytest.mark.parametrize(
    ("as_shot", "daylight", "expected", "remark"),
    [
        ([2500, 1024, 1600, 1024], [2, 1, 1, 0], (2.44140625, 1, 1.5625), ""),
        ([1.0, 0.4, 0.6, 0], [2, 1, 1, 0], (2.5, 1, 1.5), ""),
        ([0.5, 1, 2, 0], [2, 1, 1, 0], (1, 2, 4), ""),
        ([-1, 0.98, 1.01, 0], [3, 1.5, 1.5, 0], (2, 1, 1), "daylight"),
        ([0, 0, 0, 0], [2, 1, 1, 0], (2, 1, 1), "daylight"),
        ([float("nan"), 1, 1, 0], [2, 1, 1, 0], (2, 1, 1), "daylight"),
        ([1, float("nan"), 1, 0], [2, 1, 1, 0], (2, 1, 1), "daylight"),
        ([1, 1, float("nan"), 0], [2, 1, 1, 0], (2, 1, 1), "daylight"),
        ([1, 1, float("inf"), 0], [2, 1, 1, 0], (2, 1, 1), "daylight"),
        ([1e-9, 1, 1, 0], [0, 0, 0, 0], (1, 1, 1), "no white balance known"),
    ],
)
def test_white_balance_has_no_zero_and_says_where_it_comes_from(
    as_shot: list[float], daylight: list[float], expected: tuple[float, ...], remark: str
) -> None:
    balance, source = white_balance(as_shot, daylight)
    assert balance == pytest.approx(expected)
    assert remark in source and bool(remark) == bool(source)


def test_a_dng_brings_its_own_matrix() -> None:
    matrix, source = color_matrix(SRGB_OF_CAMERA, TABLE, is_dng=True)
    assert np.allclose(matrix, SRGB_OF_CAMERA[:, :3]) and "DNG" in source


def test_other_files_take_the_table_first() -> None:
    matrix, source = color_matrix(SRGB_OF_CAMERA, TABLE, is_dng=False)
    assert not np.allclose(matrix, SRGB_OF_CAMERA[:, :3], atol=0.01) and "table" in source
    assert color_matrix(SRGB_OF_CAMERA, NONE[1], is_dng=False)[1] == "LibRaw's color_matrix"


@pytest.mark.parametrize("is_dng", [True, False])
def test_without_any_matrix_colours_stay_as_they_are(is_dng: bool) -> None:
    matrix, source = color_matrix(*NONE, is_dng=is_dng)
    assert np.array_equal(matrix, np.eye(3)) and "no matrix" in source


@pytest.mark.parametrize("scale", [0, 1e-30, 1e30, np.nan, np.inf, -1])
def test_absurd_matrices_are_not_used(scale: float) -> None:
    with np.errstate(all="ignore"):
        embedded, table = SRGB_OF_CAMERA * np.float32(scale), TABLE * np.float32(scale)
    matrix, _ = color_matrix(embedded, table, is_dng=True)
    assert np.isfinite(matrix).all() and np.sum(matrix, axis=1) == pytest.approx([1, 1, 1])
