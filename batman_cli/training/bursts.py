"""Training bursts: each has a number, and everything random about it follows from that number.

`draw` reads and decides, in a millisecond or two; `shoot` makes the dark burst of it, on any
device. So any process makes any burst, and a resumed run sees what it would have seen.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from batman_cli.develop import develop_unclipped, to_planes
from batman_cli.simulate.camera import (
    SPAN,
    XYZ_TO_CAMERA,
    SensorNoise,
    camera_from_srgb,
    draw_noise,
    expose,
    pixel_noise,
    through_arw2,
)
from batman_cli.simulate.scenes import MOTIONS, add_object, camera_path, srgb_to_linear, views
from batman_cli.training.drv_windows import Window, amplified, below, cut_window
from batman_cli.training.sources import DrvScene, Footage, Source

# Amplification: less than the 20 to 300 of real dark bursts too, for users brighten dim ones, and
# what is sharp at a low ratio shows what is to be kept at a high one. Half of the bursts are drawn
# above 100, where most is to be learned.
RATIOS = (8.0, 300.0)
RED_GAINS = (1.7, 2.5)  # white balance over real scenes of a Sony A7S II (PMN's list)
BLUE_GAINS = (1.3, 3.1)
EXPOSURES = (0.35, 1.0)  # linear brightness of the photo's white
OVEREXPOSURES, OVEREXPOSED_SHARE = (1.0, 3.0), 0.15  # lamps and skies that the ratio burns out
STILL_SHARE, OBJECT_SHARE, CODED_SHARE = 0.35, 0.4, 0.5
BIN_SHARES = {1: 0.5, 2: 0.3, 4: 0.2}
PHOTO_WEIGHT, CLIP_WEIGHT, SCENE_WEIGHT = 1.0, 4.0, 4.0  # how often a source of a kind is drawn
MARGIN = 64  # pixels around the view that a camera path may show of a photo


class Taking(NamedTuple):
    """How a scene is shot: all that the camera and the light decide."""

    sensor: SensorNoise
    ratio: float
    white_balance: tuple[float, float, float]
    from_srgb: Tensor  # (3, 3) linear sRGB to white-balanced camera RGB
    bin: int  # 1, 2 or 4
    exposure: float  # linear brightness of the pictures' white
    coded: bool  # through Sony's lossy ARW coding


class Crossing(NamedTuple):
    """Something that crosses the scene."""

    texture: Tensor  # (1, H, W, 3) uint8 sRGB
    seed: int  # of its outline and way


class Filming(NamedTuple):
    """Clean pictures, and how they will be shot."""

    pictures: Tensor  # (T, H, W, 3) uint8 sRGB views, or (1, H, W, 3) with a path over it
    path: Tensor | None  # (T, 4), see `camera_path`
    crossing: Crossing | None
    taking: Taking
    noise_seed: int


class Burst(NamedTuple):
    """A dark burst, and what it should become. Several are stacked along a new first axis."""

    planes: Tensor  # (T, 4, h, w) amplified linear white-balanced planes
    noise: Tensor  # (2, 4) shot and read variance of the amplified planes
    reference: Tensor  # (T, 3, 2h, 2w) developed sRGB, about 0..1
    matrix: Tensor  # (3, 3) white-balanced camera RGB to linear sRGB
    bin: Tensor  # () of real planes, see `develop.registered`; simulated ones lie as a mosaic's


class Stock(NamedTuple):
    """What bursts are drawn from."""

    sources: tuple[Source, ...]
    weights: Tensor  # how often each source is drawn
    footage: tuple[Footage, ...]  # of these, what can cross a scene


def stock_of(sources: Sequence[Source]) -> Stock:
    """Everything about the sources that is the same for all bursts."""
    weights = torch.tensor([_weight(source) for source in sources])
    footage = tuple(source for source in sources if isinstance(source, Footage))
    return Stock(tuple(sources), weights, footage)


def draw(
    stock: Stock,
    number: int,
    *,
    seed: int,
    frames: int,
    size: int,
    take: int = 0,
    source: Source | None = None,
    still: bool = False,
) -> Filming | Window:
    """What burst `number` shows and how it is shot: frames x size x size sensor pixels.

    take: bursts of one number that differ in their take show the same with other noise.
    source: this one, not one by chance. still: nothing moves.
    """
    generator = torch.Generator().manual_seed(seed_of(seed, number))
    if source is None:
        source = stock.sources[int(torch.multinomial(stock.weights, 1, generator=generator))]
    taken = torch.Generator().manual_seed(seed_of(seed, number, take + 1))
    if isinstance(source, DrvScene):
        return cut_window(source, frames, size, generator, taken, still=still)
    pictures, path = _views_of(source, frames, size, generator, still=still)
    crossing = None
    if not still and _uniform((0, 1), generator) < OBJECT_SHARE:
        texture = stock.footage[below(len(stock.footage), generator)]
        crossing = Crossing(_crop(texture, 1, size, generator), _any_seed(generator))
    return Filming(pictures, path, crossing, draw_taking(generator), _any_seed(taken))


def draw_taking(generator: torch.Generator) -> Taking:
    """Camera, light and settings, within what real ones span."""
    # A Dirichlet draw. Random numbers may be 0 but never 1.
    shares = -torch.log1p(-torch.rand(len(XYZ_TO_CAMERA), generator=generator))
    mixed = torch.tensordot(shares / shares.sum(), torch.tensor(list(XYZ_TO_CAMERA.values())), 1)
    shares = torch.tensor(list(BIN_SHARES.values()))
    factor = list(BIN_SHARES)[int(torch.multinomial(shares, 1, generator=generator))]
    sensor = draw_noise(generator).binned(factor)
    over = _uniform((0, 1), generator) < OVEREXPOSED_SHARE
    return Taking(
        sensor,
        RATIOS[0] * (RATIOS[1] / RATIOS[0]) ** math.sqrt(_uniform((0, 1), generator)),
        (_uniform(RED_GAINS, generator), 1.0, _uniform(BLUE_GAINS, generator)),
        camera_from_srgb(mixed),
        factor,
        _uniform(OVEREXPOSURES if over else EXPOSURES, generator),
        # A coded file that is binned afterwards has its coding averaged away.
        factor == 1 and _uniform((0, 1), generator) < CODED_SHARE,
    )


def shoot(drawn: Filming | Window, device: torch.device) -> Burst:
    """The dark burst, made on the device."""
    if isinstance(drawn, Window):
        return Burst(*amplified(drawn, device))
    taking = drawn.taking
    from_srgb = taking.from_srgb.to(device)
    generator = torch.Generator(device).manual_seed(drawn.noise_seed)
    linear = srgb_to_linear(_render(drawn, device)) * taking.exposure
    clean = torch.einsum("ij,tjhw->tihw", from_srgb, linear).clamp_min(0)
    red, green, blue = taking.white_balance
    ratio = taking.ratio * torch.tensor([red, green, green, blue], device=device)
    scale = SPAN / ratio[:, None, None]
    seen = to_planes(clean if taking.bin == 1 else softened(clean))
    raw = expose(seen * scale, taking.sensor, generator)
    if taking.coded:
        raw = through_arw2(raw)
    shot, read = pixel_noise(taking.sensor)
    matrix = torch.linalg.inv(taking.from_srgb).to(device)
    return Burst(
        raw / scale,
        torch.stack([shot * ratio, read * ratio**2]),
        develop_unclipped(clean.clamp_max(1), matrix),
        matrix,
        torch.ones((), device=device),
    )


def softened(rgb: Tensor) -> Tensor:
    """(T, 3, H, W) as binned planes see it: each of their samples averages 2 x 2 output pixels.

    A mean over 2 pixels about the middle of one has its variance, 1/3, with weights 1 4 1.
    """
    padded = functional.pad(rgb, (1, 1, 1, 1), mode="replicate")
    rows = (padded[..., :-2, :] + 4 * padded[..., 1:-1, :] + padded[..., 2:, :]) / 6
    return (rows[..., :-2] + 4 * rows[..., 1:-1] + rows[..., 2:]) / 6


def stacked(bursts: Sequence[Burst]) -> Burst:
    """Bursts of one size side by side: every field with a first axis B."""
    return Burst(*(torch.stack(parts) for parts in zip(*bursts, strict=True)))


def _render(drawn: Filming, device: torch.device) -> Tensor:
    """Clean sRGB views (T, 3, size, size), 0..1."""
    pictures = _floats(drawn.pictures, device)
    if drawn.path is not None:
        side = pictures.shape[2] - MARGIN
        pictures = views(pictures[0], drawn.path, side, side)
    if drawn.crossing is not None:
        way = torch.Generator().manual_seed(drawn.crossing.seed)
        pictures = add_object(pictures, _floats(drawn.crossing.texture, device)[0], way)
    return pictures


def _views_of(
    source: Footage, frames: int, size: int, generator: torch.Generator, *, still: bool
) -> tuple[Tensor, Tensor | None]:
    """Pictures of a clip as they follow each other, or a photo and a camera's path over it."""
    if len(_array(source)) >= frames and not still:
        return _crop(source, frames, size, generator), None
    motion = MOTIONS[1 + below(len(MOTIONS) - 1, generator)]
    if still or _uniform((0, 1), generator) < STILL_SHARE:
        motion = "static"
    return _crop(source, 1, size + MARGIN, generator), camera_path(motion, frames, generator)


