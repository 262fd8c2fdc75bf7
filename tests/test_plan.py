"""What is decided before the first frame: ratio, noise, size, for shots good and bad."""

import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from skimage import data

from batman_cli.errors import BadShot, UsageError
from batman_cli.plan import make_plan
from batman_cli.settings import EnhanceSettings, SimulateSettings
from batman_cli.simulate.arw import write_arw
from batman_cli.simulate.run import FIRST_SHOT, simulate
from batman_cli.simulate.tiff_writer import Exposure

SIZE = (128, 192)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scenes")
    settings = SimulateSettings(frames=4, width=192, height=128, ratio=100, motion="static")
    simulate([data.coffee()[None]], out, settings)
    return out


def dark_shot(path: Path, *, iso: int, exposure_s: float, gain: float, seed: int) -> None:
    """A shot whose noise follows variance = gain * level + (2 gain)^2 in DN."""
    random = np.random.default_rng(seed)
    level = np.linspace(5, 300, SIZE[1])[None].repeat(SIZE[0], 0)
    noisy = random.poisson(level / gain) * gain + random.normal(0, 2 * gain, SIZE)
    mosaic = (noisy + 800).round().clip(0, 16383).astype(np.uint16)
    exposure = Exposure(iso, exposure_s, FIRST_SHOT, (2.0, 1.0, 1.9), seed)
    write_arw(path, mosaic, exposure, lossy=False)


def burst_with_a_short_first_shot(folder: Path, *, shots: int) -> None:
    for number in range(shots):
        dark_shot(
            folder / f"{number:05d}.ARW",
            iso=6400,
            exposure_s=1 / 100 if number == 0 else 1 / 50,
            gain=6.0,
            seed=number,
        )


