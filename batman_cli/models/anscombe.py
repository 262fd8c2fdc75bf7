"""Noise of a camera made alike everywhere, and the way back that keeps the mean in the dark.

The generalised Anscombe transformation turns Poisson and normal noise into noise of variance 1. A
mean of transformed values is not the transform of the mean, though, and in the dark the plain
inverse is off by as much as there is light. The exact unbiased inverse maps the expectation of the
transformed value to the level it belongs to (Makitalo and Foi, Optimal Inversion of the Generalized
Anscombe Transformation for Poisson-Gaussian Noise, IEEE TIP 2013).
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

LEAST_READ = 1e-12  # variance; without any noise there would be nothing to divide by
LEAST_SHOT = 1e-12
NOISIEST_READ = 32.0  # electrons; with more read noise than that the inverse hardly depends on it
BRIGHTEST = 100.0  # electrons that the table reaches; beyond, its last value is right within 0.3 %
LEVELS, NODES = 256, 401  # of the table, and of the sum over normal noise
DEVIATIONS = 6.0  # of normal noise that the sum reaches


def stabilised(planes: Tensor, noise: Tensor) -> Tensor:
    """Planes (B, 4, h, w) whose noise has variance 1, 0 where the planes are 0.

    2 / a (sqrt(a x + c) - sqrt(c)) with c = 3 / 8 a^2 + b, for shot a and read b of `noise`
    (B, 2, 4), written so that it is x / sqrt(b) without shot noise.
    """
    shot, offset = _parameters(noise)
    planes = torch.maximum(planes, -offset / shot.clamp_min(LEAST_SHOT))
    root = offset.sqrt()
    return 2 * planes / (root + (offset + shot * planes).clamp_min(0).sqrt())


def unstabilised(values: Tensor, noise: Tensor) -> Tensor:
    """Linear planes (B, 4, h, w) of means of `stabilised` ones: the exact unbiased inverse.

    The algebraic inverse and a correction of about a quarter of an electron, from a table of what
    is expected. Below what black gives it goes on with the correction of black: means of a dark
    area scatter on both sides of it.
    """
    shot, offset = _parameters(noise)
    correction = torch.stack(
        [
            torch.stack([_corrected(plane, *pair) for plane, pair in zip(*sample, strict=True)])
            for sample in zip(values, noise.transpose(1, 2).tolist(), strict=True)
        ]
    )
    # Below its minimum the parabola turns up again; no mean of stabilised values lies there.
    values = torch.maximum(values, -2 * offset.sqrt() / shot.clamp_min(LEAST_SHOT))
    return values * offset.sqrt() + shot * (values**2 / 4 + correction)


def _parameters(noise: Tensor) -> tuple[Tensor, Tensor]:
    """Shot variance per level a and c = 3 / 8 a^2 + b, both (B, 4, 1, 1)."""
    shot, read = noise.float()[..., None, None].unbind(1)
    return shot, 3 / 8 * shot**2 + read.clamp_min(LEAST_READ)


def _corrected(plane: Tensor, shot: float, read: float) -> Tensor:
    """Electrons to add to the algebraic inverse of a plane (h, w) of means."""
    deviation = math.sqrt(max(read, LEAST_READ)) / max(shot, LEAST_SHOT)
    start, end, table = _table(min(deviation, NOISIEST_READ))
    place = ((plane - start) / (end - start)).clamp(0, 1) * (len(table) - 1)
    below = place.floor().clamp_max(len(table) - 2)
    values = table.to(plane)
    first, second = values[below.long()], values[below.long() + 1]
    return torch.lerp(first, second, place - below)


@lru_cache(maxsize=64)
def _table(deviation: float) -> tuple[float, float, Tensor]:
    """The correction in electrons, at LEVELS equal steps of the stabilised mean from start to end.

    deviation: of the read noise, in electrons.
    """
    offset = 3 / 8 + deviation**2
    most = int(BRIGHTEST + 12 * math.sqrt(BRIGHTEST))
    count = torch.arange(most + 1, dtype=torch.float64)
    normal = torch.linspace(-DEVIATIONS, DEVIATIONS, NODES, dtype=torch.float64)
    density = torch.softmax(-(normal**2) / 2, 0)
    raw = count[:, None] + deviation * normal + offset
    of_count = (2 * raw.clamp_min(0).sqrt() - 2 * math.sqrt(offset)) @ density
    level = torch.linspace(0, math.sqrt(BRIGHTEST), 4 * LEVELS, dtype=torch.float64)[:, None] ** 2
    logarithm = torch.special.xlogy(count, level) - level - torch.lgamma(count + 1)
    expected = logarithm.exp() @ of_count
    algebraic = expected * math.sqrt(offset) + expected**2 / 4
    correction = level[:, 0] - algebraic
    start, end = float(expected[0]), float(expected[-1])
    places = torch.linspace(start, end, LEVELS, dtype=torch.float64)
    after = torch.searchsorted(expected, places).clamp(1, len(expected) - 1)
    share = (places - expected[after - 1]) / (expected[after] - expected[after - 1])
    return start, end, torch.lerp(correction[after - 1], correction[after], share).float()
