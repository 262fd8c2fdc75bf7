"""Training data: told apart, decoded once, split without overlap, nothing passed over silently."""

import json
import os
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import photo, samples
from numpy.typing import NDArray
from running import ROOT, contents, names
from torch.nn import functional
from training import write_png16

from batman_cli.amplify import amplify
from batman_cli.develop import develop, tone_curve
from batman_cli.errors import BadInput, OutputError, UsageError
from batman_cli.pack import bin_planes, pack
from batman_cli.plan import make_plan
from batman_cli.raw import read_developed, read_mosaic
from batman_cli.sample import read_planes
from batman_cli.settings import EnhanceSettings, SimulateSettings
from batman_cli.simulate.run import simulate
from batman_cli.stills import read_image, read_png16, write_png
from batman_cli.training.sources import DrvScene, Footage, Library, Source, prepare
from batman_cli.video import VideoWriter

DISK = "256k"  # of the tests of full disks
pytestmark = pytest.mark.slow  # as a file: scenes are simulated and decoded over and over

RATIO, SHOTS = 20.0, 4
WIDTH, HEIGHT = 128, 96  # pixels of the scenes
SCENES = 10  # six for training, one for validation, three for testing
Picture = NDArray[np.uint8]


# Making data


def prepared(*data: Path, cache: Path, **options: Any) -> Library:
    defaults: dict[str, Any] = {"bin": None, "drv_input": "short", "on_bad": "skip"}
    return prepare(data, cache, **{**defaults, **options})


def named(sources: tuple[Source, ...]) -> list[str]:
    return [source.name for source in sources]


def loaded(footage: Source) -> NDArray[np.uint8]:
    assert isinstance(footage, Footage)
    return np.load(footage.pictures, mmap_mode="r")


def smooth(height: int, width: int, seed: int = 0) -> Picture:
    """A made-up photo (H, W, 3) without anything sharp: demosaicing has nothing to guess."""
    values = np.random.default_rng(seed).uniform(40, 220, (1, 3, 4, 5)).astype(np.float32)
    large = functional.interpolate(
        torch.from_numpy(values), (height, width), mode="bicubic", align_corners=True
    )
    return large[0].permute(1, 2, 0).clamp(0, 255).byte().numpy()


def add_photos(folder: Path, count: int, height: int = 72, width: int = 96) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{number:03d}.png" for number in range(count)]
    for number, file in enumerate(files):
        write_png(file, photo(height, width, number))
    return files


def add_clip(
    file: Path, frames: int, height: int = 144, width: int = 192
) -> list[NDArray[np.uint8]]:
    pictures = [smooth(height, width, number) for number in range(frames)]
    codec = "ffv1" if file.suffix == ".mkv" else "h264"
    with VideoWriter(file, width=width, height=height, fps=Fraction(20), codec=codec) as video:
        for picture in pictures:
            video.write(picture.astype(np.uint16) * 257)
    return pictures


def add_bright_raw(file: Path, height: int = 160, width: int = 192) -> Path:
    scene = file.parent / f".{file.name}"
    asked = SimulateSettings(frames=1, ratio=RATIO, height=height, width=width, motion="static")
    simulated = simulate([smooth(height, width)[None]], scene, asked)[0]
    shutil.move(simulated.long / "0001.ARW", file)
    shutil.rmtree(scene)
    return file


@pytest.fixture(scope="session")
def simulated_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drv") / "DRV"
    asked = SimulateSettings(frames=SHOTS, ratio=RATIO, width=WIDTH, height=HEIGHT, motion="static")
    simulate([smooth(HEIGHT, WIDTH, seed)[None] for seed in range(SCENES)], folder, asked)
    return folder


@pytest.fixture
def dataset(simulated_dataset: Path, tmp_path: Path) -> Path:
    """A DRV dataset of the test's own: train 0001 to 0006, val 0007, test 0008 to 0010."""
    return Path(shutil.copytree(simulated_dataset, tmp_path / "DRV"))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


# Telling kinds apart


def test_photos_clips_and_bright_raws_may_be_mixed_in_any_folders(
    tmp_path: Path, cache: Path
) -> None:
    data = tmp_path / "data"
    add_photos(data, 2)
    add_photos(data / "more" / "deep", 1)
    add_clip(data / "more" / "clip.mkv", 3)
    add_bright_raw(data / "raw.ARW")
    library = prepared(data, cache=cache)
    assert named(library.validation) == ["data/000.png"]
    assert named(library.training) == [
        *("data/001.png", "data/more/clip.mkv", "data/more/deep/000.png", "data/raw.ARW"),
    ]
    shapes = [loaded(source).shape for source in library.training]
    assert shapes == [(1, 72, 96, 3), (3, 72, 96, 3), (1, 72, 96, 3), (1, 80, 96, 3)]
    assert library.skipped == ()


def test_a_dataset_is_found_beside_and_below_other_folders(
    dataset: Path, tmp_path: Path, cache: Path
) -> None:
    add_photos(tmp_path / "all" / "photos", 2)
    shutil.move(dataset, tmp_path / "all" / "DRV")
    library = prepared(tmp_path / "all", cache=cache)
    kinds = [type(source) for source in library.training]
    assert kinds == [Footage, *[DrvScene] * 6]


