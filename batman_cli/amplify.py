"""One amplification ratio for the whole burst, and the planes brightened by it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from batman_cli.pack import Planes, bin_planes

MAX_RATIO = 300.0  # SID and SMID cap the ratio here; beyond it little but noise is left
BRIGHT_PERCENTILE = 98.0  # a candle flame or a lamp covers less than 2 % of the frame
BRIGHT_LEVEL = 0.7  # linear level that the percentile is brought to; 1 is white
BURNT_OUT = 0.99  # level from which on a sample counts as at the end of its range
NOISE_BLOCK = 16  # samples; averaging so many squared leaves the scene, not the noise


@dataclass(frozen=True)
class Ratio:
    """Amplification of the burst and why it was chosen."""

    value: float
    reason: str


def amplify(planes: Planes, ratio: float, white_balance: tuple[float, float, float]) -> Planes:
    """Linear white-balanced planes, brightened.

    planes: (4, h, w) float32 from `pack`; white_balance: multipliers R G B, smallest 1.
    Returns (4, h, w) float32, 1 = white for every camera, values below 0 and above 1 kept. What is
    burnt out in the file stays white where a plane gets darker, or lamps would turn magenta.
    """
    red, green, blue = white_balance
    gain = np.array([red, green, green, blue], np.float32) * np.float32(ratio)
    brighter = planes * gain[:, None, None]
    if gain.min() < 1:
        np.maximum(brighter, 1, out=brighter, where=planes >= BURNT_OUT)
    return brighter.astype(np.float32, copy=False)


def choose_ratio(sample: Sequence[Planes], white_balance: tuple[float, float, float]) -> Ratio:
    """Ratio that brings the bright parts of the scene to BRIGHT_LEVEL, from a sample of frames.

    Luminance is the mean of the white-balanced planes, averaged over blocks and frames.
    """
    blocks: list[NDArray[np.float32]] = []
    for planes in sample:
        factor = max(1, min(NOISE_BLOCK, planes.shape[1], planes.shape[2]))
        blocks.append(bin_planes(amplify(planes, 1.0, white_balance), factor).mean(0))
    bright = float(np.percentile(np.mean(blocks, axis=0), BRIGHT_PERCENTILE))
    wanted = BRIGHT_LEVEL / max(bright, 1e-6)
    value = float(np.clip(wanted, 1.0, MAX_RATIO))
    value = round(value) if value >= 10 else round(value, 1)
    reason = f"the brightest {100 - BRIGHT_PERCENTILE:.0f} % of the scene reach {BRIGHT_LEVEL}"
    if wanted > MAX_RATIO:
        reason = f"capped; {wanted:.0f} would be needed for a full exposure"
    return Ratio(float(value), reason)


def ratio_from_light(long_light: float, light: float, source: str) -> Ratio:
    """Ratio that gives a shot the brightness of a long exposure.

    long_light, light: exposure time x ISO of the two; source: what the reason names.
    """
    value = long_light / light
    reason = source if value <= MAX_RATIO else f"{source}, capped from {value:.0f}"
    return Ratio(min(value, MAX_RATIO), reason)
