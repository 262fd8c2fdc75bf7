"""Blocks followed through time, and groups of those that look alike: the matching of V-BM4D.

A re-implementation from the published description (Maggioni, Boracchi, Foi, Egiazarian, Video
Denoising, Deblocking, and Enhancement Through Separable 4-D Nonlocal Spatiotemporal Transforms,
IEEE TIP 2012). Distances are means of squared differences, in units of the variance of the noise.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from batman_cli.models.grid import box

CHUNK = 1 << 22  # numbers that are worked on at once: 16 MiB


@dataclass(frozen=True)
class Search:
    """How far a stage of the filter looks for blocks, and what it takes for alike."""

    first: int  # samples around the predicted place in the next frame, while nothing is known
    later: int  # the same once the velocity is known
    beside: int  # samples around a block that are searched for similar tubes
    apart: int  # samples between the places that are searched
    smoothing: int  # radius of a box mean over what is compared: noise would decide otherwise
    noise: float  # variance that is left in the compared pictures
    penalty: float  # added to the distance of what lies PENALISED or more from the predicted place
    lost: float  # distance beyond what noise explains at which a block is followed no further
    alike: float  # the same for two tubes of a group


PENALISED = 3.0  # samples; nearer to the predicted place the penalty is in proportion
FIRST = 0.25  # of the penalty, for first steps: the more blocks decide, the less is left to noise


class Tubes(NamedTuple):
    """A block of each place of a grid, followed through the frames of a window."""

    grid: tuple[Tensor, Tensor]  # rows and columns of the grid in the centre frame
    place: Tensor  # (N, T, 2) int64: row and column of each block's first sample
    back: Tensor  # (N,) int64: frames before the centre through which it could be followed
    ahead: Tensor  # (N,) the same after the centre


class Groups(NamedTuple):
    """Tubes that look like each of N reference tubes, the reference first."""

    place: Tensor  # (N, T, M, 2) int64, as of `Tubes`
    doublings: Tensor  # (N,) int64: the first 2^doublings of the M are alike


def matched_picture(planes: Tensor, smoothing: int) -> Tensor:
    """What blocks are compared by, (T, h, w), of luminance (T, h, w)."""
    return box(planes[:, None], smoothing)[:, 0] if smoothing else planes


def grid_of(length: int, block: int, step: int, device: torch.device) -> Tensor:
    """First samples of blocks along a side: every `step`, and one that ends with the side."""
    last = length - block
    places = torch.arange(0, last + step, step, device=device)
    return places.clamp_max(last)


def follow(pictures: Tensor, centre: int, block: int, step: int, search: Search) -> Tubes:
    """Tubes through `pictures` (T, h, w) of the blocks of a grid in the frame `centre`.

    From frame to frame to the block that looks most like what was followed so far, near the place
    that a constant velocity predicts; no further once even that differs by more than noise.
    """
    _, height, width = pictures.shape
    rows, columns = (grid_of(n, block, step, pictures.device) for n in (height, width))
    start, grid = torch.cartesian_prod(rows, columns), (len(rows), len(columns))
    padded = functional.pad(pictures[:, None], (search.first,) * 4, mode="replicate")[:, 0]
    place = start[:, None].repeat(1, len(pictures), 1)
    lengths: list[Tensor] = []
    for frames in (range(centre - 1, -1, -1), range(centre + 1, len(pictures))):
        sums = _patches(padded[centre], start + search.first, block)
        now, alive = start, torch.ones_like(start[:, 0], dtype=torch.bool)
        velocity, length = torch.zeros_like(start), torch.zeros_like(start[:, 0])
        for seen, number in enumerate(frames, 1):
            wanted, predicted = sums / seen, now + velocity
            together = grid if seen == 1 else None
            found, distance = _nearest(padded[number], wanted, predicted, together, search)
            alive = alive & (distance <= search.noise * (1 + 1 / seen) + search.lost)
            length += alive
            velocity = torch.where(alive[:, None], found - now, 0)
            now = torch.where(alive[:, None], found, now)
            place[:, number] = now
            sums += _patches(padded[number], now + search.first, block)
        lengths.append(length)
    return Tubes((rows, columns), place, *lengths)


def _nearest(
    padded: Tensor,
    wanted: Tensor,
    predicted: Tensor,
    grid: tuple[int, int] | None,
    search: Search,
) -> tuple[Tensor, Tensor]:
    """Places (N, 2) of the blocks most like `wanted` (N, b, b), and their distance (N,).

    grid: rows and columns of the blocks if they are about to take their first step. It is judged
    together with that of the neighbours: noise would often lead a block alone astray.
    """
    block = wanted.shape[-1]
    size = [side - 2 * search.first - block for side in padded.shape]
    limit = predicted.new_tensor(size)
    predicted = torch.minimum(predicted.clamp_min(0), limit)
    reach = search.first if grid else search.later
    side = torch.arange(-reach, reach + 1, device=padded.device)
    moves = torch.cartesian_prod(side, side)
    part = max(1, CHUNK // ((2 * reach + 1) * block) ** 2)
    corner = predicted + search.first - reach
    pairs = zip(wanted.split(part), corner.split(part), strict=True)
    distance = torch.cat([_around(padded, *pair, reach) for pair in pairs])
    places = predicted[:, None] + moves
    outside = ((places < 0) | (places > limit)).any(2)
    cost = _with_neighbours(distance, ~outside, grid) if grid else distance
    penalty = search.penalty * (moves.float().norm(dim=1) / PENALISED).clamp_max(1)
    penalty = FIRST * penalty if grid else penalty
    best = (cost + penalty).masked_fill(outside, torch.inf).argmin(1, keepdim=True)
    return predicted + moves[best[:, 0]], distance.gather(1, best)[:, 0]


def _around(padded: Tensor, wanted: Tensor, corner: Tensor, reach: int) -> Tensor:
    """Distance (N, S) of blocks (N, b, b) from all up to 2 reach below and right of a corner."""
    number, block = len(wanted), wanted.shape[-1]
    mean = wanted.mean((1, 2), keepdim=True)  # taken off, or squares would lose what differs
    wanted = wanted - mean
    patches = _patches(padded, corner, block + 2 * reach) - mean
    windows = patches.unfold(1, block, 1).unfold(2, block, 1)
    products = torch.bmm(windows.reshape(number, -1, block**2), wanted.reshape(number, -1, 1))
    squares = _box_sums(patches**2, block).flatten(1)
    return (squares - 2 * products[..., 0] + wanted.square().sum((1, 2))[:, None]) / block**2


def _with_neighbours(distance: Tensor, inside: Tensor, grid: tuple[int, int]) -> Tensor:
    """Mean of distances (N, S) over 3 x 3 blocks of the grid, as far as their places exist."""
    known = inside.to(distance)
    total, count = (
        functional.avg_pool2d(x.T.unflatten(1, grid), 3, 1, 1) for x in (distance * known, known)
    )
    return (total / count.clamp_min(1e-6)).flatten(1).T


def _patches(picture: Tensor, corner: Tensor, side: int) -> Tensor:
    """Squares (N, side, side) of a picture (h, w) from their first samples (N, 2)."""
    reach = torch.arange(side, device=picture.device)
    rows, columns = corner[:, :1] + reach, corner[:, 1:] + reach
    return picture[rows[:, :, None], columns[:, None]]


def _box_sums(x: Tensor, side: int) -> Tensor:
    """Sums over side x side of (N, h, w), (N, h - side + 1, w - side + 1)."""
    for axis in (1, 2):
        length = x.shape[axis] - side + 1
        total = x.narrow(axis, 0, length).clone()
        for shift in range(1, side):
            total += x.narrow(axis, shift, length)
        x = total
    return x


def mean_picture(pictures: Tensor, tubes: Tubes, centre: int, block: int) -> Tensor:
    """What the tubes show on average over time, laid together in the centre frame: (h, w)."""
    frames, height, width = pictures.shape
    total, weight = (pictures.new_zeros(height * width) for _ in range(2))
    offsets = block_offsets(block, width, pictures.device)
    number = torch.arange(frames, device=pictures.device)
    chunk = max(1, CHUNK // (frames * block**2))
    parts = zip(*(x.split(chunk) for x in (tubes.place, tubes.back, tubes.ahead)), strict=True)
    for place, back, ahead in parts:
        flat = (number * height + place[..., 0]) * width + place[..., 1]
        blocks = pictures.flatten()[flat[..., None] + offsets]
        used = (number >= centre - back[:, None]) & (number <= centre + ahead[:, None])
        share = used / used.sum(1, keepdim=True)
        mean = (blocks * share[..., None]).sum(1)
        target = place[:, centre, :1] * width + place[:, centre, 1:] + offsets
        total.index_add_(0, target.flatten(), mean.flatten())
        weight.index_add_(0, target.flatten(), torch.ones_like(mean).flatten())
    return (total / weight).view(height, width)


def block_offsets(block: int, width: int, device: torch.device) -> Tensor:
    """Where the samples of a block lie after its first, in a picture `width` wide: (b^2,)."""
    side = torch.arange(block, device=device)
    return (side[:, None] * width + side).flatten()


def grouped(
    picture: Tensor, tubes: Tubes, centre: int, block: int, size: int, search: Search
) -> Groups:
    """The up to `size` tubes most like each tube, from the places around it.

    picture: `mean_picture` of the tubes, by which they are compared: over time, noise is averaged
    away before it can decide. A tube that starts beside the grid moves as the nearest one of the
    grid does, and counts only if it can be followed at least as long as its reference.
    """
    distance, moves = _distances(picture, tubes, block, search)
    frames = tubes.back + tubes.ahead + 1
    limit = 2 * search.noise / frames + search.alike
    distance = distance.masked_fill(distance > limit[:, None], torch.inf)
    distance[:, len(moves) // 2] = -1  # the tube itself
    nearest, chosen = distance.topk(min(size, len(moves)), 1, largest=False)
    doublings = nearest.isfinite().sum(1).float().log2().floor().long()
    # Beyond 2^doublings nothing is used, but every place has to lie within the frames.
    chosen = chosen.where(nearest.isfinite(), len(moves) // 2)
    start = tubes.place[:, centre, None] + moves[chosen]  # (N, M, 2)
    anchor = _anchor(tubes, start)
    place = tubes.place[anchor] + (start - tubes.place[anchor, centre])[:, :, None]
    last = place.new_tensor([side - block for side in picture.shape])
    return Groups(torch.minimum(place.clamp_min(0), last).transpose(1, 2), doublings)


def _distances(picture: Tensor, tubes: Tubes, block: int, search: Search) -> tuple[Tensor, Tensor]:
    """Distance (N, S) of each tube from those S moves (S, 2) beside it; inf where there is none."""
    height, width = picture.shape
    reach = search.beside
    most = reach // search.apart * search.apart
    side = torch.arange(-most, most + 1, search.apart, device=picture.device)
    moves = torch.cartesian_prod(side, side)
    sum_rows, sum_columns = (
        _block_sums(grid, length, block, picture)
        for grid, length in zip(tubes.grid, picture.shape, strict=True)
    )
    padded = functional.pad(picture[None, None], (reach,) * 4, mode="replicate")[0, 0]
    shifted = padded.unfold(1, width, 1)  # (h + 2 reach, 2 reach + 1, w)
    rows: list[Tensor] = []
    for down in side + reach:
        square = (shifted[down : down + height, side + reach].transpose(0, 1) - picture) ** 2
        sums = sum_rows @ square @ sum_columns.T / block**2  # (2 reach + 1, rows, columns)
        rows.append(sums.flatten(1))
    distance = torch.cat(rows).T.contiguous()
    start = tubes.place.new_tensor([height - block, width - block])
    centre = torch.cartesian_prod(*tubes.grid)
    for part in torch.arange(len(centre), device=picture.device).split(CHUNK // len(moves)):
        place = centre[part, None] + moves
        anchor = _anchor(tubes, place)
        missing = ((place < 0) | (place > start)).any(2)
        missing |= tubes.back[anchor] < tubes.back[part, None]
        missing |= tubes.ahead[anchor] < tubes.ahead[part, None]
        distance[part] = distance[part].masked_fill(missing, torch.inf)
    return distance, moves


def _block_sums(grid: Tensor, length: int, block: int, like: Tensor) -> Tensor:
    """Matrix (len(grid), length) that sums over the blocks of a side."""
    place = torch.arange(length, device=like.device)
    return ((place >= grid[:, None]) & (place < grid[:, None] + block)).to(like)


def _anchor(tubes: Tubes, start: Tensor) -> Tensor:
    """Numbers of the tubes of the grid that start nearest to places (..., 2)."""
    numbers = [
        ((start[..., axis] + _step(grid) // 2) // _step(grid)).clamp(0, len(grid) - 1)
        for axis, grid in enumerate(tubes.grid)
    ]
    return numbers[0] * len(tubes.grid[1]) + numbers[1]


def _step(grid: Tensor) -> int:
    return int(grid[1] - grid[0]) if len(grid) > 1 else 1
