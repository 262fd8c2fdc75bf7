"""`3dcnn`: each picture out of all frames before, two yet to come, and features of three."""

from dataclasses import asdict, dataclass
from itertools import chain, islice
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from batman_cli.models.blocks import Head, Trunk, activate, conv3, view_of
from batman_cli.models.fusion import Average, merge, single
from batman_cli.models.grid import shrunk, warped
from batman_cli.models.state import State

FEATURES_HELD = 2  # frames of features that the 3D convolution needs besides the newest


@dataclass(frozen=True)
class Cnn3dConfig:
    """Sizes and facts of the network, stored in its checkpoint."""

    widths: tuple[int, ...] = (64, 96, 128, 160)  # channels of the encoder's stages
    ahead: int = 2  # frames after the centre that its average takes in; 1 or more
    head: int = 48  # channels of the full-resolution path
    multiple: int = 32  # sides of the planes must be a multiple of it
    halo: int = 64  # samples around a tile; of a still scene none beyond matters by 1/255

    @property
    def bytes_per_sample(self) -> int:
        """Memory that a step needs for each sample of the planes' grid."""
        return 3800  # measured: up to 2510

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


class Window(nn.Module):
    """Features of three successive frames, the newest last, to a correction of the newest's."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.over_time = TimeConv(features)
        self.refine = conv3(features, features)
        nn.init.zeros_(self.refine.weight)
        nn.init.zeros_(self.refine.bias)  # type: ignore[arg-type]

    def forward(self, frames: list[Tensor]) -> Tensor:
        """(B, C, h, w) three times -> (B, C, h, w)."""
        return frames[-1] + self.refine(activate(self.over_time(torch.cat(frames, 1))))


class _Ring(NamedTuple):
    """What is held of the last frames, oldest first."""

    averages: list[Average]  # of each frame with those before it; `ahead` + 1 frames
    flows: list[Tensor]  # (B, 2, h, w) from each frame to the one before; as many
    singles: list[Average]  # of each of the last `ahead` frames alone
    features: list[Tensor]  # of the last pictures, (B, C, h/2, w/2); none before the first


class Cnn3d(nn.Module):
    """Sliding-window network over the fusion front end; a frame leaves `ahead` frames late.

    The front end averages each frame with those before it and `ahead` after it, as far as they show
    the same. Each such average is encoded once, and a 3D convolution joins its features with those
    of the two pictures before, moved onto it.
    """

    priming = FEATURES_HELD

    def __init__(self, config: Cnn3dConfig) -> None:
        super().__init__()
        self.config = config
        self.delay = config.ahead
        self.trunk = Trunk(config.widths)
        self.window = Window(config.widths[0])
        self.head = Head(config.widths[0], config.head)

    def step(
        self, planes: Tensor, noise: Tensor, state: State | None
    ) -> tuple[Tensor | None, State]:
        """Picture (B, 3, 2h, 2w) of the frame `delay` steps ago, None until there is one.

        planes: (B, 4, h, w) amplified linear, sides a multiple of 32; noise: (B, 2, 4).
        """
        state = self.absorb(planes, noise, state)
        if state.seen <= self.delay:
            return None, state
        ring = self._held(state)
        rgb, features = self._render(ring, self.delay)
        return rgb, _state(state.seen, ring._replace(features=features))

    def absorb(self, planes: Tensor, noise: Tensor, state: State | None) -> State:
        """The state after a frame that only the front end sees, at a tenth of the cost.

        For frames before the first `step`, whose pictures nobody wants.
        """
        frame = single(planes, noise)
        if state is None:
            blank = planes.new_zeros(len(planes), 2, *planes.shape[-2:])
            return _state(1, _Ring([frame], [blank], [frame], []))
        ring = self._held(state)
        average, flow = merge(frame, ring.averages[-1])
        length = self.delay + 1
        held = _Ring(
            [*ring.averages, average][-length:],
            [*ring.flows, flow][-length:],
            [*ring.singles, frame][-self.delay :],
            ring.features,
        )
        return _state(state.seen + 1, held)

    def flush(self, state: State) -> list[Tensor]:
        """Pictures of the last `delay` frames (fewer for a shorter burst)."""
        ring, rest = self._held(state), list[Tensor]()
        for ahead in reversed(range(min(self.delay, state.seen))):
            rgb, features = self._render(ring, ahead)
            ring = ring._replace(features=features)
            rest.append(rgb)
        return rest

    def _render(self, ring: _Ring, ahead: int) -> tuple[Tensor, list[Tensor]]:
        """Picture (B, 3, 2h, 2w) of the frame that `ahead` more follow, and features to hold."""
        centre = len(ring.averages) - 1 - ahead
        average = ring.averages[centre]
        for later in ring.singles[len(ring.singles) - ahead :]:
            average, _ = merge(average, later)
        view = view_of(average)
        features = self.trunk(view)
        flow = shrunk(ring.flows[centre]) / 2
        before = [warped(held, flow, sharp=False) for held in ring.features]
        before = before or [features] * FEATURES_HELD
        rgb = self.head(self.window([*before, features]), view)
        return rgb, [*before[1:], features]

    def _held(self, state: State) -> _Ring:
        """The ring out of the tensors of a state."""
        tensors = iter(state.tensors)
        length = min(state.seen, self.delay + 1)
        return _Ring(
            [Average(next(tensors), next(tensors)) for _ in range(length)],
            list(islice(tensors, length)),
            [Average(next(tensors), next(tensors)) for _ in range(min(state.seen, self.delay))],
            list(tensors),
        )


def _state(seen: int, ring: _Ring) -> State:
    averages, singles = (chain.from_iterable(part) for part in (ring.averages, ring.singles))
    return State(seen, (*averages, *ring.flows, *singles, *ring.features))
