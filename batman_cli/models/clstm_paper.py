"""`clstm-paper`: the report's Model 1, encoder and multi-scale fusion and the CLSTM cell."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from batman_cli.develop import plain_demosaic
from batman_cli.models.blocks import conv3, square
from batman_cli.models.paper_blocks import STAGES, Convolved, Fusion, ResNet18
from batman_cli.models.state import State


@dataclass(frozen=True)
class ClstmPaperConfig:
    """Sizes and facts of the network, stored in its checkpoint."""

    width: int = 64  # channels of ResNet-18's first stage
    fused: int = 16  # channels that each stage gives to the fusion
    memory: int = 8  # channels of the cell's memory, and of its feedback
    multiple: int = 16  # sides of the planes must be a multiple of it
    halo: int = 128  # samples around a tile; the network sees 141 far, mostly less

    @property
    def bytes_per_sample(self) -> int:
        """Memory that a step needs for each sample of the planes' grid."""
        return 7700  # measured: 5140

    def as_dict(self) -> dict[str, object]:
        """Plain values for a JSON file."""
        return asdict(self)


class PaperCell(nn.Module):
    """The cell of ST-CLSTM as its authors built it (their variant 5).

    No output gate times tanh of the memory: memory and gate are joined and refined, and what comes
    back in the next frame is a projection of the refined features.
    """

    def __init__(self, features: int, memory: int, outputs: int) -> None:
        super().__init__()
        joined = features + memory
        self.forget, self.admit = conv3(joined, memory), conv3(joined, memory)
        self.candidate, self.output = conv3(joined, memory), conv3(joined, features)
        self.first, self.second = Convolved(joined, joined, 5), Convolved(joined, joined, 5)
        self.last = nn.Conv2d(joined, outputs, 5, padding=2)
        self.feedback = conv3(joined, memory)

    def forward(self, features: Tensor, memory: Tensor, back: Tensor) -> tuple[Tensor, ...]:
        """Outputs, new memory, new feedback, all on the grid of the features."""
        x = torch.cat([features, back], 1)
        keep, admit = torch.sigmoid(self.forget(x)), torch.sigmoid(self.admit(x))
        memory = keep * memory + admit * torch.tanh(self.candidate(x))
        refined = torch.cat([memory, torch.sigmoid(self.output(x))], 1)
        refined = functional.relu(self.second(functional.relu(self.first(refined))))
        return self.last(refined), memory, self.feedback(refined)


class ClstmPaper(nn.Module):
    """Recurrent network of the report, at full size; no delay."""

    delay = priming = 0

    def __init__(self, config: ClstmPaperConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = ResNet18(config.width)
        self.fusion = Fusion(config.width, config.fused)
        self.cell = PaperCell(STAGES * config.fused, config.memory, 12)

    def render(
        self, planes: Tensor, memory: tuple[Tensor, ...] | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Picture (B, 3, 2h, 2w) linear camera RGB, and the cell's memory and feedback after it.

        planes: (B, 4, h, w) amplified linear; memory: (B, memory, h, w) twice, None at first.
        """
        features = self.fusion(self.encoder(plain_demosaic(planes.clamp(0, 1))))
        if memory is None:
            blank = planes.new_zeros(len(planes), self.config.memory, *planes.shape[-2:])
            memory = (blank, blank)
        outputs, *memory_after = self.cell(features, *memory)
        return square(functional.pixel_shuffle(outputs, 2).float()), tuple(memory_after)

    def step(self, planes: Tensor, noise: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Picture (B, 3, 2h, 2w) of this frame and the state after it.

        planes: (B, 4, h, w) amplified linear, sides a multiple of 16; noise: (B, 2, 4), not used.
        """
        picture, memory = self.render(planes, state.tensors if state else None)
        return picture, State(state.seen + 1 if state else 1, memory)

    def absorb(self, planes: Tensor, noise: Tensor, state: State | None) -> State:
        """The state after a frame whose picture nobody wants: the whole network makes it."""
        return self.step(planes, noise, state)[1]

    def flush(self, state: State) -> list[Tensor]:
        """No frame is ever held back."""
        return []
