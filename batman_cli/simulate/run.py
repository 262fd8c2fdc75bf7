"""Dark bursts of real camera files, with their long exposures, in the layout of the DRV dataset.

`short/<id>/00001.ARW ...`, `long/<id>/0001.ARW`, and the lists of ids for training, validation and
testing. The long exposure shows the scene at the fifth shot, the one that SMID's protocol scores.
"""

import datetime
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from batman_cli.develop import to_planes
from batman_cli.errors import OutputError
from batman_cli.pack import interleave
from batman_cli.settings import SimulateSettings
from batman_cli.simulate.arw import BLACK, MAKE, MODEL, WHITE, write_arw
from batman_cli.simulate.camera import (
    CAMERAS,
    XYZ_TO_CAMERA,
    SensorNoise,
    camera_from_srgb,
    draw_hot_pixels,
    expose,
)
from batman_cli.simulate.checks import MARGIN, check_settings, view_size
from batman_cli.simulate.dng import write_dng
from batman_cli.simulate.scenes import add_object, camera_path, srgb_to_linear, views
from batman_cli.simulate.tiff_writer import MOVING, SOFTWARE, Exposure

WHITE_BALANCE = (2.0, 1.0, 1.9)  # daylight on the RX100 VI, about
SHUTTER_S = 1 / 50
LONG_ISO = 100
REFERENCE_SHOT = 4  # the fifth
FIRST_SHOT = datetime.datetime(2024, 1, 1, 20, 0, 0)
# Out of ten scenes, as DRV splits its 202 (129, 24, 49).
LISTS = ("train",) * 6 + ("val",) + ("test",) * 3

FileFormat = Literal["arw", "arw-uncompressed", "dng"]
Source = NDArray[np.uint8]  # (T, H, W, 3) sRGB; a photo has one frame


@dataclass(frozen=True)
class SimulatedScene:
    """What one source became."""

    short: Path
    long: Path
    size: tuple[int, int]  # width, height in pixels


def simulate(
    sources: Iterable[Source],
    out: Path,
    settings: SimulateSettings,
    *,
    on_shot: Callable[[], None] | None = None,
) -> list[SimulatedScene]:
    """Writes one scene for each photo or clip; on_shot is called after every written file.

    sources: gone through twice, to check all before the first is written, one in memory at a time.
    What ends it early leaves the scenes that are whole, in the lists too.
    Raises UsageError for impossible settings, BadInput for a clip that is too short and
    OutputError if a scene's folder or a list exists already, or they cannot be written.
    """
    check_settings(settings)
    count = 0
    for source in sources:
        view_size(source.shape, settings)
        count += 1
    _check_new(out, count)
    scenes: list[SimulatedScene] = []
    try:
        try:
            for number, source in enumerate(sources, 1):
                scenes.append(_simulate_scene(source, out, f"{number:04d}", settings, on_shot))
        finally:
            if scenes:
                _write_lists(out, [scene.short.name for scene in scenes])
    except OSError as error:
        raise OutputError(
            f"cannot write below {out}", error.strerror or str(error), "free or change the folder"
        ) from error
    return scenes


def clean_views(source: Source, settings: SimulateSettings, *, number: int = 1) -> Tensor:
    """What the shots of a scene would show without noise: (T, 3, H, W) linear sRGB in 0..1.

    number: of the scene among the sources of `simulate`, from 1. Colours that the camera cannot
    tell are cut off as there. Raises UsageError and BadInput as `simulate` does.
    """
    check_settings(settings)
    width, height = view_size(source.shape, settings)
    small = _shrunk(source, width, height)
    scene = _scene(small, width, height, settings, _generator(settings, number))
    matrix = camera_from_srgb(torch.tensor(XYZ_TO_CAMERA[MODEL]))
    camera = torch.einsum("ij,tjhw->tihw", matrix, scene).clamp(0, 1)
    return torch.einsum("ij,tjhw->tihw", matrix.inverse(), camera).clamp(0, 1)


def _generator(settings: SimulateSettings, number: int) -> torch.Generator:
    return torch.Generator().manual_seed(settings.seed * 100_003 + number)


def _simulate_scene(
    source: Source,
    out: Path,
    name: str,
    settings: SimulateSettings,
    on_shot: Callable[[], None] | None,
) -> SimulatedScene:
    generator = _generator(settings, int(name))
    width, height = view_size(source.shape, settings)
    scene = _scene(_shrunk(source, width, height), width, height, settings, generator)
    short, long = out / "short" / name, out / "long" / name
    made: list[Path] = []
    try:
        for folder in (short, long):
            folder.mkdir(parents=True)
            made.append(folder)  # one that another call has made meanwhile is not ours to remove
        _write_scene(scene, short, long, settings, generator, on_shot)
    except BaseException:  # an interrupted scene must not look like a whole one
        for folder in made:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return SimulatedScene(short, long, (width, height))