def test_hidden_files_sidecars_and_notes_are_ignored(tmp_path: Path, cache: Path) -> None:
    data = tmp_path / "data"
    add_photos(data, 2)
    add_photos(data / ".thumbnails", 2)
    shutil.copy(data / "000.png", data / "._000.png")
    for name in ("notes.txt", "000.xmp", "labels.json", "README.md", "Thumbs.db"):
        (data / name).write_text("?")
    library = prepared(data, cache=cache, on_bad="stop")
    assert len(library.training) + len(library.validation) == 2


def test_a_picture_beside_its_raw_file_is_not_taken_twice(tmp_path: Path, cache: Path) -> None:
    add_photos(tmp_path / "data", 2)
    add_bright_raw(tmp_path / "data" / "000.ARW")
    library = prepared(tmp_path / "data", cache=cache)
    assert named(library.validation) + named(library.training) == ["data/000.ARW", "data/001.png"]


def test_data_given_twice_or_linked_in_a_circle_is_taken_once(tmp_path: Path, cache: Path) -> None:
    data = tmp_path / "data"
    add_photos(data / "sub", 3)
    (data / "sub" / "back").symlink_to(data)
    (data / "alias.png").symlink_to(data / "sub" / "002.png")
    library = prepared(data, data / "sub", data / "sub" / "000.png", cache=cache, on_bad="stop")
    assert len(library.validation) + len(library.training) == 3


def test_a_copy_is_never_held_out_from_its_original(tmp_path: Path, cache: Path) -> None:
    add_photos(tmp_path / "data" / "photos", 3)
    shutil.copytree(tmp_path / "data" / "photos", tmp_path / "data" / "backup" / "photos")
    library = prepared(tmp_path / "data", cache=cache)
    assert not set(map(loaded_bytes, library.training)) & set(map(loaded_bytes, library.validation))
    assert len(library.training) + len(library.validation) == 3


def loaded_bytes(footage: Source) -> bytes:
    return loaded(footage).tobytes()


def test_one_file_alone_serves_both_sets(tmp_path: Path, cache: Path) -> None:
    (file,) = add_photos(tmp_path / "data", 1)
    for path in (file, file.parent):
        library = prepared(path, cache=cache)
        assert library.training == library.validation != ()


# What becomes of pictures


def test_large_photos_are_averaged_down_in_linear_light(tmp_path: Path, cache: Path) -> None:
    checks = np.zeros((100, 4100, 3), np.uint8)
    checks[::2, ::2] = checks[1::2, 1::2] = 255  # half of the light, sRGB 188
    write_png(tmp_path / "large.png", checks.repeat(2, 0))
    (large,) = prepared(tmp_path / "large.png", cache=cache).training
    assert loaded(large).shape == (1, 66, 1366, 3)
    exact = np.load(large.pictures).astype(float)  # pyright: ignore[reportAttributeAccessIssue]
    assert abs(exact.mean() - 188) < 2.5


def test_small_photos_are_stored_as_they_are(tmp_path: Path, cache: Path) -> None:
    files = add_photos(tmp_path / "data", 2)
    library = prepared(tmp_path / "data", cache=cache)
    for file, source in zip(files, (*library.validation, *library.training), strict=True):
        assert np.array_equal(loaded(source)[0], read_image(file))


def test_clips_are_at_most_half_their_width_and_sixty_frames(tmp_path: Path, cache: Path) -> None:
    pictures = add_clip(tmp_path / "small.mkv", 65)
    add_clip(tmp_path / "wide.mkv", 2, height=300, width=1200)
    library = prepared(tmp_path / "small.mkv", tmp_path / "wide.mkv", cache=cache)
    small, wide = loaded(library.validation[0]), loaded(library.training[0])
    assert small.shape == (60, 72, 96, 3)
    assert wide.shape[2] == 426
    halved = pictures[59].reshape(72, 2, 96, 2, 3).mean((1, 3))
    assert np.abs(small[59] - halved).mean() < 2


def test_a_bright_raw_file_looks_as_rawpy_develops_it(tmp_path: Path, cache: Path) -> None:
    import rawpy

    file = add_bright_raw(tmp_path / "raw.ARW")
    (source,) = prepared(file, cache=cache).training
    with rawpy.imread(str(file)) as raw:
        theirs = raw.postprocess(
            use_camera_wb=True, no_auto_bright=True, adjust_maximum_thr=0.0, gamma=(2.4, 12.92)
        )
    halved = theirs.reshape(80, 2, 96, 2, 3).mean((1, 3))
    assert np.abs(loaded(source)[0] - halved).mean() < 1


def test_dark_raw_files_without_long_exposures_are_no_data(dataset: Path, cache: Path) -> None:
    with pytest.raises(BadInput, match=r"0001/00001\.ARW: is too dark to learn from") as caught:
        prepared(dataset / "short" / "0001", cache=cache)
    assert "long exposures" in caught.value.fix


