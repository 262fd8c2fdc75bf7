"""`rawpy`: what LibRaw itself makes of a shot, without any denoising: the row "Input+Rawpy"."""

from dataclasses import asdict, dataclass

from torch import Tensor, nn

from batman_cli.develop import bilinear_demosaic
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
