"""`3dcnn`: each frame out of a window of five, two of them yet to come."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from batman_cli.models.blocks import Head, Trunk, activate
from batman_cli.models.fusion import Fusion
from batman_cli.models.state import State


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


class WindowConv(nn.Module):
    """3D convolutions without padding in time: 2 r + 1 frames of features become one."""

    def __init__(self, features: int, radius: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv3d(features, features, 3, padding=(0, 1, 1)) for _ in range(radius)
        )

    def forward(self, window: Tensor) -> Tensor:
        """(B, C, 2 r + 1, h, w) -> (B, C, h, w), a correction of the centre's features."""
        *early, last = self.layers
        for layer in early:
            window = activate(layer(window))
        return last(window)[:, :, 0]


class Cnn3d(nn.Module):
    """Sliding-window network over the fusion front end; a frame leaves `radius` frames late.

    Each frame is encoded once. The ring of features is full from the first frame on (the first
    frame repeated), so that both ends of the burst see their edge frame replicated.
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
        rings = state.tensors[:3] if state else (None, None, None)
        _, means, variances = rings
        mean = None if means is None else means[:, -4:]
        variance = None if variances is None else variances[:, -4:]
        fused = self.fusion(planes, noise, mean, variance)
        newest = (self.trunk(fused), fused.mean, fused.variance)
        return self._push(newest, state)

    def flush(self, state: State) -> list[Tensor]:
        """Pictures of the last `delay` frames (fewer for a shorter burst)."""
        newest = tuple(
            ring[:, -ring.shape[1] // length :]
            for ring, length in zip(state.tensors, self._lengths(), strict=True)
        )
        rest: list[Tensor] = []
        for _ in range(self.delay):
            rgb, state = self._push(newest, state)
            if rgb is not None:
                rest.append(rgb)
        return rest

    def _lengths(self) -> tuple[int, int, int]:
        """Frames held of features, fused means and fused variances."""
        return 2 * self.delay + 1, self.delay + 1, self.delay + 1

    def _push(self, newest: tuple[Tensor, ...], state: State | None) -> tuple[Tensor | None, State]:
        """Rings moved on by one frame, and the picture of the window's new centre."""
        if state is None:
            repeats = zip(newest, self._lengths(), strict=True)
            rings = tuple(frame.repeat(1, length, 1, 1) for frame, length in repeats)
            seen = 1
        else:
            pairs = zip(state.tensors, newest, strict=True)
            rings = tuple(torch.cat([ring[:, new.shape[1] :], new], 1) for ring, new in pairs)
            seen = state.seen + 1
        moved = State(seen, rings)
        return (self._render(rings) if seen > self.delay else None), moved

    def _render(self, rings: tuple[Tensor, ...]) -> Tensor:
        """Picture of the centre of the window, (B, 3, 2h, 2w)."""
        features, means, variances = rings
        width, length = self.config.widths[0], 2 * self.delay + 1
        window = features.unflatten(1, (length, width)).transpose(1, 2)  # (B, C, T, h/2, w/2)
        centre = features[:, self.delay * width : (self.delay + 1) * width]
        refined = centre + self.window(window)
        return self.head(refined, means[:, :4], variances[:, :4])
