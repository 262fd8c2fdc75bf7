"""Development: white stays white, the curve is rawpy's, unclipped values keep a gradient."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from batman_cli.develop import (
    develop,
    develop_unclipped,
    plain_demosaic,
    registered,
    to_planes,
    to_uint16,
)
from batman_cli.pack import bin_planes

MATRIX = torch.tensor(
    [[1.9712, -0.6789, -0.2923], [-0.2910, 1.7484, -0.4574], [0.0205, -0.5380, 1.5175]]
)


def test_gray_stays_gray_and_white_is_full() -> None:
    gray = torch.full((3, 1, 1), 0.18)
    out = develop(gray, MATRIX).flatten()
    assert float(out.max() - out.min()) < 2e-4
    assert torch.allclose(develop(torch.ones(3, 1, 1), MATRIX), torch.ones(3, 1, 1), atol=2e-4)


def test_curve_is_bt709() -> None:
    linear = torch.tensor([0.0, 0.01, 0.018053968510807, 0.18, 1.0]).expand(3, 1, 5)
    out = develop(linear, torch.eye(3))[0, 0]
    expected = torch.tensor([0.0, 0.045, 0.0812429, 0.4087, 1.0])
    assert torch.allclose(out, expected, atol=2e-4)


def test_equals_its_unclipped_form_inside_and_clips_outside() -> None:
    inside = torch.full((1, 3, 2, 2), 0.3)
    assert torch.equal(develop(inside, MATRIX), develop_unclipped(inside, MATRIX))
    outside = torch.tensor([-0.5, 0.5, 2.0])[:, None, None]
    assert 0 <= float(develop(outside, MATRIX).min()) <= float(develop(outside, MATRIX).max()) <= 1


def test_unclipped_has_a_gradient_everywhere() -> None:
    rgb = torch.tensor([-0.5, 0.0, 3.0])[None, :, None, None].requires_grad_()
    develop_unclipped(rgb, torch.eye(3)).sum().backward()
    assert rgb.grad is not None and bool((rgb.grad > 0).all())


def test_frames_are_16_bit_and_channel_last() -> None:
    frame = to_uint16(torch.tensor([0.0, 0.5, 1.0])[:, None, None].expand(3, 4, 6))
    assert frame.shape == (4, 6, 3) and frame.dtype == np.uint16
    assert frame[0, 0].tolist() == [0, 32768, 65535]


def test_plain_demosaic_averages_the_greens() -> None:
    planes = torch.tensor([1.0, 2.0, 4.0, 5.0])[None, :, None, None].expand(1, 4, 3, 3)
    assert plain_demosaic(planes)[0, :, 0, 0].tolist() == [1.0, 3.0, 5.0]


def as_of_a_mosaic(plane: Tensor, down: int, right: int) -> Tensor:
    """A plane at twice its size, its samples at the places of one colour of a mosaic."""
    side = plane.shape[-1]
    places = [((torch.arange(2 * side) - start) + 1.0) / side - 1 for start in (down, right)]
    grid = torch.stack(torch.meshgrid(*places, indexing="ij")[::-1], -1)[None]
    return functional.grid_sample(plane[None, None], grid, "bicubic", align_corners=False)[0, 0]


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_colours_of_binned_planes_come_to_lie_upon_each_other(factor: int) -> None:
    rough = torch.rand((1, 1, 24, 24), generator=torch.Generator().manual_seed(1))
    grey = functional.interpolate(rough, (512, 512), mode="bicubic")[0].repeat(3, 1, 1)
    planes = torch.from_numpy(bin_planes(to_planes(grey[None])[0].numpy(), factor))
    red, blue = as_of_a_mosaic(planes[0], 0, 0), as_of_a_mosaic(planes[3], 1, 1)
    found = registered(torch.stack([red, (red + blue) / 2, blue]), torch.tensor(float(factor)))
    inner = (slice(20, -20), slice(20, -20))
    off = float((found[0] - found[2])[inner].abs().mean())
    assert off < 0.002
    assert factor == 1 or off < 0.1 * float((red - blue)[inner].abs().mean())
