"""The parts both networks are built from. No normalisation: nothing may depend on the frame size.

Everything works on the quarter grid, (H/4, W/4) for sensor pixels (H, W), except the full-
resolution path of the head, which works on the planes' grid (h, w) = (H/2, W/2).
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from batman_cli.models.fusion import Fused, noise_map, signed_sqrt, smooth_base, square

LEAK = 0.1  # slope of the leaky ReLU below zero
QUARTER_INPUTS = 24  # 16 unshuffled fused planes, 4 noise maps of the average, 4 of the frame
PLANE_INPUTS = 8  # 4 fused planes, 4 noise maps of the average


def conv3(inputs: int, outputs: int, *, stride: int = 1) -> nn.Conv2d:
    """3x3 convolution that keeps the size (or halves it)."""
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)


def activate(x: Tensor) -> Tensor:
    """Leaky ReLU."""
    return functional.leaky_relu(x, LEAK)


class BasicBlock(nn.Module):
    """ResNet basic block without normalisation; a 1x1 shortcut where the shape changes."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.first = conv3(inputs, outputs, stride=stride)
        self.second = conv3(outputs, outputs)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) -> (B, outputs, h / stride, w / stride)."""
        return self.shortcut(x) + self.second(activate(self.first(x)))


class Encoder(nn.Module):
    """ResNet-18-shaped: four stages of two basic blocks, each after the first at half the size.

    No stem of stride 2 and no max-pool: the input is unshuffled already, and pooling blurs.
    """

    def __init__(self, inputs: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = conv3(inputs, widths[0])
        stages = [nn.Sequential(BasicBlock(widths[0], widths[0]), BasicBlock(widths[0], widths[0]))]
        for before, width in pairwise(widths):
            down = BasicBlock(before, width, stride=2)
            stages.append(nn.Sequential(down, BasicBlock(width, width)))
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, inputs, h, w) -> features of each stage, (B, widths[i], h / 2^i, w / 2^i)."""
        x = activate(self.stem(x))
        features: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


class UpProjection(nn.Module):
    """Coarse features to twice the size, merged with the finer stage's.

    The 1x1 projection comes before the resize: the same result at a quarter of the cost.
    """

    def __init__(self, coarse: int, fine: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(coarse, fine, 1)
        self.refine = BasicBlock(fine, fine)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """(B, coarse, h/2, w/2) and (B, fine, h, w) -> (B, fine, h, w)."""
        up = functional.interpolate(
            self.project(coarse), scale_factor=2, mode="bilinear", align_corners=False
        )
        return self.refine(fine + up)


class Trunk(nn.Module):
    """Encoder and multi-scale feature fusion: fused planes to features of one frame."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder = Encoder(QUARTER_INPUTS, widths)
        scales = reversed(list(pairwise(widths)))
        self.ups = nn.ModuleList(UpProjection(coarse, fine) for fine, coarse in scales)

    def forward(self, fused: Fused) -> Tensor:
        """Features (B, widths[0], h/2, w/2) of the frame just fused."""
        maps = [noise_map(fused.variance), noise_map(fused.frame_variance)]
        small = functional.avg_pool2d(torch.cat(maps, 1), 2)
        planes = functional.pixel_unshuffle(signed_sqrt(fused.mean), 2)
        *finer, features = self.encoder(torch.cat([planes, small], 1))
        for up, fine in zip(self.ups, reversed(finer), strict=True):
            features = up(features, fine)
        return features


class Head(nn.Module):
    """Features and the fused planes at full resolution to a picture.

    The last layer starts at zero: untrained, the picture is the smoothed demosaic.
    """

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.rise = nn.Conv2d(features, 4 * width, 3, padding=1)
        self.fine = conv3(PLANE_INPUTS, width)
        self.merge = conv3(2 * width, width)
        self.refine = conv3(width, width)
        self.last = conv3(width, 12)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """(B, features, h/2, w/2), fused (B, 4, h, w) twice -> (B, 3, 2h, 2w) linear camera RGB."""
        fine = self.fine(torch.cat([signed_sqrt(mean), noise_map(variance)], 1))
        coarse = functional.pixel_shuffle(self.rise(features), 2)
        x = activate(self.merge(activate(torch.cat([fine, coarse], 1))))
        x = self.last(x + activate(self.refine(x)))
        # Not clipped at black, as `develop` does that: there training would find no way back up.
        return square(functional.pixel_shuffle(x, 2) + smooth_base(mean))
