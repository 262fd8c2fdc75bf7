"""Motion between two noisy pictures of a scene, as a smooth field of displacements.

Least squares on brightness, coarse to fine (Lucas and Kanade, An Iterative Image Registration
Technique with an Application to Stereo Vision, 1981), over windows so wide that noise averages out,
with a prior that holds still what has no texture. A displacement counts only where it explains the
pictures better than standing still does, by more than noise could: still scenes are not resampled.
"""

import torch
from torch import Tensor
from torch.nn import functional

from batman_cli.models.grid import box, box_inside, enlarged, shrunk, warped

HALVINGS = 4  # from the planes' grid to the coarsest; each can move by STEP_LIMIT of its samples
STEP_LIMIT = 1.5
LUMA = (1 / 6, 2 / 6, 2 / 6, 1 / 6)  # of R G1 G2 B: green has the least noise
RADII = 8, 4  # samples; a window is a box mean of a box mean
WINDOW_SAMPLES = (2 * RADII[0] + 1) ** 2  # about; on grids in cells it is a little larger
PRIOR = 1.0  # 1 / variance of what a grid adds to a displacement, in its samples
CELL = 4  # samples; on the finest grids sums are taken in cells first, which is 10 times as fast
FINE_GRIDS = 2
GATE_RADIUS = 2  # cells of half the size
GATE, GATE_DEVIATIONS = 40.0, 4.0  # of the fall of chi squared over a window
SMOOTHING_SHARE = 0.5  # of the noise that moving takes away; the rest is gone before, mostly


def find_flow(
    anchor: Tensor, anchor_variance: Tensor, other: Tensor, other_variance: Tensor
) -> Tensor:
    """Flow (B, 2, h, w), x then y in samples: `anchor` looks like `other` at places + flow.

    Linear planes and the variance of their noise, (B, 4, h, w) each, sides a multiple of
    2^HALVINGS.
    """
    own, others = (_luma(variance, power=2) for variance in (anchor_variance, other_variance))
    first, second = _luma(anchor), _luma(other)
    grids = [(first, second, own + others)]
    for _ in range(HALVINGS):
        *halves, noise = (shrunk(x) for x in grids[-1])
        grids.append((halves[0], halves[1], noise / 4))
    flow = torch.zeros_like(grids[-1][0]).repeat(1, 2, 1, 1)
    for number in range(HALVINGS, -1, -1):
        if number < HALVINGS:
            flow = 2 * enlarged(flow)
        flow = flow + _step(*grids[number], flow, CELL if number < FINE_GRIDS else 1)
    return flow * _explains(first, second, own, others, flow)


def _luma(planes: Tensor, *, power: int = 1) -> Tensor:
    """Brightness (B, 1, h, w), or with power 2 the variance of its noise."""
    red, first_green, second_green, blue = planes.split(1, 1)
    r, g, b = LUMA[0] ** power, LUMA[1] ** power, LUMA[3] ** power
    return r * red + g * (first_green + second_green) + b * blue


def _step(first: Tensor, second: Tensor, variance: Tensor, flow: Tensor, cell: int) -> Tensor:
    """What one grid adds to the flow: the most probable one, given noise and prior."""
    moved = warped(second, flow, sharp=False)
    padded = functional.pad(moved, (1, 1, 1, 1), mode="replicate")
    along = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    change = first - moved
    products = [along * along, along * down, down * down, along * change, down * change]
    sums = shrunk(torch.cat(products, 1) / variance, cell)
    for radius in reversed(RADII):
        sums = box(sums, radius // cell)
    xx, xy, yy, x, y = (WINDOW_SAMPLES * sums).split(1, 1)
    xx, yy = xx + PRIOR, yy + PRIOR
    # Not less than for a single direction of texture, which rounding could turn into 0 or less.
    determinant = (xx * yy - xy * xy).clamp_min(PRIOR * (xx + yy) - PRIOR**2)
    solution = torch.cat([yy * x - xy * y, xx * y - xy * x], 1) / determinant
    return enlarged(solution.clamp(-STEP_LIMIT, STEP_LIMIT), cell)


def _explains(first: Tensor, second: Tensor, own: Tensor, others: Tensor, flow: Tensor) -> Tensor:
    """1 where the flow lowers chi squared by more than noise could, else 0, (B, 1, h, w).

    Judged at half the size, where there is more signal than noise. What is moved by a part of a
    sample is a mean of neighbours, so it has less noise: a fall that comes of that does not count,
    and because of it the fall varies by more, the more of the noise is the other picture's.
    """
    first, second, own, others, flow = (shrunk(x) for x in (first, second, own, others, flow))
    own, others, flow = own / 4, others / 4, flow / 2
    moved = warped(second, flow, sharp=False)
    part = flow - flow.floor()
    smoothing = 1 - (part**2 + (1 - part) ** 2).prod(1, keepdim=True)
    fall = (first - second) ** 2 - (first - moved) ** 2 - SMOOTHING_SHARE * smoothing * others
    fall, share = fall / (own + others), others / (own + others)
    cells = shrunk(torch.cat([fall, share], 1), CELL)
    mean, count = box_inside(cells, GATE_RADIUS)
    (fall, share), samples = mean.split(1, 1), CELL**2 * count
    moves = fall > GATE / samples + GATE_DEVIATIONS * (2 * share / samples) ** 0.5
    return functional.interpolate(moves.to(flow.dtype), scale_factor=2 * CELL, mode="nearest")
