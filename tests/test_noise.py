"""The noise of a burst is found from its own frames."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

from batman_cli.develop import to_planes
from batman_cli.noise import Noise, estimate, estimate_single
from batman_cli.pack import Planes, bin_planes
from batman_cli.plan import make_plan
from batman_cli.settings import EnhanceSettings, SimulateSettings
from batman_cli.simulate.arw import BLACK, WHITE
from batman_cli.simulate.camera import (
    CAMERAS,
    SPAN,
    SensorNoise,
    expose,
    pixel_noise,
)
from batman_cli.simulate.run import simulate
from batman_cli.simulate.scenes import MOTIONS, add_object, camera_path, srgb_to_linear, views

HEIGHT, WIDTH = 384, 512  # pixels
TOLERANCE = 0.1  # of both numbers
LIGHTS = ((3200, 60.0), (6400, 100.0), (12800, 200.0))  # ISO, ratio


@cache
def scene(name: str, motion: str, objects: int) -> torch.Tensor:
    """Clean linear planes (4, 4, h, w) of a moving camera's view, 0..1."""
    generator = torch.Generator().manual_seed(len(name) + objects)
    photo = torch.from_numpy(getattr(data, name)()).permute(2, 0, 1).float() / 255
    pictures = views(photo, camera_path(motion, 4, generator), HEIGHT, WIDTH)
    for _ in range(objects):
        pictures = add_object(pictures, photo.flip(1).roll(1, 0), generator)
    return to_planes(srgb_to_linear(pictures))


def shots(clean: torch.Tensor, sensor: SensorNoise, ratio: float, seed: int) -> list[Planes]:
    """Planes before amplification, 0..1, of a sensor in the dark."""
    generator = torch.Generator().manual_seed(seed)
    return list((expose(clean / ratio * SPAN, sensor, generator) / SPAN).numpy())


def pairs(frames: Sequence[Planes]) -> list[tuple[Planes, Planes]]:
    return list(zip(frames[::2], frames[1::2], strict=True))


# What is found, against what was drawn


@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize(("iso", "ratio"), LIGHTS)
@pytest.mark.parametrize("camera", ["a7s2", "a7m4"])
def test_noise_of_a_burst_is_recovered_however_the_camera_moves(
    camera: str, iso: int, ratio: float, motion: str
) -> None:
    sensor = CAMERAS[camera].at(iso)
    found = estimate(pairs(shots(scene("coffee", motion, 0), sensor, ratio, iso)))
    assert (found.shot, found.read) == pytest.approx(pixel_noise(sensor), rel=TOLERANCE)


@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize("name", ["coffee", "astronaut"])
def test_objects_that_cross_the_scene_are_not_taken_for_noise(name: str, motion: str) -> None:
    sensor = CAMERAS["a7s2"].at(6400)
    found = estimate(pairs(shots(scene(name, motion, 2), sensor, 100, seed=7)))
    assert (found.shot, found.read) == pytest.approx(pixel_noise(sensor), rel=TOLERANCE)


@pytest.mark.parametrize(("file_format", "objects"), [("arw", 2), ("arw-uncompressed", 0)])
def test_noise_is_recovered_from_the_files_of_a_burst(
    file_format: str, objects: int, tmp_path: Path
) -> None:
    settings = SimulateSettings(
        frames=6,
        width=WIDTH,
        height=HEIGHT,
        motion="handheld",
        objects=objects,
        file_format=file_format,  # pyright: ignore[reportArgumentType]
    )
    (made,) = simulate([data.coffee()[None]], tmp_path, settings)
    found = make_plan(made.short, EnhanceSettings()).noise
    shot, read = pixel_noise(CAMERAS[settings.camera].at(settings.iso))
    unit = SPAN / (WHITE - BLACK)  # of the cameras whose noise is tabled, in that of the files
    assert (found.shot, found.read) == pytest.approx((shot * unit, read * unit**2), rel=TOLERANCE)


def test_noise_of_binned_frames_is_that_of_the_averages() -> None:
    sensor = CAMERAS["a7s2"].at(6400)
    frames = shots(scene("astronaut", "handheld", 0), sensor, 100, seed=2)
    found = estimate(pairs([bin_planes(planes, 2) for planes in frames]))
    assert (found.shot, found.read) == pytest.approx(pixel_noise(sensor.binned(2)), rel=TOLERANCE)


def test_noise_of_a_single_frame_is_recovered_roughly() -> None:
    sensor = CAMERAS["a7s2"].at(6400)
    found = estimate_single(shots(scene("coffee", "static", 0), sensor, 100, seed=3)[0])
    assert (found.shot, found.read) == pytest.approx(pixel_noise(sensor), rel=0.25)


def test_lamps_that_burn_out_do_not_pass_for_quiet_light() -> None:
    sensor = CAMERAS["a7s2"].at(6400)
    clean = scene("coffee", "static", 0) / 100
    clean[:, :, 20:40, 30:60] = 1.5
    clean[:, :, 100:110, 200:230] = 1.5
    found = estimate(pairs(shots(clean, sensor, 1, seed=4)))
    assert (found.shot, found.read) == pytest.approx(pixel_noise(sensor), rel=TOLERANCE)


def test_frames_without_light_have_read_noise_alone() -> None:
    sensor = CAMERAS["a7s2"].at(6400)
    found = estimate(pairs(shots(torch.zeros(2, 4, 128, 128), sensor, 1, seed=5)))
    assert found.shot == 0
    assert found.read == pytest.approx(pixel_noise(sensor)[1], rel=0.05)


@pytest.mark.parametrize("side", [1, 3, 8, 40])
def test_frames_of_any_size_and_content_have_noise(side: int) -> None:
    rng = np.random.default_rng(side)
    noisy = rng.normal(0.01, 0.001, (2, 4, side, side + 1)).astype(np.float32)
    for first, second in (noisy, np.zeros_like(noisy), np.ones_like(noisy)):
        for found in (estimate([(first, second)]), estimate_single(first)):
            assert found.shot >= 0
            assert 0 < found.read < 1e-4


# What is done with it


def test_amplified_noise_keeps_the_law_variance_against_level() -> None:
    noise = Noise(2e-4, 3e-7)
    shot, read = noise.amplified(100, (2.0, 1.0, 1.5))
    assert shot == pytest.approx(noise.shot * np.array([200, 100, 100, 150]), rel=1e-5)
    assert read == pytest.approx(noise.read * np.array([200, 100, 100, 150]) ** 2.0, rel=1e-5)