def test_ratio_comes_from_the_long_exposure_however_the_folder_is_named(
    scenes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    burst = scenes / "short" / "0001"
    monkeypatch.chdir(scenes / "short")
    ratios = [make_plan(p, EnhanceSettings()).ratio.value for p in (burst, Path("0001"))]
    monkeypatch.chdir(burst)
    ratios += [make_plan(p, EnhanceSettings()).ratio.value for p in (Path(), Path("../0001"))]
    assert ratios == pytest.approx([100, 100, 100, 100])


def test_noise_is_taken_from_shots_of_one_exposure_and_iso(tmp_path: Path) -> None:
    for number in range(8):
        high = number % 2 == 0
        dark_shot(
            tmp_path / f"{number:05d}.ARW",
            iso=6400 if high else 1600,
            exposure_s=1 / 50 if high else 4 / 50,
            gain=6.0 if high else 1.5,
            seed=number,
        )
    plan = make_plan(tmp_path, EnhanceSettings(order="name"))
    span = 16300 - 800
    for shot, gain in zip(plan.burst.shots[:2], (6.0, 1.5), strict=True):
        noise = plan.noise_of(shot)
        assert noise.shot == pytest.approx(gain / span, rel=0.2)
        assert noise.read == pytest.approx((2 * gain / span) ** 2, rel=0.2)
        assert plan.ratio_of(shot) == pytest.approx(plan.ratio.value)


@pytest.mark.parametrize("exposure_s", [1 / 50, 2 ** (-182 / 32), 1 / 30])
def test_shots_that_state_their_exposure_too_exactly_are_of_one_exposure(
    exposure_s: float, tmp_path: Path
) -> None:
    """Wherever it lies: 2^(-182/32) s is an edge of the bins that they are sorted into."""
    for number in range(8):
        dark_shot(
            tmp_path / f"{number:05d}.ARW",
            iso=6400,
            exposure_s=exposure_s * (1 + 1e-3 * (number % 3 - 1)),
            gain=6.0,
            seed=number,
        )
    plan = make_plan(tmp_path, EnhanceSettings(order="name"))
    assert len({shot.exposure_s for shot in plan.burst.shots}) == 3
    assert "3 pairs" in plan.noise.reason
    assert plan.noise.read == pytest.approx((2 * 6.0 / (16300 - 800)) ** 2, rel=0.2)
    assert not any("differs" in warning for warning in plan.burst.warnings)


def pairs_of_copies(folder: Path) -> None:
    """Two shots, the first of them twice."""
    for number in range(2):
        dark_shot(folder / f"{number:05d}.ARW", iso=6400, exposure_s=1 / 50, gain=6.0, seed=number)
    (folder / "00000 (1).ARW").write_bytes((folder / "00000.ARW").read_bytes())


def test_a_copy_of_a_shot_does_not_look_like_a_burst_without_noise(tmp_path: Path) -> None:
    pairs_of_copies(tmp_path)
    plan = make_plan(tmp_path, EnhanceSettings(order="name"))
    assert len(plan.burst.shots) == 2
    assert plan.noise.shot == pytest.approx(6.0 / (16300 - 800), rel=0.2)


@pytest.mark.parametrize(("exposure_s", "ratio"), [(1 / 50, None), (1 / 30, None), (1 / 10, 5)])
def test_a_folder_named_long_need_not_hold_long_exposures(
    tmp_path: Path, exposure_s: float, ratio: float | None
) -> None:
    """Those of short and long focal lengths have these names too."""
    plain, short, long = (tmp_path / name for name in ("a", "short/a", "long/a"))
    for folder in (plain, short, long):
        folder.mkdir(parents=True)
    for number in range(2):
        for folder in (plain, short):
            dark_shot(folder / f"{number}.ARW", iso=6400, exposure_s=1 / 50, gain=6, seed=number)
    dark_shot(long / "0.ARW", iso=6400, exposure_s=exposure_s, gain=6, seed=9)
    measured = make_plan(plain, EnhanceSettings()).ratio
    assert measured.value > 10
    assert make_plan(short, EnhanceSettings()).ratio.value == pytest.approx(ratio or measured.value)


def test_noise_is_taken_from_neighbours_also_where_shots_are_left_out(tmp_path: Path) -> None:
    """Of a scene that pans, shots far apart show something else."""
    settings = SimulateSettings(frames=12, width=192, height=128, ratio=100, motion="pan")
    simulate([data.coffee()[None]], tmp_path, settings)
    folder = tmp_path / "short" / "0001"
    whole, part = (make_plan(folder, EnhanceSettings(step=step)) for step in (1, 5))
    assert len(part.burst.shots) == 3
    assert part.noise == whole.noise


def test_a_damaged_shot_that_is_left_out_does_no_harm(tmp_path: Path) -> None:
    for number in range(4):
        dark_shot(
            tmp_path / f"{number:05d}.ARW", iso=6400, exposure_s=1 / 50, gain=6.0, seed=number
        )
    zero_the_pixels(tmp_path / "00001.ARW")
    plan = make_plan(tmp_path, EnhanceSettings(order="name", step=2))
    assert plan.noise.shot == pytest.approx(6.0 / (16300 - 800), rel=0.2)
    with pytest.raises(BadShot, match=r"00001\.ARW"):
        make_plan(tmp_path, EnhanceSettings(order="name"))


def test_a_shot_of_another_size_that_is_left_out_does_no_harm(tmp_path: Path) -> None:
    for number in range(4):
        dark_shot(
            tmp_path / f"{number:05d}.ARW", iso=6400, exposure_s=1 / 50, gain=6.0, seed=number
        )
    small = np.random.default_rng(9).integers(800, 1000, (64, 96), np.uint16)
    exposure = Exposure(6400, 1 / 50, FIRST_SHOT, (2.0, 1.0, 1.9), 1)
    write_arw(tmp_path / "00001.ARW", small, exposure, lossy=False)
    plan = make_plan(tmp_path, EnhanceSettings(order="name", step=2))
    assert plan.noise.shot == pytest.approx(6.0 / (16300 - 800), rel=0.2)


def zero_the_pixels(shot: Path) -> None:
    content = bytearray(shot.read_bytes())
    content[-SIZE[0] * SIZE[1] :] = bytes(SIZE[0] * SIZE[1])
    shot.write_bytes(content)


def test_a_shot_with_half_the_light_gets_twice_the_ratio(tmp_path: Path) -> None:
    burst_with_a_short_first_shot(tmp_path, shots=5)
    plan = make_plan(tmp_path, EnhanceSettings(order="name"))
    assert plan.metered.exposure_s == pytest.approx(1 / 50)
    dim, bright = plan.burst.shots[:2]
    assert plan.ratio_of(dim) == pytest.approx(2 * plan.ratio_of(bright))


def test_a_damaged_first_shot_of_its_own_exposure_can_be_skipped(tmp_path: Path) -> None:
    burst_with_a_short_first_shot(tmp_path, shots=4)
    zero_the_pixels(tmp_path / "00000.ARW")
    plan = make_plan(tmp_path, EnhanceSettings(order="name", on_bad_frame="skip"))
    assert plan.metered.path.name != "00000.ARW"


def test_a_shot_that_changes_after_the_plan_is_bad(scenes: Path) -> None:
    from batman_cli.sample import read_planes

    plan = make_plan(scenes / "short" / "0001", EnhanceSettings())
    os.utime(plan.burst.shots[0].path)
    with pytest.raises(BadShot, match="changed"):
        read_planes(plan.burst.shots[0], 1)


@pytest.mark.parametrize(
    "change",
    [
        {"ratio": 0.0},
        {"ratio": float("nan")},
        {"tile": 100},
        {"bin": 3},
        {"fps": Fraction(1, 100000)},
        {"precision": "fp16"},
        {"device": "tpu"},
        {"stills": "jpeg"},
    ],
)
def test_senseless_settings_are_refused_before_anything_is_read(
    tmp_path: Path, change: dict[str, object]
) -> None:
    with pytest.raises(UsageError):
        make_plan(tmp_path / "nowhere", replace(EnhanceSettings(), **change))  # type: ignore[arg-type]


@pytest.mark.parametrize(("asked", "width"), [(None, 192), (2, 96), (4, 48)])
def test_bin_divides_the_size(scenes: Path, asked: int | None, width: int) -> None:
    plan = make_plan(scenes / "short" / "0001", EnhanceSettings(bin=asked))
    assert (plan.width, plan.height) == (width, width * 2 // 3)