# Photos, clips, raws: the split


def test_one_photo_in_twelve_is_for_validation_and_never_trained_on(
    tmp_path: Path, cache: Path
) -> None:
    files = add_photos(tmp_path / "data", 26)
    library = prepared(tmp_path / "data", cache=cache)
    assert named(library.validation) == [f"data/{files[n].name}" for n in (0, 12, 24)]
    assert len(library.training) == 23
    assert not set(library.training) & set(library.validation)
    assert prepared(tmp_path / "data", cache=cache) == library


def test_a_photo_that_cannot_be_read_moves_no_other_between_the_sets(
    tmp_path: Path, cache: Path
) -> None:
    files = add_photos(tmp_path / "data", 14)
    files[0].write_bytes(files[0].read_bytes()[:500])
    files[3].unlink()
    files[3].symlink_to(tmp_path / "lost.png")
    library = prepared(tmp_path / "data", cache=cache)
    assert named(library.validation) == ["data/012.png"]
    assert len(library.training) == 11
    assert sorted(error.what for error in library.skipped) == ["003.png", "data/000.png"]
    for file in files[4:]:
        file.write_bytes(b"")
    library = prepared(tmp_path / "data", cache=cache)
    assert (named(library.validation), named(library.training)) == (
        ["data/001.png"],
        ["data/002.png"],
    )


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def no_picture(file: Path) -> None:
    file.write_text("not what its name says")


@pytest.mark.parametrize("damage", [cut, no_picture])
@pytest.mark.parametrize("name", ["bad.png", "bad.mp4", "bad.ARW"])
def test_a_file_that_cannot_be_read_is_named_or_stops_all(
    damage: Callable[[Path], None], name: str, tmp_path: Path, cache: Path
) -> None:
    data = tmp_path / "data"
    add_photos(data, 2)
    bad = data / name
    if name == "bad.png":
        write_png(bad, photo())
    elif name == "bad.mp4":
        add_clip(bad, 30)
    else:
        add_bright_raw(bad)
    damage(bad)
    library = prepared(data, cache=cache)
    assert [error.what for error in library.skipped] == [f"data/{name}"]
    assert library.skipped[0].why
    assert len(library.training) + len(library.validation) == 2
    with pytest.raises(BadInput, match=name):
        prepared(data, cache=cache, on_bad="stop")


def test_what_is_no_regular_file_is_refused_by_name(tmp_path: Path, cache: Path) -> None:
    """To open a FIFO would wait for ever."""
    add_photos(tmp_path / "data", 2)
    os.mkfifo(tmp_path / "data" / "pipe.jpg")
    (error,) = prepared(tmp_path / "data", cache=cache).skipped
    assert str(error) == "pipe.jpg: is not a regular file"


def test_tiny_photos_and_clips_are_refused_by_name(tmp_path: Path, cache: Path) -> None:
    add_photos(tmp_path / "data", 2)
    write_png(tmp_path / "data" / "icon.png", photo(63, 200))
    add_clip(tmp_path / "data" / "stamp.mkv", 2, height=100, width=200)
    reasons = [str(error) for error in prepared(tmp_path / "data", cache=cache).skipped]
    assert len(reasons) == 2
    assert reasons[0].startswith("data/icon.png: is too small: 200 x 63 pixels")
    assert reasons[1].startswith("data/stamp.mkv: is too small: 100 x 50 pixels")


def test_what_is_not_there_or_holds_nothing_is_told(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        prepared(tmp_path / "nowhere", cache=cache)
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "a.txt").write_text("?")
    for path in (notes, notes / "a.txt"):
        with pytest.raises(BadInput, match="notes") as caught:
            prepared(path, cache=cache)
        assert "photos" in caught.value.fix
    add_photos(tmp_path / "data", 2)
    library = prepared(tmp_path / "data", notes, cache=cache)
    assert ["notes" in str(error) for error in library.skipped] == [True]
    assert len(library.training) == 1
    assert not (notes / ".lock").exists()


# DRV: lists


def test_the_lists_say_what_is_learned_and_test_scenes_are_never_touched(
    dataset: Path, cache: Path
) -> None:
    for kind in ("short", "long"):
        for name in ("0008", "0009", "0010"):
            shutil.rmtree(dataset / kind / name)
    (dataset / "train_list.txt").write_text("\n0003\n 0001\r\n\n0003\n")
    library = prepared(dataset, cache=cache, on_bad="stop")
    assert named(library.training) == ["0003", "0001"]
    assert named(library.validation) == ["0007"]


@pytest.mark.parametrize("other", ["val", "test"])
@pytest.mark.parametrize("on_bad", ["skip", "stop"])
def test_a_scene_in_two_lists_is_refused(
    other: str, on_bad: str, dataset: Path, cache: Path
) -> None:
    with (dataset / f"{other}_list.txt").open("a") as file:
        file.write("0002\n")
    with pytest.raises(BadInput, match=f"scene 0002: stands in train_list.txt and in {other}_list"):
        prepared(dataset, cache=cache, on_bad=on_bad)
    assert not cache.exists()


