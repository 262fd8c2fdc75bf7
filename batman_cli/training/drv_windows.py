"""Windows of DRV scenes: real dark shots, set in motion so that a network does not learn to smear.

The scenes stand still. Here the window wanders over them, by whole samples of the planes, so that
the noise stays the camera's own; and another part of the scene crosses it.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from batman_cli.amplify import amplify
from batman_cli.develop import tone_curve
from batman_cli.noise import Noise
from batman_cli.simulate.scenes import camera_path
from batman_cli.training.sources import DrvScene

STILL_SHARE, CROSSED_SHARE = 0.35, 0.4
MOTIONS = ("pan", "shake")  # of those in simulate/scenes.py, what whole samples can follow
FASTEST = 5.0  # samples of the planes a frame, along each axis, of what crosses

Way = NDArray[np.int64]  # (T, 2) rows and columns, samples of the planes


class Window(NamedTuple):
    """A piece of a DRV scene over some frames."""

    planes: Tensor  # (T, 4, h, w) float32, not amplified
    reference: Tensor  # (T, 3, 2h, 2w) linear sRGB in 0..1
    scene: DrvScene


def cut_window(
    scene: DrvScene,
    frames: int,
    size: int,
    generator: torch.Generator,
    taken: torch.Generator,
    *,
    still: bool,
) -> Window:
    """A window of size x size sensor pixels, mirrored at the edges of a scene that is smaller.

    generator decides where the window is and goes, `taken` which shots it shows; the scene has
    that many or more.
    """
    shots = np.load(scene.planes, mmap_mode="r")
    reference = np.load(scene.reference, mmap_mode="r").transpose(2, 0, 1)
    room = [max(0, length - size // 2) for length in shots.shape[2:]]
    first = below(len(shots) - frames + 1, taken)
    moving = not still and below(100, generator) >= 100 * STILL_SHARE
    way = _way(room, frames, generator, motion=_motion(generator) if moving else "static")
    planes = np.stack([_piece(shots[first + t], y, x, size // 2) for t, (y, x) in enumerate(way)])
    shown = np.stack([_piece(reference, 2 * y, 2 * x, size) for y, x in way])
    if moving and below(100, generator) < 100 * CROSSED_SHARE:
        _cross(planes, shown, generator)
    light = np.ascontiguousarray(shown, np.float32) / 65535
    return Window(
        torch.from_numpy(np.ascontiguousarray(planes, np.float32)), torch.from_numpy(light), scene
    )


def amplified(window: Window, device: torch.device) -> tuple[Tensor, ...]:
    """The fields of a `bursts.Burst`: planes, noise, reference, matrix, bin."""
    scene = window.scene
    planes = amplify(window.planes.numpy(), scene.ratio, scene.white_balance)
    noise = Noise(*scene.noise).amplified(scene.ratio, scene.white_balance)
    return (
        torch.from_numpy(planes).to(device),
        torch.from_numpy(noise).to(device),
        tone_curve(window.reference.to(device)),
        torch.tensor(scene.matrix, device=device),
        torch.tensor(float(scene.bin), device=device),
    )


def shot_count(scene: DrvScene) -> int:
    """How many shots it has."""
    return len(np.load(scene.planes, mmap_mode="r"))


def _motion(generator: torch.Generator) -> str:
    return MOTIONS[below(len(MOTIONS), generator)]


def _way(room: list[int], frames: int, generator: torch.Generator, *, motion: str) -> Way:
    """Where the window's corner is in each frame, kept within 0..room."""
    path = camera_path(motion, frames, generator)[:, [1, 0]].numpy() / 2  # pixels to samples
    corner = [below(length + 1, generator) for length in room]
    return np.clip(np.rint(corner + path).astype(np.int64), 0, room)


def _piece(picture: NDArray[np.generic], y: int, x: int, side: int) -> NDArray[np.generic]:
    """(C, side, side) of a picture (C, H, W), continued as in a mirror where that is smaller."""
    part = np.asarray(picture[:, y : y + side, x : x + side])
    rest = ((0, 0), (0, side - part.shape[1]), (0, side - part.shape[2]))
    return np.pad(part, rest, mode="symmetric") if any(map(any, rest)) else part


def _cross(
    planes: NDArray[np.generic], shown: NDArray[np.generic], generator: torch.Generator
) -> None:
    """Lets a box from one place of the window (T, C, H, W) move over the others, in both."""
    side = planes.shape[2]
    box = side // 8 + below(side // 4, generator)
    room = side - box
    y, x = below(room + 1, generator), below(room + 1, generator)
    start = torch.rand(2, generator=generator).numpy() * room
    speed = (2 * torch.rand(2, generator=generator).numpy() - 1) * FASTEST
    steps = np.arange(len(planes))[:, None]
    way = np.clip(np.rint(start + steps * speed).astype(np.int64), 0, room)
    for picture, scale in ((planes, 1), (shown, 2)):
        b = scale * box
        for frame, (top, left) in zip(picture, scale * way, strict=True):
            thing = frame[:, scale * y : scale * y + b, scale * x : scale * x + b].copy()
            frame[:, top : top + b, left : left + b] = thing


def below(limit: int, generator: torch.Generator) -> int:
    """A whole number from 0 to limit - 1."""
    return int(torch.randint(limit, (), generator=generator))
