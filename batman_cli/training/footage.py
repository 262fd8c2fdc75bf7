"""Clean pictures for training: photos, clips and bright raw files."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from batman_cli.errors import BadInput
from batman_cli.pack import pack
from batman_cli.raw import RAW_SUFFIXES, read_developed, read_mosaic
from batman_cli.simulate.scenes import srgb_to_linear
from batman_cli.stills import read_image
from batman_cli.training.cache import Draft, Entry, Facts, Item, entry_key
from batman_cli.video import CLIP_SUFFIXES, read_clip

PHOTO_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".ppm"}
    | {".avif", ".heic", ".heif"}  # named if they cannot be read here, never passed over
)
SUFFIXES = PHOTO_SUFFIXES | CLIP_SUFFIXES | RAW_SUFFIXES
SHORTEST_SIDE = 64  # pixels
LONGEST_PHOTO = 2048  # pixels, of the longer side; larger photos are averaged down
CLIP_WIDTH = 426  # pixels
CLIP_FRAMES = 60
RAW_WIDTH = 1536  # pixels
# A daylight raw file has a tenth of its samples above 0.1 to 0.6, a shot that needs a ratio of 8
# or more has them below.
BRIGHT_PERCENTILE, BRIGHT_LEVEL = 90.0, 0.05
PICTURES = "pictures.npy"

LINEAR = srgb_to_linear(torch.arange(256) / 255).numpy()  # of 8-bit sRGB values, 0..1


@dataclass(frozen=True)
class Footage:
    """A photo or a clip."""

    name: str  # what messages call it
    pictures: Path  # .npy in the cache, (T, H, W, 3) uint8 sRGB; T = 1 for a photo


def footage_item(file: Path, name: str) -> Item:
    """What the cache makes of a file with one of SUFFIXES. Raises BadInput if it is not there."""
    return Item(name, entry_key([file]), partial(_write_file, file, name))


def footage_of(name: str, entry: Entry) -> Footage:
    """Footage from its entry."""
    return Footage(name, entry.folder / PICTURES)


def area_average(
    picture: NDArray[np.uint8] | NDArray[np.uint16],
    factor: int,
    table: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Mean over factor x factor pixels of (H, W, 3); a rest at the right or bottom is cut off.

    table: looked up first, for pictures that are not linear.
    """
    height, width = (length // factor * factor for length in picture.shape[:2])
    total: NDArray[np.float32] = np.zeros((height // factor, width // factor, 3), np.float32)
    for y in range(factor):
        for x in range(factor):
            part = picture[y:height:factor, x:width:factor]
            np.add(total, part if table is None else table[part], out=total)
    return total / np.float32(factor**2)


def srgb(linear: NDArray[np.float32]) -> NDArray[np.uint8]:
    """8-bit sRGB (IEC 61966-2-1) of linear 0..1."""
    curve = np.maximum(1.055 * linear ** np.float32(1 / 2.4) - 0.055, 0)
    coded = np.where(linear <= 0.0031308, 12.92 * linear, curve)
    return np.rint(255 * coded).astype(np.uint8)


def _write_file(file: Path, name: str, draft: Draft) -> Facts:
    """Writes the pictures of a file. Raises BadInput about `name`, and OSError."""
    suffix = file.suffix.lower()
    try:
        if suffix in CLIP_SUFFIXES:
            _write_clip(file, draft)
        elif suffix in RAW_SUFFIXES:
            _write_raw(file, draft)
        else:
            _write_photo(file, draft)
    except BadInput as error:
        raise BadInput(name, error.why, error.fix) from error
    return {}


def _write_photo(file: Path, draft: Draft) -> None:
    """A photo, averaged down by a whole factor where it is large."""
    photo = read_image(file)
    factor = -(-max(photo.shape[:2]) // LONGEST_PHOTO)
    _check_size(file, photo.shape[0] // factor, photo.shape[1] // factor)
    if factor > 1:
        photo = srgb(area_average(photo, factor, LINEAR))
    draft.save(PICTURES, photo[None])


def _write_clip(file: Path, draft: Draft) -> None:
    """The start of a clip, at half its width or less.

    Clips are coded in blocks, with colour at half the size: what is left at half is clean.
    """
    (first,) = read_clip(file, frames=1)
    height, full_width = first.shape[:2]
    width = min(CLIP_WIDTH, full_width // 2)
    _check_size(file, height * width // full_width, width)
    draft.save_frames(PICTURES, read_clip(file, width=width, frames=CLIP_FRAMES))


def _write_raw(file: Path, draft: Draft) -> None:
    """A bright raw file, averaged down at least by 2: no noise, nothing made up by demosaicing."""
    width = _check_bright(file)
    factor = max(2, -(-width // RAW_WIDTH))
    linear = area_average(read_developed(file), factor) / np.float32(65535)
    _check_size(file, *linear.shape[:2])
    draft.save(PICTURES, srgb(linear)[None])


def _check_bright(file: Path) -> int:
    """Width of a raw file in pixels. Raises BadInput for one shot in the dark."""
    mosaic = read_mosaic(file)
    planes = pack(mosaic.data, mosaic.info.black, mosaic.info.white)
    bright = float(np.percentile(planes[:, ::4, ::4], BRIGHT_PERCENTILE))
    if bright < BRIGHT_LEVEL:
        raise BadInput(
            file.name,
            f"is too dark to learn from: {BRIGHT_PERCENTILE:g} % of it lie below "
            f"{100 * max(bright, 0):.2g} % of white",
            "dark bursts need long exposures: short/<id>/ and long/<id>/, as in the DRV dataset",
        )
    return mosaic.info.width


def _check_size(file: Path, height: int, width: int) -> None:
    if min(height, width) < SHORTEST_SIDE:
        why = f"is too small: {width} x {height} pixels, {SHORTEST_SIDE} a side are needed"
        raise BadInput(file.name, why)