def test_without_lists_every_eighth_scene_validates(dataset: Path, cache: Path) -> None:
    (dataset / "short" / "M0001").mkdir()
    for kind in ("train", "val", "test"):
        (dataset / f"{kind}_list.txt").unlink()
    library = prepared(dataset, cache=cache, on_bad="stop")
    assert named(library.validation) == ["0001", "0009"]
    assert len(library.training) == 8
    (dataset / "test_list.txt").write_text("0001\n0002\n")
    library = prepared(dataset, cache=cache, on_bad="stop")
    assert named(library.validation) == ["0003"]
    assert "0001" not in named(library.training)


def test_an_empty_list_is_told_and_replaced_by_part_of_the_other(
    dataset: Path, cache: Path
) -> None:
    (dataset / "val_list.txt").write_text("\n")
    library = prepared(dataset, cache=cache)
    assert named(library.validation) == ["0001"]
    assert named(library.training) == [f"{n:04d}" for n in range(2, 7)]
    assert [str(error) for error in library.skipped] == ["DRV/val_list.txt: names no scene"]
    with pytest.raises(BadInput, match="val_list"):
        prepared(dataset, cache=cache, on_bad="stop")
    (dataset / "train_list.txt").write_text("0004\n")
    library = prepared(dataset, cache=cache)
    assert library.training == library.validation != ()
    (dataset / "train_list.txt").write_text("")
    with pytest.raises(BadInput, match=r"DRV/train_list\.txt: names no scene"):
        prepared(dataset, cache=cache)


# DRV: what is wrong with scenes


def remove_long(dataset: Path) -> None:
    (dataset / "long" / "0002" / "0001.ARW").unlink()


def remove_short(dataset: Path) -> None:
    shutil.rmtree(dataset / "short" / "0002")


def empty_short(dataset: Path) -> None:
    for shot in (dataset / "short" / "0002").iterdir():
        shot.unlink()


def cut_long(dataset: Path) -> None:
    cut(dataset / "long" / "0002" / "0001.ARW")


def cut_shots(dataset: Path) -> None:
    for shot in (dataset / "short" / "0002").iterdir():
        cut(shot)


def shrink_long(dataset: Path) -> None:
    add_bright_raw(dataset / "long" / "0002" / "0001.ARW", HEIGHT // 2, WIDTH // 2)


def list_motion(dataset: Path) -> None:
    (dataset / "train_list.txt").write_text("0001\nM0002\n")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (remove_long, "scene 0002: there is no long exposure in long/0002"),
        (remove_short, "scene 0002: there is no folder short/0002"),
        (empty_short, "scene 0002: there are no shots in short/0002"),
        (cut_long, "scene 0002: 0001.ARW: truncated"),
        (cut_shots, "scene 0002: 4 of 4 shots cannot be used: 00001.ARW"),
        (shrink_long, "scene 0002: its shots have 128 x 96 pixels (RGGB), its long exposure 64 x"),
        (list_motion, "scene M0002: has motion"),
    ],
)
def test_a_scene_that_cannot_be_used_is_named_or_stops_all(
    damage: Callable[[Path], None], told: str, dataset: Path, cache: Path
) -> None:
    damage(dataset)
    library = prepared(dataset, cache=cache)
    assert len(library.skipped) == 1
    assert str(library.skipped[0]).startswith(told)
    assert "0001" in named(library.training)
    assert "0002" not in named(library.training)
    with pytest.raises(BadInput) as caught:
        prepared(dataset, cache=cache, on_bad="stop")
    assert str(caught.value).startswith(told)


def test_shots_that_state_their_exposure_too_exactly_are_all_used(
    dataset: Path, cache: Path
) -> None:
    for number, shot in enumerate(sorted((dataset / "short" / "0001").iterdir())):
        content = shot.read_bytes()
        stated = struct.pack("<II", 1, 50)  # Exif: ExposureTime, a fraction
        assert content.count(stated) == 1
        other = struct.pack("<II", 20_000 + 20 * (number % 3), 1_000_000)
        shot.write_bytes(content.replace(stated, other))
    library = prepared(dataset, cache=cache, on_bad="stop")
    scene = library.training[0]
    assert isinstance(scene, DrvScene)
    assert len(np.load(scene.planes, mmap_mode="r")) == SHOTS


