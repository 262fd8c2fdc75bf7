"""Random numbers as a CUDA graph can hold them: drawn on the device, nothing copied to it."""

from functools import cache

import torch
from torch import Tensor

Table = tuple["float | Table", ...]


def uniform(bounds: tuple[float, float], shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Between the bounds."""
    low, high = bounds
    return low + (high - low) * torch.rand(shape, device=device)


def chance(share: float, count: int, device: torch.device) -> Tensor:
    """(count,) bool, true with that probability."""
    return torch.rand(count, device=device) < share


def below(limit: Tensor) -> Tensor:
    """Whole numbers from 0 to below each limit (B,); 0 where that is none."""
    limit = limit.clamp_min(1)
    drawn = (limit * torch.rand(limit.shape, device=limit.device)).long()
    return torch.minimum(drawn, limit - 1)  # a float32 product may be rounded up to the limit


def one_of(table: Tensor, count: int) -> Tensor:
    """(count, ...): rows of a table, each as likely as any other."""
    at = (len(table) * torch.rand(count, device=table.device)).long()
    return table[at.clamp_max(len(table) - 1)]


@cache
def constant(values: Table, device: torch.device) -> Tensor:
    """A float32 tensor that is copied to the device once: no copy can be part of a CUDA graph."""
    return torch.tensor(values, dtype=torch.float32, device=device)
