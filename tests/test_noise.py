"""The noise of a burst is found from its own frames, and drawn as its formulas say."""

import math

import numpy as np
import pytest
import torch
from skimage import data

from batman_cli.noise import Noise, estimate, estimate_single
from batman_cli.simulate.camera import (
    CAMERAS,
    SPAN,
    SensorNoise,
    expose,
    pixel_noise,
    to_planes,
)
from batman_cli.simulate.draws import tukey_lambda_sd
from batman_cli.simulate.scenes import camera_path, srgb_to_linear, views


def photo() -> torch.Tensor:
    return torch.from_numpy(data.coffee()).permute(2, 0, 1).float() / 255


def raw_burst(sensor: SensorNoise, ratio: float, motion: str, seed: int) -> list[np.ndarray]:
    """Four frames of planes before amplification, 0..1."""
    generator = torch.Generator().manual_seed(seed)
    scene = srgb_to_linear(views(photo(), camera_path(motion, 4, generator), 384, 512))
    dark = expose(to_planes(scene) / ratio * SPAN, sensor, generator) / SPAN
    return list(dark.numpy())


# Moving texture cannot be told from noise entirely: a pan may read up to a third too high.
@pytest.mark.parametrize(("motion", "tolerance"), [("static", 0.1), ("shake", 0.25), ("pan", 0.35)])
@pytest.mark.parametrize(("iso", "ratio"), [(3200, 60), (6400, 100), (12800, 200)])
def test_noise_of_a_burst_is_recovered(
    iso: int, ratio: float, motion: str, tolerance: float
) -> None:
    sensor = CAMERAS["a7s2"].at(iso)
    frames = raw_burst(sensor, ratio, motion, seed=iso)
    found = estimate([(frames[0], frames[1]), (frames[2], frames[3])])
    shot, read = pixel_noise(sensor)
    assert found.shot == pytest.approx(shot, rel=tolerance)
    assert found.read == pytest.approx(read, rel=0.1)


def test_noise_of_a_single_frame_is_recovered_roughly() -> None:
    sensor = CAMERAS["a7s2"].at(6400)
    found = estimate_single(raw_burst(sensor, 100, "static", seed=3)[0])
    shot, read = pixel_noise(sensor)
    assert 0.6 * shot < found.shot < 1.6 * shot
    assert 0.6 * read < found.read < 1.6 * read


def test_amplified_noise_keeps_the_law_variance_against_level() -> None:
    noise = Noise(2e-4, 3e-7)
    shot, read = noise.amplified(100, (2.0, 1.0, 1.5))
    assert shot == pytest.approx(noise.shot * np.array([200, 100, 100, 150]), rel=1e-5)
    assert read == pytest.approx(noise.read * np.array([200, 100, 100, 150]) ** 2.0, rel=1e-5)


@pytest.mark.parametrize("tail", [None, -0.2, -0.065, 0.14])
def test_drawn_noise_has_the_variance_of_its_formula(tail: float | None) -> None:
    sensor = SensorNoise(gain=6.0, read=7.0, tail=tail, row=0.0, bias=0.0)
    generator = torch.Generator().manual_seed(5)
    for level in (40.0, 160.0, 900.0):
        raw = expose(torch.full((8, 4, 128, 128), level), sensor, generator)
        shot, read = pixel_noise(sensor)
        expected = (shot * level / SPAN + read) * SPAN**2
        assert float(raw.mean()) == pytest.approx(level, abs=0.3)
        assert float(raw.var()) == pytest.approx(expected, rel=0.02)
        assert bool((raw == raw.round()).all())


def test_a_row_shares_its_offset_over_both_its_planes() -> None:
    sensor = SensorNoise(gain=1.0, read=0.1, tail=None, row=20.0, bias=0.0)
    raw = expose(torch.zeros(4, 4, 2000, 32), sensor, torch.Generator().manual_seed(6))
    rows = raw.mean(3)
    assert float(rows.var()) == pytest.approx(20.0**2, rel=0.05)
    assert float((rows[:, 0] - rows[:, 1]).abs().max()) < 1
    assert float((rows[:, 0] - rows[:, 2]).abs().mean()) > 10


def test_tukey_lambda_spread_matches_its_logistic_and_uniform_limits() -> None:
    assert tukey_lambda_sd(1e-4) == pytest.approx(math.pi / math.sqrt(3), rel=1e-3)
    assert tukey_lambda_sd(1.0) == pytest.approx(2 / math.sqrt(12), rel=1e-9)
