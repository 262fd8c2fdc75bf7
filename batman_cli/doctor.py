"""Is this machine fit for batman? Facts to read, and to paste into a report."""

import platform
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from batman_cli.codecs import CODECS
from batman_cli.device import choose_device, free_memory
from batman_cli.ffmpeg import encoders, ffmpeg_path
from batman_cli.pipeline import enhance
from batman_cli.settings import EnhanceSettings, SimulateSettings
from batman_cli.shipped import list_models
from batman_cli.simulate.run import simulate
from batman_cli.weights import load_network

PACKAGES = ("batman-cli", "torch", "rawpy", "numpy", "imageio", "imageio-ffmpeg", "safetensors")
MIN_FREE_BYTES = 2 << 30  # memory and disk; a 20-megapixel frame needs about so much
TRIAL_FRAMES = 5


@dataclass(frozen=True)
class Check:
    """One thing looked at."""

    name: str
    ok: bool
    found: str


def examine() -> Iterator[Check]:
    """The checks, one by one; the last makes a short video. No fault of one stops the next."""
    for name, look in (
        ("python", _python),
        ("packages", _packages),
        ("device", _device),
        ("free memory", _memory),
        ("free disk here", _disk),
        ("ffmpeg", _encoders),
        ("models", _models),
        ("trial run", _trial),
    ):
        try:
            ok, found = look()
        except Exception as error:
            ok, found = False, f"{type(error).__name__}: {error}"
        yield Check(name, ok, found)


def _python() -> tuple[bool, str]:
    return True, f"{platform.python_version()} on {platform.platform()}"


def _packages() -> tuple[bool, str]:
    return True, ", ".join(f"{name} {version(name)}" for name in PACKAGES)


def _device() -> tuple[bool, str]:
    device = choose_device("auto", "auto")
    return True, f"{device.name} ({device.reason})"


def _memory() -> tuple[bool, str]:
    free = free_memory(choose_device("auto", "auto").torch_device)
    return free > MIN_FREE_BYTES, f"{free / 2**30:.1f} GiB"


def _disk() -> tuple[bool, str]:
    free = shutil.disk_usage(Path.cwd()).free
    return free > MIN_FREE_BYTES, f"{free / 2**30:.1f} GiB"


def _encoders() -> tuple[bool, str]:
    present = encoders()
    missing = [name for name, codec in CODECS.items() if codec.encoder not in present]
    return not missing, f"{ffmpeg_path()}, without {', '.join(missing) or 'gaps'}"


def _models() -> tuple[bool, str]:
    names = list(list_models())
    for name in names:
        load_network(name)
    return True, f"{', '.join(names)}: undamaged"


def _trial() -> tuple[bool, str]:
    """A tiny simulated burst through the whole path."""
    photo = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    photo = photo.repeat(16, 0).repeat(16, 1)[None]
    with tempfile.TemporaryDirectory(prefix="batman-doctor-") as folder:
        settings = SimulateSettings(frames=TRIAL_FRAMES, width=96, height=96)
        scene = simulate([photo], Path(folder), settings)[0]
        result = enhance(scene.short, Path(folder) / "out.mp4", EnhanceSettings())
    return result.frames == TRIAL_FRAMES, f"{result.frames} frames in {result.seconds:.1f} s"