def test_bad_shots_are_left_out_and_named_each_time(dataset: Path, cache: Path) -> None:
    cut(dataset / "short" / "0001" / "00002.ARW")
    other = simulate(
        [smooth(HEIGHT, WIDTH)[None]],
        dataset.parent / "other",
        SimulateSettings(frames=1, iso=3200, width=WIDTH, height=HEIGHT),
    )
    shutil.copy(other[0].short / "00001.ARW", dataset / "short" / "0001" / "00009.ARW")
    for _ in range(2):
        library = prepared(dataset, cache=cache)
        scene = library.training[0]
        assert isinstance(scene, DrvScene)
        assert np.load(scene.planes).shape == (SHOTS - 1, 4, HEIGHT // 2, WIDTH // 2)
        reasons = [str(error) for error in library.skipped]
        assert len(reasons) == 2
        assert reasons[0].startswith("scene 0001: 00002.ARW: truncated")
        assert reasons[1].startswith("scene 0001: 00009.ARW: is exposed differently")
    with pytest.raises(BadInput, match=r"00002\.ARW"):
        prepared(dataset, cache=cache, on_bad="stop")


# DRV: what becomes of scenes


@pytest.mark.parametrize("factor", [1, 2])
def test_training_sees_the_planes_that_enhance_reads(
    factor: int, dataset: Path, cache: Path
) -> None:
    scene = prepared(dataset, cache=cache, bin=factor).training[0]
    assert isinstance(scene, DrvScene)
    plan = make_plan(dataset / "short" / "0001", EnhanceSettings(bin=factor))
    planes = np.load(scene.planes, mmap_mode="r")
    assert planes.dtype == np.float16 and len(planes) == SHOTS
    for ours, shot in zip(planes, plan.burst.shots, strict=True):
        assert np.array_equal(ours, read_planes(shot, factor).astype(np.float16))
    assert scene.ratio == plan.ratio.value == pytest.approx(RATIO, rel=1e-3)
    assert scene.noise == (plan.noise.shot, plan.noise.read)
    assert scene.white_balance == plan.first.white_balance
    assert scene.matrix == plan.first.color_matrix
    assert scene.bin == factor


@pytest.mark.parametrize("factor", [1, 2])
def test_amplified_shots_and_reference_show_the_same_in_the_same_place(
    factor: int, dataset: Path, cache: Path
) -> None:
    scene = prepared(dataset, cache=cache, bin=factor).training[0]
    assert isinstance(scene, DrvScene)
    still = np.load(scene.planes).astype(np.float32).mean(0)
    red, green1, green2, blue = amplify(still, scene.ratio, scene.white_balance)
    camera = torch.from_numpy(np.stack([red, (green1 + green2) / 2, blue]))
    shown = torch.einsum("ij,jhw->hwi", torch.tensor(scene.matrix), camera).numpy()
    reference = np.load(scene.reference)
    assert reference.dtype == np.uint16 and reference.shape == (
        HEIGHT // factor,
        WIDTH // factor,
        3,
    )
    height, width = shown.shape[:2]
    averaged = reference.reshape(height, 2, width, 2, 3).mean((1, 3)) / 65535
    assert np.abs(shown.mean((0, 1)) - averaged.mean((0, 1))).max() < 0.01

    def distance(down: int, right: int) -> float:
        moved = np.roll(averaged, (down, right), (0, 1))[2:-2, 2:-2]
        return float(np.square(shown[2:-2, 2:-2] - moved).mean())

    places = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    assert min(places, key=lambda place: distance(*place)) == (0, 0)


def test_bin_is_chosen_so_that_frames_are_at_most_1920_wide(tmp_path: Path, cache: Path) -> None:
    asked = SimulateSettings(frames=2, width=2000, height=64, motion="static")
    simulate([smooth(64, 2000)[None]], tmp_path / "wide", asked)
    scene = prepared(tmp_path / "wide", cache=cache).training[0]
    assert isinstance(scene, DrvScene)
    assert np.load(scene.reference).shape == (32, 1000, 3)


def test_the_datasets_own_reference_is_taken_where_it_fits(dataset: Path, cache: Path) -> None:
    linear = np.linspace(0, 1, HEIGHT * WIDTH * 3, dtype=np.float32).reshape(HEIGHT, WIDTH, 3)
    coded = (tone_curve(torch.from_numpy(linear)) * 65535).round().numpy().astype(np.uint16)
    write_png16(dataset / "long" / "0001" / "half0001_s.png", coded)
    write_png16(dataset / "long" / "0002" / "half0001.png", coded[2:])
    first, second = (
        np.load(scene.reference)
        for scene in prepared(dataset, cache=cache).training[:2]
        if isinstance(scene, DrvScene)
    )
    assert np.abs(first / 65535 - linear).max() < 5e-5
    assert second.shape == linear.shape and np.abs(second / 65535 - linear).mean() > 0.1


# V-BM4D


def add_vbm4d(dataset: Path, name: str, factor: int = 1) -> NDArray[np.uint16]:
    """Pictures of a scene as the dataset has them: linear, amplified; gives the first."""
    folder = dataset / "VBM4D_rawRGB" / name
    folder.mkdir(parents=True)
    height, width = HEIGHT // factor, WIDTH // factor
    rng = np.random.default_rng(0)
    clean = smooth(height, width).astype(np.float32) / 255
    noisy = [clean + rng.normal(0, 0.01, clean.shape) for _ in range(SHOTS)]
    pictures = [np.rint(65535 * one.clip(0, 1)).astype(np.uint16) for one in noisy]
    for number, picture in enumerate(pictures, 1):
        write_png16(folder / f"{number:04d}.png", picture)
    return pictures[0]


@pytest.mark.parametrize("factor", [1, 2])
def test_vbm4d_pictures_take_the_place_of_the_shots(
    factor: int, dataset: Path, cache: Path
) -> None:
    shutil.rmtree(dataset / "short")
    first = add_vbm4d(dataset, "0001", factor)
    add_vbm4d(dataset, "0007", factor)
    library = prepared(dataset, cache=cache, drv_input="vbm4d")
    assert (named(library.training), named(library.validation)) == (["0001"], ["0007"])
    assert len(library.skipped) == 5
    scene = library.training[0]
    assert isinstance(scene, DrvScene)
    planes = np.load(scene.planes)
    assert planes.shape == (SHOTS, 4, HEIGHT // factor // 2, WIDTH // factor // 2)
    sites = ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2))  # row, column, colour of R G1 G2 B
    for plane, (row, column, colour) in zip(planes[0], sites, strict=True):
        assert np.allclose(plane, first[row::2, column::2, colour] / 65535, rtol=1e-3)
    assert scene.ratio == 1.0
    assert scene.white_balance == read_mosaic(dataset / "long/0001/0001.ARW").info.white_balance
    shot, read = scene.noise
    assert shot * 0.5 + read == pytest.approx(0.01**2, rel=0.3)
    assert np.load(scene.reference).shape == first.shape


