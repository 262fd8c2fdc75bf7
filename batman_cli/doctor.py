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
from batman_cli.errors import BatmanError
from batman_cli.ffmpeg import encoders, ffmpeg_path
from batman_cli.pipeline import enhance
from batman_cli.settings import EnhanceSettings, SimulateSettings
from batman_cli.simulate.run import simulate
from batman_cli.weights import list_models, load_network

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
    """The checks, one by one; the last makes a short video."""
    yield Check("python", True, f"{platform.python_version()} on {platform.platform()}")
    yield Check("packages", True, ", ".join(f"{name} {version(name)}" for name in PACKAGES))
    device = choose_device("auto", "auto")
    yield Check("device", True, f"{device.name} ({device.reason})")
    memory = free_memory(device.torch_device)
    yield Check("free memory", memory > MIN_FREE_BYTES, f"{memory / 2**30:.1f} GiB")
    disk = shutil.disk_usage(Path.cwd()).free
    yield Check("free disk here", disk > MIN_FREE_BYTES, f"{disk / 2**30:.1f} GiB")
    yield _encoders()
    for name in list_models():
        yield _checkpoint(name)
    yield _trial()


def _encoders() -> Check:
    try:
        present = encoders()
    except BatmanError as error:
        return Check("ffmpeg", False, str(error))
    missing = [name for name, codec in CODECS.items() if codec.encoder not in present]
    found = f"{ffmpeg_path()}, without {', '.join(missing)}" if missing else ffmpeg_path()
    return Check("ffmpeg", not missing, found)


def _checkpoint(name: str) -> Check:
    try:
        network = load_network(name)
    except BatmanError as error:
        return Check(f"model {name}", False, str(error))
    count = sum(p.numel() for p in network.parameters())
    return Check(f"model {name}", True, f"undamaged, {count / 1e6:.2f} M parameters")


def _trial() -> Check:
    """A tiny simulated burst through the whole path."""
    photo = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    photo = photo.repeat(16, 0).repeat(16, 1)[None]
    with tempfile.TemporaryDirectory(prefix="batman-doctor-") as folder:
        settings = SimulateSettings(frames=TRIAL_FRAMES, width=96, height=96)
        try:
            scene = simulate([photo], Path(folder), settings)[0]
            result = enhance(scene.short, Path(folder) / "out.mp4", EnhanceSettings())
        except BatmanError as error:
            return Check("trial run", False, str(error))
    speed = f"{result.frames} frames in {result.seconds:.1f} s"
    return Check("trial run", result.frames == TRIAL_FRAMES, speed)
