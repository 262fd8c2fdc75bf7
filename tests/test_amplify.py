"""One sensible ratio for the whole burst."""

import numpy as np
import pytest

from batman_cli.amplify import MAX_RATIO, amplify, choose_ratio, ratio_from_light

DAYLIGHT = (2.0, 1.0, 1.9)


def dark_planes(level: float, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """A gray ramp whose brightest part has a linear luminance of about `level`."""
    ramp = np.linspace(0, level, 1536, dtype=np.float32)[None, None, :].repeat(128, 1)
    planes = ramp / np.array([2.0, 1.0, 1.0, 1.9], np.float32)[:, None, None]
    return planes + np.random.default_rng(seed).normal(0, noise, planes.shape).astype(np.float32)


@pytest.mark.parametrize("level", [0.004, 0.01, 0.05])
def test_ratio_brings_the_bright_parts_to_the_wanted_level(level: float) -> None:
    ratio = choose_ratio([dark_planes(level)], DAYLIGHT)
    assert ratio.value == pytest.approx(0.7 / (0.98 * level), rel=0.03)


def test_noise_does_not_change_the_ratio() -> None:
    clean = choose_ratio([dark_planes(0.01)], DAYLIGHT)
    noisy = choose_ratio([dark_planes(0.01, 0.005, seed) for seed in range(3)], DAYLIGHT)
    assert noisy.value == pytest.approx(clean.value, rel=0.05)


@pytest.mark.parametrize("ratio", [0.25, 0.9, 1.0, 3.0])
def test_what_is_burnt_out_is_white_at_any_ratio(ratio: float) -> None:
    planes = np.full((4, 2, 2), 0.5, np.float32)
    planes[:, 0, 0] = 1.0
    brightened = amplify(planes, ratio, DAYLIGHT)
    assert (brightened[:, 0, 0] >= 1).all()
    assert brightened[:, 1, 1] == pytest.approx(ratio * 0.5 * np.array([2, 1, 1, 1.9]))
    assert planes[:, 0, 0] == pytest.approx(np.ones(4))


def test_a_small_lamp_does_not_darken_the_scene() -> None:
    planes = dark_planes(0.01)
    planes[:, 16:32, 16:64] = 1.0
    assert choose_ratio([planes], DAYLIGHT).value > 60


def test_ratio_is_capped_and_says_so() -> None:
    ratio = choose_ratio([dark_planes(0.0005)], DAYLIGHT)
    assert ratio.value == MAX_RATIO and "capped" in ratio.reason


def test_a_bright_picture_is_left_alone() -> None:
    assert choose_ratio([dark_planes(1.0)], DAYLIGHT).value == 1.0


def test_ratio_from_exposures() -> None:
    assert ratio_from_light(1000, 10, "long").value == pytest.approx(100)
    capped = ratio_from_light(10000, 10, "long")
    assert capped.value == MAX_RATIO and "1000" in capped.reason


def test_white_of_any_camera_becomes_one() -> None:
    planes = (np.array([0.5, 1, 1, 1 / 1.9]) / 100).astype(np.float32)[:, None, None]
    assert np.allclose(amplify(planes, 100, DAYLIGHT), 1, atol=1e-6)
