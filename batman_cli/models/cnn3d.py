"""`3dcnn`: each frame out of a window of five, two of them yet to come."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional

from batman_cli.models.blocks import Head, Trunk, activate
from batman_cli.models.fusion import Fusion
from batman_cli.models.state import State

INPUTS_HELD = 2  # frames that a 3x3x3 convolution needs besides the newest

Frames = tuple[Tensor, ...]  # what there is of successive frames, oldest first


@dataclass(frozen=True)
class Cnn3dConfig:
    """Sizes and facts of the network, stored in its checkpoint."""

    widths: tuple[int, ...] = (32, 64, 96, 128)  # channels of the encoder's stages
    radius: int = 2  # frames on each side of the centre; 1 or more
    head: int = 16  # channels of the full-resolution path
    multiple: int = 16  # sides of the planes must be a multiple of it
    halo: int = 64  # samples of the planes' grid around a tile; beyond, influence is below 1/255

    def as_dict(self) -> dict[str, object]:
        """Plain values for a JSON file."""
        return asdict(self)


class TimeConv(nn.Conv3d):
    """3x3x3 convolution at one point in time: three frames become one.

    Its parameters are a Conv3d's. It sums the same products as a 2D convolution over the three
    frames side by side in channels: for a single small crop, torch on a CPU takes 3 times as long
    with a Conv3d.
    """

    def __init__(self, features: int) -> None:
        super().__init__(features, features, 3)

    def forward(self, input: Tensor) -> Tensor:
        """(B, 3 C, h, w), the oldest frame's channels first -> (B, C, h, w)."""
        weight = self.weight.transpose(1, 2).flatten(1, 2)  # (C, 3 C, 3, 3)
        return functional.conv2d(input, weight, self.bias, padding=1)


class WindowConv(nn.Module):
    """3D convolutions without padding in time: 2 r + 1 frames of features become one.

    All but the last are inner layers: their outputs are the next layer's inputs. As the window
    slides on by a frame, each layer computes one output; those before it are held.
    """

    def __init__(self, features: int, radius: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TimeConv(features) for _ in range(radius))

    def inner(self, features: Frames, held: Sequence[Frames]) -> Iterator[Frames]:
        """Outputs of each inner layer: those held, (B, C, h, w) each, and the newest."""
        inputs = features
        for layer, before in zip(self.layers[:-1], held, strict=True):
            inputs = extend(before, activate(layer(newest_three(inputs))), INPUTS_HELD)
            yield inputs

    def last(self, inputs: Frames) -> Tensor:
        """Output of the last layer, (B, C, h, w): a correction of the centre's features."""
        return self.layers[-1](newest_three(inputs))


def newest_three(frames: Frames) -> Tensor:
    """(B, C, h, w) each -> (B, 3 C, h, w)."""
    return torch.cat(frames[-3:], 1)


def extend(held: Frames, newest: Tensor, length: int) -> Frames:
    """The newest after those held; as if it had been there `length` times before if none are."""
    return (*(held or (newest,) * length), newest)


class Cnn3d(nn.Module):
    """Sliding-window network over the fusion front end; a frame leaves `radius` frames late.

    Each frame is encoded once, and passes each layer of the window once. The first frame counts
    as repeated without end before the burst, the last after it, so that both ends see their edge
    frame replicated.
    """

    def __init__(self, config: Cnn3dConfig) -> None:
        super().__init__()
        self.config = config
        self.delay = config.radius
        self.fusion = Fusion()
        self.trunk = Trunk(config.widths)
        self.window = WindowConv(config.widths[0], config.radius)
        self.head = Head(config.widths[0], config.head)

    def step(
        self, planes: Tensor, noise: Tensor, state: State | None
    ) -> tuple[Tensor | None, State]:
        """Picture (B, 3, 2h, 2w) of the frame `delay` steps ago, None until there is one.

        planes: (B, 4, h, w) amplified linear, sides a multiple of 16; noise: (B, 2, 4).
        """
        means, variances, *_ = self._held(state)
        mean, variance = (means[-1], variances[-1]) if state else (None, None)
        fused = self.fusion(planes, noise, mean, variance)
        return self._push((fused.mean, fused.variance, self.trunk(fused)), state)

    def flush(self, state: State) -> list[Tensor]:
        """Pictures of the last `delay` frames (fewer for a shorter burst)."""
        means, variances, features, *_ = self._held(state)
        newest = means[-1], variances[-1], features[-1]
        rest: list[Tensor] = []
        for _ in range(self.delay):
            rgb, state = self._push(newest, state)
            if rgb is not None:
                rest.append(rgb)
        return rest

    def _lengths(self) -> tuple[int, ...]:
        """Frames held of fused means, fused variances, features and each inner layer's outputs."""
        radius = self.delay
        return (radius, radius, max(radius, INPUTS_HELD), *[INPUTS_HELD] * (radius - 1))

    def _held(self, state: State | None) -> list[Frames]:
        """The frames in the state, in the order of `_lengths`; none before the first frame."""
        tensors = iter(state.tensors if state else ())
        return [tuple(islice(tensors, length)) for length in self._lengths()]

    def _push(
        self, newest: tuple[Tensor, Tensor, Tensor], state: State | None
    ) -> tuple[Tensor | None, State]:
        """The picture of the window's new centre, if there is one, and the state.

        newest: fused mean and variance, features.
        """
        held = self._held(state)
        window = [extend(*each) for each in zip(held, newest, self._lengths(), strict=False)]
        window += self.window.inner(window[2], held[3:])
        seen = state.seen + 1 if state else 1
        moved = State(seen, tuple(frame for frames in window for frame in frames[1:]))
        return (self._render(window) if seen > self.delay else None), moved

    def _render(self, window: list[Frames]) -> Tensor:
        """Picture of the centre of the window, (B, 3, 2h, 2w)."""
        means, variances, features, *_ = window
        refined = features[-1 - self.delay] + self.window.last(window[-1])
        return self.head(refined, means[0], variances[0])
