"""The scores of a burst, gathered while its pictures come, two of which are held at a time.

Pictures have 8 bits, as in print; references do not. PSNR and SSIM are those of the fifth frame,
TPSNR, TSSIM and TMAE those between neighbours of a scene that stands still. They never see a
reference, so a constant grey wins them. The temporal error is for scenes that move: the change from
frame to frame against that of the scene, which a constant grey fails. See `batman_cli.metrics`.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from batman_cli import metrics
from batman_cli.bench.scene import FIFTH, Ready

LEFT_OUT = 3  # pictures at the end of a burst without temporal scores, as in SMID's own videos


@dataclass(frozen=True)
class Score:
    """What is said of a burst; NaN where something is not defined."""

    psnr: float  # dB, fifth frame
    ssim: float  # fifth frame
    tpsnr: float = math.nan  # dB, still scenes
    tssim: float = math.nan
    tmae: float = math.nan  # hundredths of white
    temporal_error: float = math.nan  # hundredths of white, moving scenes
    psnr_frames: tuple[float, ...] = field(default=())  # dB, of every frame of a still scene


def graded(frames: int) -> range:
    """Frames with temporal scores: the fifth to the last but three; in a short burst, to the last.

    Empty or one where not even that leaves a pair.
    """
    stop = frames - LEFT_OUT
    return range(FIFTH, stop if stop - FIFTH >= 2 else frames)


class Scores:
    """Takes pictures in, one by one, and scores them."""

    def __init__(self, ready: Ready) -> None:
        """Nothing is held but the reference."""
        self._ready, self._still = ready, ready.scene.still
        self._graded = graded(ready.scene.frames)
        self._before: Tensor | None = None
        self._count = 0
        self._fifth: tuple[float, float] | None = None
        self._psnr = list[float]()
        self._pairs: dict[str, list[float]] = {
            name: [] for name in ("tpsnr", "tssim", "tmae", "temporal_error")
        }

    def add(self, picture: NDArray[np.uint8]) -> None:
        """The next picture, (H, W, 3) RGB. Raises ValueError for one of another size."""
        now = torch.from_numpy(picture).permute(2, 0, 1).double() / 255
        if self._still or self._count == FIFTH:
            self._psnr.append(metrics.psnr(now, self._ready.reference))
        if self._count == FIFTH:
            self._fifth = self._psnr[-1], metrics.ssim(now, self._ready.reference)
        if self._before is not None and {self._count - 1, self._count} <= set(self._graded):
            self._pair(torch.stack([self._before, now]))
        self._before, self._count = now, self._count + 1

    def _pair(self, pair: Tensor) -> None:
        if self._still:
            self._pairs["tpsnr"].append(metrics.tpsnr(pair))
            self._pairs["tssim"].append(metrics.tssim(pair))
            self._pairs["tmae"].append(metrics.tmae(pair))
        elif self._ready.views is not None:
            views = self._ready.views[self._count - 1 : self._count + 1]
            self._pairs["temporal_error"].append(metrics.temporal_error(pair, views))

    def score(self) -> Score:
        """All that was gathered. Raises ValueError if the fifth picture has not come."""
        if self._fifth is None:
            raise ValueError(f"{self._count} pictures came, the fifth is the one compared")
        frames = tuple(self._psnr) if self._still else ()
        return Score(
            *self._fifth, **{k: _mean(v) for k, v in self._pairs.items()}, psnr_frames=frames
        )


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan
