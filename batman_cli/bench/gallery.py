"""Pictures and clips of moderate size, as data URIs that a page holds in itself."""

import base64
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batman_cli.stills import jpeg
from batman_cli.video import VideoWriter

PICTURE_WIDTH = 768  # pixels at most
CLIP_WIDTH = 384
CLIP_FRAMES = 24  # at most; they loop
CLIP_FPS = Fraction(8)
CLIP_CRF = 26  # of H.264: noise is seen as noise, in some 100 kB
QUALITY = 88  # of JPEG

Pixels = NDArray[np.uint8]  # (H, W, 3) RGB


class Clip:
    """Takes the first pictures of a burst in, small, and makes a looping clip of them."""

    def __init__(self) -> None:
        """Holds CLIP_FRAMES small pictures at most."""
        self._frames = list[Pixels]()

    def add(self, picture: Pixels) -> None:
        """The next picture; those after the last that is shown are dropped."""
        if len(self._frames) < CLIP_FRAMES:
            self._frames.append(_shrunk(picture, CLIP_WIDTH))

    def uri(self) -> str:
        """An MP4 file. Raises OutputError where it cannot be made."""
        height, width = self._frames[0].shape[:2]
        with tempfile.TemporaryDirectory(prefix="batman-clip-") as folder:
            path = Path(folder) / "clip.mp4"
            with VideoWriter(path, width=width, height=height, fps=CLIP_FPS, crf=CLIP_CRF) as video:
                for frame in self._frames:
                    video.write(frame.astype(np.uint16) * 257)
            return _uri("video/mp4", path.read_bytes())


def picture_uri(picture: Pixels) -> str:
    """A JPEG file, averaged down where the picture is wider than PICTURE_WIDTH."""
    return _uri("image/jpeg", jpeg(_shrunk(picture, PICTURE_WIDTH), quality=QUALITY))


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _shrunk(picture: Pixels, widest: int) -> Pixels:
    """Averaged over whole factors, so that no pixel counts more than another."""
    height, width = picture.shape[:2]
    factor = -(-width // widest)
    if factor == 1:
        return picture
    rows, columns = height // factor, width // factor
    cut = picture[: rows * factor, : columns * factor]
    blocks = cut.reshape(rows, factor, columns, factor, 3)
    return np.rint(blocks.mean((1, 3))).astype(np.uint8)
