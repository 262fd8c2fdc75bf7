"""What several test files share."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray

from batman_cli.settings import SimulateSettings

if TYPE_CHECKING:
    from batman_cli.simulate.run import SimulatedScene

settings.register_profile("any-machine", deadline=None)  # a busy machine is no fault
settings.load_profile("any-machine")

_BESIDE_CHECKOUT = Path(__file__).parents[2] / "shared" / "data"
_SAMPLES = Path(os.environ.get("BATMAN_SAMPLES") or _BESIDE_CHECKOUT)

FORMATS = ("arw", "arw-uncompressed", "dng")
KINDS = ("clstm", "3dcnn")
NARROW = {"widths": (8, 8, 8, 8), "head": 4}
SHOTS = 12
WIDTH, HEIGHT = 96, 64  # pixels
RATIO = 20.0

NewBurst = Callable[..., Path]
Checkpoints = dict[str, Path]
Scenes = dict[str, "SimulatedScene"]


def samples(part: str = "") -> Path:
    """A file or folder of the sample data; the test that asks is skipped where it is absent."""
    path = _SAMPLES / part
    if not path.exists():
        pytest.skip(f"no sample data {path} (BATMAN_SAMPLES names their folder)")
    return path


def photo(height: int = 112, width: int = 160, seed: int = 0) -> NDArray[np.uint8]:
    """A made-up photo (H, W, 3): coloured patches on a slope, so nowhere flat or symmetric."""
    patches = np.random.default_rng(seed).integers(20, 200, (height // 8 + 1, width // 8 + 1, 3))
    large = patches.repeat(8, 0).repeat(8, 1)[:height, :width]
    slope = np.linspace(0, 50, width)[None, :, None]
    return (large + slope).astype(np.uint8)


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Scenes:
    """One simulated dark scene of SHOTS frames for each file format."""
    from batman_cli.simulate.run import simulate

    base = tmp_path_factory.mktemp("scenes")

    def scene(name: str) -> "SimulatedScene":
        asked = SimulateSettings(
            frames=SHOTS,
            ratio=RATIO,
            width=WIDTH,
            height=HEIGHT,
            file_format=name,  # pyright: ignore[reportArgumentType]
        )
        return simulate([photo()[None]], base / name, asked)[0]

    return {name: scene(name) for name in FORMATS}


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    """A narrow network of each kind, every part of which has an effect on the picture.

    "plain" is a `clstm` with a last layer of zeros: true colours, less noise, no invention.
    """
    import torch

    from batman_cli.models import build
    from batman_cli.weights import save

    base = tmp_path_factory.mktemp("checkpoints")
    paths: Checkpoints = {}
    networks = (("clstm", "clstm", 0.05), ("3dcnn", "3dcnn", 0.05), ("plain", "clstm", 0.0))
    for name, kind, last in networks:
        torch.manual_seed(1)
        network = build(kind, NARROW)
        torch.nn.init.normal_(network.get_parameter("head.last.weight"), std=last)
        paths[name] = base / f"{name}.safetensors"
        save(paths[name], network, kind, {})
    return paths


@pytest.fixture
def new_burst(scenes: Scenes, tmp_path: Path) -> NewBurst:
    """A function that makes a burst of the first simulated shots: a folder of the test's own."""

    def make(frames: int = 5, *, file_format: str = "arw", name: str = "burst") -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        for shot in sorted(scenes[file_format].short.iterdir())[:frames]:
            shutil.copy(shot, folder)
        return folder

    return make


@contextlib.contextmanager
def disk(folder: Path, size: str) -> Generator[Path]:
    """A disk of its own, such as "128k" large; the test that asks is skipped where none can be."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("a disk can be mounted by the administrator only")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A disk, of 128 KiB unless the module has another DISK."""
    with disk(tmp_path / "disk", getattr(request.module, "DISK", "128k")) as folder:
        yield folder
