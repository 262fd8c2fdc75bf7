"""Noise that a camera cut off at black: the dark becomes as dark as if it had not."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from conftest import Checkpoints
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from running import call, pictures
from skimage import data

from batman_cli.clipping import BlackClipping, find_clipping, fit_clipping
from batman_cli.hot import find_hot_pixels
from batman_cli.noise import Noise
from batman_cli.pack import interleave
from batman_cli.plan import Plan, make_plan
from batman_cli.raw import read_info
from batman_cli.sample import read_planes
from batman_cli.settings import EnhanceSettings, SimulateSettings
from batman_cli.simulate import run
from batman_cli.simulate.dng import write_dng
from batman_cli.simulate.tiff_writer import Exposure

WHITE = 16383  # raw units above black
NOISE = Noise(4.2e-4, 2.3e-7)  # of an A7S II at ISO 6400, about
SIGMA = NOISE.read**0.5


def shot_of(level: float, *, seed: int = 1, gain: float = 1.0) -> NDArray[np.float32]:
    """Planes of an even scene, as a camera stores them that cuts off at black."""
    noise = np.random.default_rng(seed).normal(0, 1, (4, 128, 128))
    values = gain * (level + noise * np.sqrt(NOISE.shot * level + NOISE.read))
    return ((values * WHITE).round().clip(0) / WHITE).astype(np.float32)


def known() -> BlackClipping:
    clipping = fit_clipping([shot_of(0)], NOISE, 6400)
    assert clipping is not None
    return clipping


@settings(max_examples=30)
@given(level=st.floats(0, 6), seed=st.integers(0, 1000))
def test_the_mean_is_what_it_was_before_the_cut(level: float, seed: int) -> None:
    planes = shot_of(level * SIGMA, seed=seed)
    left = planes.copy()
    known().restore(planes, 6400)
    assert planes.mean() == pytest.approx(level * SIGMA, abs=0.05 * SIGMA)
    assert np.array_equal(planes[left > 0], left[left > 0])


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_cut_off_noise_is_much_too_bright(level: float) -> None:
    """What the others hold against: a fault of their own would have to be as large."""
    assert shot_of(level * SIGMA).mean() > (level + 0.15) * SIGMA


def test_more_iso_is_more_noise_that_was_cut_off() -> None:
    planes, brighter = shot_of(0), shot_of(0, gain=4.0)
    known().restore(planes, 6400)
    known().restore(brighter, 25600)
    assert brighter.mean() == pytest.approx(0, abs=0.2 * SIGMA)
    assert brighter.min() == pytest.approx(4 * planes.min(), rel=0.05)


@pytest.mark.parametrize("ramp", [(0.0, 0.0), (0.0, 2.0), (0.2, 6.0)])
def test_the_noise_before_the_cut_is_found(ramp: tuple[float, float]) -> None:
    level = SIGMA * np.linspace(*ramp, 256)[None, None]
    noise = np.random.default_rng(2).normal(0, 1, (2, 4, 256, 256))
    values = level + noise * np.sqrt(NOISE.shot * level + NOISE.read)
    frames = list(((values * WHITE).round().clip(0) / WHITE).astype(np.float32))
    seen = Noise(NOISE.shot, 1e-9)
    found = fit_clipping(frames, seen, None)
    assert found is not None
    assert found.noise.read == pytest.approx(NOISE.read, rel=0.25)


@pytest.mark.parametrize("count", [1, 2])
def test_both_parts_of_the_noise_are_found(count: int) -> None:
    """By photon transfer alone the shot part comes out too high, and no read part at all."""
    level = np.concatenate([np.zeros(128), SIGMA * np.linspace(0, 12, 384)])[None, None]
    noise = np.random.default_rng(6).normal(0, 1, (count, 4, 384, 512))
    values = level + noise * np.sqrt(NOISE.shot * level + NOISE.read)
    frames = list(((values * WHITE).round().clip(0) / WHITE).astype(np.float32))
    found = find_clipping(frames, None)
    assert found is not None
    assert found.noise.shot == pytest.approx(NOISE.shot, rel=0.15)
    assert found.noise.read == pytest.approx(NOISE.read, rel=0.15)


def test_planes_that_were_multiplied_before_the_cut_have_noise_of_their_own() -> None:
    """As of cameras that balance red and blue themselves, in part."""
    gain = np.array([1.8, 1.0, 1.0, 1.6])[:, None, None]
    level = np.concatenate([np.zeros(128), SIGMA * np.linspace(0, 12, 384)])[None, None]
    noise = np.random.default_rng(7).normal(0, 1, (2, 4, 384, 512))
    values = gain * (level + noise * np.sqrt(NOISE.shot * level + NOISE.read))
    frames = list(((values * WHITE).round().clip(0) / WHITE).astype(np.float32))
    clipping = find_clipping(frames, None)
    assert clipping is not None
    clipping.restore(frames[0], None)
    dark = frames[0][:, :, :128].mean((1, 2)) / gain[:, 0, 0]
    assert dark == pytest.approx(0, abs=0.05 * SIGMA)


def test_a_picture_without_dark_areas_is_left_alone() -> None:
    frames = [shot_of(10 * SIGMA)]
    assert fit_clipping(frames, NOISE, None) is None


def test_edges_of_a_black_scene_are_no_noise() -> None:
    """Lit windows of a street so dark that its noise hardly reaches the first step."""
    scene = np.zeros((4, 240, 240))
    for top, left in np.random.default_rng(3).integers(0, 216, (60, 2)):
        scene[:, top : top + 17, left : left + 11] = 300
    noise = np.random.default_rng(4).normal(0, 0.35, scene.shape)
    planes = ((scene + noise).round().clip(0) / WHITE).astype(np.float32)
    assert find_clipping([planes], None) is None


@pytest.mark.parametrize("gap", [1, 4, 16])
def test_numbers_with_gaps_are_mended_or_left_alone(gap: int) -> None:
    """Of 12 bits stored as 14 or 16; where the gaps are wider than noise, they make the zeros."""
    noise = np.random.default_rng(5).normal(0, 5, (4, 240, 240))
    planes = ((noise / gap).round().clip(0) * gap / WHITE).astype(np.float32)
    clipping = fit_clipping([planes], Noise(0, 1e-9), None)
    assert (clipping is None) == (gap == 16)
    if clipping:
        clipping.restore(planes, None)
        assert planes.mean() * WHITE == pytest.approx(0, abs=0.3)


def test_a_hot_pixel_does_not_lift_what_is_around(tmp_path: Path) -> None:
    planes = shot_of(0)
    rows, columns = np.mgrid[8:120:16, 8:120:16]
    planes[0, rows, columns] = 0.1
    hot = find_hot_pixels(planes, NOISE, (2.0, 1.0, 1.9))
    assert len(hot) == rows.size
    write_dng(
        tmp_path / "1.dng",
        black=0,
        white=WHITE,
        mosaic=interleave(np.rint(planes * WHITE).astype(np.uint16)),
        exposure=Exposure(6400, 0.02, run.FIRST_SHOT, (2.0, 1.0, 1.9), 1),
        xyz_to_camera=np.eye(3).tolist(),
        make="Nikon",
        model="D700",
    )
    mended = read_planes(read_info(tmp_path / "1.dng"), 1, hot, known())
    beside = [mended[0, rows + y, columns + x].mean() for y in (-1, 0, 1) for x in (-1, 0, 1)]
    assert np.mean(beside) == pytest.approx(0, abs=0.1 * SIGMA)


# Whole bursts


@pytest.fixture(scope="module")
def bursts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One burst by a camera with a black level of 800, by one that cuts off, and bright by it."""
    out = tmp_path_factory.mktemp("bursts")
    made: dict[str, Path] = {}
    for name, black, ratio in (("level", run.BLACK, 300), ("cut", 0, 300), ("bright", 0, 1)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run, "WHITE", run.WHITE - run.BLACK + black)
            patch.setattr(run, "BLACK", black)
            wanted = SimulateSettings(
                frames=6, fps=Fraction(20), width=320, height=256, ratio=ratio, file_format="dng"
            )
            run.simulate([data.rocket()[None]], out / name, wanted)
        made[name] = out / name / "short" / "0001"
    return made


