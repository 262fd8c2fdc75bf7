"""What a user can choose, and every default, once."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal, get_args

from batman_cli.errors import UsageError

OnBadFrame = Literal["stop", "skip", "repeat"]
Order = Literal["time", "name"]
Stills = Literal["png", "tiff16"]
DeviceChoice = Literal["auto", "cpu", "cuda", "mps"]
PrecisionChoice = Literal["auto", "fp32", "bf16"]

BINS = (1, 2, 4)
MIN_TILE = 256  # pixels; smaller tiles would be mostly the context around them
MAX_RATIO_ASKED = 1e5
FPS_RANGE = (Fraction(1, 1000), Fraction(1000))
MAX_WIDTH = 3840  # pixels; `bin` auto picks the smallest factor whose output is no wider


@dataclass(frozen=True)
class EnhanceSettings:
    """Choices of `batman enhance`; None stands for "auto"."""

    model: str = "3dcnn"
    weights: Path | None = None  # a checkpoint file instead of the shipped one
    ratio: float | None = None
    bin: int | None = None  # 1, 2 or 4
    fps: Fraction | None = None
    device: DeviceChoice = "auto"
    precision: PrecisionChoice = "auto"
    tile: int | None = None  # output pixels, side of a tile; 0 for the whole frame
    codec: str = "h264"
    crf: int | None = None  # None: the codec's own default
    stills: Stills | None = None
    compare: bool = False  # plain amplified left, enhanced right
    start: int = 0  # index of the first shot used
    stop: int | None = None  # index of the first shot not used
    step: int = 1
    on_bad_frame: OnBadFrame = "stop"
    order: Order = "time"
    overwrite: bool = False


@dataclass(frozen=True)
class SimulateSettings:
    """Choices of `batman simulate`."""

    camera: str = "a7s2"  # whose noise; see simulate/camera.py
    iso: int = 6400
    ratio: float = 100.0  # how many times too dark
    frames: int = 20
    fps: Fraction = Fraction(20)
    motion: str = "handheld"  # see simulate/scenes.py
    objects: int = 0  # things that cross the scene
    width: int | None = None  # pixels; None: the picture's own size, at most 768 x 512
    height: int | None = None
    file_format: Literal["arw", "arw-uncompressed", "dng"] = "arw"
    seed: int = 1


def check(settings: EnhanceSettings) -> None:
    """Raises UsageError for values that no burst can make sense of."""
    for name, value, choices in (
        ("--device", settings.device, get_args(DeviceChoice)),
        ("--precision", settings.precision, get_args(PrecisionChoice)),
        ("--on-bad-frame", settings.on_bad_frame, get_args(OnBadFrame)),
        ("--order", settings.order, get_args(Order)),
        ("--stills", settings.stills, (None, *get_args(Stills))),
        ("--bin", settings.bin, (None, *BINS)),
    ):
        if value not in choices:
            known = ", ".join(str(choice) for choice in choices if choice is not None)
            raise UsageError(f"{name} {value}", f"it is one of {known}", "choose one of these")
    if settings.ratio is not None and not 0 < settings.ratio <= MAX_RATIO_ASKED:
        raise UsageError(f"--ratio {settings.ratio:g}", "it is no amplification", "try 100")
    if settings.tile is not None and settings.tile != 0 and settings.tile < MIN_TILE:
        raise UsageError(f"--tile {settings.tile}", "it is too small", f"give {MIN_TILE} or more")
    if settings.fps is not None and not FPS_RANGE[0] <= settings.fps <= FPS_RANGE[1]:
        raise UsageError(f"--fps {settings.fps}", "no player shows that", "try 20")
