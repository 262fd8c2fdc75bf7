"""`kpn`: kernel prediction networks (Mildenhall et al., CVPR 2018), gray, on each plane alone."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from batman_cli.develop import bilinear_demosaic
from batman_cli.models.blocks import conv3
from batman_cli.models.grid import enlarged
from batman_cli.models.state import State

AHEAD = 3  # frames of the window after its centre; of 8, four lie before it


@dataclass(frozen=True)
class KpnConfig:
    """Sizes and facts of the network, stored in its checkpoint."""

    width: int = 64  # channels at the finest scale, doubled with each coarser one
    frames: int = 8  # of the window; AHEAD of them follow the centre
    kernel: int = 5  # side of the kernels, samples
    multiple: int = 4  # sides of the planes must be a multiple of it
    halo: int = 40  # samples around a tile; the network sees 34 far

    @property
    def bytes_per_sample(self) -> int:
        """Memory that a step needs for each sample of the planes' grid."""
        return 9000  # measured: 5920

    def as_dict(self) -> dict[str, object]:
        """Plain values for a JSON file."""
        return asdict(self)


class Three(nn.Module):
    """Three 3x3 convolutions, each with its ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(conv3(n, outputs) for n in (inputs, outputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, outputs, h, w)."""
        for layer in self.layers:
            x = functional.relu(layer(x))
        return x


class Kpn(nn.Module):
    """A kernel for every sample of every frame of a window; their sum is the denoised plane."""

    delay = AHEAD
    priming = 0

    def __init__(self, config: KpnConfig) -> None:
        super().__init__()
        self.config = config
        width, kernels = config.width, config.frames * config.kernel**2
        self.finest = Three(config.frames + 1, width)
        self.middle = Three(width, 2 * width)
        self.coarsest = Three(2 * width, 4 * width)
        self.first = conv3(6 * width, kernels)
        self.second = conv3(kernels, kernels)
        self.last = conv3(kernels, kernels)

    def estimates(self, window: Tensor, noise: Tensor) -> Tensor:
        """Estimate of each frame of the window for its centre; their mean is the result.

        window: (B, frames, 4, h, w) amplified linear, oldest first; noise: (B, 2, 4), that of the
        centre. Returns (B, frames, 4, h, w) linear.
        """
        return self._estimates(window, deviation(window[:, -1 - AHEAD], noise))

    def step(
        self, planes: Tensor, noise: Tensor, state: State | None
    ) -> tuple[Tensor | None, State]:
        """Picture (B, 3, 2h, 2w) of the frame `delay` steps ago, None until there is one.

        planes: (B, 4, h, w) amplified linear, sides a multiple of 4; noise: (B, 2, 4).
        """
        before = state or self._empty(planes, noise)
        state = self.absorb(planes, noise, state)
        if state.seen <= self.delay:
            return None, state
        length = self.config.frames - 1
        window = [*before.tensors[:length], planes]
        return self._render(window, before.tensors[length]), state

    def absorb(self, planes: Tensor, noise: Tensor, state: State | None) -> State:
        """The state after a frame whose picture nobody wants."""
        before, length = state or self._empty(planes, noise), self.config.frames - 1
        frames = (*before.tensors[1:length], planes)
        deviations = (*before.tensors[length + 1 :], deviation(planes, noise))
        return State(before.seen + 1, (*frames, *deviations))

    def flush(self, state: State) -> list[Tensor]:
        """Pictures of the last `delay` frames (fewer for a shorter burst); the last is repeated."""
        length, rest = self.config.frames - 1, list[Tensor]()
        for ahead in reversed(range(min(self.delay, state.seen))):
            more = self.delay - ahead
            frames = [*state.tensors[more - 1 : length], *[state.tensors[length - 1]] * more]
            rest.append(self._render(frames, state.tensors[-1 - ahead]))
        return rest

    def _empty(self, planes: Tensor, noise: Tensor) -> State:
        """Before a burst: its first frame, repeated. All frames but one, then AHEAD deviations."""
        deviations = [deviation(planes, noise)] * AHEAD
        return State(0, (*[planes] * (self.config.frames - 1), *deviations))

    def _render(self, window: Sequence[Tensor], noise: Tensor) -> Tensor:
        """Picture (B, 3, 2h, 2w) linear camera RGB of the centre of a window."""
        return bilinear_demosaic(self._estimates(torch.stack(list(window), 1), noise).mean(1))

    def _estimates(self, window: Tensor, noise: Tensor) -> Tensor:
        """`estimates` with the deviation (B, 4, h, w) of the centre's noise; planes are gray."""
        batch, frames, _, height, width = window.shape
        gray = window.transpose(1, 2).reshape(-1, frames, height, width)
        maps = noise.reshape(-1, 1, height, width)
        estimates = convolved(gray, self._kernels(torch.cat([gray, maps], 1)), self.config.kernel)
        return estimates.view(batch, 4, frames, height, width).transpose(1, 2)

    def _kernels(self, x: Tensor) -> Tensor:
        """(N, frames + 1, h, w) -> (N, frames * kernel^2, h, w)."""
        half = self.middle(functional.avg_pool2d(self.finest(x), 2))
        quarter = self.coarsest(functional.avg_pool2d(half, 2))
        x = functional.relu(self.first(torch.cat([enlarged(quarter), half], 1)))
        x = self.last(functional.relu(self.second(x)))
        return enlarged(x)


def deviation(planes: Tensor, noise: Tensor) -> Tensor:
    """Standard deviation of the noise, (B, 4, h, w), that noise (B, 2, 4) tells of the planes."""
    shot, read = noise[:, 0, :, None, None], noise[:, 1, :, None, None]
    return (read + shot * planes.clamp_min(0)).sqrt()


def convolved(frames: Tensor, kernels: Tensor, side: int) -> Tensor:
    """Each frame under its own kernels, times the number of frames, (N, T, h, w).

    frames: (N, T, h, w), borders replicated; kernels: (N, T side^2, h, w), rows first.
    """
    count, height, width = frames.shape[1:]
    padded = functional.pad(frames, (side // 2,) * 4, mode="replicate")
    weights = kernels.unflatten(1, (count, side**2))
    total = torch.zeros_like(frames)
    for place in range(side**2):
        row, column = divmod(place, side)
        shifted = padded[..., row : row + height, column : column + width]
        total = total + count * weights[:, :, place] * shifted
    return total