def dark_of(plan: Plan) -> NDArray[np.float64]:
    """The darkest area of each plane over a burst."""
    shots = [plan.planes_of(s) for s in plan.burst.shots]
    mean = np.mean(shots, 0)
    side = 16
    areas = mean.reshape(4, mean.shape[1] // side, side, mean.shape[2] // side, side)
    return np.min(areas.mean((2, 4)), (1, 2))


@pytest.mark.parametrize("factor", [1, 2])
def test_the_dark_is_as_dark_as_by_a_camera_with_a_black_level(
    bursts: dict[str, Path], factor: int
) -> None:
    level, cut = (make_plan(bursts[n], EnhanceSettings(bin=factor)) for n in ("level", "cut"))
    assert level.clipping is None
    assert cut.clipping is not None
    assert cut.noise.read == pytest.approx(level.noise.read, rel=0.3)
    assert dark_of(cut) == pytest.approx(dark_of(level), abs=0.1 * SIGMA)
    assert np.abs(dark_of(replace(cut, clipping=None)) - dark_of(level)).min() > (0.2 * SIGMA)


def test_a_single_shot_is_mended_too(bursts: dict[str, Path]) -> None:
    plan = make_plan(bursts["cut"], EnhanceSettings(stop=1))
    assert plan.clipping is not None
    level = make_plan(bursts["level"], EnhanceSettings(stop=1))
    assert dark_of(plan) == pytest.approx(dark_of(level), abs=0.15 * SIGMA)


def test_a_bright_burst_is_left_alone(bursts: dict[str, Path]) -> None:
    assert make_plan(bursts["bright"], EnhanceSettings(ratio=1.0)).clipping is None


def test_the_video_has_no_veil_and_says_why(
    bursts: dict[str, Path], checkpoints: Checkpoints, tmp_path: Path
) -> None:
    options = ("--codec", "ffv1", "--model", "clstm", "--weights", checkpoints["plain"])
    last: dict[str, NDArray[np.uint16]] = {}
    for name in ("level", "cut"):
        ran = call("enhance", bursts[name], "-o", tmp_path / f"{name}.mkv", *options, "--json")
        assert ran.code == 0, ran.err
        (plan,) = [e for e in map(json.loads, ran.out.splitlines()) if e["event"] == "plan"]
        assert plan["black_clipped"] == (name == "cut")
        last[name] = pictures(tmp_path / f"{name}.mkv")[-1]
    darkest = np.argsort(last["level"].sum(2), axis=None)[:5000]
    level, cut = (last[name].reshape(-1, 3)[darkest].mean(0) / 65535 for name in ("level", "cut"))
    assert cut == pytest.approx(level, abs=0.06)  # the veil is 0.3 of red and blue