def test_scenes_of_the_other_input_tell_the_option_that_reads_them(
    dataset: Path, cache: Path
) -> None:
    add_vbm4d(dataset, "0002")
    remove_short(dataset)
    (error,) = prepared(dataset, cache=cache).skipped
    assert "--drv-input vbm4d" in error.fix
    shutil.rmtree(dataset / "short")
    with pytest.raises(BadInput) as caught:
        prepared(dataset, cache=cache)
    assert "scene 0001: there is no folder short/0001" in str(caught.value)
    with pytest.raises(BadInput, match="nothing to validate") as caught:
        prepared(dataset, cache=cache, drv_input="vbm4d")


def test_bad_vbm4d_pictures_are_left_out_by_name(dataset: Path, cache: Path) -> None:
    for name in ("0001", "0002", "0007"):
        add_vbm4d(dataset, name)
    folder = dataset / "VBM4D_rawRGB"
    cut(folder / "0001" / "0001.png")
    write_png16(folder / "0001" / "0003.png", np.zeros((8, 8, 3), np.uint16))
    for picture in (folder / "0002").iterdir():
        picture.write_bytes(b"")
    (dataset / "train_list.txt").write_text("0001\n0002\n")
    library = prepared(dataset, cache=cache, drv_input="vbm4d")
    assert named(library.training) == ["0001"]
    reasons = sorted(str(error) for error in library.skipped)
    starts = ["scene 0001: 0001.png", "scene 0001: 0003.png: has another size", "scene 0002"]
    assert [text.startswith(start) for text, start in zip(reasons, starts, strict=True)] == [
        True
    ] * 3
    with pytest.raises(BadInput, match=r"0001\.png"):
        prepared(dataset, cache=cache, drv_input="vbm4d", on_bad="stop")


