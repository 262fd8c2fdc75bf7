"""Clean scenes in motion, a batch at a time: what batman_cli/simulate/scenes.py does for one."""

import math

import torch
from draws import chance, constant, one_of, uniform
from sources import Sources
from torch import Tensor
from torch.nn import functional

from batman_cli.simulate.scenes import (
    BOX,
    ELLIPSE,
    ELLIPSE_SHARE,
    OBJECT_PLACES,
    OBJECT_SIZES,
    OBJECT_SPEED,
    PAN_SPEED,
    ROLL_SPEED,
    SHAKE,
    ZOOM_SPEED,
)
from batman_cli.training.bursts import MARGIN, OBJECT_SHARE, STILL_SHARE

CLIP_SHARE = 0.1875  # of bursts; the rest are of photos
TURNED_SHARE = 0.25  # of photos whose rows become columns
# Of the camera's path: which of pan, shake, roll, zoom; the last is handheld, all at once.
MOTIONS = ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (1 / 3, 1, 1, 1))


def scenes(sources: Sources, batch: int, frames: int, size: int) -> tuple[Tensor, Tensor]:
    """Clean sRGB views (B, T, 3, size, size) in 0..1, and which of them stand still (B,)."""
    device = sources.device
    clips = round(CLIP_SHARE * batch) if sources.has_clips else 0
    photos = sources.cut(sources.photos(batch), 1, size + MARGIN)[:, 0]
    turned = chance(TURNED_SHARE, batch, device)[:, None, None, None]
    photos = torch.where(turned, photos.transpose(2, 3), photos)
    path = _paths(batch - clips, frames, device)
    seen = _views(photos[clips:], path, size)
    still = (path == 0).flatten(1).all(1)
    if clips:
        seen = torch.cat([sources.cut(sources.clips(clips), frames, size), seen])
        still = torch.cat([torch.zeros(clips, dtype=torch.bool, device=device), still])
    crossed = chance(OBJECT_SHARE, batch, device)
    seen = _crossed(seen, photos.roll(1, 0), crossed)  # by a piece of another photo
    return seen.clamp(0, 1), still & ~crossed


def _paths(count: int, frames: int, device: torch.device) -> Tensor:
    """(B, T, 4) as `camera_path` of simulate/scenes.py: x, y, roll, ln scale."""
    share = one_of(constant(MOTIONS, device), count)
    moving = ~chance(STILL_SHARE, count, device)
    pan, shake, roll, zoom = (share * moving[:, None])[:, None, :, None].unbind(2)
    steps = (torch.arange(frames, device=device) - frames // 2)[None, :, None]
    signed = uniform((-1, 1), (count, 1, 4), device)
    walk = SHAKE * torch.randn(count, frames, 2, device=device).cumsum(1)
    return torch.cat(
        [
            pan * PAN_SPEED * steps * signed[..., :2] + shake * walk,
            roll * ROLL_SPEED * steps * signed[..., 2:3],
            zoom * ZOOM_SPEED * steps * signed[..., 3:],
        ],
        2,
    )


def _views(photos: Tensor, path: Tensor, size: int) -> Tensor:
    """(B, T, 3, size, size) of photos (B, 3, S, S) along paths (B, T, 4)."""
    half = photos.shape[-1] / 2
    at = torch.arange(size, device=photos.device) - (size - 1) / 2
    seen: list[Tensor] = []
    for place in path.unbind(1):
        shift_x, shift_y, roll, scale = place[:, :, None, None].unbind(1)
        cosine, sine = scale.exp() * roll.cos(), scale.exp() * roll.sin()
        x = (cosine * at - sine * at[:, None] + shift_x) / half
        y = (sine * at + cosine * at[:, None] + shift_y) / half
        grid = torch.stack([x, y], -1)
        seen.append(
            functional.grid_sample(photos, grid, "bicubic", "reflection", align_corners=False)
        )
    return torch.stack(seen, 1)


def _crossed(scene: Tensor, texture: Tensor, crossed: Tensor) -> Tensor:
    """Scenes (B, T, 3, S, S), some with something crossing, as `add_object` of simulate/scenes.py.

    texture: (B, 3, S', S'), whose middle covers the object; crossed: (B,) bool.
    """
    count, frames, _, _, side = scene.shape
    device = scene.device
    half_sides = side * uniform(OBJECT_SIZES, (count, 2), device)
    start = side * uniform(OBJECT_PLACES, (count, 2), device)
    speed = uniform((0, OBJECT_SPEED), (count,), device)
    angle = uniform((0, 2 * math.pi), (count,), device)
    velocity = torch.stack([speed * angle.cos(), speed * angle.sin()], 1)
    power = BOX + (ELLIPSE - BOX) * chance(ELLIPSE_SHARE, count, device)[:, None, None].float()
    at = torch.arange(side, device=device)
    result: list[Tensor] = []
    for frame, picture in enumerate(scene.unbind(1)):
        centre = start + (frame - frames // 2) * velocity
        x = (at - centre[:, :1])[:, None, :].expand(-1, side, -1)
        y = (at - centre[:, 1:])[:, :, None].expand(-1, -1, side)
        width, height = half_sides[:, :, None, None].unbind(1)
        outline = (x / width).abs().pow(power) + (y / height).abs().pow(power)
        inside = (1 - outline.pow(1 / power)) * torch.minimum(width, height)
        cover = (inside + 0.5).clamp(0, 1) * crossed[:, None, None]
        grid = torch.stack([x, y], -1) / (texture.shape[-1] / 2)
        surface = functional.grid_sample(
            texture, grid, padding_mode="reflection", align_corners=False
        )
        result.append(torch.lerp(picture, surface, cover[:, None]))
    return torch.stack(result, 1)
