"""`sid`: Learning to See in the Dark (Chen et al., CVPR 2018), each frame by itself."""

from dataclasses import asdict, dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from batman_cli.models.blocks import conv3, square
from batman_cli.models.state import State

LEVELS = 5
LEAK = 0.2  # slope of the leaky ReLU below zero, as published


@dataclass(frozen=True)
class SidConfig:
    """Sizes and facts of the network, stored in its checkpoint."""

    width: int = 32  # channels of the finest level, doubled with each coarser one
    multiple: int = 16  # sides of the planes must be a multiple of it
    halo: int = 112  # samples around a tile; the network sees 104 far

    @property
    def bytes_per_sample(self) -> int:
        """Memory that a step needs for each sample of the planes' grid."""
        return 2400  # measured: 1620

    def as_dict(self) -> dict[str, object]:
        """Plain values for a JSON file."""
        return asdict(self)


class Pair(nn.Module):
    """Two 3x3 convolutions, each with its leaky ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first, self.second = conv3(inputs, outputs), conv3(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, outputs, h, w)."""
        x = functional.leaky_relu(self.first(x), LEAK)
        return functional.leaky_relu(self.second(x), LEAK)


class Sid(nn.Module):
    """A U-Net from packed planes to twelve channels, which are a picture of twice the size."""

    delay = priming = 0

    def __init__(self, config: SidConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.width << level for level in range(LEVELS)]
        self.down = nn.ModuleList(Pair(a, b) for a, b in pairwise([4, *widths]))
        steps = [(coarse, fine) for fine, coarse in pairwise(widths)][::-1]
        self.rise = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, 2, bias=False) for a, b in steps)
        self.up = nn.ModuleList(Pair(2 * fine, fine) for _, fine in steps)
        self.last = nn.Conv2d(config.width, 12, 1)

    def render(self, planes: Tensor) -> Tensor:
        """Picture (B, 3, 2h, 2w) linear camera RGB of planes (B, 4, h, w) amplified linear."""
        x = self.down[0](planes.clamp(0, 1))
        skips: list[Tensor] = []
        for down in self.down[1:]:
            skips.append(x)
            x = down(functional.max_pool2d(x, 2))
        for rise, up, skip in zip(self.rise, self.up, reversed(skips), strict=True):
            x = up(torch.cat([rise(x), skip], 1))
        return square(functional.pixel_shuffle(self.last(x), 2).float())

    def step(self, planes: Tensor, noise: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Picture (B, 3, 2h, 2w) of this frame; nothing is remembered.

        planes: (B, 4, h, w) amplified linear, sides a multiple of 16; noise: (B, 2, 4), not used.
        """
        return self.render(planes), self.absorb(planes, noise, state)

    def absorb(self, planes: Tensor, noise: Tensor, state: State | None) -> State:
        """The state after a frame whose picture nobody wants."""
        return State(state.seen + 1 if state else 1, ())

    def flush(self, state: State) -> list[Tensor]:
        """No frame is ever held back."""
        return []
