"""`clstm`: one frame in, one frame out, with a memory that runs through the whole burst."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from batman_cli.models.blocks import Head, Trunk, activate, conv3, view_of
from batman_cli.models.fusion import Average, merge, single
from batman_cli.models.grid import shrunk, warped
from batman_cli.models.state import State


@dataclass(frozen=True)
class ClstmConfig:
    """Sizes and facts of the network, stored in its checkpoint."""

    widths: tuple[int, ...] = (64, 96, 128, 160)  # channels of the encoder's stages
    memory: int = 16  # channels of the cell's memory, and of its feedback
    head: int = 48  # channels of the full-resolution path
    multiple: int = 32  # sides of the planes must be a multiple of it
    halo: int = 64  # samples around a tile; of a still scene none beyond matters by 1/255

    @property
    def bytes_per_sample(self) -> int:
        """Memory that a step needs for each sample of the planes' grid."""
        return 3600  # measured: up to 2350

    def as_dict(self) -> dict[str, object]:
        """Plain values for a JSON file."""
        return asdict(self)


class ClstmCell(nn.Module):
    """The convolutional LSTM cell of ST-CLSTM (Zhang et al., ICCV 2019), made safe for long video.

    As there: gates see the features and a projection of the last *refined* feature, and memory
    and gated feature are concatenated and refined, not multiplied. Different: the input gate is
    one minus the forget gate, so the memory is a running average and stays within -1..1 for any
    length; the output gate multiplies the feature instead of replacing it; no batch norm; the
    refinement is a correction that starts at zero.
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
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

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
    priming = 2  # so that the cell remembers something

    def __init__(self, config: ClstmConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = Trunk(config.widths)
        self.cell = ClstmCell(config.widths[0], config.memory)
        self.head = Head(config.widths[0], config.head)

    def step(self, planes: Tensor, noise: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Picture (B, 3, 2h, 2w) of this frame and the state after it.

        planes: (B, 4, h, w) amplified linear, sides a multiple of 32; noise: (B, 2, 4).
        """
        average, memory, back = self._fused(planes, noise, state)
        view = view_of(average)
        features, memory, back = self.cell(self.trunk(view), memory, back)
        return self.head(features, view), _state(average, memory, back, state)

    def absorb(self, planes: Tensor, noise: Tensor, state: State | None) -> State:
        """The state after a frame that only the front end sees, at a tenth of the cost.

        For frames before the first `step`, whose pictures nobody wants.
        """
        return _state(*self._fused(planes, noise, state), state)

    def flush(self, state: State) -> list[Tensor]:
        """No frame is ever held back."""
        return []

    def _fused(
        self, planes: Tensor, noise: Tensor, state: State | None
    ) -> tuple[Average, Tensor, Tensor]:
        """The average with this frame, and the cell's memory and feedback moved onto it."""
        average = single(planes, noise)
        if state is None:
            rows, columns = planes.shape[-2] // 2, planes.shape[-1] // 2
            blank = planes.new_zeros(len(planes), self.config.memory, rows, columns)
            return average, blank, blank
        mean, variance, memory, back = state.tensors
        average, flow = merge(average, Average(mean, variance))
        flow = shrunk(flow) / 2
        return average, warped(memory, flow, sharp=False), warped(back, flow, sharp=False)


def _state(average: Average, memory: Tensor, back: Tensor, before: State | None) -> State:
    seen = before.seen + 1 if before else 1
    return State(seen, (average.mean, average.variance, memory, back))
