"""The parts of the report's two networks, after ST-CLSTM (Zhang et al., ICCV 2019).

A ResNet-18 with its max-pool, up-projections, and multi-scale feature fusion, all with batch
normalisation. Pictures are (B, 3, H, W); features end on the half grid, (H/2, W/2).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

STAGES = 4
MOMENTUM, EPSILON = 0.1, 1e-5  # of batch normalisation: torch's defaults


class BatchNorm(nn.Module):
    """Batch normalisation for any number of axes.

    torch's own also counts batches, in a whole number that half precision cannot hold.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) -> the same; statistics of the batch in training, else those learned."""
        return functional.batch_norm(
            x,
            self.mean,
            self.variance,
            self.weight,
            self.bias,
            training=self.training,
            momentum=MOMENTUM,
            eps=EPSILON,
        )


class Convolved(nn.Sequential):
    """Convolution without bias that keeps the size (or halves it), and batch normalisation."""

    def __init__(self, inputs: int, outputs: int, side: int, *, stride: int = 1) -> None:
        convolve = nn.Conv2d(inputs, outputs, side, stride, side // 2, bias=False)
        super().__init__(convolve, BatchNorm(outputs))


class BasicBlock(nn.Module):
    """ResNet's basic block."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.first = Convolved(inputs, outputs, 3, stride=stride)
        self.second = Convolved(outputs, outputs, 3)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else Convolved(inputs, outputs, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, outputs, h / stride, w / stride)."""
        inner = self.second(functional.relu(self.first(x)))
        return functional.relu(self.shortcut(x) + inner)


class ResNet18(nn.Module):
    """ResNet-18 without its classifier."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = Convolved(3, width, 7, stride=2)
        widths = stage_widths(width)
        first = nn.Sequential(BasicBlock(width, width), BasicBlock(width, width))
        rest = (
            nn.Sequential(BasicBlock(before, after, stride=2), BasicBlock(after, after))
            for before, after in pairwise(widths)
        )
        self.stages = nn.ModuleList([first, *rest])

    def forward(self, rgb: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> (B, width * 2^i, H / 2^(i + 2), W / 2^(i + 2)) of each stage i."""
        x = functional.max_pool2d(functional.relu(self.stem(rgb)), 3, 2, 1)
        features: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class UpProjection(nn.Module):
    """Features enlarged, then two branches of 5x5 convolutions, added.

    Enlarged with the corners of outer pixels on each other, not their middles as there: how far
    things lie apart then does not depend on the size of the picture, and tiles fit together.
    """

    def __init__(self, inputs: int, outputs: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.first = Convolved(inputs, outputs, 5)
        self.second = Convolved(outputs, outputs, 3)
        self.shortcut = Convolved(inputs, outputs, 5)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, outputs, factor * h, factor * w)."""
        (first, norm), (shortcut, norm_beside) = self.first, self.shortcut
        kernels = torch.cat([cast(nn.Conv2d, each).weight for each in (first, shortcut)])
        by_matrices = self.training and saves_work(x.shape[1:], kernels.shape[-1], self.factor)
        convolve = convolve_enlarged if by_matrices else convolve_plainly
        inner, beside = convolve(x, kernels, self.factor).chunk(2, 1)
        return functional.relu(norm_beside(beside) + self.second(functional.relu(norm(inner))))


class Fusion(nn.Module):
    """Multi-scale feature fusion: every stage's features straight to the half grid, joined."""

    def __init__(self, width: int, fused: int) -> None:
        super().__init__()
        widths = enumerate(stage_widths(width))
        self.ups = nn.ModuleList(UpProjection(w, fused, 2 << stage) for stage, w in widths)
        self.join = Convolved(STAGES * fused, STAGES * fused, 5)

    def forward(self, stages: list[Tensor]) -> Tensor:
        """Features of the stages -> (B, 4 fused, H/2, W/2)."""
        parts = [up(x) for up, x in zip(self.ups, stages, strict=True)]
        return functional.relu(self.join(torch.cat(parts, 1)))


class Decoder(nn.Module):
    """The coarsest features step by step to the half grid."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.reduce = Convolved(8 * width, 4 * width, 1)
        widths = (4 * width, 2 * width, width, width // 2, outputs)
        self.ups = nn.Sequential(*(UpProjection(a, b, 2) for a, b in pairwise(widths)))

    def forward(self, coarsest: Tensor) -> Tensor:
        """(B, 8 width, H/32, W/32) -> (B, outputs, H/2, W/2)."""
        return self.ups(functional.relu(self.reduce(coarsest)))


def stage_widths(width: int) -> list[int]:
    """Channels of the four stages."""
    return [width << stage for stage in range(STAGES)]


def convolve_plainly(x: Tensor, kernels: Tensor, factor: int) -> Tensor:
    """What kernels (O, C, k, k) make of x (B, C, h, w) enlarged: (B, O, factor h, factor w)."""
    x = functional.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    return functional.conv2d(x, kernels, padding=kernels.shape[-1] // 2)


def convolve_enlarged(x: Tensor, kernels: Tensor, factor: int) -> Tensor:
    """The same to rounding, and no channel is enlarged before it is convolved; see `saves_work`.

    Both operations are linear: here each tap of the kernels is applied to x as it is, and products
    with matrices enlarge, shift and add.
    """
    batch, channels, height, width = x.shape
    count, side = kernels.shape[0], kernels.shape[-1]
    taps = kernels.permute(0, 2, 3, 1).reshape(-1, channels) @ x.flatten(2)
    rows = taps.view(batch, count, side, side, height, width).transpose(3, 4)  # .., h, k, w
    across = rows.flatten(4) @ shifts(x, width, factor, side).flatten(0, 1)  # .., k, h, factor w
    return shifts(x, height, factor, side).flatten(0, 1).T @ across.flatten(2, 3)


def saves_work(shape: Sequence[int], side: int, factor: int) -> bool:
    """Whether `convolve_enlarged` has fewer multiply-adds, for one kernel and x of (C, h, w).

    Its matrices grow with the squares of the sides: it does for crops of a training, for whole
    pictures only of the coarsest features.
    """
    channels, height, width = shape
    plainly = channels * side**2 * factor**2 * height * width
    taps = channels * side**2 * height * width
    across = side * height * side * width * factor * width
    down = factor * height * side * height * factor * width
    return taps + across + down < plainly


def shifts(like: Tensor, length: int, factor: int, side: int) -> Tensor:
    """How samples spread once enlarged bilinearly and shifted by each tap of a kernel.

    (side, length, factor * length), of the kind of `like`; 0 beyond the ends.
    """
    unit = torch.eye(length, device=like.device, dtype=like.dtype)[None]
    enlarged = functional.interpolate(unit, scale_factor=factor, mode="linear", align_corners=False)
    padded = functional.pad(enlarged[0], (side // 2, side // 2))
    return torch.stack([padded[:, tap : tap + factor * length] for tap in range(side)])
