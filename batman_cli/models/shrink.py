"""Groups of tubes without their noise: the separable 4D transform of V-BM4D, and what it keeps.

A re-implementation from the published description (see `tubes`). A group has four dimensions, two
of the block, time, and the tubes that look alike. In the transform of all four the scene is a few
large coefficients, while noise of variance 1 stays noise of variance 1 in each of them.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from batman_cli.models.tubes import CHUNK, Groups, Tubes, block_offsets

KAISER = 2.0  # shape of the window that blocks are laid together with, as in BM3D


class Volumes(NamedTuple):
    """The blocks that are filtered together."""

    tubes: Tubes
    groups: Groups
    centre: int  # the frame of the window that the tubes were followed from
    block: int  # side in samples


class Total(NamedTuple):
    """Weighted sums of blocks that are laid over one another."""

    values: Tensor  # (T, C, h, w)
    weight: Tensor  # (T, 1, h, w), 0 where no block lies


class Kernels(NamedTuple):
    """Orthonormal transforms along each dimension; zero beyond what a group has."""

    space: Tensor  # (b^2, b^2) 2D cosine transform; the first row is the mean
    time: Tensor  # (T, T, T, T): cosine transform over the frames of a tube, by back and ahead
    group: Tensor  # (D, M, M): Haar transform of 2^D alike tubes
    window: Tensor  # (b^2,)


@lru_cache(maxsize=32)
def kernels(block: int, frames: int, centre: int, size: int, device: torch.device) -> Kernels:
    """The transforms of groups of up to `size` tubes through `frames` with a given centre."""
    side = _cosine(block)
    time = torch.zeros(frames, frames, frames, frames)
    for back in range(centre + 1):
        for ahead in range(frames - centre):
            length, start = back + ahead + 1, centre - back
            time[back, ahead, :length, start : start + length] = _cosine(length)
    doublings = size.bit_length()
    group = torch.zeros(doublings, size, size)
    for number in range(doublings):
        group[number, : 1 << number, : 1 << number] = _haar(number)
    window = torch.kaiser_window(block, periodic=False, beta=KAISER)
    return Kernels(
        torch.kron(side, side).to(device),
        time.to(device),
        group.to(device),
        torch.outer(window, window).flatten().to(device),
    )


def hard_threshold(noisy: Tensor, volumes: Volumes, threshold: float) -> Total:
    """Stage 1: coefficients below the threshold are noise.

    noisy: (T, C, h, w) with noise of variance 1.
    """
    aggregate = _Aggregate(noisy, volumes)
    for part in aggregate.parts():
        spectrum = aggregate.spectrum(noisy, part)
        kept = spectrum.abs() > threshold
        kept[:, 0, 0, :, 0] = True  # the mean of a group is never noise alone
        count = (kept & (spectrum != 0)).sum((1, 2, 3, 4)).clamp_min(1)
        aggregate.add(spectrum * kept, aggregate.volume[part] / count, part)
    return aggregate.total


def wiener_shrink(noisy: Tensor, basic: Tensor, volumes: Volumes) -> Total:
    """Stage 2: each coefficient keeps the share of its power in `basic` that is not noise.

    noisy, basic: (T, C, h, w); noise of variance 1.
    """
    aggregate = _Aggregate(noisy, volumes)
    for part in aggregate.parts():
        power = aggregate.spectrum(basic, part).square_()
        share = power / (power + 1)
        share[:, 0, 0, :, 0] = 1
        weight = aggregate.volume[part] / share.square().sum((1, 2, 3, 4))
        aggregate.add(aggregate.spectrum(noisy, part).mul_(share), weight, part)
    return aggregate.total


class _Aggregate:
    """The transforms of groups over one window of frames, and the sum of what comes back."""

    def __init__(self, like: Tensor, volumes: Volumes) -> None:
        frames, channels, height, width = like.shape
        tubes, self.groups, centre, self.block = volumes
        size = self.groups.place.shape[2]
        transforms = kernels(self.block, frames, centre, size, like.device)
        self.shape = (frames, channels, height, width)
        self.space, self.window = transforms.space, transforms.window
        self.time = transforms.time[tubes.back, tubes.ahead]  # (N, T, T)
        self.group = transforms.group[self.groups.doublings]  # (N, M, M)
        number = torch.arange(frames, device=like.device)
        followed = (number >= centre - tubes.back[:, None]) & (
            number <= centre + tubes.ahead[:, None]
        )
        alike = torch.arange(size, device=like.device) < 1 << self.groups.doublings[:, None]
        self.used = followed[:, :, None] & alike[:, None]  # (N, T, M)
        self.volume = self.used.sum((1, 2))  # (N,) blocks in a group
        self.total = Total(torch.zeros_like(like), torch.zeros_like(like[:, :1]))

    def parts(self) -> list[slice]:
        """The groups, as many at a time as memory allows."""
        frames, channels, *_ = self.shape
        number, _, size, _ = self.groups.place.shape
        rows = max(1, CHUNK // (frames * channels * size * self.block**2))
        return [slice(start, start + rows) for start in range(0, number, rows)]

    def spectrum(self, planes: Tensor, part: slice) -> Tensor:
        """Coefficients (n, T, M, C, b^2) of the groups of a part in planes (T, C, h, w)."""
        _, channels, height, width = self.shape
        first = self._first(part, channels)
        channel = torch.arange(channels, device=planes.device)[:, None] * height * width
        row = torch.arange(self.block, device=planes.device) * width
        # Rows of blocks overlap: a view of each of them, out of which whole rows are copied.
        size = planes.numel() - self.block + 1
        rows = planes.contiguous().flatten().as_strided((size, self.block), (1, 1))
        x = rows[first[..., None, None] + channel + row].flatten(-2)
        x = x @ self.space.T
        x = torch.bmm(self.time[part], x.flatten(2)).view_as(x)
        return (self.group[part, None] @ x.flatten(3)).view_as(x)

    def add(self, spectrum: Tensor, weight: Tensor, part: slice) -> None:
        """Transform groups back and lay them into the total; weight: (n,)."""
        _, channels, height, width = self.shape
        x = (self.group[part].mT[:, None] @ spectrum.flatten(3)).view_as(spectrum)
        x = torch.bmm(self.time[part].mT, x.flatten(2)).view_as(x)
        x = x @ (self.space * self.window)
        weight = weight[:, None, None] * self.used[part]
        x = x.mul_(weight[..., None, None])
        offsets = block_offsets(self.block, width, x.device)
        channel = torch.arange(channels, device=x.device)[:, None] * height * width
        target = self._first(part, channels)[..., None, None] + channel + offsets
        self.total.values.view(-1).index_add_(0, target.flatten(), x.flatten())
        target = self._first(part, 1)[..., None] + offsets
        shares = weight[..., None] * self.window
        self.total.weight.view(-1).index_add_(0, target.flatten(), shares.flatten())

    def _first(self, part: slice, channels: int) -> Tensor:
        """Where the blocks (n, T, M) begin in flat planes (T, channels, h, w)."""
        frames, _, height, width = self.shape
        place = self.groups.place[part]
        number = torch.arange(frames, device=place.device)[:, None] * channels * height
        return (number + place[..., 0]) * width + place[..., 1]


def _cosine(length: int) -> Tensor:
    """Orthonormal cosine transform (DCT-II), (length, length); the first row is the mean's."""
    place = torch.arange(length, dtype=torch.float64)
    basis = torch.cos(math.pi / length * place[:, None] * (place + 0.5))
    return (basis / basis.norm(dim=1, keepdim=True)).float()


def _haar(doublings: int) -> Tensor:
    """Orthonormal Haar transform (2^doublings squared); the first row is the mean's."""
    matrix = torch.ones(1, 1)
    for _ in range(doublings):
        means = torch.kron(matrix, torch.tensor([[1.0, 1.0]]))
        changes = torch.kron(torch.eye(len(matrix)), torch.tensor([[1.0, -1.0]]))
        matrix = torch.cat([means, changes]) / math.sqrt(2)
    return matrix
