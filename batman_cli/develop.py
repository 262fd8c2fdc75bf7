"""Linear white-balanced camera RGB to sRGB as rawpy develops it."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

# LibRaw's default tone curve, gamma (2.222, 4.5): the transfer of ITU-R BT.709.
SLOPE = 4.5
EXPONENT = 0.45
KNEE = 0.018053968510807  # where slope and power meet in value and derivative
OFFSET = 0.09929682680944


def develop(rgb: Tensor, matrix: Tensor) -> Tensor:
    """Display-ready RGB, as rawpy's `postprocess` with a fixed white level gives it.

    rgb: (..., 3, H, W) linear white-balanced camera RGB, 1 = white; clipped to 0..1 here.
    matrix: (3, 3) camera to linear sRGB, rows sum to 1.
    Returns (..., 3, H, W) in 0..1, sRGB primaries, BT.709 curve.
    """
    linear = _colour(rgb.clamp(0, 1), matrix).clamp(0, 1)
    return tone_curve(linear)


def develop_unclipped(rgb: Tensor, matrix: Tensor) -> Tensor:
    """`develop` without its clips, so that a loss after it has gradients everywhere.

    matrix: (3, 3) or (B, 3, 3) for rgb (B, 3, H, W).
    """
    return tone_curve(_colour(rgb, matrix))


def tone_curve(linear: Tensor) -> Tensor:
    """BT.709 curve; below the knee the straight line goes on, also for negative values."""
    power = (1 + OFFSET) * linear.clamp_min(KNEE) ** EXPONENT - OFFSET
    return torch.where(linear < KNEE, SLOPE * linear, power)


def plain_demosaic(planes: Tensor) -> Tensor:
    """Bilinear RGB (B, 3, 2h, 2w) of planes (B, 4, h, w): what is there without any denoising."""
    rgb = torch.stack([planes[:, 0], (planes[:, 1] + planes[:, 2]) / 2, planes[:, 3]], 1)
    return functional.interpolate(rgb, scale_factor=2, mode="bilinear", align_corners=False)


def to_uint16(image: Tensor) -> NDArray[np.uint16]:
    """Frame (H, W, 3) uint16, 65535 = 1, of a developed image (3, H, W) in 0..1."""
    scaled = (image * 65535).round().to(torch.int32).permute(1, 2, 0)
    return scaled.contiguous().cpu().numpy().astype(np.uint16)


def _colour(rgb: Tensor, matrix: Tensor) -> Tensor:
    return torch.einsum("...ij,...jhw->...ihw", matrix.to(rgb), rgb)