def _crop(source: Footage, frames: int, size: int, generator: torch.Generator) -> Tensor:
    """(frames, size, size, 3) uint8 from anywhere in the footage, mirrored left-right at random.

    Smaller pictures are continued at the right and bottom as in a mirror.
    """
    pictures = _array(source)
    length, height, width, _ = pictures.shape
    t = below(length - frames + 1, generator)
    y = below(max(1, height - size + 1), generator)
    x = below(max(1, width - size + 1), generator)
    part = np.array(pictures[t : t + frames, y : y + size, x : x + size])
    rest = ((0, 0), (0, size - part.shape[1]), (0, size - part.shape[2]), (0, 0))
    whole = torch.from_numpy(np.pad(part, rest, mode="symmetric"))
    return whole.flip(2) if _uniform((0, 1), generator) < 0.5 else whole


def _array(source: Footage) -> NDArray[np.uint8]:
    """The pictures (T, H, W, 3), read from the disk as they are used."""
    return np.load(source.pictures, mmap_mode="r")


def _floats(pictures: Tensor, device: torch.device) -> Tensor:
    """(T, 3, H, W) in 0..1 of (T, H, W, 3) uint8."""
    return pictures.to(device).permute(0, 3, 1, 2).contiguous().float() / 255


def _weight(source: Source) -> float:
    if isinstance(source, DrvScene):
        return SCENE_WEIGHT
    return CLIP_WEIGHT if is_clip(source) else PHOTO_WEIGHT


def is_clip(source: Footage) -> bool:
    """Whether it has more than one frame."""
    return len(_array(source)) > 1


def seed_of(*numbers: int) -> int:
    """A seed in which every number matters."""
    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def _any_seed(generator: torch.Generator) -> int:
    return below(2**62, generator)


def _uniform(bounds: tuple[float, float], generator: torch.Generator) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * float(torch.rand((), generator=generator))
