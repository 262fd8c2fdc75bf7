"""`3dcnn-paper`: the report's Model 2, an autoencoder, multi-scale fusion and a 3D CNN."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from batman_cli.develop import plain_demosaic
from batman_cli.models.blocks import square
from batman_cli.models.paper_blocks import STAGES, BatchNorm, Decoder, Fusion, ResNet18
from batman_cli.models.state import State

WINDOW, AHEAD = 5, 2  # frames, and how many of them follow the centre


@dataclass(frozen=True)
class Cnn3dPaperConfig:
    """Sizes and facts of the network, stored in its checkpoint."""

    width: int = 64  # channels of ResNet-18's first stage
    fused: int = 16  # channels that each stage gives to the fusion; as many from the decoder
    head: int = 32  # channels of the 3D convolutions
    multiple: int = 16  # sides of the planes must be a multiple of it
    halo: int = 128  # samples around a tile; the network sees 183 far, mostly less

    @property
    def bytes_per_sample(self) -> int:
        """Memory that a step needs for each sample of the planes' grid."""
        return 10_500  # measured: 7040

    def as_dict(self) -> dict[str, object]:
        """Plain values for a JSON file."""
        return asdict(self)


class PaperHead(nn.Module):
    """Four 3x3x3 convolutions over the window, of which the centre is kept.

    Beyond the window its first and last frame go on. The last two layers leave away what the centre
    does not see.
    """

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        sizes = list(pairwise([features, width, width, width]))
        self.layers = nn.ModuleList(
            nn.Conv3d(a, b, 3, padding=(0, 1, 1), bias=False) for a, b in sizes
        )
        self.norms = nn.ModuleList(BatchNorm(b) for _, b in sizes)
        self.last = nn.Conv3d(width, 12, 3, padding=(0, 1, 1))

    def taps(self, features: Tensor) -> Tensor:
        """What a frame brings to the first layer: (B, features, h, w) -> (B, 3 width, h, w).

        To the point in time after it, its own, and the one before: the same in all five windows
        that the frame is in.
        """
        kernels = torch.cat(cast(nn.Conv3d, self.layers[0]).weight.unbind(2))
        return functional.conv2d(features, kernels, padding=1)

    def forward(self, taps: Sequence[Tensor]) -> Tensor:
        """Taps of five frames, (B, 3 width, h, w) each -> (B, 12, h, w)."""
        earlier, same, later = zip(*(frame.chunk(3, 1) for frame in taps), strict=True)
        sums = zip((earlier[0], *earlier[:-1]), same, (*later[1:], later[-1]), strict=True)
        x = functional.relu(self.norms[0](torch.stack([a + b + c for a, b, c in sums], 2)))
        x = functional.pad(x, (0, 0, 0, 0, 1, 1), mode="replicate")
        for layer, norm in zip(self.layers[1:], self.norms[1:], strict=True):
            x = functional.relu(norm(convolve_in_time(x, cast(nn.Conv3d, layer))))
        return convolve_in_time(x, self.last)[:, :, 0]


class Cnn3dPaper(nn.Module):
    """Sliding-window network of the report, at full size; a frame leaves two frames late."""

    delay = AHEAD
    priming = 0

    def __init__(self, config: Cnn3dPaperConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = ResNet18(config.width)
        self.decoder = Decoder(config.width, config.fused)
        self.fusion = Fusion(config.width, config.fused)
        self.head = PaperHead((STAGES + 1) * config.fused, config.head)

    def features(self, planes: Tensor) -> Tensor:
        """(B, 5 fused, h, w) of planes (B, 4, h, w) amplified linear."""
        stages = self.encoder(plain_demosaic(planes.clamp(0, 1)))
        return torch.cat([self.decoder(stages[-1]), self.fusion(stages)], 1)

    def taps(self, planes: Tensor) -> Tensor:
        """What is kept of a frame, (B, 3 head, h, w), of its planes (B, 4, h, w)."""
        return self.head.taps(self.features(planes))

    def head_of(self, taps: Sequence[Tensor]) -> Tensor:
        """Picture (B, 3, 2h, 2w) linear camera RGB of the third of five frames' taps."""
        return square(functional.pixel_shuffle(self.head(taps), 2).float())

    def step(
        self, planes: Tensor, noise: Tensor, state: State | None
    ) -> tuple[Tensor | None, State]:
        """Picture (B, 3, 2h, 2w) of the frame `delay` steps ago, None until there is one.

        planes: (B, 4, h, w) amplified linear, sides a multiple of 16; noise: (B, 2, 4), not used.
        """
        taps = self.taps(planes)
        before = state.tensors if state else (taps,) * (WINDOW - 1)
        after = State(state.seen + 1 if state else 1, (*before[1:], taps))
        if after.seen <= self.delay:
            return None, after
        return self.head_of([*before, taps]), after

    def absorb(self, planes: Tensor, noise: Tensor, state: State | None) -> State:
        """The state after a frame whose picture nobody wants: its taps are needed."""
        taps = self.taps(planes)
        before = state.tensors if state else (taps,) * (WINDOW - 1)
        return State(state.seen + 1 if state else 1, (*before[1:], taps))

    def flush(self, state: State) -> list[Tensor]:
        """Pictures of the last `delay` frames (fewer for a shorter burst); the last is repeated."""
        last, rest = state.tensors[-1], list[Tensor]()
        for ahead in reversed(range(min(self.delay, state.seen))):
            more = self.delay - ahead
            rest.append(self.head_of([*state.tensors[more - 1 :], *[last] * more]))
        return rest


def convolve_in_time(x: Tensor, layer: nn.Conv3d) -> Tensor:
    """What a 3D convolution without padding in time makes of x, point by point in time.

    x: (B, C, T, h, w) -> (B, outputs, T - 2, h, w), the same to rounding. Of the convolution
    itself, in bf16 on a CPU with AMX, the gradient is not finite (torch 2.13).
    """
    kernels = layer.weight.transpose(1, 2).flatten(1, 2)  # (outputs, 3 C, 3, 3)
    frames = x.unbind(2)
    windows = (torch.cat(frames[i : i + 3], 1) for i in range(len(frames) - 2))
    found = (functional.conv2d(window, kernels, layer.bias, padding=1) for window in windows)
    return torch.stack(list(found), 2)
