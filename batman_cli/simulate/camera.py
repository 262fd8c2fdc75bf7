"""A camera in the dark: clean views to noisy planes, by the physics of the sensor.

DN are raw units of a 14-bit sensor above black, whose white lies SPAN above black.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from batman_cli.simulate.arw import (
    BLACK,
    BLOCK_PIXELS,
    CODE_OF_VALUE,
    DELTA_BITS,
    LARGEST_SHIFT,
    LEVEL_OF_CODE,
    WHITE,
)
from batman_cli.simulate.draws import averaged_tail, poisson, tukey_lambda

SPAN = 15871.0  # DN between black and white of the cameras whose noise is tabled below
DARKEST_GAIN, NOISIEST_GAIN = 0.8, 16.0  # DN per electron; Sony A7S II: ISO 800 to ISO 16000
# Of cameras drawn at random, within what published calibrations span (LED). ln sigma of read noise
# = slope * ln gain + intercept; row noise and the black level's error are shares of sigma.
READ_SLOPES, READ_INTERCEPTS = (0.54, 0.85), (0.35, 1.5)
ROW_SHARES, BIAS_SHARES = (0.02, 0.2), (0.0, 0.02)
TAILS, NORMAL_SHARE = (-0.24, 0.15), 0.3  # shapes of read noise, and how often it is normal
HOT_RANGE = (5.0, 200.0)  # standard deviations of read noise that hot pixels stand above black
BELOW_BLACK = 512.0  # DN that a file holds below black; no noise here goes further


@dataclass(frozen=True)
class SensorNoise:
    """Noise of one sensor at one ISO (model of ELD, Wei et al. 2020, and PMN, Feng et al. 2022)."""

    gain: float  # DN per photo-electron
    read: float  # DN, standard deviation of the read noise of a sample
    tail: float | None  # shape of the Tukey lambda distribution of read noise; None: normal
    row: float  # DN, standard deviation of the offset that a whole row shares
    bias: float  # DN, standard deviation of the black level's error, one value for each plane
    step: float = 1.0  # DN that values are rounded to; 0: not rounded

    def binned(self, factor: int) -> "SensorNoise":
        """Noise of planes averaged over factor x factor samples, as `pack.bin_planes` does.

        Averaged electrons are Poisson numbers again. The average of rounding errors is nearly
        normal, so it counts as read noise.
        """
        if factor == 1:
            return self
        return SensorNoise(
            gain=self.gain / factor**2,
            read=math.hypot(self.read, self.step / math.sqrt(12)) / factor,
            tail=None if self.tail is None else averaged_tail(self.tail, factor**2),
            row=self.row / math.sqrt(factor),  # rows of one colour
            bias=self.bias,
            step=0.0,
        )


@dataclass(frozen=True)
class NoiseModel:
    """Published calibration of a camera: ln sigma = slope * ln gain + intercept."""

    gain_per_iso: float  # DN per electron and ISO
    read: tuple[float, float]  # slope, intercept of the standard deviation of read noise
    row: tuple[float, float]
    tail: float

    def at(self, iso: float) -> SensorNoise:
        """Noise at an ISO setting."""
        log_gain = math.log(self.gain_per_iso * iso)
        read = math.exp(self.read[0] * log_gain + self.read[1])
        row = math.exp(self.row[0] * log_gain + self.row[1])
        return SensorNoise(math.exp(log_gain), read, self.tail, row, 0.01 * read)


# Sony A7S II above ISO 2000: regressions and gain of PMN's calibration. The others: ELD and LED
# tables; their gain per ISO from the largest tabled gain at ISO 12800 (A7 IV), 6400 (others).
CAMERAS = {
    "a7s2": NoiseModel(0.0009563, (0.82878, 0.44162), (0.62945, -1.51040), -0.065),
    "a7m4": NoiseModel(0.002928, (0.94691, 0.16045), (0.84989, -2.50811), -0.19),
    "d850": NoiseModel(0.004151, (0.56346, 0.79941), (0.44829, -1.79771), -0.17),
    "canon70d": NoiseModel(0.004075, (0.56812, 1.99827), (0.72922, -0.93706), -0.01),
}

# CIE XYZ (D65) to camera RGB, the coefficients that Adobe publishes and LibRaw uses.
XYZ_TO_CAMERA = {
    "DSC-RX100M6": (
        (0.7325, -0.2321, -0.0596),
        (-0.3494, 1.1674, 0.2055),
        (-0.0668, 0.1562, 0.5031),
    ),
    "ILCE-7SM2": (
        (0.5838, -0.1430, -0.0246),
        (-0.3497, 1.1477, 0.2297),
        (-0.0748, 0.1885, 0.5778),
    ),
    "ILCE-7M4": (
        (0.7460, -0.2365, -0.0588),
        (-0.5687, 1.3442, 0.2474),
        (-0.0624, 0.1156, 0.6584),
    ),
    "D850": (
        (1.0405, -0.3755, -0.1270),
        (-0.5461, 1.3787, 0.1793),
        (-0.1040, 0.2015, 0.6785),
    ),
    "EOS 5D Mark IV": (
        (0.6446, -0.0366, -0.0864),
        (-0.4436, 1.2204, 0.2513),
        (-0.0952, 0.2496, 0.6348),
    ),
    "EOS 70D": (
        (0.7034, -0.0804, -0.1014),
        (-0.4420, 1.2564, 0.2058),
        (-0.0851, 0.1994, 0.5758),
    ),
}
SRGB_TO_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)  # D65


def camera_from_srgb(xyz_to_camera: Tensor) -> Tensor:
    """(3, 3) linear sRGB to white-balanced camera RGB; rows sum to 1, so white stays white."""
    matrix = xyz_to_camera @ xyz_to_camera.new_tensor(SRGB_TO_XYZ)
    return matrix / matrix.sum(1, keepdim=True)


def draw_noise(generator: torch.Generator) -> SensorNoise:
    """Noise of a camera that does not exist, within what real ones span."""

    def between(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    log_gain = between(math.log(DARKEST_GAIN), math.log(NOISIEST_GAIN))
    read = math.exp(between(*READ_SLOPES) * log_gain + between(*READ_INTERCEPTS))
    row = read * math.exp(between(*map(math.log, ROW_SHARES)))
    tail = None if between(0, 1) < NORMAL_SHARE else between(*TAILS)
    return SensorNoise(math.exp(log_gain), read, tail, row, read * between(*BIAS_SHARES))


def draw_hot_pixels(
    shape: tuple[int, ...], per_million: float, noise: SensorNoise, generator: torch.Generator
) -> Tensor:
    """Dark current of hot pixels, the same in all shots: DN, 0 for most samples of the shape."""
    hot = torch.rand(shape, generator=generator) < per_million / 1e6
    low, high = (math.log(bound * noise.read) for bound in HOT_RANGE)
    return hot * torch.exp(low + (high - low) * torch.rand(shape, generator=generator))


def expose(electrons_dn: Tensor, noise: SensorNoise, generator: torch.Generator) -> Tensor:
    """Raw values of dark planes: shot, read and row noise, black-level error, rounding.

    electrons_dn: (T, 4, h, w) float32, noise-free DN above black. Returns the same shape: DN above
    black (whole ones for a step of 1), negative where noise makes them so, at most SPAN.
    generator: of the device of the planes.
    """
    frames, _, height, _ = electrons_dn.shape

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=electrons_dn.device)

    raw = poisson((electrons_dn / noise.gain).clamp_min_(0), generator).mul_(noise.gain)
    if noise.tail is None:
        raw.add_(normal(*electrons_dn.shape), alpha=noise.read)
    else:
        shape = tukey_lambda(electrons_dn.shape, noise.tail, generator, electrons_dn.device)
        raw.add_(shape, alpha=noise.read)
    # R and G1 lie on one sensor row, G2 and B on the next.
    raw += noise.row * normal(frames, 2, height, 1).repeat_interleave(2, 1)
    raw += noise.bias * normal(1, 4, 1, 1)
    if noise.step:
        raw.div_(noise.step).round_().mul_(noise.step)
    return raw.clamp_(-BELOW_BLACK, SPAN)


def through_arw2(raw: Tensor) -> Tensor:
    """Raw DN above black as they come back from Sony's lossy ARW2 coding: `arw.arw2_quantise`.

    raw: (..., h, w) float32 planes of mosaics 2w wide, DN above BLACK. Returns the same shape on
    the same device: whole DN, within what a file holds.
    """
    code_of_value, level_of_code = _arw2_tables(raw.device)
    values = (raw + BLACK).clamp_(0, WHITE).int()
    codes = code_of_value.index_select(0, values.flatten()).view_as(raw)
    # A block holds every second pixel of a mosaic's row: neighbours in a row of one plane. Files
    # hold whole blocks, and the spare pixels repeat the end of the row.
    width = raw.shape[-1]
    end = codes[..., -1:].expand(*codes.shape[:-1], -width % BLOCK_PIXELS)
    blocks = torch.cat([codes, end], -1).unflatten(-1, (-1, BLOCK_PIXELS))
    smallest = blocks.amin(-1, keepdim=True)
    # A block keeps the first of its largest codes whole, and the others' distance to the smallest
    # in steps of 2^shift.
    ranked = blocks * BLOCK_PIXELS - torch.arange(
        BLOCK_PIXELS, dtype=torch.int32, device=raw.device
    )
    first = ranked.amax(-1, keepdim=True)
    largest_at = -first % BLOCK_PIXELS
    largest = (first + largest_at) // BLOCK_PIXELS
    span = largest - smallest
    shift = sum((span >= 1 << DELTA_BITS + bits).int() for bits in range(LARGEST_SHIFT))
    coded = (blocks - smallest >> shift << shift) + smallest
    coded.scatter_(-1, largest_at.long(), largest)
    kept = coded.flatten(-2)[..., :width]
    return level_of_code.index_select(0, kept.flatten()).view_as(raw)


@cache
def _arw2_tables(device: torch.device) -> tuple[Tensor, Tensor]:
    """The code (int32) nearest to each 14-bit value; the DN above black (float32) of each code."""
    codes = torch.from_numpy(CODE_OF_VALUE.astype(np.int32))
    levels = torch.from_numpy(LEVEL_OF_CODE.astype(np.float32)) - BLACK
    return codes.to(device), levels.to(device)


def pixel_noise(noise: SensorNoise) -> tuple[float, float]:
    """Shot and read variance on the 0..1 scale, as `noise.Noise` has them."""
    read = noise.read**2 + noise.row**2 + noise.step**2 / 12  # of rounding: uniform
    return noise.gain / SPAN, read / SPAN**2
