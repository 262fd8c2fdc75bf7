"""The parts both networks are built from. No normalisation: nothing may depend on the frame size.

Everything works on the quarter grid, (H/4, W/4) for sensor pixels (H, W), except the full-
resolution path of the head, which works on the planes' grid (h, w) = (H/2, W/2).
"""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from batman_cli.models.anchor import anchored
from batman_cli.models.fusion import Average
from batman_cli.models.grid import enlarged, mean_green, shrunk
from batman_cli.models.wiener import wiener

LEAK = 0.1  # slope of the leaky ReLU below zero
QUARTER_INPUTS = 36  # 16 unshuffled averages, 16 of the denoised ones, 4 noise maps
PLANE_INPUTS = 12  # 4 averages, 4 denoised ones, 4 noise maps
SQRT_OFFSET = 1e-3  # keeps the slope of the signed square root finite at zero


class View(NamedTuple):
    """An average and what a network sees of it: five times (B, 4, h, w)."""

    root: Tensor  # signed square root of the mean
    base: Tensor  # square root of the denoised mean
    noise: Tensor  # `noise_map` of the mean
    mean: Tensor  # linear
    variance: Tensor  # of the mean's noise


def view_of(average: Average) -> View:
    """An average as a network sees it."""
    denoised = wiener(average.mean, average.variance).clamp_min(0)
    return View(
        signed_sqrt(average.mean), signed_sqrt(denoised), noise_map(average.variance), *average
    )


def signed_sqrt(x: Tensor) -> Tensor:
    """sign(x) (sqrt(|x| + e) - sqrt(e)): evens out shot noise, keeps negative values."""
    return x.sign() * ((x.abs() + SQRT_OFFSET).sqrt() - SQRT_OFFSET**0.5)


def square(root: Tensor) -> Tensor:
    """Inverse of `signed_sqrt`, so linear light again."""
    return root.sign() * ((root.abs() + SQRT_OFFSET**0.5) ** 2 - SQRT_OFFSET)


def noise_map(variance: Tensor) -> Tensor:
    """Logarithm of a standard deviation, scaled to about -1..1 for a network."""
    return 0.5 * variance.clamp_min(1e-8).log() * 0.3 + 1


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
    """Encoder and multi-scale feature fusion: an average to features of its picture."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder = Encoder(QUARTER_INPUTS, widths)
        scales = reversed(list(pairwise(widths)))
        self.ups = nn.ModuleList(UpProjection(coarse, fine) for fine, coarse in scales)

    def forward(self, view: View) -> Tensor:
        """Features (B, widths[0], h/2, w/2)."""
        planes = functional.pixel_unshuffle(torch.cat([view.root, view.base], 1), 2)
        *finer, features = self.encoder(torch.cat([planes, shrunk(view.noise)], 1))
        for up, fine in zip(self.ups, reversed(finer), strict=True):
            features = up(features, fine)
        return features


class Head(nn.Module):
    """Features and the view at full resolution to a picture, which is held to the measured light.

    The last layer starts at zero: untrained, the picture is the denoised average.
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

    def forward(self, features: Tensor, view: View) -> Tensor:
        """(B, features, h/2, w/2), view -> (B, 3, 2h, 2w) linear camera RGB."""
        fine = self.fine(torch.cat([view.root, view.base, view.noise], 1))
        coarse = functional.pixel_shuffle(self.rise(features), 2)
        x = activate(self.merge(activate(torch.cat([fine, coarse], 1))))
        x = self.last(x + activate(self.refine(x)))
        # Not clipped at black, as `develop` does that: there training would find no way back up.
        rgb = square(functional.pixel_shuffle(x, 2) + enlarged(mean_green(view.base)))
        return anchored(rgb, view.mean, view.variance, square(view.base))
