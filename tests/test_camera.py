"""Drawn noise is that of its own formulas; Sony's lossy coding in torch is that of the files."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from batman_cli.pack import bin_planes
from batman_cli.simulate.arw import BLACK, WHITE, arw2_quantise
from batman_cli.simulate.camera import (
    BELOW_BLACK,
    CAMERAS,
    SPAN,
    SensorNoise,
    draw_noise,
    expose,
    pixel_noise,
    through_arw2,
)
from batman_cli.simulate.draws import averaged_tail, poisson, tukey_lambda, tukey_lambda_sd

LEVELS = (0.0, 20.0, 150.0, 900.0)  # DN
TOLERANCE = 0.02


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(seed: int) -> SensorNoise:
    return draw_noise(seeded(seed))


def flat(level: float, *shape: int) -> torch.Tensor:
    return torch.full(shape, level)


NORMAL = SensorNoise(gain=6.0, read=7.0, tail=None, row=0.5, bias=0.0)
SENSORS = {
    "normal": NORMAL,
    "short tails": replace(NORMAL, tail=0.14),
    "logistic": replace(NORMAL, tail=0.0),
    "long tails": replace(NORMAL, tail=-0.2),
    "fine": SensorNoise(gain=0.8, read=1.3, tail=None, row=0.1, bias=0.0),
    **{f"{name} at ISO {iso}": CAMERAS[name].at(iso) for name in CAMERAS for iso in (1600, 12800)},
    **{f"drawn {seed}": drawn(seed) for seed in (1, 2, 3)},
}
sensors = pytest.mark.parametrize("sensor", SENSORS.values(), ids=SENSORS.keys())


# Noise against its formulas


@sensors
def test_drawn_noise_has_the_mean_and_variance_of_its_formula(sensor: SensorNoise) -> None:
    generator = seeded(5)
    shot, read = pixel_noise(sensor)
    for level in LEVELS:
        raw = expose(flat(level, 8, 4, 128, 192), replace(sensor, bias=0.0), generator).double()
        expected = (shot * level / SPAN + read) * SPAN**2
        assert float(raw.mean()) == pytest.approx(level, rel=0.002, abs=0.02 * expected**0.5)
        assert float(raw.var()) == pytest.approx(expected, rel=TOLERANCE)


@sensors
def test_an_exposure_is_in_whole_units_within_what_a_file_holds(sensor: SensorNoise) -> None:
    levels = torch.tensor([0.0, 3.3, 500.0, 20_000.0]).repeat(2, 4, 64, 1)
    raw = expose(levels, sensor, seeded(1))
    assert torch.equal(raw, raw.round())
    assert -BELOW_BLACK <= float(raw.min()) < 0
    assert float(raw.max()) == SPAN


def test_rounding_adds_a_twelfth() -> None:
    levels = flat(150.3, 8, 4, 128, 128)
    rounded, exact = (
        expose(levels, replace(NORMAL, step=step), seeded(2)).double() for step in (1.0, 0.0)
    )
    assert float((rounded - exact).abs().max()) <= 0.5
    assert float((rounded - exact).var()) == pytest.approx(1 / 12, rel=TOLERANCE)
    parts = [SPAN**2 * pixel_noise(replace(NORMAL, step=step))[1] for step in (1.0, 0.0)]
    assert parts[0] - parts[1] == pytest.approx(1 / 12)


@pytest.mark.parametrize("row", [0.4, 20.0])
def test_a_row_shares_its_offset_over_both_its_planes(row: float) -> None:
    sensor = SensorNoise(gain=1.0, read=0.1, tail=None, row=row, bias=0.0, step=0.0)
    rows = expose(flat(0.0, 8, 4, 10_000, 2), sensor, seeded(6)).double().mean(3)
    assert float(rows.var()) == pytest.approx(row**2 + 0.1**2 / 2, rel=TOLERANCE)
    shared = (rows[:, 0] * rows[:, 1]).mean(), (rows[:, 2] * rows[:, 3]).mean()
    assert [float(part) for part in shared] == pytest.approx([row**2] * 2, rel=TOLERANCE)
    assert abs(float((rows[:, 0] * rows[:, 2]).mean())) < TOLERANCE * row**2
    assert abs(float((rows[:, 0, 1:] * rows[:, 0, :-1]).mean())) < TOLERANCE * row**2


def test_the_black_level_is_wrong_by_one_value_for_each_plane() -> None:
    sensor = SensorNoise(gain=1.0, read=0.0, tail=None, row=0.0, bias=5.0, step=0.0)
    generator = seeded(7)
    first = expose(flat(0.0, 3, 4, 8, 8), sensor, generator)
    assert torch.equal(first, first[:1, :, :1, :1].expand_as(first))
    draws = [expose(flat(0.0, 1, 4, 1, 1), sensor, generator).flatten() for _ in range(5000)]
    errors = torch.stack(draws).double()
    assert float(errors.std()) == pytest.approx(5.0, rel=TOLERANCE)
    assert abs(float(errors.mean())) < TOLERANCE * 5
    assert float(torch.corrcoef(errors.T).fill_diagonal_(0).abs().max()) < 0.06


# Averages of samples


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("name", ["normal", "long tails", "fine", "a7m4 at ISO 12800", "drawn 1"])
def test_binned_noise_is_that_of_averaged_samples(name: str, factor: int) -> None:
    sensor = replace(SENSORS[name], bias=0.0)
    small = sensor.binned(factor)
    for level in (5.0, 300.0):
        levels = flat(level, 8, 4, 128 * factor, 32 * factor)
        whole = expose(levels, sensor, seeded(3)).numpy()
        averages = np.stack([bin_planes(planes, factor) for planes in whole]).astype(np.float64)
        direct = expose(flat(level, 8, 4, 128, 32), small, seeded(4)).double().numpy()
        shot, read = pixel_noise(small)
        for values in (averages, direct):
            assert values.mean() == pytest.approx(level, abs=0.02 * values.std())
            assert values.var() == pytest.approx((shot * level + read * SPAN) * SPAN, rel=0.03)
        assert reach_of_tails(direct) == pytest.approx(reach_of_tails(averages), rel=0.15)


@pytest.mark.parametrize("factor", [2, 4])
def test_the_rows_of_binned_noise_are_averages_of_rows(factor: int) -> None:
    sensor = SensorNoise(gain=1.0, read=2.0, tail=None, row=10.0, bias=0.0)
    whole = expose(flat(0.0, 8, 4, 4000 * factor, 2 * factor), sensor, seeded(8)).numpy()
    averages = np.stack([bin_planes(planes, factor) for planes in whole]).mean(3)
    direct = expose(flat(0.0, 8, 4, 4000, 2), sensor.binned(factor), seeded(9)).numpy().mean(3)
    assert direct.var() == pytest.approx(averages.var(), rel=0.03)
    assert (direct[:, 0] * direct[:, 1]).mean() == pytest.approx(100 / factor, rel=0.03)


def test_binning_leaves_the_black_level_and_no_grid() -> None:
    small = CAMERAS["a7s2"].at(6400).binned(2)
    assert small.bias == CAMERAS["a7s2"].at(6400).bias
    raw = expose(flat(3.0, 2, 4, 32, 32), small, seeded(1))
    assert float((raw - raw.round()).abs().max()) > 0.4
    assert NORMAL.binned(1) == NORMAL
    assert pixel_noise(NORMAL.binned(2).binned(2)) == pytest.approx(pixel_noise(NORMAL.binned(4)))


def reach_of_tails(values: NDArray[np.float64]) -> float:
    """Standard deviations that all but a thousandth of the values lie within."""
    return float(np.quantile(abs(values - values.mean()), 0.999) / values.std())


# What it is drawn from


@pytest.mark.parametrize("mean", [0.0, 0.01, 0.3, 1.7, 9.0, 40.0, 63.9, 64.1, 300.0, 9000.0])
def test_poisson_numbers_have_the_distribution_of_their_mean(mean: float) -> None:
    draws = poisson(flat(mean, 64, 128, 128), seeded(11)).double().flatten()
    assert torch.equal(draws, draws.round())
    outcomes = torch.arange(max(8, int(mean + 8 * mean**0.5) + 1), dtype=torch.float64)
    log_chance = torch.xlogy(outcomes, torch.tensor(mean)) - mean - torch.lgamma(outcomes + 1)
    below = torch.searchsorted(draws.sort().values, outcomes, right=True) / len(draws)
    # A million draws are within 0.002 of the truth but once in thousands of tries.
    assert float((below - log_chance.exp().cumsum(0)).abs().max()) < 0.002
    assert float(draws.mean()) == pytest.approx(mean, rel=0.002, abs=0.001)
    assert float(draws.var()) == pytest.approx(mean, rel=0.01, abs=0.001)


def test_poisson_numbers_of_a_picture_follow_each_sample() -> None:
    means = torch.linspace(0, 130, 64 * 64).view(1, 64, 64)
    draws = poisson(means.repeat(400, 1, 1), seeded(12))
    offset = (draws.mean(0) - means[0]) / (means[0] / 400).sqrt().clamp_min(0.01)
    assert float(offset.abs().max()) < 5
    assert float(offset.square().mean()) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("tail", [-0.2, -0.065, 0.0, 0.1349, 0.3])
def test_tukey_lambda_draws_follow_their_quantiles(tail: float) -> None:
    draws = tukey_lambda(torch.Size([1_000_000]), tail, seeded(13), torch.device("cpu")).double()
    u = torch.tensor([0.001, 0.02, 0.2, 0.5, 0.9, 0.999], dtype=torch.float64)
    if tail:
        wanted = (u**tail - (1 - u) ** tail) / (tail * tukey_lambda_sd(tail))
    else:
        wanted = (u / (1 - u)).log() * math.sqrt(3) / math.pi  # logistic
    found = draws.sort().values[(u * len(draws)).long()]
    torch.testing.assert_close(found, wanted, rtol=0.02, atol=0.006)


def test_tukey_lambda_spread_matches_its_logistic_and_uniform_limits() -> None:
    assert tukey_lambda_sd(1e-4) == pytest.approx(math.pi / math.sqrt(3), rel=1e-3)
    assert tukey_lambda_sd(1.0) == pytest.approx(2 / math.sqrt(12), rel=1e-9)


def test_averages_tend_to_a_normal_distribution() -> None:
    for tail in (-0.24, -0.1, 0.05, 0.3):
        shapes = [tail, *(averaged_tail(tail, count) for count in (4, 16, 10_000))]
        away = [abs(shape - 0.1349) for shape in shapes]
        assert away == sorted(away, reverse=True)
        assert away[-1] < 0.01


# Sony's lossy coding


def as_mosaics(planes: torch.Tensor) -> NDArray[np.uint16]:
    """Mosaics (N, 2h, 2w) in the units of a file of planes (N, 4, h, w) above black."""
    values = (planes.numpy() + BLACK).astype(np.uint16)
    mosaics = np.empty((len(values), 2 * values.shape[2], 2 * values.shape[3]), np.uint16)
    for plane in range(4):
        mosaics[:, plane // 2 :: 2, plane % 2 :: 2] = values[:, plane]
    return mosaics


def check_coding(planes: torch.Tensor) -> None:
    coded = through_arw2(planes)
    assert coded.shape == planes.shape
    expected = np.stack([arw2_quantise(mosaic) for mosaic in as_mosaics(planes)])
    assert np.array_equal(as_mosaics(coded), expected)


@given(
    planes=hnp.arrays(
        np.int16,
        st.tuples(st.just(2), st.just(4), st.integers(1, 3), st.integers(1, 40)),
        elements=st.integers(-BLACK, WHITE - BLACK),
    )
)
@settings(max_examples=200)
def test_the_coding_is_that_of_a_file_for_any_planes(planes: NDArray[np.int16]) -> None:
    check_coding(torch.from_numpy(planes.astype(np.float32)))


@pytest.mark.parametrize("spread", [0.7, 12.0, 90.0, 700.0, 5000.0])
@pytest.mark.parametrize("width", [15, 16, 96, 157])
def test_the_coding_is_that_of_a_file_for_noise_of_any_strength(width: int, spread: float) -> None:
    noise = torch.randn((3, 4, 40, width), generator=seeded(width)) * spread
    check_coding((noise + 60 + spread).round().clamp(-BLACK, WHITE - BLACK))


def test_what_no_file_holds_is_cut_off_by_the_coding() -> None:
    planes = torch.tensor([-2000.0, 15_800.0]).repeat(1, 4, 2, 8)
    assert (
        through_arw2(planes).aminmax()
        == through_arw2(planes.clamp(-BLACK, WHITE - BLACK)).aminmax()
    )


# Devices


def test_the_coding_is_done_on_the_device_of_the_planes() -> None:
    # Tensors of "meta" have a shape alone, and go together with those of no other device.
    assert through_arw2(torch.empty(2, 4, 8, 20, device="meta")).device.type == "meta"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["normal", "long tails"])
def test_a_gpu_draws_the_same_noise(name: str) -> None:
    sensor, cuda = SENSORS[name], torch.device("cuda")
    shot, read = pixel_noise(sensor)
    for level in LEVELS:
        raw = expose(
            flat(level, 8, 4, 128, 192).to(cuda), sensor, torch.Generator(cuda).manual_seed(1)
        )
        assert raw.device.type == "cuda"
        expected = (shot * level / SPAN + read) * SPAN**2
        assert float(raw.double().var()) == pytest.approx(expected, rel=TOLERANCE)
        assert torch.equal(through_arw2(raw).cpu(), through_arw2(raw.cpu()))
