"""The photos and clips that training draws from."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from batman_cli.stills import read_image
from batman_cli.training.bursts import Clip
from batman_cli.video import CLIP_SUFFIXES, read_clip

CLIP_WIDTH = 426  # pixels; smaller than the clips, so that their coding is not learned as detail
CLIP_FRAMES = 60
CLIP_WEIGHT = 4  # a clip is drawn as often as so many photos
HELD_OUT = 12  # one file in so many is for validation and never trained on


class Library(NamedTuple):
    """Clips to draw from; a photo is a clip of one frame."""

    training: list[Clip]
    validation: list[Clip]


def load_library(folders: Sequence[Path]) -> Library:
    """All photos and clips of the folders, (T, H, W, 3) uint8, the split fixed by their order."""
    files = sorted(file for folder in folders for file in folder.iterdir() if file.is_file())
    library = Library([], [])
    for number, file in enumerate(files):
        is_clip = file.suffix.lower() in CLIP_SUFFIXES
        clip = _clip(file) if is_clip else read_image(file)[None]
        if number % HELD_OUT == 0:
            library.validation.append(clip)
        else:
            library.training.extend([clip] * (CLIP_WEIGHT if is_clip else 1))
    return library


def _clip(file: Path) -> Clip:
    return np.stack(list(read_clip(file, width=CLIP_WIDTH, frames=CLIP_FRAMES)))
