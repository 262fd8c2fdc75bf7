"""The pictures that `batman simulate` makes scenes of, read one at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from batman_cli.simulate.run import Source
from batman_cli.stills import read_image
from batman_cli.video import CLIP_SUFFIXES, read_clip


@dataclass(frozen=True)
class Sources:
    """Photos and the first frames of clips; each is read when it is its turn."""

    paths: Sequence[Path]
    frames: int  # of a clip

    def __iter__(self) -> Iterator[Source]:
        """Raises BadInput at what cannot be read."""
        for path in self.paths:
            if path.suffix.lower() in CLIP_SUFFIXES:
                yield np.stack(list(read_clip(path, frames=self.frames)))
            else:
                yield read_image(path)[None]
