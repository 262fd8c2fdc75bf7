"""Training bursts, drawn afresh each time: photos and clips seen by cameras in the dark."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from batman_cli.pack import interleave
from batman_cli.simulate.arw import BLACK, WHITE, arw2_quantise
from batman_cli.simulate.camera import (
    SPAN,
    XYZ_TO_CAMERA,
    SensorNoise,
    camera_from_srgb,
    draw_noise,
    expose,
    pixel_noise,
    to_planes,
)
from batman_cli.simulate.scenes import MOTIONS, add_object, camera_path, srgb_to_linear, views

Clip = NDArray[np.uint8]  # (T, H, W, 3); a photo is a clip of one frame

RATIOS = (8.0, 300.0)  # amplification, drawn log-uniformly
RED_GAINS = (1.7, 2.5)  # white balance over real scenes of a Sony A7S II (PMN's list)
BLUE_GAINS = (1.3, 3.1)
EXPOSURES = (0.35, 1.0)  # linear brightness of the photo's white
OVEREXPOSURES, OVEREXPOSED_SHARE = (1.0, 3.0), 0.15  # lamps and skies that the ratio burns out
STATIC_SHARE, OBJECT_SHARE, CODED_SHARE = 0.35, 0.4, 0.5


class Burst(NamedTuple):
    """A dark burst and what it should become."""

    planes: Tensor  # (T, 4, h, w) amplified linear white-balanced planes
    noise: Tensor  # (2, 4) shot and read variance of the amplified planes
    clean: Tensor  # (T, 3, 2h, 2w) linear white-balanced camera RGB, 0..1
    matrix: Tensor  # (3, 3) camera to linear sRGB


class Taking(NamedTuple):
    """How a scene is shot: all that the camera and the light decide."""

    sensor: SensorNoise
    ratio: float
    white_balance: tuple[float, float, float]
    from_srgb: Tensor  # (3, 3) linear sRGB to white-balanced camera RGB
    coded: bool  # through Sony's lossy ARW coding


def draw_burst(
    library: Sequence[Clip], frames: int, size: int, generator: torch.Generator
) -> Burst:
    """A burst of frames x size x size sensor pixels with everything drawn at random."""
    scene = draw_scene(library, frames, size, generator)
    return shoot(scene, draw_taking(generator), generator)


def draw_scene(
    library: Sequence[Clip], frames: int, size: int, generator: torch.Generator
) -> Tensor:
    """Clean sRGB views (T, 3, size, size) in 0..1: a camera path over a photo, or a clip."""
    clip = _pick(library, generator)
    if len(clip) >= frames:
        scene = _clip_views(clip, frames, size, generator)
    else:
        motion = MOTIONS[1 + _below(len(MOTIONS) - 1, generator)]
        if _uniform((0, 1), generator) < STATIC_SHARE:
            motion = "static"
        path = camera_path(motion, frames, generator)
        scene = views(_crop(clip[0], size + 64, generator), path, size, size)
    if _uniform((0, 1), generator) < OBJECT_SHARE:
        texture = _crop(_pick(library, generator)[0], size, generator)
        scene = add_object(scene, texture, generator)
    return scene


def draw_taking(generator: torch.Generator) -> Taking:
    """Camera, light and settings, within what real ones span."""
    weights = -torch.rand(len(XYZ_TO_CAMERA), generator=generator).log()  # a Dirichlet draw
    mixed = torch.tensordot(weights / weights.sum(), torch.tensor(list(XYZ_TO_CAMERA.values())), 1)
    return Taking(
        draw_noise(generator),
        math.exp(_uniform((math.log(RATIOS[0]), math.log(RATIOS[1])), generator)),
        (_uniform(RED_GAINS, generator), 1.0, _uniform(BLUE_GAINS, generator)),
        camera_from_srgb(mixed),
        _uniform((0, 1), generator) < CODED_SHARE,
    )


def shoot(scene: Tensor, taking: Taking, generator: torch.Generator) -> Burst:
    """The dark burst of clean sRGB views (T, 3, H, W) in 0..1."""
    over = _uniform((0, 1), generator) < OVEREXPOSED_SHARE
    exposure = _uniform(OVEREXPOSURES if over else EXPOSURES, generator)
    linear = srgb_to_linear(scene) * exposure
    clean = torch.einsum("ij,tjhw->tihw", taking.from_srgb, linear).clamp_min(0)
    red, green, blue = taking.white_balance
    gain = taking.ratio * torch.tensor([red, green, green, blue])[:, None, None]
    raw = expose(to_planes(clean) / gain * SPAN, taking.sensor, generator)
    if taking.coded:
        raw = _through_arw2(raw)
    shot, read = pixel_noise(taking.sensor)
    flat = gain[:, 0, 0]
    noise = torch.stack([shot * flat, read * flat**2])
    return Burst(raw * gain / SPAN, noise, clean.clamp_max(1), torch.linalg.inv(taking.from_srgb))


def _through_arw2(raw: Tensor) -> Tensor:
    """Raw DN (T, 4, h, w) as they come back from a lossy Sony file."""
    frames, _, h, w = raw.shape
    mosaic = interleave((raw + BLACK).clamp(0, WHITE).numpy().astype(np.uint16))
    coded = arw2_quantise(mosaic.reshape(frames * 2 * h, 2 * w)).reshape(frames, h, 2, w, 2)
    back = [coded[:, :, i, :, j] for i in (0, 1) for j in (0, 1)]
    return torch.from_numpy(np.stack(back, 1).astype(np.float32)) - BLACK


def _clip_views(clip: Clip, frames: int, size: int, generator: torch.Generator) -> Tensor:
    """A crop of consecutive frames; smaller clips are mirrored at the edges."""
    start = _below(len(clip) - frames + 1, generator)
    y = _below(max(1, clip.shape[1] - size + 1), generator)
    x = _below(max(1, clip.shape[2] - size + 1), generator)
    part = clip[start : start + frames, y : y + size, x : x + size]
    return _float(_mirror_to(part, size)).permute(0, 3, 1, 2).contiguous()


def _crop(photo: NDArray[np.uint8], size: int, generator: torch.Generator) -> Tensor:
    """(3, size, size) in 0..1 from anywhere in a photo (H, W, 3), flipped at random."""
    y = _below(max(1, photo.shape[0] - size + 1), generator)
    x = _below(max(1, photo.shape[1] - size + 1), generator)
    part = _float(_mirror_to(photo[None, y : y + size, x : x + size], size))[0]
    crop = part.permute(2, 0, 1)
    return crop.flip(2) if _uniform((0, 1), generator) < 0.5 else crop


def _mirror_to(part: Clip, size: int) -> Clip:
    """(T, size, size, 3): mirrored at the right and bottom where a picture is smaller."""
    _, height, width, _ = part.shape
    rest = ((0, 0), (0, size - height), (0, size - width), (0, 0))
    return np.pad(part, rest, mode="symmetric") if (height, width) != (size, size) else part


def _float(part: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(part)).float() / 255


def _pick(library: Sequence[Clip], generator: torch.Generator) -> Clip:
    return library[_below(len(library), generator)]


def _below(limit: int, generator: torch.Generator) -> int:
    return int(torch.randint(limit, (), generator=generator))


def _uniform(bounds: tuple[float, float], generator: torch.Generator) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * float(torch.rand((), generator=generator))