def _write_scene(
    scene: Tensor,
    short: Path,
    long: Path,
    settings: SimulateSettings,
    generator: torch.Generator,
    on_shot: Callable[[], None] | None,
) -> None:
    """The shots and the long exposure of clean linear views (T, 3, H, W).

    The long exposure has no hot pixels: cameras take a dark frame off.
    """
    suffix = ".DNG" if settings.file_format == "dng" else ".ARW"
    noise = CAMERAS[settings.camera].at(settings.iso)
    _, _, height, width = scene.shape
    hot = draw_hot_pixels(
        (4, height // 2, width // 2),
        settings.hot_per_million,
        noise,
        torch.Generator().manual_seed(settings.seed),  # of one sensor: the same in all scenes
    )
    software = MOVING if bool((scene != scene[:1]).any()) else SOFTWARE
    for index, view in enumerate(scene):
        mosaic = _mosaic(view, settings.ratio, noise, generator, hot)
        exposure = _exposure(index, settings.iso, SHUTTER_S, settings, software)
        _write(short / f"{index + 1:05d}{suffix}", mosaic, exposure, settings.file_format)
        if on_shot:
            on_shot()
    reference = scene[min(REFERENCE_SHOT, len(scene) - 1)]
    mosaic = _mosaic(reference, 1.0, CAMERAS[settings.camera].at(LONG_ISO), generator)
    seconds = SHUTTER_S * settings.ratio * settings.iso / LONG_ISO
    long_exposure = _exposure(len(scene), LONG_ISO, seconds, settings, software)
    _write(long / f"0001{suffix}", mosaic, long_exposure, settings.file_format)


def _shrunk(source: Source, width: int, height: int) -> Source:
    """A much larger picture averaged down by a whole factor, so that most of it is in view."""
    frames, full_height, full_width, _ = source.shape
    factor = min(full_width // (width + MARGIN), full_height // (height + MARGIN))
    if factor < 2:
        return source
    rows, columns = full_height // factor, full_width // factor
    cut = source[:, : rows * factor, : columns * factor]
    blocks = cut.reshape(frames, rows, factor, columns, factor, 3)
    return np.stack([np.round(b.mean((1, 3))).astype(np.uint8) for b in blocks])


def _scene(
    source: Source,
    width: int,
    height: int,
    settings: SimulateSettings,
    generator: torch.Generator,
) -> Tensor:
    """Clean linear sRGB views (T, 3, height, width)."""
    frames = torch.from_numpy(source).permute(0, 3, 1, 2).float() / 255
    if len(source) == 1:
        path = camera_path(settings.motion, settings.frames, generator)
        scene = views(frames[0], path, height, width)
    else:
        top, left = (frames.shape[2] - height) // 2, (frames.shape[3] - width) // 2
        scene = frames[: settings.frames, :, top : top + height, left : left + width]
    for _ in range(settings.objects):
        scene = add_object(scene, _texture(frames[0]), generator)
    return srgb_to_linear(scene)


def _texture(photo: Tensor) -> Tensor:
    """The photo upside down with its channels swapped round, which stands out from the scene."""
    turned = photo.flip(1).roll(1, 0)
    return functional.interpolate(turned[None], scale_factor=0.5, mode="area")[0]


def _mosaic(
    view: Tensor,
    ratio: float,
    noise: SensorNoise,
    generator: torch.Generator,
    hot: Tensor | float = 0.0,
) -> NDArray[np.uint16]:
    """RGGB mosaic (H, W) of a linear view (3, H, W), `ratio` times too dark; hot: DN of planes."""
    matrix = camera_from_srgb(torch.tensor(XYZ_TO_CAMERA[MODEL]))
    camera = torch.einsum("ij,jhw->ihw", matrix, view).clamp(0, 1)
    red, green, blue = WHITE_BALANCE
    gain = ratio * torch.tensor([red, green, green, blue])[:, None, None]
    planes = expose(to_planes(camera[None]) / gain * (WHITE - BLACK) + hot, noise, generator)
    return interleave((planes[0] + BLACK).clamp(0, WHITE).numpy().astype(np.uint16))


def _exposure(
    index: int, iso: int, seconds: float, settings: SimulateSettings, software: str
) -> Exposure:
    taken = FIRST_SHOT + datetime.timedelta(seconds=float(index / settings.fps))
    return Exposure(iso, seconds, taken, WHITE_BALANCE, index + 1, software)


def _write(
    path: Path, mosaic: NDArray[np.uint16], exposure: Exposure, file_format: FileFormat
) -> None:
    if file_format == "dng":
        write_dng(
            path,
            mosaic,
            exposure,
            black=BLACK,
            white=WHITE,
            xyz_to_camera=XYZ_TO_CAMERA[MODEL],
            make=MAKE,
            model=MODEL,
        )
    else:
        write_arw(path, mosaic, exposure, lossy=file_format == "arw")


def _check_new(out: Path, count: int) -> None:
    """Raises OutputError where a scene, or a list of which scenes are for what, exists already."""
    names = (f"{number:04d}" for number in range(1, count + 1))
    folders = (out / kind / name for name in names for kind in ("short", "long"))
    lists = (out / f"{kind}_list.txt" for kind in sorted(set(LISTS)))
    for path in (*lists, *folders):
        if path.exists():
            raise OutputError(f"{path} exists already", fix="choose another -o folder")


def _write_lists(out: Path, names: Sequence[str]) -> None:
    """train_list.txt, val_list.txt, test_list.txt: each scene in one of them."""
    for kind in ("train", "val", "test"):
        chosen = [name for i, name in enumerate(names) if LISTS[i % len(LISTS)] == kind]
        (out / f"{kind}_list.txt").write_text("".join(f"{name}\n" for name in chosen))
