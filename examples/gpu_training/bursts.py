"""Dark bursts made on the device, a batch at a time: everything random is drawn there too.

The scenes, cameras and noise of batman_cli/training/bursts.py, as some hundred operations over a
whole batch, none of which waits for the CPU, so that a CUDA graph can hold them. New is what a
first frame may be: the average of many, as a recurrent front end has it after a long still burst.
"""

import math
from functools import cache
from typing import NamedTuple

import torch
from draws import Table, chance, constant, one_of, uniform
from scenes import scenes
from sources import Sources
from torch import Tensor

from batman_cli.develop import develop_unclipped, to_planes
from batman_cli.simulate.camera import (
    BELOW_BLACK,
    BIAS_SHARES,
    DARKEST_GAIN,
    NOISIEST_GAIN,
    NORMAL_SHARE,
    READ_INTERCEPTS,
    READ_SLOPES,
    ROW_SHARES,
    SPAN,
    SRGB_TO_XYZ,
    TAILS,
    XYZ_TO_CAMERA,
    through_arw2,
)
from batman_cli.simulate.draws import EDGE, SMALLEST_TAIL, averaged_tail, tukey_lambda_sd
from batman_cli.simulate.scenes import srgb_to_linear
from batman_cli.training.bursts import (
    BIN_SHARES,
    BLUE_GAINS,
    CODED_SHARE,
    EXPOSURES,
    OVEREXPOSED_SHARE,
    OVEREXPOSURES,
    RATIOS,
    RED_GAINS,
    softened,
)

LONG_PAST_SHARE, LONGEST_PAST = 0.5, 64.0  # of still bursts; frames
NOISE_ERROR = 0.06  # standard deviation of ln(told noise / true noise): an estimate has errors
TAIL_STEPS = 40  # shapes of read noise that are drawn from


class Batch(NamedTuple):
    """Dark bursts, and what they should become."""

    planes: Tensor  # (B, T, 4, h, w) amplified linear white-balanced planes
    noise: Tensor  # (B, 2, 4) shot and read variance, as a network is told
    past: Tensor  # (B,) how many frames the first one is the average of
    reference: Tensor  # (B, T, 3, 2h, 2w) developed sRGB
    matrix: Tensor  # (B, 3, 3) white-balanced camera RGB to linear sRGB


class _Sensor(NamedTuple):
    """Noise of the cameras of a batch, (B,) each: `SensorNoise` of simulate/camera.py."""

    gain: Tensor
    read: Tensor
    shape: Tensor  # (B, 2) of `_tail_table`
    normal: Tensor  # bool: read noise without tails
    row: Tensor
    bias: Tensor
    binned: Tensor  # bool: not rounded


def make(
    sources: Sources, batch: int, frames: int, size: int, *, long_past: float = LONG_PAST_SHARE
) -> Batch:
    """Bursts of frames x size x size sensor pixels.

    long_past: share of the still ones whose first frame is the average of many.
    """
    device = sources.device
    srgb, still = scenes(sources, batch, frames, size)
    from_srgb = _cameras(batch, device)
    light = srgb_to_linear(srgb) * _exposures(batch, device)[:, None, None, None, None]
    clean = torch.einsum("bij,btjhw->btihw", from_srgb, light).clamp_min(0)
    matrix = _inverse(from_srgb)
    each = matrix.repeat_interleave(frames, 0)
    reference = develop_unclipped(clean.clamp_max(1).flatten(0, 1), each)
    past = _past(still & chance(long_past, batch, device))
    planes, noise = _shot(clean, past)
    return Batch(planes, noise, past, reference.unflatten(0, (batch, frames)), matrix)


def _exposures(count: int, device: torch.device) -> Tensor:
    """(B,) linear brightness of the pictures' white."""
    over = chance(OVEREXPOSED_SHARE, count, device)
    brighter = uniform(OVEREXPOSURES, (count,), device)
    return torch.where(over, brighter, uniform(EXPOSURES, (count,), device))


def _past(long: Tensor) -> Tensor:
    """(B,) frames that the first one is the average of: 1, or for a long past up to many."""
    return (math.log(LONGEST_PAST) * torch.rand(long.shape, device=long.device) * long).exp()


def _cameras(count: int, device: torch.device) -> Tensor:
    """(B, 3, 3) linear sRGB to white-balanced camera RGB, of cameras mixed as by Dirichlet."""
    known = constant(tuple(XYZ_TO_CAMERA.values()), device)
    shares = -torch.log1p(-torch.rand(count, len(known), device=device))
    mixed = torch.einsum("bn,nij->bij", shares / shares.sum(1, keepdim=True), known)
    matrix = mixed @ constant(SRGB_TO_XYZ, device)
    return matrix / matrix.sum(2, keepdim=True)


def _inverse(matrix: Tensor) -> Tensor:
    """Of (B, 3, 3), by cross products: what a library does for it cannot be captured."""
    a, b, c = matrix.unbind(2)
    rows = torch.stack([torch.cross(b, c, 1), torch.cross(c, a, 1), torch.cross(a, b, 1)], 1)
    return rows / (a * rows[:, 0]).sum(1)[:, None, None]


