"""Development: white stays white, the curve is rawpy's, unclipped values keep a gradient."""

import numpy as np
import torch

from batman_cli.develop import develop, develop_unclipped, plain_demosaic, to_uint16

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
