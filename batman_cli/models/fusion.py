"""The recursive fusion front end: frames are averaged in linear light before any network.

A static scene averages as 1/N at next to no cost; where the frame differs from the average by
more than the noise explains, the average starts anew from the frame.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

RADIUS = 2  # samples; motion is judged by means over 5x5
BOX_SAMPLES = (2 * RADIUS + 1) ** 2
COLOUR_STEEPNESS, COLOUR_THRESHOLD = 3.0, 2.5  # of the mean over planes; in variances
CEILING = 1.5  # lamps amplified a hundredfold reach any value; white is 1, the rest is noise
SQRT_OFFSET = 1e-3  # keeps the slope of the signed square root finite at zero


class Fused(NamedTuple):
    """The average so far and how noisy it is."""

    mean: Tensor  # (B, 4, h, w) linear planes
    variance: Tensor  # (B, 4, h, w) noise variance of `mean`
    frame_variance: Tensor  # (B, 4, h, w) noise variance of the newest frame alone


class Fusion(nn.Module):
    """Variance-weighted recursive average of planes, with a test for motion.

    This is a Kalman filter of a constant, per sample, with a gain raised towards 1 on motion.
    """

    def __init__(self) -> None:
        super().__init__()
        self.steepness = nn.Parameter(torch.tensor(1.5))
        self.threshold = nn.Parameter(torch.tensor(3.0))  # in variances of the box mean
        # Row noise does not average out along a row: the test's variance is larger than white
        # noise would make it.
        self.log_correlation = nn.Parameter(torch.tensor(0.4))

    def forward(
        self, planes: Tensor, noise: Tensor, mean: Tensor | None, variance: Tensor | None
    ) -> Fused:
        """Average that includes one more frame.

        planes: (B, 4, h, w) amplified linear; noise: (B, 2, 4) shot and read of each plane;
        mean, variance: (B, 4, h, w) of the frames before, None at the first.
        """
        shot, read = noise[:, 0, :, None, None], noise[:, 1, :, None, None]
        planes = planes.clamp_max(CEILING)
        frame_variance = shot * box(planes).clamp_min(0) + read
        if mean is None or variance is None:
            return Fused(planes, frame_variance, frame_variance)
        moved = self._motion(planes - mean, frame_variance + variance)
        weight = variance / (variance + frame_variance)
        weight = weight + (1 - weight) * moved
        fused = mean + weight * (planes - mean)
        left = (1 - weight) ** 2 * variance + weight**2 * frame_variance
        return Fused(fused, left, frame_variance)

    def _motion(self, difference: Tensor, variance: Tensor) -> Tensor:
        """Belief in 0..1, (B, 1, h, w), that the difference is more than noise.

        Two tests: of the mean of all planes, which has the least noise, and of each plane, which
        sees a change of colour at equal brightness.
        """
        allowed = self.log_correlation.exp() / BOX_SAMPLES
        brightness = box(difference.mean(1, keepdim=True)) ** 2
        brightness = box(brightness / (variance.mean(1, keepdim=True) / 4 * allowed))
        colour = box((box(difference) ** 2 / (variance * allowed)).mean(1, keepdim=True))
        same = torch.sigmoid(self.steepness * (self.threshold - brightness))
        same = same * torch.sigmoid(COLOUR_STEEPNESS * (COLOUR_THRESHOLD - colour))
        return 1 - same


def box(x: Tensor) -> Tensor:
    """Mean over 5x5, borders replicated; separable, which a CPU does twice as fast."""
    side = 2 * RADIUS + 1
    x = functional.pad(x, (RADIUS, RADIUS, RADIUS, RADIUS), mode="replicate")
    return functional.avg_pool2d(functional.avg_pool2d(x, (1, side), 1), (side, 1), 1)


def signed_sqrt(x: Tensor) -> Tensor:
    """sign(x) (sqrt(|x| + e) - sqrt(e)): evens out shot noise, keeps negative values."""
    return x.sign() * ((x.abs() + SQRT_OFFSET).sqrt() - SQRT_OFFSET**0.5)


def noise_map(variance: Tensor) -> Tensor:
    """Logarithm of a standard deviation, scaled to about -1..1 for a network."""
    return 0.5 * variance.clamp_min(1e-8).log() * 0.3 + 1


def smooth_base(mean: Tensor) -> Tensor:
    """Smoothed demosaic of fused planes in the square-root domain, (B, 3, 2h, 2w), >= 0.

    What the networks add a residual to: untrained it is already a usable picture.
    """
    rgb = torch.stack([mean[:, 0], (mean[:, 1] + mean[:, 2]) / 2, mean[:, 3]], 1)
    root = (box(rgb).clamp_min(0) + SQRT_OFFSET).sqrt() - SQRT_OFFSET**0.5
    return functional.interpolate(root, scale_factor=2, mode="bilinear", align_corners=False)


def square(root: Tensor) -> Tensor:
    """Inverse of `signed_sqrt`, so linear light again."""
    return root.sign() * ((root.abs() + SQRT_OFFSET**0.5) ** 2 - SQRT_OFFSET)