def _shot(clean: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
    """Dark planes (B, T, 4, h, w) of clean camera RGB, and the noise (B, 2, 4) told of them."""
    count, frames = clean.shape[:2]
    device = clean.device
    kind = _bin_kinds(count, device)
    sensor = _sensors(kind, device)
    binned = _wide(sensor.binned)
    flat = clean.flatten(0, 1)
    sharp, soft = (to_planes(x).unflatten(0, (count, frames)) for x in (flat, softened(flat)))
    ratio = _ratios(count, device)
    scale = (SPAN / ratio)[:, None, :, None, None]
    exact = torch.where(binned, soft, sharp) * scale
    raw = _exposed(exact, sensor)
    # A coded file that is binned afterwards has its coding averaged away.
    coded = chance(CODED_SHARE, count, device) & ~sensor.binned
    raw = torch.where(_wide(coded), through_arw2(raw), raw)
    first = exact[:, :1] + (raw[:, :1] - exact[:, :1]) * _wide(past.rsqrt())
    planes = torch.cat([first, raw[:, 1:]], 1) / scale

    rounding = (~sensor.binned).float() / 12
    read = (sensor.read**2 + sensor.row**2 + rounding) / SPAN**2
    noise = torch.stack([(sensor.gain / SPAN)[:, None] * ratio, read[:, None] * ratio**2], 1)
    return planes, noise * (NOISE_ERROR * torch.randn(count, 2, 1, device=device)).exp()


def _bin_kinds(count: int, device: torch.device) -> Tensor:
    """(B,) places in BIN_SHARES."""
    shares = constant(tuple(BIN_SHARES.values()), device).cumsum(0)
    return (torch.rand(count, 1, device=device) > shares[:-1]).sum(1)


def _ratios(count: int, device: torch.device) -> Tensor:
    """(B, 4) amplification times white balance of each plane."""
    low, high = RATIOS
    ratio = low * (high / low) ** torch.rand(count, device=device).sqrt()
    red, blue = (uniform(gains, (count,), device) for gains in (RED_GAINS, BLUE_GAINS))
    green = torch.ones_like(red)
    return ratio[:, None] * torch.stack([red, green, green, blue], 1)


def _sensors(kind: Tensor, device: torch.device) -> _Sensor:
    """As `draw_noise` of simulate/camera.py, binned by the factor of each kind (B,)."""
    count = len(kind)
    factor = constant(tuple(BIN_SHARES), device)[kind]
    binned = factor > 1
    log_gain = uniform((math.log(DARKEST_GAIN), math.log(NOISIEST_GAIN)), (count,), device)
    slope, intercept = (uniform(x, (count,), device) for x in (READ_SLOPES, READ_INTERCEPTS))
    read = (slope * log_gain + intercept).exp()
    log_share = uniform((math.log(ROW_SHARES[0]), math.log(ROW_SHARES[1])), (count,), device)
    shapes = one_of(constant(_tail_table(), device), count)  # (B, kinds, 2)
    return _Sensor(
        gain=log_gain.exp() / factor**2,
        read=torch.where(binned, (read**2 + 1 / 12).sqrt() / factor, read),
        shape=shapes.take_along_dim(kind[:, None, None], 1)[:, 0],
        normal=chance(NORMAL_SHARE, count, device),
        row=read * log_share.exp() / factor.sqrt(),
        bias=read * uniform(BIAS_SHARES, (count,), device),
        binned=binned,
    )


@cache
def _tail_table() -> Table:
    """Of every shape t and bin factor: t, and 1 / (t x standard deviation)."""

    def row(tail: float, factor: int) -> tuple[float, float]:
        tail = tail if factor == 1 else averaged_tail(tail, factor**2)
        tail = math.copysign(max(abs(tail), SMALLEST_TAIL), tail)
        return tail, 1 / (tail * tukey_lambda_sd(tail))

    tails = torch.linspace(*TAILS, TAIL_STEPS).tolist()
    return tuple(tuple(row(tail, factor) for factor in BIN_SHARES) for tail in tails)


def _exposed(exact: Tensor, sensor: _Sensor) -> Tensor:
    """Raw DN above black (B, T, 4, h, w) of noise-free ones: `expose` of simulate/camera.py."""
    count, frames, planes, height, _ = exact.shape
    device = exact.device
    gain = _wide(sensor.gain)
    raw = torch.poisson((exact / gain).clamp_min(0)) * gain
    u = torch.rand_like(raw).clamp(EDGE, 1 - EDGE)
    tail, scale = (_wide(x) for x in sensor.shape.unbind(1))
    tailed = ((tail * u.log()).exp() - (tail * torch.log1p(-u)).exp()) * scale
    raw = raw + _wide(sensor.read) * torch.where(
        _wide(sensor.normal), torch.randn_like(raw), tailed
    )
    # R and G1 lie on one sensor row, G2 and B on the next.
    rows = torch.randn(count, frames, planes // 2, height, 1, device=device)
    raw = raw + _wide(sensor.row) * rows.repeat_interleave(2, 2)
    raw = raw + _wide(sensor.bias) * torch.randn(count, 1, planes, 1, 1, device=device)
    return torch.where(_wide(sensor.binned), raw, raw.round()).clamp(-BELOW_BLACK, SPAN)


def _wide(x: Tensor) -> Tensor:
    """(B,) -> (B, 1, 1, 1, 1)."""
    return x[:, None, None, None, None]
