"""Hot pixels: found in bursts of all kinds, replaced, and told from stars and from texture."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from running import call
from skimage import data

from batman_cli.hot import find_hot_pixels
from batman_cli.noise import Noise
from batman_cli.pack import bin_planes, pack
from batman_cli.plan import make_plan
from batman_cli.raw import read_mosaic
from batman_cli.sample import read_planes
from batman_cli.settings import EnhanceSettings, SimulateSettings
from batman_cli.simulate.camera import CAMERAS, draw_hot_pixels
from batman_cli.simulate.run import simulate
from batman_cli.stills import write_png

BALANCE = (2.0, 1.0, 1.9)
SIGMA = 0.001  # of a sample of the mean
NOISE = Noise(0.0, SIGMA**2)
SHAPE = (4, 40, 50)


def noisy(seed: int = 1) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    return random.normal(0.002, SIGMA, SHAPE).astype(np.float32)


# Finding


@pytest.mark.parametrize("plane", range(4))
@pytest.mark.parametrize(("row", "column"), [(20, 30), (0, 0), (39, 49), (0, 17), (20, 49)])
def test_a_lone_bright_sample_is_found_and_becomes_the_mean_of_its_neighbours(
    plane: int, row: int, column: int
) -> None:
    mean = noisy()
    mean[plane, row, column] = 0.05
    hot = find_hot_pixels(mean, NOISE, BALANCE)
    assert np.transpose(hot.places).tolist() == [[plane, row, column]]
    replaced = mean.copy()
    hot.replace(replaced)
    y, x = (
        np.pad(np.arange(n), 1, mode="reflect")[i : i + 3]
        for n, i in zip(SHAPE[1:], (row, column), strict=True)
    )
    block = mean[plane][np.ix_(y, x)]
    assert replaced[plane, row, column] == pytest.approx((block.sum() - block[1, 1]) / 8, rel=1e-5)
    replaced[plane, row, column] = mean[plane, row, column]
    assert np.array_equal(replaced, mean)


@pytest.mark.parametrize("balance", [(1.0, 1.0, 1.0), BALANCE, (1.0, 1.3, 4.5), (1.0, 1.0, 6.0)])
def test_strong_white_balance_hides_none(balance: tuple[float, float, float]) -> None:
    """Candle light: the noise of blue, amplified, must not count as light beside a red pixel."""
    for plane in range(4):
        mean = noisy(plane)
        rows, columns = np.mgrid[4:36:8, 4:46:8]
        mean[plane, rows, columns] += 20 * SIGMA
        hot = find_hot_pixels(mean, NOISE, balance)
        assert (np.array(hot.places.plane) == plane).all()
        assert len(hot) >= 0.75 * rows.size


def test_of_hot_pixels_beside_each_other_in_the_mosaic_none_repairs_another() -> None:
    """Two samples apart in one plane each is the other's neighbour of a neighbour."""
    mean = noisy()
    mean[1, 20, 30] = mean[1, 22, 30] = 0.05
    hot = find_hot_pixels(mean, NOISE, BALANCE)
    assert len(hot) == 2
    hot.replace(mean)
    assert mean.max() < 0.01


def test_noise_alone_has_none() -> None:
    found = [len(find_hot_pixels(noisy(seed), NOISE, BALANCE)) for seed in range(20)]
    assert sum(found) == 0


@pytest.mark.parametrize(
    ("blur", "light"),
    [(1.5, (1, 1, 1)), (1.5, (1, 0.5, 0.03))]
    + [
        (blur, light)
        for blur in (2.0, 3.0)
        for light in ((1, 1, 1), (1, 0.5, 0.03), (1, 0.15, 0.03), (0.1, 1, 0.2), (0.03, 0.1, 1))
    ],
)
def test_points_of_light_are_none_whatever_their_colour(
    blur: float, light: tuple[float, float, float]
) -> None:
    """Stars and lamps through a lens, full width at half maximum in pixels, anywhere."""
    random = np.random.default_rng(2)
    mosaic = np.zeros((2 * SHAPE[1], 2 * SHAPE[2]))
    y, x = np.indices(mosaic.shape)
    for down in range(8, 72, 12):
        for right in range(8, 92, 12):
            where = down + random.uniform(-0.5, 0.5), right + random.uniform(-0.5, 0.5)
            square = (y - where[0]) ** 2 + (x - where[1]) ** 2
            mosaic += np.exp(-4 * np.log(2) * square / blur**2)
    quads = np.stack([mosaic[i::2, j::2] for i in (0, 1) for j in (0, 1)])
    share = np.array([light[i] / BALANCE[i] for i in (0, 1, 1, 2)])
    seen = 200 * SIGMA * share / share.max()
    planes = noisy() + (quads * seen[:, None, None]).astype(np.float32)
    assert len(find_hot_pixels(planes, NOISE, BALANCE)) == 0


def test_noise_that_is_larger_than_told_hardly_looks_like_any() -> None:
    too_small = Noise(0.0, (SIGMA / 4) ** 2)
    found = [len(find_hot_pixels(noisy(seed), too_small, BALANCE)) for seed in range(20)]
    assert sum(found) <= 20 * 1e-3 * np.prod(SHAPE)


def test_nothing_is_said_of_planes_that_are_too_small_for_neighbours() -> None:
    for shape in ((4, 1, 1), (4, 1, 3), (4, 2, 2)):
        mean = np.full(shape, 0.002, np.float32)
        mean[0, 0, 0] = 0.05
        hot = find_hot_pixels(mean, NOISE, BALANCE)
        hot.replace(mean)
        assert np.isfinite(mean).all()


