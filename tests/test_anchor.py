"""Large areas of a picture have the light that was measured."""

import pytest
import torch
from torch import Tensor

from batman_cli.develop import plain_demosaic, to_planes
from batman_cli.models.anchor import AREA, anchored

SIDE = 8 * AREA  # samples
NOISE = 0.1  # standard deviation of the measured planes


def measured(level: float, *, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, variance and what is without noise, of an even grey."""
    clean = torch.full((1, 4, SIDE, SIDE), level)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    return clean + NOISE * noise, torch.full_like(clean, NOISE**2), clean


@pytest.mark.parametrize("tint", [(0.05, 0.0, -0.03), (0.02, 0.02, 0.02)])
def test_a_tint_over_a_large_area_goes(tint: tuple[float, float, float]) -> None:
    mean, variance, clean = measured(0.1)
    wanted = plain_demosaic(clean)
    tinted = wanted + torch.tensor(tint)[:, None, None]
    error = (anchored(tinted, mean, variance, clean) - wanted).mean((0, 2, 3))
    assert error.abs().max() < 0.1 * max(map(abs, tint))


def test_a_picture_that_is_right_stays_as_it_is() -> None:
    mean, variance, clean = measured(0.1)
    wanted = plain_demosaic(clean)
    assert (anchored(wanted, mean, variance, clean) - wanted).abs().max() < NOISE / 50


def test_detail_is_the_networks_affair() -> None:
    """What has no mean over an area passes, however strong it is."""
    mean, variance, clean = measured(0.3)
    waves = 0.1 * torch.sin(torch.arange(2 * SIDE) * torch.pi / 4)
    detailed = plain_demosaic(clean) + waves
    assert (anchored(detailed, mean, variance, clean) - detailed).abs().max() < NOISE / 50


def test_what_burns_out_does_not_spill_over_its_surroundings() -> None:
    """A lamp of 5 is shown as white: its surroundings must not make up for that."""
    mean, variance, clean = measured(0.1)
    for planes in (mean, clean):
        planes[..., SIDE // 2 - 8 : SIDE // 2 + 8, SIDE // 2 - 8 : SIDE // 2 + 8] += 4.9
    shown = plain_demosaic(clean.clamp_max(1))
    assert (anchored(shown, mean, variance, clean) - shown).abs().max() < NOISE / 20


def test_planes_of_a_picture_are_those_of_its_mosaic() -> None:
    rgb = torch.arange(2 * 3 * 4 * 6).view(2, 3, 4, 6)
    planes = to_planes(rgb)
    assert planes.shape == (2, 4, 2, 3)
    assert torch.equal(planes[:, 0], rgb[:, 0, ::2, ::2])
    assert torch.equal(planes[:, 1], rgb[:, 1, ::2, 1::2])
    assert torch.equal(planes[:, 2], rgb[:, 1, 1::2, ::2])
    assert torch.equal(planes[:, 3], rgb[:, 2, 1::2, 1::2])
