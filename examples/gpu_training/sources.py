"""All photos and clips on the device, and crops of them, a batch at a time."""

from collections.abc import Sequence

import numpy as np
import torch
from draws import below, chance, one_of
from numpy.typing import NDArray
from torch import Tensor

from batman_cli.errors import BadInput
from batman_cli.training.footage import LINEAR, Footage, area_average, srgb
from batman_cli.training.sources import Source

# As sharp as frames that are binned from a larger sensor: shown at half their size.
HALVED_SHARE, SMALLEST_HALVED = 0.25, 512  # of photos; pixels of the shorter side, before


class Sources:
    """Footage that crops are cut from, held as one long row of bytes."""

    def __init__(self, sources: Sequence[Source], frames: int, device: torch.device) -> None:
        """frames: of a burst; shorter clips serve as photos.

        Raises BadInput for sources that are no footage.
        """
        if other := [source for source in sources if not isinstance(source, Footage)]:
            why = "only photos, clips and bright raw files can be held on a GPU"
            raise BadInput(other[0].name, why, "train on it with `batman train`")
        every = [np.load(s.pictures) for s in sources if isinstance(s, Footage)]
        clips = [i for i, pictures in enumerate(every) if len(pictures) >= frames]
        # Where there are no photos, frames of clips are.
        photos = [i for i in range(len(every)) if i not in clips] or clips
        large = [every[i] for i in photos if min(every[i].shape[1:3]) >= SMALLEST_HALVED]
        halved = range(len(every), len(every) + len(large))
        every += [_halved(pictures) for pictures in large]

        self.device = device
        pixels = np.concatenate([pictures.reshape(-1) for pictures in every])
        self._pixels = torch.from_numpy(pixels).to(device)
        shapes = torch.tensor([pictures.shape[:3] for pictures in every])
        sizes = 3 * shapes.prod(1)
        self._starts = (sizes.cumsum(0) - sizes).to(device)
        self._shapes = shapes.to(device)  # frames, height, width
        self._photos, self._clips, self._halved = (
            torch.tensor(numbers, dtype=torch.long, device=device)
            for numbers in (photos, clips, list(halved))
        )

    @property
    def has_clips(self) -> bool:
        """Whether there is any."""
        return len(self._clips) > 0

    def photos(self, count: int) -> Tensor:
        """(count,) numbers of photos, some at half their size."""
        whole = one_of(self._photos, count)
        if not len(self._halved):
            return whole
        small = chance(HALVED_SHARE, count, self.device)
        return torch.where(small, one_of(self._halved, count), whole)

    def clips(self, count: int) -> Tensor:
        """(count,) numbers of clips."""
        return one_of(self._clips, count)

    def cut(self, numbers: Tensor, frames: int, side: int) -> Tensor:
        """Crops (B, frames, 3, side, side) in 0..1 from anywhere, mirrored left-right at random.

        numbers: (B,), of sources. Smaller pictures are continued at the right and bottom as in a
        mirror.
        """
        length, height, width = self._shapes[numbers].unbind(1)
        along = torch.arange(side, device=self.device)
        times = torch.arange(frames, device=self.device)
        t = below(length - frames + 1)[:, None] + times
        y = below(height - side + 1)[:, None] + along
        x = below(width - side + 1)[:, None] + along
        x = torch.where(chance(0.5, len(numbers), self.device)[:, None], x.flip(1), x)
        y, x = _mirrored(y, height[:, None]), _mirrored(x, width[:, None])
        rows = t[:, :, None] * height[:, None, None] + y[:, None]
        places = rows[..., None] * width[:, None, None, None] + x[:, None, None]
        places = self._starts[numbers][:, None, None, None] + 3 * places
        channels = [self._pixels[places + channel] for channel in range(3)]
        return torch.stack(channels, 2).float() / 255


def _mirrored(at: Tensor, side: Tensor) -> Tensor:
    at = at % (2 * side)
    return torch.minimum(at, 2 * side - 1 - at)


def _halved(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(T, H, W, 3) at half the size, averaged in linear light."""
    return np.stack([srgb(area_average(picture, 2, LINEAR)) for picture in pictures])
