"""Operations on pictures of one grid that the front end and the networks share."""

import torch
from torch import Tensor
from torch.nn import functional


def box(x: Tensor, radius: int) -> Tensor:
    """Mean over (2 radius + 1) squared, borders replicated.

    Along rows and then columns. On a CPU by sums of shifted pictures, 7 times as fast as
    avg_pool2d; on a GPU by that, which is two kernels instead of some forty.
    """
    side = 2 * radius + 1
    padded = functional.pad(x, (radius,) * 4, mode="replicate")
    if x.device.type != "cpu":
        return functional.avg_pool2d(functional.avg_pool2d(padded, (1, side), 1), (side, 1), 1)
    return _sums(padded, side).div_(side**2)


def box_inside(x: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Mean over those of (2 radius + 1) squared that lie inside, and how many they are, (h, w)."""
    side = 2 * radius + 1
    places = [torch.arange(length, device=x.device, dtype=x.dtype) for length in x.shape[-2:]]
    rows, columns = (n.clamp(max=radius) + n.flip(0).clamp(max=radius) + 1 for n in places)
    count = torch.outer(rows, columns)
    if x.device.type != "cpu":
        across = functional.avg_pool2d(x, (1, side), 1, (0, radius), count_include_pad=False)
        mean = functional.avg_pool2d(across, (side, 1), 1, (radius, 0), count_include_pad=False)
        return mean, count
    return _sums(functional.pad(x, (radius,) * 4), side) / count, count


def _sums(padded: Tensor, side: int) -> Tensor:
    """Sums over side x side, without a border: each side of `padded` gets side - 1 shorter."""
    total = padded
    for axis in (-1, -2):
        length = padded.shape[axis] - side + 1
        shifted = [total.narrow(axis, shift, length) for shift in range(side)]
        total = shifted[0] + shifted[1]
        for picture in shifted[2:]:
            total = total.add_(picture)
    return total


def shrunk(x: Tensor, factor: int = 2) -> Tensor:
    """Area average over factor x factor, a power of 2; on a CPU 5 times as fast as avg_pool2d."""
    if x.device.type != "cpu":
        return functional.avg_pool2d(x, factor) if factor > 1 else x
    for _ in range(factor.bit_length() - 1):
        rows = x[..., ::2, :] + x[..., 1::2, :]
        x = (rows[..., ::2] + rows[..., 1::2]) / 4
    return x


def enlarged(x: Tensor, factor: int = 2) -> Tensor:
    """Bilinear, to `factor` times the size; the inverse of `shrunk` for what is smooth."""
    if factor == 1:
        return x
    return functional.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def warped(x: Tensor, flow: Tensor, *, sharp: bool) -> Tensor:
    """`x` (B, C, h, w) at places displaced by `flow` (B, 2, h, w), x then y in samples.

    sharp: bicubic between samples, else bilinear. Beyond the border it is continued.
    """
    if x.device.type == "cpu" and not flow.any():
        return x
    height, width = x.shape[-2:]
    rows = torch.arange(height, device=x.device)[:, None] + flow[:, 1]
    columns = torch.arange(width, device=x.device) + flow[:, 0]
    # On the scale of grid_sample -1 and 1 are the outer edges.
    places = torch.stack([(2 * columns + 1) / width - 1, (2 * rows + 1) / height - 1], -1)
    mode = "bicubic" if sharp else "bilinear"
    moved = functional.grid_sample(x, places, mode, "border", align_corners=False)
    still = (flow == 0).all(1, keepdim=True)
    return torch.where(still, x, moved)  # rounding of places would blur, over many frames


def mean_green(planes: Tensor) -> Tensor:
    """(B, 4, h, w) -> (B, 3, h, w): both greens as one."""
    return torch.stack([planes[:, 0], (planes[:, 1] + planes[:, 2]) / 2, planes[:, 3]], 1)
