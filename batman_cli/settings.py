"""What a user can choose, and every default, once."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, get_args

from batman_cli.errors import UsageError

OnBadFrame = Literal["stop", "skip", "repeat"]
Order = Literal["time", "name"]
HotPixelChoice = Literal["replace", "keep"]
Stills = Literal["png", "tiff16"]
DeviceChoice = Literal["auto", "cpu", "cuda", "mps"]
PrecisionChoice = Literal["auto", "fp32", "bf16"]
OnBadData = Literal["skip", "stop"]
LossKind = Literal["l1", "l2", "kpn"]
Schedule = Literal["cosine", "constant"]
Statistics = Literal["batch", "frozen"]
OptimiserKind = Literal["muon", "adamw"]
DrvInput = Literal["short", "vbm4d"]

BINS = (1, 2, 4)
MIN_TILE = 256  # pixels; smaller tiles would be mostly the context around them
MAX_RATIO_ASKED = 1e5
FPS_RANGE = (Fraction(1, 1000), Fraction(1000))
MAX_FPS_TERM = 2**31 - 1  # of numerator and denominator: ffmpeg keeps them in 32 bits
CROP_MULTIPLE = 64  # pixels; the coarsest grid of the networks has 1/64 of the resolution
LARGEST_SEED = 2**32 - 1
MIN_CROP, MAX_CROP = 64, 2048  # pixels
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
    hot_pixels: HotPixelChoice = "replace"
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
    hot_per_million: float = 0.0  # hot pixels of the sensor
    width: int | None = None  # pixels; None: the picture's own size, at most 768 x 512
    height: int | None = None
    file_format: Literal["arw", "arw-uncompressed", "dng"] = "arw"
    seed: int = 1


@dataclass(frozen=True)
class TrainSettings:
    """Choices of `batman train`. A TOML file of `--config` has these names as keys."""

    model: str = EnhanceSettings.model
    network: Mapping[str, Any] = field(default_factory=dict[str, Any])  # sizes, see models/
    data: tuple[Path, ...] = ()  # folders of photos, clips, raw files, or the DRV dataset
    start: Path | None = None  # checkpoint to begin from, instead of fresh weights
    cache: Path | None = None  # decoded data; None: a folder `cache` in the run's folder
    on_bad_data: OnBadData = "skip"
    drv_input: DrvInput = "short"  # the raw shots, or the dataset's V-BM4D pictures
    bin: int | None = None  # of raw data; None: the smallest of 1, 2, 4 that is at most 1920 wide

    steps: int = 20_000
    minutes: float | None = None  # of training at most; the schedule then follows the clock
    batch: int = 16  # bursts a step, over all processes
    frames: int = 8  # of a training burst, at most
    graded: int = 2  # of these, those trained on; only the front end sees those before
    truncate: int | None = None  # frames that gradients run through; None: all
    size: int = 128  # pixels, side of a training crop; a multiple of 64
    optimiser: OptimiserKind = "muon"
    rate: float | None = None  # learning rate at its highest; None: RATES of the optimiser
    warm_up: int = 60  # steps
    schedule: Schedule = "cosine"
    weight_decay: float = 1e-4
    clip_gradient: float = 0.3  # norm
    average: float = 0.998  # share of the averaged weights that a step keeps
    statistics: Statistics = "batch"  # of batch normalisation: of each batch, or as at the start
    loss: LossKind = "l1"
    consistency: float = 0.0  # weight of the difference between two noise draws of a scene
    temporal: float = 0.0  # weight of the error of the change from frame to frame
    patience: int | None = None  # validations without improvement before the run ends

    validate_every: int = 500  # steps
    validation_bursts: int = 16
    save_every: int = 100  # steps
    seed: int = 1
    device: DeviceChoice = "auto"
    precision: PrecisionChoice = "auto"
    threads: int | None = None  # cores used at most; None: all that there are

    @property
    def highest_rate(self) -> float:
        """The learning rate, as asked or as the optimiser needs it."""
        return RATES[self.optimiser] if self.rate is None else self.rate


RATES: Mapping[OptimiserKind, float] = {"muon": 0.01, "adamw": 5e-4}

# What published networks are trained with where nothing else is chosen (docs/baselines.md). AdamW
# without weight decay is their Adam.
_ADAM: Mapping[str, Any] = {"optimiser": "adamw", "rate": 1e-4, "weight_decay": 0.0}
_REPORT: Mapping[str, Any] = {"optimiser": "adamw", "rate": 1e-4, "frames": 5, "graded": 5}
PUBLISHED: Mapping[str, Mapping[str, Any]] = {
    "sid": {**_ADAM, "frames": 1, "graded": 1},
    "smid": {**_ADAM, "frames": 8, "graded": 1, "consistency": 0.05},
    "kpn": {**_ADAM, "frames": 8, "graded": 8, "loss": "kpn"},
    "clstm-paper": _REPORT,
    "3dcnn-paper": _REPORT,
}

# The smallest values that make sense.
_LEAST = {
    "steps": 1,
    "batch": 1,
    "frames": 1,
    "graded": 1,
    "truncate": 1,
    "warm_up": 0,
    "weight_decay": 0,
    "clip_gradient": 1e-9,
    "consistency": 0,
    "temporal": 0,
    "patience": 1,
    "validate_every": 1,
    "validation_bursts": 1,
    "save_every": 1,
    "seed": 0,
    "threads": 1,
}


def check(settings: EnhanceSettings) -> None:
    """Raises UsageError for values that no burst can make sense of."""
    for name, value, choices in (
        ("--device", settings.device, get_args(DeviceChoice)),
        ("--precision", settings.precision, get_args(PrecisionChoice)),
        ("--on-bad-frame", settings.on_bad_frame, get_args(OnBadFrame)),
        ("--order", settings.order, get_args(Order)),
        ("--hot-pixels", settings.hot_pixels, get_args(HotPixelChoice)),
        ("--stills", settings.stills, (None, *get_args(Stills))),
        ("--bin", settings.bin, (None, *BINS)),
    ):
        _check_choice(f"{name} {value}", value, choices)
    if settings.ratio is not None and not 0 < settings.ratio <= MAX_RATIO_ASKED:
        raise UsageError(f"--ratio {settings.ratio:g}", "it is no amplification", "try 100")
    if settings.tile is not None and settings.tile != 0 and settings.tile < MIN_TILE:
        raise UsageError(f"--tile {settings.tile}", "it is too small", f"give {MIN_TILE} or more")
    if settings.fps is not None and not FPS_RANGE[0] <= settings.fps <= FPS_RANGE[1]:
        raise UsageError(f"--fps {settings.fps}", "no player shows that", "try 20")
    if settings.fps is not None and max(settings.fps.as_integer_ratio()) > MAX_FPS_TERM:
        raise UsageError(f"fps {settings.fps}", "it has too many digits", "try 30000/1001")


def check_training(settings: TrainSettings) -> None:
    """Raises UsageError for values that no training can make sense of."""
    for name, value, choices in (
        ("device", settings.device, get_args(DeviceChoice)),
        ("precision", settings.precision, get_args(PrecisionChoice)),
        ("optimiser", settings.optimiser, get_args(OptimiserKind)),
        ("statistics", settings.statistics, get_args(Statistics)),
        ("bin", settings.bin, (None, *BINS)),
    ):
        _check_choice(f"{name} = {value}", value, choices)
    if settings.loss == "kpn" and settings.model != "kpn":
        raise UsageError(
            f"loss = kpn for {settings.model}", "it is one of kernels", "l1 is a good one"
        )
    if not settings.data:
        raise UsageError("nothing to train on", "no data are named", "give --data FOLDER")
    if not MIN_CROP <= settings.size <= MAX_CROP or settings.size % CROP_MULTIPLE:
        why = f"it must be a multiple of {CROP_MULTIPLE} from {MIN_CROP} to {MAX_CROP}"
        raise UsageError(f"size = {settings.size}", why, "128 is a good one")
    for name, least in _LEAST.items():
        value = getattr(settings, name)
        if value is not None and not (value >= least and math.isfinite(value)):
            raise UsageError(f"{name} = {value:g}", f"it must be {least:g} or more")
    if settings.seed > LARGEST_SEED:
        raise UsageError(f"seed = {settings.seed}", f"it must be {LARGEST_SEED} or less")
    for name, value in (("rate", settings.rate), ("minutes", settings.minutes)):
        if value is not None and not 0 < value < math.inf:
            raise UsageError(f"{name} = {value:g}", "it must be above 0")
    if not 0 <= settings.average < 1:
        raise UsageError(f"average = {settings.average:g}", "it is a share from 0 to below 1")


def _check_choice(what: str, value: object, choices: Sequence[object]) -> None:
    if value not in choices:
        known = ", ".join(str(choice) for choice in choices if choice is not None)
        raise UsageError(what, f"it is one of {known}", "choose one of these")
