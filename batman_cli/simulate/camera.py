"""A camera in the dark: clean views to noisy planes, by the physics of the sensor.

DN are raw units of a 14-bit sensor above black, whose white lies SPAN above black.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

SPAN = 15871.0  # DN between black and white of the cameras whose noise is tabled below
DARKEST_GAIN, NOISIEST_GAIN = 0.8, 16.0  # DN per electron; Sony A7S II: ISO 800 to ISO 16000
BELOW_BLACK = 512.0  # DN that a file holds below black; no noise here goes further


@dataclass(frozen=True)
class SensorNoise:
    """Noise of one sensor at one ISO (model of ELD, Wei et al. 2020, and PMN, Feng et al. 2022)."""

    gain: float  # DN per photo-electron
    read: float  # DN, standard deviation of the read noise of a sample
    tail: float | None  # shape of the Tukey lambda distribution of read noise; None: normal
    row: float  # DN, standard deviation of the offset that a whole row shares
    bias: float  # DN, standard deviation of the black level's error, one value for each plane


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
    matrix = xyz_to_camera @ torch.tensor(SRGB_TO_XYZ)
    return matrix / matrix.sum(1, keepdim=True)


def draw_noise(generator: torch.Generator) -> SensorNoise:
    """Noise of a camera that does not exist, within what published calibrations span (LED)."""

    def between(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    log_gain = between(math.log(DARKEST_GAIN), math.log(NOISIEST_GAIN))
    read = math.exp(between(0.54, 0.85) * log_gain + between(0.35, 1.5))
    row = read * math.exp(between(math.log(0.02), math.log(0.2)))
    tail = None if between(0, 1) < 0.3 else between(-0.24, 0.15)
    return SensorNoise(math.exp(log_gain), read, tail, row, read * between(0.0, 0.06))


def to_planes(rgb: Tensor) -> Tensor:
    """What a RGGB mosaic sees of (T, 3, H, W): planes (T, 4, H/2, W/2), order R G1 G2 B."""
    red, green, blue = rgb[:, 0], rgb[:, 1], rgb[:, 2]
    return torch.stack(
        [red[:, ::2, ::2], green[:, ::2, 1::2], green[:, 1::2, ::2], blue[:, 1::2, 1::2]], 1
    )


def expose(electrons_dn: Tensor, noise: SensorNoise, generator: torch.Generator) -> Tensor:
    """Raw values of dark planes: shot, read and row noise, black-level error, rounding.

    electrons_dn: (T, 4, h, w) noise-free DN above black. Returns the same shape: whole DN above
    black, negative where noise makes them so, clipped at SPAN.
    """
    frames, _, height, _ = electrons_dn.shape
    raw = torch.poisson((electrons_dn / noise.gain).clamp_min(0), generator=generator) * noise.gain
    raw += noise.read * _read_noise(electrons_dn.shape, noise.tail, generator)
    # R and G1 lie on one sensor row, G2 and B on the next.
    rows = noise.row * torch.randn((frames, 2, height, 1), generator=generator)
    raw += rows.repeat_interleave(2, 1)
    raw += noise.bias * torch.randn((1, 4, 1, 1), generator=generator)
    return raw.round_().clamp_(-BELOW_BLACK, SPAN)


def pixel_noise(noise: SensorNoise) -> tuple[float, float]:
    """Shot and read variance on the 0..1 scale, as `noise.Noise` has them."""
    read = noise.read**2 + noise.row**2 + 1 / 12  # rounding adds 1/12
    return noise.gain / SPAN, read / SPAN**2


def _read_noise(shape: torch.Size, tail: float | None, generator: torch.Generator) -> Tensor:
    """Samples of unit variance, normal or Tukey lambda (quantile function (u^t - (1-u)^t) / t)."""
    if tail is None or abs(tail) < 1e-3:
        return torch.randn(shape, generator=generator)
    u = torch.rand(shape, generator=generator).clamp_(1e-6, 1 - 1e-6)
    return (u**tail - (1 - u) ** tail) / (tail * tukey_lambda_sd(tail))


def tukey_lambda_sd(tail: float) -> float:
    """Standard deviation of the Tukey lambda distribution, for tail > -0.5 and not 0."""
    beta = math.gamma(tail + 1) ** 2 / math.gamma(2 * tail + 2)
    return math.sqrt(2 / tail**2 * (1 / (1 + 2 * tail) - beta))
