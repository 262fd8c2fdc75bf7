"""Clean moving views of a photo: camera paths, and objects that cross them."""

import math

import torch
from torch import Tensor
from torch.nn import functional

MOTIONS = ("static", "pan", "shake", "roll", "zoom", "handheld")
PAN_SPEED = 6.0  # pixels a frame, at most
SHAKE = 1.0  # pixels, standard deviation of a random walk's step
ROLL_SPEED = 0.006  # radians a frame, at most
ZOOM_SPEED = 0.006  # change of ln(scale) a frame, at most


def srgb_to_linear(image: Tensor) -> Tensor:
    """Inverse of the sRGB curve (IEC 61966-2-1) on 0..1."""
    return torch.where(image <= 0.04045, image / 12.92, ((image + 0.055) / 1.055) ** 2.4)


def camera_path(motion: str, frames: int, generator: torch.Generator) -> Tensor:
    """(T, 4): x and y in pixels, roll in radians, ln scale; zero at the middle of the burst.

    motion: one of MOTIONS; "handheld" is a slow pan with shake, roll and zoom together.
    """

    def signed(high: float) -> float:
        return high * (2 * float(torch.rand((), generator=generator)) - 1)

    steps = torch.arange(frames)[:, None] - frames // 2
    path = torch.zeros(frames, 4)
    if motion in ("pan", "handheld"):
        speed = PAN_SPEED if motion == "pan" else PAN_SPEED / 3
        path[:, :2] += steps * torch.tensor([signed(speed), signed(speed)])
    if motion in ("shake", "handheld"):
        path[:, :2] += SHAKE * torch.randn((frames, 2), generator=generator).cumsum(0)
    if motion in ("roll", "handheld"):
        path[:, 2:3] += steps * signed(ROLL_SPEED)
    if motion in ("zoom", "handheld"):
        path[:, 3:4] += steps * signed(ZOOM_SPEED)
    return path


def views(photo: Tensor, path: Tensor, height: int, width: int) -> Tensor:
    """What the camera sees: (T, 3, height, width) of a photo (3, H, W) in 0..1.

    Views are centred on the photo; beyond its edge it is mirrored.
    """
    _, full_height, full_width = photo.shape
    y, x = torch.meshgrid(
        torch.arange(height) - (height - 1) / 2,
        torch.arange(width) - (width - 1) / 2,
        indexing="ij",
    )
    shift_x, shift_y, roll, scale = path[:, :, None, None].unbind(1)
    scale = scale.exp()
    source_x = scale * (roll.cos() * x - roll.sin() * y) + shift_x
    source_y = scale * (roll.sin() * x + roll.cos() * y) + shift_y
    grid = torch.stack([source_x / (full_width / 2), source_y / (full_height / 2)], -1)
    return functional.grid_sample(
        photo[None].expand(len(path), -1, -1, -1),
        grid,
        mode="bicubic",
        padding_mode="reflection",
        align_corners=False,
    ).clamp(0, 1)


def add_object(scene: Tensor, texture: Tensor, generator: torch.Generator) -> Tensor:
    """The scene with something textured crossing it: (T, 3, H, W) in and out, 0..1.

    texture: (3, H', W') photo whose middle covers the object, a soft-edged ellipse or box of an
    eighth to a half of the frame, at up to 10 pixels a frame.
    """
    frames, _, height, width = scene.shape

    def between(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    size = torch.tensor([between(0.06, 0.25) * width, between(0.06, 0.25) * height])  # half sides
    start = torch.tensor([between(0.1, 0.9) * width, between(0.1, 0.9) * height])
    speed, angle = between(0, 10), between(0, 2 * math.pi)
    velocity = speed * torch.tensor([math.cos(angle), math.sin(angle)])
    power = 2.0 if between(0, 1) < 0.6 else 6.0  # exponent of the outline: ellipse or rounded box
    steps = torch.arange(frames)[:, None] - frames // 2
    centre = start + steps * velocity  # (T, 2)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    offset = torch.stack([x, y], -1)[None] - centre[:, None, None]  # (T, H, W, 2)
    distance = ((offset / size).abs() ** power).sum(-1) ** (1 / power)
    cover = ((1 - distance) * float(size.min()) + 0.5).clamp(0, 1)[:, None]  # one-pixel edge
    half = torch.tensor([texture.shape[2] / 2, texture.shape[1] / 2])
    surface = functional.grid_sample(
        texture[None].expand(frames, -1, -1, -1),
        offset / half,
        padding_mode="reflection",
        align_corners=False,
    )
    return scene * (1 - cover) + surface * cover
