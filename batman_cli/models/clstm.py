"""`clstm`: one frame in, one frame out, with a memory that runs through the whole burst."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from batman_cli.models.blocks import Head, Trunk, activate, conv3
from batman_cli.models.fusion import Fusion
from batman_cli.models.state import State


@dataclass(frozen=True)
class ClstmConfig:
    """Sizes and facts of the network, stored in its checkpoint."""

    widths: tuple[int, ...] = (32, 64, 96, 128)  # channels of the encoder's stages
    memory: int = 16  # channels of the cell's memory, and of its feedback
    head: int = 16  # channels of the full-resolution path
    multiple: int = 16  # sides of the planes must be a multiple of it
    halo: int = 64  # samples of the planes' grid around a tile; beyond, influence is below 1/255

    def as_dict(self) -> dict[str, object]:
        """Plain values for a JSON file."""
        return asdict(self)


class ClstmCell(nn.Module):
    """The convolutional LSTM cell of ST-CLSTM (Zhang et al., ICCV 2019), made safe for long video.

    As there: gates see the features and a projection of the last *refined* feature, and memory
    and gated feature are concatenated and refined, not multiplied. Different: the input gate is
    one minus the forget gate, so the memory is a running average and stays within -1..1 for any
    length; the output gate multiplies the feature instead of replacing it; no batch norm.
    """

    def __init__(self, features: int, memory: int) -> None:
        super().__init__()
        joined = features + memory
        self.forget = conv3(joined, memory)
        self.candidate = conv3(joined, memory)
        self.output = conv3(joined, features)
        self.first = conv3(joined, features)
        self.second = conv3(features, features)
        self.feedback = conv3(features, memory)

    def forward(self, features: Tensor, memory: Tensor, back: Tensor) -> tuple[Tensor, ...]:
        """Refined features, new memory, new feedback, all on the quarter grid."""
        x = torch.cat([features, back], 1)
        keep = torch.sigmoid(self.forget(x))
        memory = keep * memory + (1 - keep) * torch.tanh(self.candidate(x))
        gated = torch.sigmoid(self.output(x)) * features
        refined = self.second(activate(self.first(torch.cat([memory, gated], 1))))
        refined = features + refined
        return refined, memory, torch.tanh(self.feedback(refined))


class Clstm(nn.Module):
    """Recurrent network over the fusion front end; no delay."""

    delay = 0

    def __init__(self, config: ClstmConfig) -> None:
        super().__init__()
        self.config = config
        self.fusion = Fusion()
        self.trunk = Trunk(config.widths)
        self.cell = ClstmCell(config.widths[0], config.memory)
        self.head = Head(config.widths[0], config.head)

    def step(self, planes: Tensor, noise: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Picture (B, 3, 2h, 2w) of this frame and the state after it.

        planes: (B, 4, h, w) amplified linear, sides a multiple of 16; noise: (B, 2, 4).
        """
        mean, variance, memory, back = state.tensors if state else (None, None, None, None)
        fused = self.fusion(planes, noise, mean, variance)
        features = self.trunk(fused)
        if memory is None or back is None:
            memory = back = features.new_zeros(
                features.shape[0], self.config.memory, *features.shape[-2:]
            )
        features, memory, back = self.cell(features, memory, back)
        rgb = self.head(features, fused.mean, fused.variance)
        seen = state.seen + 1 if state else 1
        return rgb, State(seen, (fused.mean, fused.variance, memory, back))

    def flush(self, state: State) -> list[Tensor]:
        """No frame is ever held back."""
        return []
