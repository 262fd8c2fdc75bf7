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


def registered(rgb: Tensor, factor: Tensor) -> Tensor:
    """A picture of planes binned by `factor`, with its colours one upon the other.

    Networks take planes for those of a mosaic of the size of the picture, red half a pixel up and
    left of a cell's middle, blue down and right. The samples of each plane lie 2 pixels of the
    sensor apart: the middle of those that were averaged is (factor - 1) / (2 factor) pixels of the
    picture nearer to the middle of the cell.

    rgb: (..., 3, H, W); factor: () for all, or (B,) for rgb (B, 3, H, W).
    """
    if bool((factor == 1).all()):
        return rgb
    shift = ((factor - 1) / (2 * factor))[..., None, None].to(rgb)
    red, green, blue = rgb.unbind(-3)
    return torch.stack([_moved(red, shift), green, _moved(blue, -shift)], -3)


def _moved(channel: Tensor, shift: Tensor) -> Tensor:
    """(..., H, W) moved down and right by less than a pixel, up and left where negative.

    Between two pixels lies their mean: red and blue have no detail that fine in a mosaic.
    """
    for axis in (-2, -1):
        rest = channel.shape[axis] - 1
        first, last = channel.narrow(axis, 0, 1), channel.narrow(axis, rest, 1)
        before = torch.cat([first, channel.narrow(axis, 0, rest)], axis)
        after = torch.cat([channel.narrow(axis, 1, rest), last], axis)
        towards = torch.where(shift > 0, before, after)
        channel = torch.lerp(channel, towards, shift.abs())
    return channel


def bilinear_demosaic(planes: Tensor) -> Tensor:
    """RGB (B, 3, 2h, 2w) of planes (B, 4, h, w) at their places in a mosaic that starts on red.

    A colour that a pixel lacks is the mean of those of the 3 x 3 pixels around it that have it, at
    the border fewer: LibRaw's `lin_interpolate` and `border_interpolate`.
    """
    batch, _, height, width = planes.shape
    known = planes.new_zeros(batch, 3, 2 * height, 2 * width)
    there = planes.new_zeros(1, 3, 2 * height, 2 * width)
    for plane, (colour, down, right) in enumerate(((0, 0, 0), (1, 0, 1), (1, 1, 0), (2, 1, 1))):
        known[:, colour, down::2, right::2] = planes[:, plane]
        there[:, colour, down::2, right::2] = 1
    around, number = (functional.avg_pool2d(x, 3, 1, 1) for x in (known, there))
    return torch.where(there > 0, known, around / number)


def plain_demosaic(planes: Tensor) -> Tensor:
    """RGB (B, 3, 2h, 2w) of planes (B, 4, h, w), all taken to lie in the middle of their cells.

    For networks to begin with, which learn where red and blue belong; to be looked at, see
    `bilinear_demosaic`.
    """
    rgb = torch.stack([planes[:, 0], (planes[:, 1] + planes[:, 2]) / 2, planes[:, 3]], 1)
    return functional.interpolate(rgb, scale_factor=2, mode="bilinear", align_corners=False)


def to_planes(rgb: Tensor) -> Tensor:
    """What a RGGB mosaic sees of (B, 3, H, W): planes (B, 4, H/2, W/2), order R G1 G2 B."""
    red, green, blue = rgb.unbind(1)
    return torch.stack(
        [red[:, ::2, ::2], green[:, ::2, 1::2], green[:, 1::2, ::2], blue[:, 1::2, 1::2]], 1
    )


def to_uint16(image: Tensor) -> NDArray[np.uint16]:
    """Frame (H, W, 3) uint16, 65535 = 1, of a developed image (3, H, W) in 0..1."""
    scaled = (image * 65535).round().to(torch.int32).permute(1, 2, 0)
    return scaled.contiguous().cpu().numpy().astype(np.uint16)


def _colour(rgb: Tensor, matrix: Tensor) -> Tensor:
    return torch.einsum("...ij,...jhw->...ihw", matrix.to(rgb), rgb)