def test_a_16_bit_png_is_read_exactly_or_refused(tmp_path: Path) -> None:
    picture = np.random.default_rng(1).integers(0, 65536, (37, 53, 3)).astype(np.uint16)
    file = tmp_path / "a.png"
    write_png16(file, picture)
    assert np.array_equal(read_png16(file), picture)
    whole = file.read_bytes()
    for size in (0, 20, 40, len(whole) // 2, len(whole) - 30):
        file.write_bytes(whole[:size])
        with pytest.raises(BadInput, match=r"a\.png"):
            read_png16(file)
    file.write_bytes(whole[:300] + b"\xff\xff" + whole[302:])
    with pytest.raises(BadInput, match=r"a\.png"):
        read_png16(file)


# The reference as LibRaw develops it


@pytest.mark.parametrize(
    "name",
    [
        *("canon_x4_colorchart.dng", "kodak_dc50.KDC"),
        "gopro_hero6.dng",
        "gopro_hero7.dng",
    ],
)
def test_a_linear_reference_with_the_tone_curve_is_the_picture_of_rawpy(name: str) -> None:
    import rawpy

    path = samples(f"raw/good/{name}")
    linear = read_developed(path)
    info = read_mosaic(path).info
    assert linear.shape == (info.height, info.width, 3) and linear.dtype == np.uint16
    with rawpy.imread(str(path)) as raw:
        theirs = raw.postprocess(
            use_camera_wb=True,
            no_auto_bright=True,
            adjust_maximum_thr=0.0,
            output_bps=16,
            user_flip=0,
        )
    down, right = divmod(info.pattern.index("R"), 2)
    theirs = theirs[down : down + info.height, right : right + info.width]
    ours = tone_curve(torch.from_numpy(linear.astype(np.float32) / 65535)).numpy()
    assert -10 * np.log10(np.square(ours - theirs / 65535).mean()) > 60


def agreement(path: Path, factor: int) -> float:
    """PSNR between LibRaw's picture averaged down and the development of binned planes, in dB."""
    mosaic = read_mosaic(path)
    info = mosaic.info
    planes = bin_planes(pack(mosaic.data, info.black, info.white), factor)
    red, green1, green2, blue = amplify(planes, 1.0, info.white_balance)
    camera = torch.from_numpy(np.stack([red, (green1 + green2) / 2, blue]))
    ours = develop(camera, torch.tensor(info.color_matrix)).permute(1, 2, 0)
    height, width, _ = ours.shape
    linear = read_developed(path)[: 2 * factor * height, : 2 * factor * width]
    blocks = linear.reshape(height, 2 * factor, width, 2 * factor, 3).mean((1, 3)) / 65535
    theirs = tone_curve(torch.from_numpy(blocks.astype(np.float32)))
    return -10 * float((ours - theirs).square().mean().log10())


@pytest.mark.parametrize(
    "name",
    [
        "canon_x4_colorchart.dng",
        "gopro_hero6.dng",
        "gopro_hero7.dng",
    ],
)
def test_references_of_real_files_agree_with_the_planes(name: str) -> None:
    """Real scenes have detail that a mosaic does not show, thus the averages over 8 pixels."""
    assert agreement(samples(f"raw/good/{name}"), 4) > 41


def test_references_of_simulated_files_agree_with_the_planes(dataset: Path) -> None:
    for file in (dataset / "long").glob("*/*.ARW"):
        assert agreement(file, 1) > 40


# The cache


def test_a_second_call_decodes_nothing(dataset: Path, tmp_path: Path, cache: Path) -> None:
    """What is in the files by then does not matter, if size and time are the same."""
    data = tmp_path / "data"
    add_photos(data, 3)
    add_clip(data / "clip.mkv", 3)
    add_bright_raw(data / "raw.ARW")
    library = prepared(data, dataset, cache=cache)
    before = contents(cache)
    for file in [*data.rglob("*.*"), *dataset.rglob("*.ARW")]:
        status = file.stat()
        file.write_bytes(bytes(status.st_size))
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    told: list[tuple[int, int]] = []
    again = prepared(
        data, dataset, cache=cache, on_bad="stop", on_item=lambda *item: told.append(item)
    )
    assert again == library
    assert contents(cache) == before
    assert told == [(done, 12) for done in range(1, 13)]


def test_a_changed_file_or_another_bin_is_decoded_anew(dataset: Path, cache: Path) -> None:
    (dataset / "train_list.txt").write_text("0001\n")
    first = prepared(dataset, cache=cache).training
    assert prepared(dataset, cache=cache, bin=2).training != first
    assert prepared(dataset, cache=cache).training == first
    (dataset / "short" / "0001" / "00001.ARW").touch()
    assert prepared(dataset, cache=cache).training != first


def test_moved_data_are_still_known(tmp_path: Path, cache: Path) -> None:
    add_photos(tmp_path / "here" / "photos", 2)
    library = prepared(tmp_path / "here" / "photos", cache=cache)
    (tmp_path / "here").rename(tmp_path / "there")
    assert prepared(tmp_path / "there" / "photos", cache=cache) == library


def test_entries_damaged_from_outside_are_made_again(tmp_path: Path, cache: Path) -> None:
    add_photos(tmp_path / "data", 3)
    library = prepared(tmp_path / "data", cache=cache)
    before = contents(cache)
    one, two, three = (source.pictures for source in (*library.validation, *library.training))  # pyright: ignore
    cut(one)
    two.unlink()
    (three.parent / "facts.json").write_text("{")
    assert prepared(tmp_path / "data", cache=cache) == library
    assert {path: digest for path, (digest, _) in contents(cache).items()} == {
        path: digest for path, (digest, _) in before.items()
    }


def test_an_interrupt_ends_soon_and_leaves_whole_entries(tmp_path: Path, cache: Path) -> None:
    add_photos(tmp_path / "data", 40)

    def interrupt(done: int, _total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepared(tmp_path / "data", cache=cache, on_item=interrupt)
    assert 5 <= len(whole_entries(cache)) < 40
    assert not list(cache.glob(".*.part"))


def whole_entries(cache: Path) -> list[Path]:
    """The entries of a cache; fails if one is not whole."""
    entries = [path for path in cache.iterdir() if not path.name.startswith(".")]
    for entry in entries:
        sizes = json.loads((entry / "facts.json").read_text())["sizes"]
        assert sorted([*sizes, "facts.json"]) == names(entry)
        for name in sizes:
            np.load(entry / name)
    return entries


def preparing(data: Path, cache: Path, *, before: str = "", share: str = "(0, 1)") -> list[str]:
    """A command that prepares data in a process of its own."""
    return [
        sys.executable,
        "-c",
        f"{before}\n"
        "from pathlib import Path\n"
        "from batman_cli.training.sources import prepare\n"
        f"library = prepare([Path({str(data)!r})], Path({str(cache)!r}), bin=None, "
        f"drv_input='short', on_bad='skip', share={share})\n"
        "print(repr(library))\n",
    ]


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def test_a_kill_leaves_whole_entries_and_its_rest_is_removed(
    dataset: Path, tmp_path: Path, cache: Path
) -> None:
    slow = (
        "import time, batman_cli.plan as d\n"
        "read = d.read_planes\n"
        "d.read_planes = lambda *a: (time.sleep(0.02), read(*a))[1]\n"
    )
    for share in (0.2, 0.5, 0.8):
        shutil.rmtree(cache, ignore_errors=True)
        running = subprocess.Popen(preparing(dataset, cache, before=slow), env=ENVIRONMENT)
        while not cache.is_dir() or len(names(cache)) < 2 + 7 * share:
            assert running.poll() is None
            time.sleep(0.002)
        running.kill()
        running.wait()
        assert list(cache.glob(".*.part"))
        kept = whole_entries(cache)
        assert 0 < len(kept) < 7
        before = contents(cache)
        library = prepared(dataset, cache=cache)
        assert len(library.training) == 6 and len(whole_entries(cache)) == 7
        assert not list(cache.glob(".*.part"))
        after = contents(cache)
        assert all(after[file] == before[file] for entry in kept for file in entry.iterdir())


def test_several_processes_fill_one_cache_and_agree(
    dataset: Path, tmp_path: Path, cache: Path
) -> None:
    add_photos(dataset.parent / "data", 30)
    shutil.move(dataset, dataset.parent / "data")
    commands = [
        preparing(dataset.parent / "data", cache, share=f"({rank}, 3)") for rank in (0, 1, 2)
    ]
    running = [
        subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE) for command in commands
    ]
    outputs = {process.communicate(timeout=120)[0] for process in running}
    assert [process.returncode for process in running] == [0, 0, 0]
    assert len(outputs) == 1
    assert len(whole_entries(cache)) == 37
    assert not list(cache.glob(".*.part"))


def test_what_a_living_process_is_making_is_left_alone(tmp_path: Path, cache: Path) -> None:
    add_photos(tmp_path / "data", 3)
    add_photos(tmp_path / "more", 2)
    parts: list[list[Path]] = []

    def meanwhile(done: int, _total: int) -> None:
        if done == 1:
            parts.append(list(cache.glob(".*.part")))
            prepared(tmp_path / "more", cache=cache)
            parts.append(list(cache.glob(".*.part")))

    assert len(prepared(tmp_path / "data", cache=cache, on_item=meanwhile).training) == 2
    assert len(parts[0]) == 1
    assert parts[1] == parts[0]
    assert not list(cache.glob(".*.part"))


# Disks and memory


def test_a_full_disk_is_told_and_whole_entries_stay(small_disk: Path, tmp_path: Path) -> None:
    add_photos(tmp_path / "data", 30)
    cache = small_disk / "cache"
    with pytest.raises(OutputError, match="No space left on device") as caught:
        prepared(tmp_path / "data", cache=cache)
    assert str(cache) in caught.value.what
    assert 0 < len(whole_entries(cache)) < 30
    assert not list(cache.glob(".*.part"))


def test_a_scene_without_room_is_refused_before_it_is_decoded(
    small_disk: Path, dataset: Path, tmp_path: Path
) -> None:
    (small_disk / "full").write_bytes(bytes(150_000))
    with pytest.raises(OutputError, match=r"172,032 bytes needed, .* free"):
        prepared(dataset, cache=small_disk / "cache")


def test_a_limit_of_file_size_is_told(tmp_path: Path, cache: Path) -> None:
    add_photos(tmp_path / "data", 2)
    limited = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))\n"
    )
    command = preparing(tmp_path / "data", cache, before=limited)
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert f"OutputError: cannot write to the cache {cache}: File too large" in done.stderr
    assert whole_entries(cache) == []


