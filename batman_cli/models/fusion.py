"""The fusion front end: frames are aligned and averaged in linear light before any network.

A scene averages as 1/N at next to no cost, whether it stands still or moves along; where a frame
differs from the average by more than the noise explains, the average starts anew from the frame.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from batman_cli.models.align import find_flow
from batman_cli.models.grid import box, box_inside, warped

RADIUS = 2  # samples; change is judged by means over 5x5
# Each test: how many variances are still noise, and how sharply that ends.
BRIGHTNESS_THRESHOLD, BRIGHTNESS_STEEPNESS = 5.0, 1.5
COLOUR_THRESHOLD, COLOUR_STEEPNESS = 4.5, 3.0
SURE = 0.95  # a belief that counts as certainty, or noise alone would end the average now and then
MEMORY = 0.99  # of an average, from frame to frame: light that changes slowly is followed
# Row noise does not average out along a row: the mean over a box has more variance than white
# noise would give it.
CORRELATION = 1.5
# Lamps amplified a hundredfold reach any value. White is 1; what may lie above is its noise, and to
# cut that off would darken what is bright.
LEAST_VARIANCE = 1e-8  # no picture is free of noise; weights and tests divide by it
CEILING, CEILING_DEVIATIONS = 1.2, 4.0


class Average(NamedTuple):
    """Frames averaged so far and how noisy that is."""

    mean: Tensor  # (B, 4, h, w) linear planes
    variance: Tensor  # (B, 4, h, w) noise variance of `mean`


def single(planes: Tensor, noise: Tensor) -> Average:
    """The average of one frame. planes: (B, 4, h, w) amplified linear; noise: (B, 2, 4)."""
    shot, read = noise[:, 0, :, None, None], noise[:, 1, :, None, None]
    planes = torch.minimum(planes, CEILING + CEILING_DEVIATIONS * (shot + read).sqrt())
    variance = shot * box(planes, RADIUS).clamp_min(0) + read
    return Average(planes, variance.clamp_min(LEAST_VARIANCE))


def merge(anchor: Average, other: Average) -> tuple[Average, Tensor]:
    """`anchor` improved by `other`, which is moved onto it, and the flow (B, 2, h, w) of that.

    Weights are those of least variance, times the belief that both show the same: what only
    `other` shows never gets in.
    """
    flow = find_flow(*anchor, *other)
    mean = warped(other.mean, flow, sharp=True)
    variance = warped(other.variance, flow, sharp=False)
    both = anchor.variance + variance
    weight = anchor.variance / both * _same(mean - anchor.mean, both)
    return Average(
        torch.lerp(anchor.mean, mean, weight),
        (1 - weight) ** 2 * anchor.variance + weight**2 * variance,
    ), flow


def _same(difference: Tensor, variance: Tensor) -> Tensor:
    """Belief in 0..1, (B, 1, h, w), that the difference is no more than noise.

    Two tests: of the mean of all planes, which has the least noise, and of each plane, which sees a
    change of colour at equal brightness.
    """
    # At the border a mean with repeated samples would be noisier than so many samples make it.
    change, samples = box_inside(difference, RADIUS)
    allowed = CORRELATION / samples
    brightness = change.mean(1, keepdim=True) ** 2
    brightness = box(brightness / (variance.mean(1, keepdim=True) / 4 * allowed), RADIUS)
    colour = change**2 / (variance * allowed)
    colour = box(colour.mean(1, keepdim=True), RADIUS)
    same = torch.sigmoid(BRIGHTNESS_STEEPNESS * (BRIGHTNESS_THRESHOLD - brightness))
    same = same * torch.sigmoid(COLOUR_STEEPNESS * (COLOUR_THRESHOLD - colour))
    return (same / SURE).clamp_max(MEMORY)
