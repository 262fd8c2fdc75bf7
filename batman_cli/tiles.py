"""A frame cut into tiles with a halo, and the results laid back over each other with soft seams.

All lengths are samples of the planes' grid. Tiles are aligned to the network's `multiple`, so
that every tensor of a state, at whatever stride, can be cut along them.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from batman_cli import settings

FEATHER = 16  # samples on each side of a seam over which one tile turns into the next
MIN_TILE = settings.MIN_TILE // 2  # samples


@dataclass(frozen=True)
class Span:
    """One axis of a tile: what is read, and the seams where it hands over to its neighbours."""

    start: int  # first sample read
    stop: int  # end of what is read
    first: int  # seam to the tile before; equal to `start` at the edge of the frame
    last: int  # seam to the tile after; equal to `stop` at the edge

    def weights(self) -> Tensor:
        """Share of this tile in each sample read, (stop - start,); spans of a cut sum to 1."""
        place = torch.arange(self.start, self.stop) + 0.5
        share = torch.ones(len(place))
        if self.first > self.start:
            share *= ((place - self.first) / (2 * FEATHER) + 0.5).clamp(0, 1)
        if self.last < self.stop:
            share *= ((self.last - place) / (2 * FEATHER) + 0.5).clamp(0, 1)
        return share


@dataclass(frozen=True)
class Tile:
    """A rectangle of the frame that the network sees at once."""

    rows: Span
    columns: Span

    def cut(self, tensor: Tensor, height: int) -> Tensor:
        """The tile's part of a tensor (B, C, height/s, width/s) that lies over the frame."""
        stride = height // tensor.shape[-2]
        rows = slice(self.rows.start // stride, self.rows.stop // stride)
        columns = slice(self.columns.start // stride, self.columns.stop // stride)
        return tensor[..., rows, columns]

    def add(self, part: Tensor, total: Tensor) -> None:
        """Adds the tile's result, weighted, to a tensor over the whole frame at the same scale."""
        rows = _resize(self.rows.weights(), part.shape[-2])
        columns = _resize(self.columns.weights(), part.shape[-1])
        top = self.rows.start * part.shape[-2] // (self.rows.stop - self.rows.start)
        left = self.columns.start * part.shape[-1] // (self.columns.stop - self.columns.start)
        weight = (rows[:, None] * columns).to(part)
        target = total[..., top : top + part.shape[-2], left : left + part.shape[-1]]
        target += part * weight


def plan_tiles(height: int, width: int, tile: int, halo: int, multiple: int) -> list[Tile]:
    """Tiles that cover (height, width) planes, both multiples of `multiple`.

    tile: longest side of what lies between seams, at least twice FEATHER, or seams would overlap; a
    larger one than the frame gives one tile.
    """
    rows = _spans(height, tile, halo, multiple)
    columns = _spans(width, tile, halo, multiple)
    return [Tile(row, column) for row in rows for column in columns]


def _spans(length: int, tile: int, halo: int, multiple: int) -> list[Span]:
    units = length // multiple
    count = -(-length // max(tile, multiple))
    seams = [units * i // count * multiple for i in range(count + 1)]
    halo = max(halo, FEATHER)
    halo = -(-halo // multiple) * multiple
    return [
        Span(max(0, first - halo), min(length, last + halo), first, last)
        if count > 1
        else Span(0, length, 0, length)
        for first, last in pairwise(seams)
    ]


def _resize(weights: Tensor, length: int) -> Tensor:
    """Weights at a finer or coarser scale; shares that sum to 1 still do."""
    if length >= len(weights):
        return weights.repeat_interleave(length // len(weights))
    return weights.unflatten(0, (length, -1)).mean(1)