def test_a_cache_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (file,) = add_photos(tmp_path / "data", 1)
    with pytest.raises(OutputError, match="File exists"):
        prepared(file, cache=file)


def test_six_times_the_shots_need_no_more_memory(tmp_path: Path) -> None:
    asked = SimulateSettings(
        frames=2, ratio=RATIO, width=1024, height=768, file_format="arw-uncompressed"
    )
    simulate([smooth(800, 1056)[None]], tmp_path / "DRV", asked)
    short = tmp_path / "DRV" / "short" / "0001"
    measure = (
        "import atexit, resource\natexit.register(lambda: print(resource.getrusage(0).ru_maxrss))"
    )
    peaks: list[int] = []
    for shots in (10, 60):
        for number in range(len(list(short.iterdir())), shots):
            content = (short / f"{number % 2 + 1:05d}.ARW").read_bytes() + number.to_bytes(4)
            (short / f"{number + 1:05d}.ARW").write_bytes(content)  # no copy, by its last bytes
        command = preparing(tmp_path / "DRV", tmp_path / f"cache{shots}", before=measure)
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.splitlines()[-1]))
        (planes,) = (tmp_path / f"cache{shots}").glob("*/planes.npy")
        assert len(np.load(planes, mmap_mode="r")) == shots
    few, many = peaks
    assert many < 1.05 * few  # all shots together have 94 MB, a third of the whole process
