"""What is measured on: the user's copy of DRV, or dark bursts made on the spot from pictures."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from torch import Tensor

from batman_cli.errors import BadInput, UsageError
from batman_cli.settings import SimulateSettings
from batman_cli.shipped import sha256
from batman_cli.simulate.run import SimulatedScene, clean_views, simulate
from batman_cli.simulate.tiff_writer import MOVING, SOFTWARE
from batman_cli.stills import read_image
from batman_cli.training.drv import FOLDERS, find_files, is_drv, read_list
from batman_cli.training.drv_scene import SceneFiles
from batman_cli.training.footage import PHOTO_SUFFIXES

SIMULATED = "simulated"
PICTURES = tuple(
    Path(__file__).parent / "pictures" / f"{name}.jpg"
    for name in ("coffee", "astronaut", "chelsea", "rocket")
)
TEST_LIST = "test_list.txt"
HEAD = 1 << 14  # bytes of a raw file in which its header lies

# Camera, ratio, ISO, motion, things that cross the scene: each light level still and moving, and
# the middle one with a noisier camera when it moves.
CONDITIONS = (
    ("a7s2", 60, 3200, "static", 0),
    ("a7s2", 60, 3200, "handheld", 0),
    ("a7s2", 100, 6400, "static", 0),
    ("canon70d", 100, 6400, "pan", 1),
    ("a7s2", 200, 12800, "static", 0),
    ("a7s2", 200, 12800, "handheld", 1),
)
FULL = SimulateSettings(frames=12, width=384, height=256)
# Nine systems on four bursts take two to three minutes on two cores, most of it V-BM4D and KPN.
QUICK = SimulateSettings(frames=8, width=192, height=128)
QUICK_CONDITIONS = (*CONDITIONS[2:4], *CONDITIONS[4:6])
FIRST_SEED = 7000  # other bursts of these pictures scored networks while they were made


@dataclass(frozen=True)
class Scene:
    """A burst with its long exposure."""

    name: str  # of its results on the disk
    title: str
    data: str  # what its rows are marked with: SIMULATED, or the name of the user's folder
    still: bool  # the long exposure is the reference of every frame, not of the fifth alone
    frames: int  # shots used, the first ones
    facts: Mapping[str, Any]  # what it depends on, for `--resume`
    files: Callable[[Path], SceneFiles]  # makes or finds its files; the folder is for new ones
    views: Callable[[], Tensor] | None = None  # (T, 3, H, W) linear sRGB without noise, if known
    denoised: tuple[Path, ...] = ()  # V-BM4D's own pictures of the shots, where DRV has them


def find_scenes(data: Path | None, *, quick: bool) -> list[Scene]:
    """The scenes of `--data`: None for simulated ones, a folder in DRV's layout, or of photos.

    Raises UsageError for a folder that is none, BadInput for one with nothing to measure on.
    """
    if data is None:
        return _simulated(PICTURES, quick=quick)
    if not data.is_dir():
        raise UsageError(f"--data {data}", "is no folder", "name one of DRV, or of photos")
    if is_drv(data):
        return _recorded(data, quick=quick)
    photos = sorted(
        path
        for path in data.iterdir()
        if path.suffix.lower() in PHOTO_SUFFIXES and not path.name.startswith(".")
    )
    if not photos:
        raise BadInput(
            f"nothing to measure on in {data}",
            "it holds no photos, and no short/ beside long/",
            "name the DRV dataset or a folder of photos",
        )
    return _simulated(photos, quick=quick)


def _simulated(pictures: Sequence[Path], *, quick: bool) -> list[Scene]:
    """Every condition at least once, and every picture at least once."""
    base, conditions = (QUICK, QUICK_CONDITIONS) if quick else (FULL, CONDITIONS)
    wanted = len(conditions) if quick else max(len(conditions), len(pictures))
    return [
        _simulated_scene(pictures[n % len(pictures)], conditions[n % len(conditions)], n, base)
        for n in range(wanted)
    ]


def _simulated_scene(
    picture: Path, condition: tuple[str, int, int, str, int], number: int, base: SimulateSettings
) -> Scene:
    camera, ratio, iso, motion, objects = condition
    asked = replace(
        base,
        camera=camera,
        ratio=ratio,
        iso=iso,
        motion=motion,
        objects=objects,
        seed=FIRST_SEED + number,
    )
    crossed = ", crossed by something" if objects else ""
    return Scene(
        name=f"{number + 1:02d}",
        title=f"{picture.stem}, x{ratio}, ISO {iso}, {camera}, {motion}{crossed}",
        data=SIMULATED,
        still=motion == "static" and not objects,
        frames=asked.frames,
        facts={"picture": sha256(picture), **asdict(asked), "fps": str(asked.fps)},
        files=lambda folder: _files_of(simulate([read_image(picture)[None]], folder, asked)[0]),
        views=lambda: clean_views(read_image(picture)[None], asked),
    )


def _files_of(scene: SimulatedScene) -> SceneFiles:
    shots, long = sorted(scene.short.iterdir()), next(scene.long.iterdir())
    return SceneFiles(scene.short.name, shots, long, None)


def _recorded(root: Path, *, quick: bool) -> list[Scene]:
    """The test scenes of a folder in DRV's layout; those that lack files are kept, and fail."""
    names = read_list(root / TEST_LIST)
    if not names:
        fix = f"put {TEST_LIST} of the dataset there, an id such as 0013 on each line"
        raise BadInput(f"{root} has no {TEST_LIST}", "it names the scenes to measure on", fix)
    most = QUICK.frames if quick else None
    scenes = [_recorded_scene(root, name, most) for name in islice(names, 2 if quick else None)]
    simulated = any(scene.data == SIMULATED for scene in scenes)  # then the others count as such
    return [replace(scene, data=SIMULATED) for scene in scenes] if simulated else scenes


def _recorded_scene(root: Path, name: str, most: int | None) -> Scene:
    def files(_: Path) -> SceneFiles:
        return find_files(root, name, "short")

    try:
        found = files(root)
        shots, references = found.shots[:most], [found.long, found.developed]
    except BadInput:  # told when it is its turn
        shots, references = list[Path](), []
    head = _head(shots[0]) if shots else b""
    data = SIMULATED if SOFTWARE.encode() in head else root.resolve().name
    still = MOVING.encode() not in head
    folder = root / FOLDERS["vbm4d"] / name
    denoised = tuple(sorted(folder.glob("*.png")))
    digest = _digest([*shots, *denoised, *filter(None, references)])
    facts = {"folder": str(root.resolve()), "scene": name, "files": digest}
    return Scene(name, f"scene {name}", data, still, len(shots), facts, files, denoised=denoised)


def _head(shot: Path) -> bytes:
    """The header of a raw file, in which it names the program that made it."""
    with shot.open("rb") as file:
        return file.read(HEAD)


def _digest(paths: Sequence[Path]) -> str:
    """Of names, sizes and times: reading gigabytes again to compare them would take minutes."""
    told = [f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in paths]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()
