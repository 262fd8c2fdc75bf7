"""One scene of the DRV dataset: planes of its dark shots, and what its long exposure shows."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from batman_cli.develop import EXPONENT, KNEE, OFFSET, SLOPE, to_planes
from batman_cli.errors import BadInput
from batman_cli.noise import Noise, estimate, estimate_single
from batman_cli.pack import Planes
from batman_cli.plan import Plan, light_of, make_plan, smallest_bin
from batman_cli.raw import ShotInfo, read_developed, read_info
from batman_cli.sample import exposed_alike, pair_starts
from batman_cli.settings import DrvInput, EnhanceSettings, OnBadData
from batman_cli.stills import read_png16
from batman_cli.training.cache import Draft, Entry, Facts
from batman_cli.training.footage import area_average

WIDEST = 1920  # pixels; without `bin` the smallest factor is taken that gives no more
PLANES, REFERENCE = "planes.npy", "reference.npy"


@dataclass(frozen=True)
class DrvScene:
    """A static dark burst with its long exposure."""

    name: str  # its id, such as "0022"
    planes: Path  # .npy in the cache, (T, 4, h, w) float16 from `pack`, binned, not amplified
    reference: Path  # .npy, (2h, 2w, 3) uint16 linear sRGB on the same grid, 65535 = white
    ratio: float
    white_balance: tuple[float, float, float]  # of the long exposure, as in the reference
    noise: tuple[float, float]  # shot and read of the planes, see `noise.Noise`
    matrix: tuple[tuple[float, float, float], ...]  # white-balanced camera to linear sRGB
    bin: int  # of the planes; 1 for V-BM4D's, which lie as those of a mosaic


class SceneFiles(NamedTuple):
    """What a scene is made of."""

    name: str
    shots: list[Path]  # raw, or PNG of V-BM4D
    long: Path
    developed: Path | None  # half0001*.png


class _Written(NamedTuple):
    """What is known of a scene once its arrays are written."""

    ratio: float
    noise: Noise
    bin: int
    bad: list[BadInput]  # shots that were left out


def scene_of(name: str, entry: Entry) -> DrvScene:
    """A scene from its entry."""
    facts = entry.facts
    red, green, blue = facts["white_balance"]
    shot, read = facts["noise"]
    return DrvScene(
        name,
        entry.folder / PLANES,
        entry.folder / REFERENCE,
        facts["ratio"],
        (red, green, blue),
        (shot, read),
        tuple((r, g, b) for r, g, b in facts["matrix"]),
        facts["bin"],
    )


def bad_shots(entry: Entry) -> list[BadInput]:
    """The shots that were left out of a scene; none for footage."""
    return [BadInput(*texts) for texts in entry.facts.get("bad", [])]


def about(name: str, error: BadInput) -> BadInput:
    """The error with the scene that it is about."""
    return BadInput(f"scene {name}", str(error), error.fix)


def write_scene(
    files: SceneFiles, bin: int | None, drv_input: DrvInput, on_bad: OnBadData, draft: Draft
) -> Facts:
    """Writes planes and reference of a scene. Raises BadInput, OutputError and OSError.

    The white balance is that of the long exposure, so that amplified planes and reference agree in
    colour; a camera that meters it anew for each shot can only guess it in the dark.
    """
    try:
        long = read_info(files.long)
        if drv_input == "short":
            written = _write_short(files, long, bin, on_bad, draft)
        else:
            written = _write_vbm4d(files, long, on_bad, draft)
    except BadInput as error:
        raise about(files.name, error) from error
    bad = [about(files.name, error) for error in written.bad]
    return {
        "ratio": written.ratio,
        "white_balance": long.white_balance,
        "noise": [written.noise.shot, written.noise.read],
        "matrix": long.color_matrix,
        "bin": written.bin,
        "bad": [[error.what, error.why, error.fix] for error in bad],
    }


def _write_short(
    files: SceneFiles, long: ShotInfo, bin: int | None, on_bad: OnBadData, draft: Draft
) -> _Written:
    """A scene from its raw shots, read as `enhance` does."""
    factor = bin or smallest_bin(long.width, WIDEST)
    # Several scenes are decoded at a time: their shots one after the other.
    settings = EnhanceSettings(bin=factor, on_bad_frame=on_bad)
    plan = make_plan(files.shots[0].parent, settings, readers=1)
    ratio = ratio_between(plan.metered, long)
    draft.check_room(_bytes(plan.height, plan.width, len(plan.burst.shots)))
    draft.save(REFERENCE, read_reference(files, factor, plan.height, plan.width))
    reads = [partial(_read_shot, plan, shot) for shot in plan.burst.shots]
    return _Written(
        ratio,
        plan.noise,
        factor,
        [*plan.burst.bad, *_write_planes(reads, on_bad, draft)],
    )


def ratio_between(shot: ShotInfo, long: ShotInfo) -> float:
    """How much darker a shot is, not capped as in `enhance`: it must fit the reference.

    Raises BadInput where shots and long exposure cannot be compared.
    """
    if (shot.width, shot.height, shot.pattern) != (long.width, long.height, long.pattern):
        raise BadInput(
            f"its shots have {shot.width} x {shot.height} pixels ({shot.pattern}), its long "
            f"exposure {long.width} x {long.height} ({long.pattern})"
        )
    light, long_light = light_of(shot), light_of(long)
    if not (light and long_light):
        raise BadInput(
            "the files of its shots or of its long exposure do not say ISO and exposure time",
            "how much darker the shots are is unknown",
        )
    return long_light / light


def _read_shot(plan: Plan, shot: ShotInfo) -> Planes:
    """Planes of a shot that was exposed as most are. Raises BadShot or BadInput."""
    if not exposed_alike(shot, plan.metered):
        raise BadInput(shot.path.name, "is exposed differently from most shots of its scene")
    return plan.planes_of(shot)


def _write_vbm4d(files: SceneFiles, long: ShotInfo, on_bad: OnBadData, draft: Draft) -> _Written:
    """A scene from V-BM4D's pictures: linear, amplified already, no white balance."""
    height, width = _first_size(files.shots)
    if not 2 <= width <= long.width:
        raise _misfit(height, width)
    draft.check_room(_bytes(height, width, len(files.shots)))
    draft.save(REFERENCE, read_reference(files, long.width // width, height, width))
    reads = [partial(_read_picture, path, height, width) for path in files.shots]
    bad = _write_planes(reads, on_bad, draft)
    return _Written(1.0, _noise_of(draft.folder / PLANES), 1, bad)


def _first_size(pictures: Sequence[Path]) -> tuple[int, int]:
    """Even height and width of the first picture that can be read. Raises BadInput."""
    errors: list[BadInput] = []
    for path in pictures:
        try:
            height, width, _ = read_png16(path).shape
            return height // 2 * 2, width // 2 * 2
        except BadInput as error:
            errors.append(error)
    raise errors[0]


def _read_picture(path: Path, height: int, width: int) -> Planes:
    """Planes of a linear RGB picture, as a sensor with an RGGB mosaic would see it."""
    picture = read_png16(path)
    if _even(picture) != (height, width):
        raise BadInput(path.name, "has another size than the first picture of its scene")
    rgb = torch.from_numpy(picture[:height, :width] / np.float32(65535)).permute(2, 0, 1)
    return to_planes(rgb[None])[0].numpy()


def _noise_of(file: Path) -> Noise:
    """Noise of planes (T, 4, h, w) in a .npy, from pairs of neighbours over their length."""
    frames = np.load(file, mmap_mode="r")

    def frame(number: int) -> Planes:
        return np.asarray(frames[number], np.float32)

    if len(frames) == 1:
        return estimate_single(frame(0))
    return estimate([(frame(start), frame(start + 1)) for start in pair_starts(len(frames))])


def _write_planes(
    reads: Sequence[Callable[[], Planes]], on_bad: OnBadData, draft: Draft
) -> list[BadInput]:
    """Writes what can be read, shot by shot; gives the errors of the others.

    Raises the first of them with on_bad="stop", and BadInput if nothing is left.
    """
    bad: list[BadInput] = []
    if not draft.save_frames(PLANES, _usable(reads, on_bad, bad)):
        raise BadInput("none of its shots can be used", str(bad[0]), bad[0].fix)
    return bad


def _usable(
    reads: Iterable[Callable[[], Planes]], on_bad: OnBadData, bad: list[BadInput]
) -> Iterator[NDArray[np.float16]]:
    for read in reads:
        try:
            planes = read()
        except BadInput as error:
            if on_bad == "stop":
                raise
            bad.append(error)
        else:
            yield planes.astype(np.float16)


def read_reference(files: SceneFiles, factor: int, height: int, width: int) -> NDArray[np.uint16]:
    """The long exposure on the grid of the planes: (height, width, 3) uint16 linear sRGB.

    That is the dataset's own picture where it has that size, else LibRaw's, averaged over
    factor x factor pixels. Raises BadInput if neither has.
    """
    if files.developed is not None:
        coded = read_png16(files.developed)
        if coded.shape == (height, width, 3):
            return _linear_of_coded()[coded]
    linear = area_average(read_developed(files.long), factor)
    if _even(linear) != (height, width):
        raise _misfit(height, width)
    return np.rint(linear[:height, :width]).astype(np.uint16)


def _linear_of_coded() -> NDArray[np.uint16]:
    """Inverse of `develop.tone_curve` for each of 65536 values."""
    coded = np.arange(65536) / 65535
    power = ((coded + OFFSET) / (1 + OFFSET)) ** (1 / EXPONENT)
    linear = np.where(coded < SLOPE * KNEE, coded / SLOPE, power)
    return np.rint(65535 * linear).astype(np.uint16)


def _even(picture: NDArray[np.generic]) -> tuple[int, int]:
    """Height and width without what is odd of them."""
    return picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2


def _misfit(height: int, width: int) -> BadInput:
    what = f"its long exposure is no whole number of times as large as {width} x {height} pixels"
    return BadInput(what, fix="complete the dataset, or take the scene from its list")


def _bytes(height: int, width: int, shots: int) -> int:
    """Size of what is written: 2 bytes a pixel for each shot, 6 for the reference."""
    return height * width * (2 * shots + 6)
