"""`rawpy`: what LibRaw itself makes of a shot, without any denoising: the row "Input+Rawpy"."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from batman_cli.models.state import State


@dataclass(frozen=True)
class RawpyPipelineConfig:
    """Facts of the pipeline, which has no sizes."""

    multiple: int = 1  # any size will do
    halo: int = 1  # samples around a tile: what a pixel is interpolated from

    @property
    def bytes_per_sample(self) -> int:
        """Memory that a step needs for each sample of the planes' grid."""
        return 400  # some RGB pictures of four pixels a sample

    def as_dict(self) -> dict[str, object]:
        """Plain values for a JSON file."""
        return asdict(self)


class RawpyPipeline(nn.Module):
    """LibRaw's bilinear demosaic of each frame on its own.

    Developed, it equals `rawpy.postprocess` with `demosaic_algorithm=LINEAR, use_camera_wb=True,
    no_auto_bright=True, adjust_maximum_thr=0.0, bright=ratio`, but for two things. LibRaw counts in
    whole 16-bit numbers before it brightens, of which a ratio of 100 leaves 655 to the picture. And
    what is brighter than white it cuts off after the colour matrix, `develop` before.
    """

    delay = 0

    def __init__(self, config: RawpyPipelineConfig) -> None:
        super().__init__()
        self.config = config

    def step(self, planes: Tensor, noise: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Picture (B, 3, 2h, 2w) linear camera RGB, 0 or more, of amplified planes (B, 4, h, w).

        noise: (B, 2, 4), of no use here.
        """
        return bilinear_demosaic(planes.clamp_min(0)), State(state.seen + 1 if state else 1, ())

    def flush(self, state: State) -> list[Tensor]:
        """No frame is ever held back."""
        return []


def bilinear_demosaic(planes: Tensor) -> Tensor:
    """RGB (B, 3, 2h, 2w) of planes (B, 4, h, w) at their places in a mosaic that starts on red.

    A colour that a pixel lacks is the mean of those of the 3 x 3 pixels around it that have it, at
    the border fewer: LibRaw's `lin_interpolate` and `border_interpolate`.
    """
    batch, _, height, width = planes.shape
    known = planes.new_zeros(batch, 3, 2 * height, 2 * width)
    there = planes.new_zeros(1, 3, 2 * height, 2 * width)
    for plane, (colour, down, right) in enumerate(((0, 0, 0), (1, 0, 1), (1, 1, 0), (2, 1, 1))):
        known[:, colour, down::2, right::2] = planes[:, plane]
        there[:, colour, down::2, right::2] = 1
    around, number = (functional.avg_pool2d(x, 3, 1, 1) for x in (known, there))
    return torch.where(there > 0, known, around / number)
