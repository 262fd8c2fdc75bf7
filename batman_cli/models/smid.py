"""`smid`: Seeing Motion in the Dark (Chen et al., ICCV 2019), a network for single pictures.

Time is left to what prepares its input: V-BM4D as published, or the average of our front end.
"""

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from batman_cli.develop import plain_demosaic
from batman_cli.models.blocks import conv3, square
from batman_cli.models.fusion import Average, merge, single
from batman_cli.models.state import State
from batman_cli.models.vbm4d import Vbm4d, Vbm4dConfig

LEVELS = 5
BLOCKS = 16  # residual ones, at the coarsest level
LEAK = 0.2  # slope of the leaky ReLU below zero, as published


@dataclass(frozen=True)
class SmidConfig:
    """Sizes and facts of the network, stored in its checkpoint."""

    width: int = 32  # channels of the finest level, doubled with each coarser one
    input: Literal["average", "vbm4d"] = "average"  # the frames so far, averaged, or V-BM4D's frame
    multiple: int = 16  # sides of the planes must be a multiple of it
    halo: int = 128  # samples around a tile; its normalisation is over the whole of a tile

    @property
    def bytes_per_sample(self) -> int:
        """Memory that a step needs for each sample of the planes' grid."""
        return max(2400, 230 * self.width)  # measured: 4860 at full width

    def as_dict(self) -> dict[str, object]:
        """Plain values for a JSON file."""
        return asdict(self)


class Normalised(nn.Module):
    """3x3 convolution without bias, and normalisation over rows, columns and channels."""

    def __init__(self, inputs: int, outputs: int, *, active: bool = True) -> None:
        super().__init__()
        self.convolve = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.normalise = nn.GroupNorm(1, outputs)
        self.slope = LEAK if active else 1.0

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, outputs, h, w)."""
        return functional.leaky_relu(self.normalise(self.convolve(x)), self.slope)


class Residual(nn.Module):
    """Two normalised convolutions, the second without activation, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = Normalised(channels, channels)
        self.second = Normalised(channels, channels, active=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        return x + self.second(self.first(x))


class First(nn.Module):
    """The finest level of the way down: its first convolution has no normalisation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolve = conv3(3, width)
        self.second = Normalised(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, width, H, W)."""
        return self.second(functional.leaky_relu(self.convolve(x), LEAK))


def pair(inputs: int, outputs: int) -> nn.Sequential:
    """Two normalised convolutions."""
    return nn.Sequential(Normalised(inputs, outputs), Normalised(outputs, outputs))


class Smid(nn.Module):
    """A U-Net with residual blocks at its coarsest level, from RGB to RGB of the same size."""

    priming = 0

    def __init__(self, config: SmidConfig) -> None:
        super().__init__()
        self.config = config
        self.video = Vbm4d(Vbm4dConfig()) if config.input == "vbm4d" else None
        self.delay = self.video.delay if self.video else 0
        widths = [config.width << level for level in range(LEVELS)]
        self.down = nn.ModuleList([First(config.width), *(pair(a, b) for a, b in pairwise(widths))])
        deepest = widths[-1]
        self.body = nn.Sequential(
            *(Residual(deepest) for _ in range(BLOCKS)),
            Normalised(deepest, deepest, active=False),
        )
        steps = [(coarse, fine) for fine, coarse in pairwise(widths)][::-1]
        self.rise = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, 2, bias=False) for a, b in steps)
        self.up = nn.ModuleList(pair(2 * fine, fine) for _, fine in steps)
        self.last = nn.Conv2d(config.width, 3, 1)

    def render(self, planes: Tensor) -> Tensor:
        """Picture (B, 3, 2h, 2w) linear camera RGB of prepared planes (B, 4, h, w)."""
        x = self.down[0](plain_demosaic(planes.clamp(0, 1)))
        skips: list[Tensor] = []
        for down in self.down[1:]:
            skips.append(x)
            x = down(functional.max_pool2d(x, 2))
        x = x + self.body(x)
        for rise, up, skip in zip(self.rise, self.up, reversed(skips), strict=True):
            x = up(torch.cat([rise(x), skip], 1))
        return square(self.last(x).float())

    def step(
        self, planes: Tensor, noise: Tensor, state: State | None
    ) -> tuple[Tensor | None, State]:
        """Picture (B, 3, 2h, 2w) of the frame `delay` steps ago, None until there is one.

        planes: (B, 4, h, w) amplified linear, sides a multiple of 16; noise: (B, 2, 4).
        """
        prepared, state = self._prepared(planes, noise, state)
        return None if prepared is None else self.render(prepared), state

    def absorb(self, planes: Tensor, noise: Tensor, state: State | None) -> State:
        """The state after a frame whose picture nobody wants."""
        if self.video:
            return self.video.absorb(planes, noise, state)
        return self._prepared(planes, noise, state)[1]

    def flush(self, state: State) -> list[Tensor]:
        """Pictures of the frames that V-BM4D holds back."""
        return (
            [self.render(planes) for planes in self.video.flush_planes(state)] if self.video else []
        )

    def _prepared(
        self, planes: Tensor, noise: Tensor, state: State | None
    ) -> tuple[Tensor | None, State]:
        """What the network is given (B, 4, h, w), linear, None while V-BM4D holds it back."""
        if self.video:
            return self.video.step_planes(planes, noise, state)
        average = single(planes, noise)
        if state is not None:
            average, _ = merge(average, Average(*state.tensors))
        return average.mean, State(state.seen + 1 if state else 1, tuple(average))
