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
SRGB_KNEE = 0.04045  # where the straight piece of the sRGB curve ends
# Of what crosses a scene: half its sides and where it is at first, in sides of the view; pixels a
# frame; the exponents of its outline, an ellipse or a rounded box, and how often it is the first.
OBJECT_SIZES, OBJECT_PLACES, OBJECT_SPEED = (0.06, 0.25), (0.1, 0.9), 10.0
ELLIPSE, BOX, ELLIPSE_SHARE = 2.0, 6.0, 0.6
KERNEL_REACH = 2  # pixels that bicubic interpolation looks at beyond a place


def srgb_to_linear(image: Tensor) -> Tensor:
    """Inverse of the sRGB curve (IEC 61966-2-1) on 0..1, any shape, float32 or float64."""
    # Each piece stays at its end where the other one holds. exp and log take half the time of pow.
    power = image.clamp_min(SRGB_KNEE).add_(0.055).div_(1.055).log_().mul_(2.4).exp_()
    return power.add_(image.clamp_max(SRGB_KNEE).sub_(SRGB_KNEE), alpha=1 / 12.92)


def camera_path(motion: str, frames: int, generator: torch.Generator) -> Tensor:
    """(T, 4): x and y in pixels, roll in radians, ln scale; near zero at the middle of the burst.

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
    """What the camera sees: (T, 3, height, width) of a photo (3, H, W) in 0..1, on its device.

    path: (T, 4) from `camera_path`, on any device. Views are centred on the photo; beyond its edge
    it is mirrored. Between pixels it is interpolated with bicubic weights.
    """
    path = path.double().cpu()
    if not path.any():  # one view is all
        return _shifted_views(photo, path[:1], height, width).repeat(len(path), 1, 1, 1)
    if not path[:, 2:].any():
        return _shifted_views(photo, path, height, width)
    return _turned_views(photo, path, height, width)


def _shifted_views(photo: Tensor, path: Tensor, height: int, width: int) -> Tensor:
    """Views of a camera that neither rolls nor zooms: each has the same weights everywhere."""
    reach = path[:, :2].abs().amax(0) + torch.tensor([width / 2, height / 2])
    photo = _mirrored(photo, float(reach[1]), float(reach[0]))
    seen: list[Tensor] = []
    for shift_x, shift_y in path[:, :2].tolist():
        rows = _interpolated(photo, 1, (photo.shape[1] - height) / 2 + shift_y, height)
        seen.append(_interpolated(rows, 2, (photo.shape[2] - width) / 2 + shift_x, width))
    return torch.stack(seen).clamp_(0, 1)


def _interpolated(picture: Tensor, axis: int, start: float, length: int) -> Tensor:
    """A piece of the picture that starts between two of its pixels."""
    whole = math.floor(start)
    outer, inner = 1 + start - whole, start - whole  # distances to the two pixels on the left
    weights = (_cubic(outer), _cubic(inner), _cubic(1 - inner), _cubic(3 - outer))
    pieces = [picture.narrow(axis, whole - 1 + k, length) for k in range(4)]
    total = pieces[0] * weights[0]
    for piece, weight in zip(pieces[1:], weights[1:], strict=True):
        total.add_(piece, alpha=weight)
    return total


def _cubic(d: float) -> float:
    """Weight of a pixel at distance 0..2 (Keys 1981, with the parameter that grid_sample has)."""
    a = -0.75
    return ((a + 2) * d - (a + 3)) * d * d + 1 if d <= 1 else a * (((d - 5) * d + 8) * d - 4)


def _turned_views(photo: Tensor, path: Tensor, height: int, width: int) -> Tensor:
    shift_x, shift_y, roll, scale = path[:, :, None, None].unbind(1)
    cosine, sine = scale.exp() * roll.cos(), scale.exp() * roll.sin()
    y, x = _centred(height)[:, None], _centred(width)

    # The corners of a view see the places farthest out.
    reach_x = cosine.abs() * width / 2 + sine.abs() * height / 2 + shift_x.abs()
    reach_y = sine.abs() * width / 2 + cosine.abs() * height / 2 + shift_y.abs()
    photo = _mirrored(photo, float(reach_y.max()), float(reach_x.max()))

    def places(of_x: Tensor, of_y: Tensor, shift: Tensor, side: int) -> Tensor:
        """(T, height, width) on the scale of grid_sample: -1 and 1 are the edges of the photo."""
        along, down = (of_x * x + shift) / (side / 2), of_y * y / (side / 2)
        return along.float().to(photo.device) + down.float().to(photo.device)

    grid = torch.stack(
        [
            places(cosine, -sine, shift_x, photo.shape[2]),
            places(sine, cosine, shift_y, photo.shape[1]),
        ],
        -1,
    )
    return functional.grid_sample(
        photo[None].expand(len(path), -1, -1, -1), grid, mode="bicubic", align_corners=False
    ).clamp_(0, 1)


def _centred(count: int) -> Tensor:
    """(count,): places of pixels, 0 in their middle."""
    return torch.arange(count, dtype=torch.float64) - (count - 1) / 2


def _mirrored(photo: Tensor, reach_y: float, reach_x: float) -> Tensor:
    """The photo (3, H, W), mirrored at its edges until it holds what lies so far from its middle.

    Faster than to mirror at each step of an interpolation.
    """
    for axis, reach in ((1, reach_y), (2, reach_x)):
        side = photo.shape[axis]
        spare = math.ceil(reach - side / 2) + KERNEL_REACH
        if spare > 0:
            at = torch.arange(-spare, side + spare, device=photo.device) % (2 * side)
            photo = photo.index_select(axis, torch.minimum(at, 2 * side - 1 - at))
    return photo


def add_object(scene: Tensor, texture: Tensor, generator: torch.Generator) -> Tensor:
    """The scene with something textured crossing it: (T, 3, H, W) in and out, 0..1.

    texture: (3, H', W') photo on the scene's device, whose middle covers the object, a soft-edged
    ellipse or box of an eighth to a half of the frame, at up to 10 pixels a frame.
    generator: of the CPU, whatever the scene's device.
    """
    frames, _, height, width = scene.shape

    def between(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    size = torch.tensor([between(*OBJECT_SIZES) * width, between(*OBJECT_SIZES) * height])
    start = torch.tensor([between(*OBJECT_PLACES) * width, between(*OBJECT_PLACES) * height])
    speed, angle = between(0, OBJECT_SPEED), between(0, 2 * math.pi)
    velocity = speed * torch.tensor([math.cos(angle), math.sin(angle)])
    power = ELLIPSE if between(0, 1) < ELLIPSE_SHARE else BOX
    centres = start + (torch.arange(frames)[:, None] - frames // 2) * velocity  # (T, 2)
    # Beyond this nothing is covered: the soft edge reaches half a pixel of the shorter side out.
    reach = (size * (1 + 0.5 / size.min())).ceil().int() + 1
    corners = centres.floor().int() - reach  # (T, 2)
    surface, cover = _object(texture, corners - centres, 2 * reach + 1, size, power)
    result = scene.clone()
    for frame, (left, top) in enumerate(corners.tolist()):
        rows, inner_rows = _overlap(top, surface.shape[2], height)
        columns, inner_columns = _overlap(left, surface.shape[3], width)
        place = result[frame, :, rows, columns]
        inner = (frame, slice(None), inner_rows, inner_columns)
        place.lerp_(surface[inner], cover[inner])
    return result


def _object(
    texture: Tensor, offset: Tensor, box: Tensor, size: Tensor, power: float
) -> tuple[Tensor, Tensor]:
    """Surface (T, 3, h, w) of an object and how much of each pixel it covers (T, 1, h, w), 0..1.

    offset: (T, 2) x and y from the object's centre to the box that is drawn; box: its width and
    height; size: half sides of the object. All in pixels, on the CPU.
    """
    width, height = box.tolist()
    x = (offset[:, :1] + torch.arange(width)).to(texture.device)[:, None]
    y = (offset[:, 1:] + torch.arange(height)).to(texture.device)[:, :, None]
    half_width, half_height = size.tolist()
    outline = (x / half_width).abs().pow(power) + (y / half_height).abs().pow(power)
    inside = (1 - outline.pow(1 / power)) * min(half_width, half_height)
    grid = [x / (texture.shape[2] / 2), y / (texture.shape[1] / 2)]
    surface = functional.grid_sample(
        texture[None].expand(len(offset), -1, -1, -1),
        torch.stack(torch.broadcast_tensors(*grid), -1),
        padding_mode="reflection",
        align_corners=False,
    )
    return surface, (inside + 0.5).clamp_(0, 1)[:, None]  # one-pixel edge


def _overlap(start: int, length: int, side: int) -> tuple[slice, slice]:
    """The part of start..start + length within 0..side, counted from 0 and from the start."""
    low, high = max(start, 0), max(min(start + length, side), 0)
    low = min(low, high)
    return slice(low, high), slice(low - start, high - start)
