"""Packing is exact for every mosaic, and binning is the area average."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from batman_cli.pack import bin_planes, pack, unpack

BLACK, WHITE = (800.0, 801.0, 799.0, 805.0), 16300.0

mosaics = hnp.arrays(
    np.uint16,
    st.tuples(st.integers(1, 9), st.integers(1, 9)).map(lambda s: (2 * s[0], 2 * s[1])),
    elements=st.integers(0, 16383),
)


@given(mosaics)
def test_unpack_returns_the_mosaic_exactly(mosaic: np.ndarray) -> None:
    back = unpack(pack(mosaic, BLACK, WHITE), BLACK, WHITE)
    assert np.array_equal(np.round(back), mosaic)
    assert np.abs(back - mosaic).max() < 0.01


@given(mosaics)
def test_each_sample_stays_at_its_place_in_its_plane(mosaic: np.ndarray) -> None:
    planes = pack(mosaic, (0, 0, 0, 0), 1)
    assert np.array_equal(planes[0], mosaic[0::2, 0::2])
    assert np.array_equal(planes[1], mosaic[0::2, 1::2])
    assert np.array_equal(planes[2], mosaic[1::2, 0::2])
    assert np.array_equal(planes[3], mosaic[1::2, 1::2])


def test_black_is_zero_white_is_one_and_below_black_stays_negative() -> None:
    mosaic = np.array([[800, 16300], [0, 805]], np.uint16)
    planes = pack(mosaic, BLACK, WHITE)[:, 0, 0]
    assert planes[0] == 0 and planes[1] == 1 and planes[3] == 0
    assert planes[2] < -0.05


@given(st.sampled_from([1, 2, 4]), st.integers(8, 21), st.integers(8, 21))
def test_binning_is_the_area_average_and_cuts_the_rest_off(
    factor: int, height: int, width: int
) -> None:
    planes = np.random.default_rng(0).normal(size=(4, height, width)).astype(np.float32)
    binned = bin_planes(planes, factor)
    assert binned.shape == (4, height // factor, width // factor)
    corner = planes[:, :factor, :factor].mean((1, 2))
    assert np.allclose(binned[:, 0, 0], corner, atol=1e-6)


def test_binning_divides_the_noise_by_the_factor() -> None:
    planes = np.random.default_rng(1).normal(size=(4, 256, 256)).astype(np.float32)
    assert abs(bin_planes(planes, 4).std() - 0.25) < 0.01
