"""Holds a picture to the light that was measured: nothing learned may tint or lift a large area.

Over areas of a hundred samples noise averages to next to nothing, so there the average of the
frames knows better than any network, which takes what is dark and of strong colour for noise.
"""

import torch
from torch import Tensor

from batman_cli.develop import to_planes
from batman_cli.models.grid import box, enlarged, mean_green, shrunk
from batman_cli.models.wiener import FROM_PLANES, TO_PLANES, mixed

AREA = 32  # samples of the planes' grid; areas are 3 x 3 of these
REACH = 1
CAUTION = 4.0  # a difference counts where it is this many times as strong as noise
NEARLY_WHITE = 0.9  # beyond, pictures are cut off and averages of noisy samples are not
TINY = 1e-12


def anchored(rgb: Tensor, mean: Tensor, variance: Tensor, denoised: Tensor) -> Tensor:
    """The picture, moved to the measured light where large areas differ by more than noise.

    rgb: (B, 3, 2h, 2w) linear camera RGB; mean, variance, denoised: (B, 4, h, w) linear planes of
    the same frame, sides a multiple of AREA. Returns (B, 3, 2h, 2w).
    """
    rgb = rgb.float()
    shown = to_planes(rgb)
    brightest = torch.maximum(denoised, shown).amax(1, keepdim=True)
    counted = (brightest < NEARLY_WHITE).to(rgb)
    share = _area_mean(counted)
    difference = _area_mean(mixed((mean - shown) * counted, FROM_PLANES)) / share.clamp_min(TINY)
    samples = AREA**2 * (2 * REACH + 1) ** 2 * share
    noise = _area_mean(mixed(variance * counted, FROM_PLANES, power=2)) / share.clamp_min(TINY)
    noise = noise / samples.clamp_min(1)
    power = box(difference**2, REACH)
    kept = (1 - CAUTION * noise / power.clamp_min(TINY)).clamp(0, 1) * share
    moved = mixed(enlarged(kept * difference, AREA), TO_PLANES)
    return rgb + enlarged(mean_green(moved))


def _area_mean(x: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, C, h / AREA, w / AREA): means over 3 x 3 areas."""
    return box(shrunk(x, AREA), REACH)
