"""A picture without noise but for what nothing tells from detail: what the networks start from.

A Laplacian pyramid in linear light, where noise averages to nothing over areas, whatever its
distribution: no tint and no veil is left at large scales. Details of each level are kept by the
share of their local power that is not noise (Wiener filter with estimated signal power).
"""

import torch
from torch import Tensor

from batman_cli.models.grid import box, enlarged, shrunk

Matrix = tuple[tuple[float, float, float, float], ...]

LEVELS = 5  # halvings; the rest of the pyramid stays as it is
# Standing out from noise that is this many times as strong, from fine to coarse. Where only few
# samples tell the power, noise alone often seems to stand out.
CAUTION = (1.6, 1.2, 1.0, 0.8, 0.8)
# Brightness, and what colours differ from it by. Brightness leans on green, which has the least
# noise; differences of colours are smooth in most places, so their noise goes nearly all.
FROM_PLANES: Matrix = (
    (1 / 6, 2 / 6, 2 / 6, 1 / 6),
    (5 / 6, -2 / 6, -2 / 6, -1 / 6),
    (-1 / 6, -2 / 6, -2 / 6, 5 / 6),
    (0.0, 1 / 2, -1 / 2, 0.0),
)
TO_PLANES: Matrix = (
    (1.0, 1.0, 0.0, 0.0),
    (1.0, -1 / 4, -1 / 4, 1.0),
    (1.0, -1 / 4, -1 / 4, -1.0),
    (1.0, 0.0, 1.0, 0.0),
)
TINY = 1e-12


def wiener(mean: Tensor, variance: Tensor) -> Tensor:
    """Denoised planes (B, 4, h, w) of noisy ones with known noise variance, both linear.

    Sides are a multiple of 2^LEVELS.
    """
    signal = mixed(mean, FROM_PLANES)
    noise = mixed(variance, FROM_PLANES, power=2)
    levels: list[tuple[Tensor, Tensor]] = []
    for caution in CAUTION:
        coarse = shrunk(signal)
        detail = signal - enlarged(coarse)
        power = enlarged(box(shrunk(detail**2), 1))
        kept = (1 - caution * noise / power.clamp_min(TINY)).clamp(0, 1)
        levels.append((detail, kept))
        signal, noise = coarse, shrunk(noise) / 4
    for detail, kept in reversed(levels):
        signal = enlarged(signal) + kept * detail
    return mixed(signal, TO_PLANES)


def mixed(planes: Tensor, matrix: Matrix, *, power: int = 1) -> Tensor:
    """Weighted sums of planes (B, 4, h, w), or with power 2 the variance of their noise.

    No convolution, which autocast would compute in half precision.
    """
    total: list[Tensor] = []
    for row in matrix:
        weighted = torch.zeros_like(planes[:, 0])
        for plane, weight in zip(planes.unbind(1), row, strict=True):
            weighted.add_(plane, alpha=weight**power)
        total.append(weighted)
    return torch.stack(total, 1)
