"""Random numbers that torch lacks, or draws too slowly to train with: Poisson and Tukey lambda."""

import math
from functools import cache

import torch
from torch import Tensor

TABLED = 64.0  # largest mean drawn from the table; above it a formula is exact enough
OUTCOMES = 128  # numbers in the table: from a mean of 64 a larger one comes once in 10^12 draws
ROWS_PER_ROOT = 32  # rows of the table, even in sqrt(mean): the variance grows by 1/32^2 at most
LARGEST_KEPT = 1 - 2**-16  # with a whole number up to OUTCOMES before it, a float32 holds it
EDGE = 1e-6  # uniform numbers keep so far from 0 and 1, so that no Tukey lambda draw is infinite
SMALLEST_TAIL = 1e-3  # shapes nearer to 0 are drawn as this one: a logistic distribution as well
GOLDEN = 0.6180339887  # its multiples, without their whole parts, are spread evenly over 0..1
NORMAL_TAIL = 0.1349  # the shape whose kurtosis is that of a normal distribution
BISECTIONS = 30


def poisson(mean: Tensor, generator: torch.Generator) -> Tensor:
    """Poisson numbers of each mean: float32 (..., h, w), 0 or more, in and out.

    On a CPU three times as fast as torch.poisson. The generator is of the mean's device.
    """
    draws = _tabled(mean.clamp_max(TABLED), generator)
    if mean.numel() and float(mean.max()) > TABLED:
        above = (mean - TABLED).clamp_(0, 1).ceil_()
        draws = draws.lerp_(_expanded(mean.clamp_min(TABLED), generator), above)
    return draws


def _tabled(mean: Tensor, generator: torch.Generator) -> Tensor:
    """Draws by the alias method (Walker 1977): a random column, or else the other one it names."""
    row = (mean.sqrt() * ROWS_PER_ROOT).floor_()
    # The upper one of two rows is taken so often that the mean comes out: floor(share + uniform)
    # is 0 or 1. One set of uniform numbers, moved on for each picture, is as good as many here.
    share = (mean * ROWS_PER_ROOT**2).addcmul_(row, row, value=-1).div_(2 * row + 1)
    *lead, _, _ = mean.shape
    moved = torch.arange(math.prod(lead), device=mean.device).mul(GOLDEN).view(*lead, 1, 1)
    row += share.add_((_uniform(mean.shape[-2:], mean, generator) + moved).frac_()).floor_()
    place = _uniform(mean.shape, mean, generator).mul_(OUTCOMES)
    column = place.floor()
    index = row.mul_(OUTCOMES).add_(column).int().flatten()
    entry = _alias_table(mean.device).index_select(0, index).view_as(mean)
    step = entry.floor()
    kept = entry.sub_(step)
    left = place.sub_(column).sub_(kept).floor_().add_(1)  # 1 where the column is not kept
    return column.addcmul_(left, step)


@cache
def _alias_table(device: torch.device) -> Tensor:
    """Flat table of rows x OUTCOMES, float32; row i is for the mean (i / ROWS_PER_ROOT)^2.

    The whole part of an entry is the step from its column to the other one, the fraction how often
    the column itself is kept.
    """
    rows = torch.arange(int(math.sqrt(TABLED) * ROWS_PER_ROOT) + 3)
    columns = torch.arange(OUTCOMES)
    mean = (rows[:, None].double() / ROWS_PER_ROOT) ** 2
    chance = torch.exp(torch.xlogy(columns, mean) - mean - torch.lgamma(columns.double() + 1))
    height = chance / chance.sum(1, keepdim=True) * OUTCOMES  # 1 on average
    other = columns.repeat(len(rows), 1)
    waiting = torch.ones_like(other, dtype=torch.bool)
    for _ in columns:  # the highest column fills the lowest one up to 1, which then is done
        low = height.masked_fill(~waiting, math.inf).argmin(1)
        high = height.masked_fill(~waiting, -math.inf).argmax(1)
        other[rows, low] = high
        waiting[rows, low] = False
        height[rows, high] -= torch.where(low == high, 0.0, 1 - height[rows, low])
    kept = torch.where(other == columns, 0, height.clamp(0, LARGEST_KEPT))  # both ways lead there
    return (other - columns + kept).float().flatten().to(device)


def _expanded(mean: Tensor, generator: torch.Generator) -> Tensor:
    """Draws for large means: Cornish-Fisher expansion of the quantile function, rounded down.

    For a mean of 64 one draw in 20,000 differs from the exact quantile, by 1.
    """
    z = torch.randn(mean.shape, generator=generator, device=mean.device)
    root, square = mean.sqrt(), z * z
    second = (square + 2).div_(6)
    third = (square + 2).mul_(z).div_(root).div_(-72)
    return root.mul_(z).add_(mean).add_(second).add_(third).floor_()


def tukey_lambda(
    shape: torch.Size, tail: float, generator: torch.Generator, device: torch.device
) -> Tensor:
    """Samples of unit variance: the quantile function is (u^t - (1 - u)^t) / t, for t > -0.5."""
    if abs(tail) < SMALLEST_TAIL:
        tail = SMALLEST_TAIL
    u = torch.rand(shape, generator=generator, device=device).clamp_(EDGE, 1 - EDGE)
    from_right = torch.log1p(-u).mul_(tail).exp_()  # u^t as exp(t ln u): half the time of pow
    return u.log_().mul_(tail).exp_().sub_(from_right).div_(tail * tukey_lambda_sd(tail))


def tukey_lambda_sd(tail: float) -> float:
    """Standard deviation of the Tukey lambda distribution, for tail > -0.5 and not 0."""
    beta = math.gamma(tail + 1) ** 2 / math.gamma(2 * tail + 2)
    return math.sqrt(2 / tail**2 * (1 / (1 + 2 * tail) - beta))


def averaged_tail(tail: float, count: int) -> float:
    """Shape of a Tukey lambda distribution with the kurtosis of the average of `count` samples.

    tail: -0.25 < t < 0.5. The excess over a normal distribution's kurtosis falls with the count.
    """
    wanted = _excess_kurtosis(tail) / count
    low, high = sorted((tail, NORMAL_TAIL))
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if _excess_kurtosis(middle) > wanted:  # it falls as the shape grows
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _excess_kurtosis(tail: float) -> float:
    """Of the Tukey lambda distribution, for -0.25 < tail < 0.5; 0 for a normal distribution."""
    t = tail if abs(tail) >= SMALLEST_TAIL else SMALLEST_TAIL

    def beta(a: float, b: float) -> float:
        return math.gamma(a) * math.gamma(b) / math.gamma(a + b)

    fourth = 2 / (4 * t + 1) - 8 * beta(3 * t + 1, t + 1) + 6 * beta(2 * t + 1, 2 * t + 1)
    return fourth / (t * tukey_lambda_sd(t)) ** 4 - 3


def _uniform(shape: torch.Size, like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, device=like.device)