# In bursts


SETTINGS = SimulateSettings(frames=6, width=384, height=256, camera="canon70d")


def burst(out: Path, motion: str, per_million: float) -> Path:
    settings = replace(SETTINGS, motion=motion, hot_per_million=per_million)
    simulate([data.coffee()[None]], out, settings)
    return out / "short" / "0001"


def simulated(per_million: float) -> NDArray[np.float32]:
    noise = CAMERAS["canon70d"].at(6400)
    generator = torch.Generator().manual_seed(1)
    return draw_hot_pixels((4, 128, 192), per_million, noise, generator).numpy()


@pytest.mark.parametrize("motion", ["static", "handheld", "pan"])
def test_those_of_a_simulated_sensor_are_found_and_hardly_any_other(
    motion: str, tmp_path: Path
) -> None:
    wrong = simulated(300).ravel()
    true = set(np.flatnonzero(wrong).tolist())
    hot = make_plan(burst(tmp_path, motion, 300), EnhanceSettings()).hot
    found = set(np.ravel_multi_index(hot.places, (4, 128, 192)).tolist())
    assert len(true) >= 20
    assert len(found & true) >= 0.85 * len(true)
    assert len(found - true) <= (3 if motion == "static" else 0)


def test_a_burst_without_hot_pixels_is_read_as_it_is(tmp_path: Path) -> None:
    folder = burst(tmp_path, "handheld", 0)
    plan = make_plan(folder, EnhanceSettings())
    assert len(plan.hot) == 0
    shot = plan.burst.shots[0]
    mosaic = read_mosaic(shot.path)
    assert np.array_equal(read_planes(shot, 1, plan.hot), pack(mosaic.data, shot.black, shot.white))


@pytest.mark.parametrize("factor", [2, 4])
def test_they_are_replaced_before_binning(factor: int, tmp_path: Path) -> None:
    """An average would spread them; the finding takes whole frames too."""
    folder = burst(tmp_path, "handheld", 300)
    whole, binned = (make_plan(folder, EnhanceSettings(bin=b)) for b in (1, factor))
    assert len(binned.hot) >= 0.9 * len(whole.hot) > 0
    shot = binned.burst.shots[3]
    planes = read_planes(shot, factor, binned.hot)
    assert np.array_equal(planes, bin_planes(read_planes(shot, 1, binned.hot), factor))
    assert planes.max() < 0.5 * read_planes(shot, factor).max()


def test_shots_of_another_iso_lose_them_too(tmp_path: Path) -> None:
    """Noise and mean are those of the commonest exposure; the sensor is one."""
    folder = burst(tmp_path, "handheld", 300)
    more = replace(SETTINGS, frames=2, iso=3200, hot_per_million=300)
    simulate([data.coffee()[None]], tmp_path / "more", more)
    for path in (tmp_path / "more" / "short" / "0001").iterdir():
        path.rename(folder / f"1{path.name}")
    plan = make_plan(folder, EnhanceSettings(order="name"))
    bright = simulated(300) > 2000
    for shot in plan.burst.shots:
        assert read_planes(shot, 1)[bright].mean() > 0.1
        assert read_planes(shot, 1, plan.hot)[bright].mean() < 0.02


def test_a_single_shot_keeps_them(tmp_path: Path) -> None:
    folder = burst(tmp_path, "static", 300)
    assert len(make_plan(folder / "00001.ARW", EnhanceSettings()).hot) == 0


def test_the_command_says_how_many_and_can_keep_them(tmp_path: Path) -> None:
    folder = burst(tmp_path, "handheld", 300)
    count = len(make_plan(folder, EnhanceSettings()).hot)
    told = call("enhance", folder, "--dry-run")
    assert told.code == 0
    assert f"{count} hot pixels are replaced; --hot-pixels keep leaves them" in told.err
    kept = call("enhance", folder, "--dry-run", "--hot-pixels", "keep")
    assert "hot pixels" not in kept.err
    for choice, number in (("replace", count), ("keep", 0)):
        ran = call("enhance", folder, "--dry-run", "--json", "--hot-pixels", choice)
        events = [json.loads(line) for line in ran.out.splitlines()]
        assert [e["hot_pixels"] for e in events if e["event"] == "plan"] == [number]


def test_a_wrong_choice_is_refused(tmp_path: Path) -> None:
    assert call("enhance", tmp_path, "--hot-pixels", "cold").code == 2


# Simulating


def test_a_simulated_sensor_has_the_same_hot_pixels_in_every_shot_and_scene(
    tmp_path: Path,
) -> None:
    settings = replace(SETTINGS, frames=2, hot_per_million=300)
    simulate([data.coffee()[None], data.astronaut()[None]], tmp_path, settings)
    dark_current = simulated(300)
    high = 2000  # DN above black, far above anything in the dark scenes
    assert (dark_current > high).sum() >= 5
    for path in sorted((tmp_path / "short").rglob("*.ARW")):
        shot = read_mosaic(path)
        planes = pack(shot.data, shot.info.black, shot.info.white)
        assert (planes[dark_current > high] > 0.7 * high / 15500).all()
        assert (planes[dark_current == 0] < 0.7 * high / 15500).all()


@pytest.mark.parametrize("count", ["-1", "2e5", "nan"])
def test_no_sensor_has_such_a_share_of_hot_pixels(count: str, tmp_path: Path) -> None:
    picture = tmp_path / "photo.png"
    write_png(picture, data.coffee())
    ran = call("simulate", picture, "-o", tmp_path / "out", "--hot-per-million", count)
    assert ran.code == 2
    assert "--hot-per-million" in ran.err
