"""`batman simulate`: photos and clips become dark bursts in the layout of the DRV dataset."""

import json
import os
from collections.abc import Iterator
from fractions import Fraction
from itertools import count, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import FORMATS, NewBurst, photo
from numpy.typing import NDArray
from running import call, contents, names

from batman_cli import pictures
from batman_cli.errors import OutputError
from batman_cli.pack import bin_planes, pack
from batman_cli.raw import read_developed, read_info, read_mosaic
from batman_cli.settings import SimulateSettings
from batman_cli.simulate.run import clean_views, simulate
from batman_cli.stills import read_image, write_png
from batman_cli.video import VideoWriter

SIZE = ("--size", "64x48")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    write_png(path, photo(96, 128))
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Five frames, each brighter than the one before."""
    path = tmp_path / "clip.mp4"
    with VideoWriter(path, width=96, height=80, fps=Fraction(25)) as video:
        for level in (5000, 15000, 25000, 35000, 45000):
            video.write(np.full((80, 96, 3), level, np.uint16))
    return path


def light(shot: Path) -> NDArray[np.float32]:
    """Planes of a shot (4, h, w), averaged over 4 x 4: 0 black, 1 white."""
    mosaic = read_mosaic(shot)
    return bin_planes(pack(mosaic.data, mosaic.info.black, mosaic.info.white), 4)


def shots(out: Path, scene: str = "0001") -> list[Path]:
    return sorted((out / "short" / scene).iterdir())


# What is made


def test_scenes_lie_as_in_the_drv_dataset(tmp_path: Path) -> None:
    settings = SimulateSettings(frames=2, width=64, height=48)
    simulate([photo(96, 128, seed)[None] for seed in range(12)], tmp_path, settings)
    ids = [f"{number:04d}" for number in range(1, 13)]
    lists = [f"{kind}_list.txt" for kind in ("test", "train", "val")]
    assert names(tmp_path) == ["long", "short", *lists]
    assert names(tmp_path / "short") == names(tmp_path / "long") == ids
    for scene in ids:
        assert names(tmp_path / "short" / scene) == ["00001.ARW", "00002.ARW"]
        assert names(tmp_path / "long" / scene) == ["0001.ARW"]
    listed = [(tmp_path / name).read_text() for name in lists]
    assert all(listed)
    assert sorted("".join(listed).splitlines()) == ids  # each in one list, and one alone


@pytest.mark.parametrize("file_format", FORMATS)
def test_shots_say_what_a_camera_would_say(file_format: str, picture: Path) -> None:
    out = picture.parent / "out"
    ran = call(
        *("simulate", picture, "-o", out, "--frames", "4", "--iso", "12800", "--fps", "16"),
        *("--ratio", "50", "--format", file_format, *SIZE),
    )
    assert ran.code == 0, ran.err
    infos = [read_info(shot) for shot in shots(out)]
    assert len(infos) == 4
    for info in infos:
        assert (info.camera, info.width, info.height) == ("SONY DSC-RX100M6", 64, 48)
        assert (info.iso, info.exposure_s) == (12800, pytest.approx(1 / 50))
        assert info.white_balance == pytest.approx((2, 1, 1.9), rel=0.01)
    times = [info.time_s or 0 for info in infos]
    assert np.diff(times) == pytest.approx([1 / 16] * 3, abs=1e-5)
    (reference,) = (out / "long" / "0001").iterdir()
    long = read_info(reference)
    assert long.iso and long.exposure_s
    assert long.iso * long.exposure_s == pytest.approx(50 * 12800 / 50)


@pytest.mark.parametrize("file_format", FORMATS)
def test_shots_are_so_many_times_darker_than_the_long_exposure(
    file_format: str, picture: Path
) -> None:
    out = picture.parent / "out"
    ran = call(
        *("simulate", picture, "-o", out, "--motion", "static", "--frames", "20"),
        *("--ratio", "30", "--iso", "3200", "--format", file_format, *SIZE),
    )
    assert ran.code == 0, ran.err
    dark = np.mean([light(shot) for shot in shots(out)], axis=0)
    bright = light(out / "long" / "0001" / f"0001{shots(out)[0].suffix}")
    unclipped = bright < 0.9
    ratio = bright[unclipped].sum() / dark[unclipped].sum()
    assert ratio == pytest.approx(30, rel=0.05)
    assert np.corrcoef(bright[unclipped], dark[unclipped])[0, 1] > 0.98


def test_more_iso_is_more_noise(picture: Path) -> None:
    def noise(iso: str) -> float:
        out = picture.parent / iso
        frames = ("--motion", "static", "--frames", "4", "--iso", iso)
        assert call("simulate", picture, "-o", out, *frames, *SIZE).code == 0
        return float(np.std([light(shot) for shot in shots(out)], axis=0).mean())

    assert noise("3200") < 0.7 * noise("12800")


def test_the_scene_moves_as_asked(picture: Path) -> None:
    def change(*options: str) -> float:
        """Mean difference of the first and last shot, beyond noise: at so little ratio of none."""
        out = picture.parent / "-".join(options)
        words = ("--ratio", "1", "--iso", "800", "--frames", "9", "--seed", "3", *options, *SIZE)
        assert call("simulate", picture, "-o", out, *words).code == 0
        first, *_, last = [light(shot) for shot in shots(out)]
        return float(np.abs(last - first).mean())

    still = change("--motion", "static")
    for motion in ("pan", "shake", "roll", "zoom", "handheld"):
        assert change("--motion", motion) > 3 * still
    assert change("--motion", "static", "--objects", "2") > 3 * still


def test_the_seed_decides(picture: Path) -> None:
    def files(name: str, seed: str) -> list[bytes]:
        out = picture.parent / name
        words = ("--frames", "2", "--seed", seed, *SIZE)
        assert call("simulate", picture, "-o", out, *words).code == 0
        return [path.read_bytes() for path in sorted(out.rglob("*.ARW"))]

    first = files("a", "1")
    assert files("b", "1") == first
    assert not set(files("c", "2")) & set(first)


def test_a_clip_gives_its_frames(clip: Path) -> None:
    out = clip.parent / "out"
    ran = call("simulate", clip, "-o", out, "--frames", "4", "--ratio", "4", *SIZE)
    assert ran.code == 0, ran.err
    means = [float(light(shot).mean()) for shot in shots(out)]
    assert len(means) == 4
    assert all(after > before + 0.001 for before, after in pairwise(means))
    # The long exposure shows the last frame used: there is no fifth.
    bright = float(light(out / "long" / "0001" / "0001.ARW").mean())
    assert bright == pytest.approx(4 * means[3], rel=0.1)


def test_photos_and_clips_go_together(picture: Path, clip: Path) -> None:
    out = picture.parent / "out"
    ran = call("simulate", picture, clip, "-o", out, "--frames", "2", "--json", *SIZE)
    assert ran.code == 0, ran.err
    told = [json.loads(line) for line in ran.out.splitlines()]
    assert [event["short"] for event in told if event["event"] == "scene"] == [
        str(out / "short" / scene) for scene in ("0001", "0002")
    ]
    assert [len(shots(out, scene)) for scene in ("0001", "0002")] == [2, 2]


def test_without_a_size_the_view_is_a_little_smaller_than_the_picture(picture: Path) -> None:
    out = picture.parent / "out"
    assert call("simulate", picture, "-o", out, "--frames", "1", "-q").err == ""
    info = read_info(shots(out)[0])
    assert (info.width, info.height) == (96, 64)


# What cannot be made


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("--camera box", "box"),
        ("--motion dance", "dance"),
        ("--format jpg", "format"),
        ("--frames 0", "frames"),
        ("--ratio 0.5", "ratio"),
        ("--ratio nan", "ratio"),
        ("--iso 0", "--iso 0: it is 1 to 10000000"),
        ("--iso 99999999999", "--iso"),
        ("--ratio 1e6", "--ratio"),
        ("--seed -1", "--seed"),
        ("--seed 99999999999999999999999", "--seed"),
        ("--objects -1", "--objects"),
        ("--fps 0", "fps"),
        ("--fps -5", "fps"),
        ("--fps often", "fps"),
        ("--size 64", "size"),
        ("--size 640x480", "640x480"),
        ("--size 16x16", "16x16"),
    ],
)
def test_options_that_cannot_be_met_are_named(options: str, named: str, picture: Path) -> None:
    out = picture.parent / "out"
    ran = call("simulate", picture, "-o", out, *options.split())
    assert ran.code == 2
    assert named in ran.err
    assert not out.exists()


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize(
    "options", ["--iso 10000000 --ratio 99999.37", "--ratio 33333.3333 --seed 4294967295"]
)
def test_whatever_can_be_asked_for_can_be_written(
    options: str, file_format: str, picture: Path
) -> None:
    """Also long exposures of years, which have few decimals in a file."""
    words = ("-o", picture.parent / "out", "--frames", "1", "--format", file_format, *SIZE)
    ran = call("simulate", picture, *words, *options.split())
    assert ran.code == 0, ran.err
    short, long = (
        read_info(next(picture.parent.glob(f"out/{k}/0001/*"))) for k in ("short", "long")
    )
    assert short.iso and short.exposure_s and long.iso and long.exposure_s
    ratio = long.iso * long.exposure_s / (short.iso * short.exposure_s)
    assert ratio == pytest.approx(float(options.partition("--ratio ")[2].split()[0]), rel=1e-6)


def test_a_clip_that_is_too_short_is_refused(clip: Path) -> None:
    ran = call("simulate", clip, "-o", clip.parent / "out", "--frames", "9", *SIZE)
    assert ran.code == 3
    assert "5 frames" in ran.err
    assert names(clip.parent) == ["clip.mp4"]


@pytest.mark.parametrize("name", ["text.png", "text.mp4", "missing.png", "missing.mp4"])
def test_what_is_no_picture_is_refused(name: str, tmp_path: Path) -> None:
    if name.startswith("text"):
        (tmp_path / name).write_text("not a picture")
    ran = call("simulate", tmp_path / name, "-o", tmp_path / "out")
    assert ran.code == 3
    assert name in ran.err
    assert not (tmp_path / "out").exists()


def test_one_picture_that_does_not_fit_leaves_no_scene_of_the_others(picture: Path) -> None:
    small = picture.parent / "small.png"
    write_png(small, photo(40, 40))
    ran = call("simulate", picture, small, "-o", picture.parent / "out", *SIZE)
    assert ran.code == 2
    assert "40x40" in ran.err
    assert not (picture.parent / "out").exists()


def test_scenes_that_are_there_stay(picture: Path) -> None:
    out = picture.parent / "out"
    assert call("simulate", picture, "-o", out, "--frames", "2", *SIZE).code == 0
    before = contents(out)
    ran = call("simulate", picture, "-o", out, "--frames", "3", *SIZE)
    assert ran.code == 7
    assert "exists already" in ran.err
    assert contents(out) == before


@pytest.mark.parametrize("name", ["test_list.txt", "long/0002"])
def test_nothing_is_written_beside_what_is_there(name: str, picture: Path) -> None:
    """Lists of a dataset say what its scenes are for, and a scene too many ends the call early."""
    out = picture.parent / "out"
    (out / "long").mkdir(parents=True)
    (out / name).write_text("0013\n")
    before = contents(out)
    ran = call("simulate", picture, picture, "-o", out, "--frames", "2", *SIZE)
    assert ran.code == 7
    assert f"{name} exists already" in ran.err
    assert contents(out) == before


def test_what_ends_early_leaves_whole_scenes_and_their_lists(tmp_path: Path) -> None:
    class Interrupted:
        def __init__(self) -> None:
            self.turns = count()

        def __iter__(self) -> Iterator[NDArray[np.uint8]]:
            yield photo(140, 180, 1)[None]
            if next(self.turns):  # the second time through
                raise KeyboardInterrupt
            yield photo(140, 180, 2)[None]

    with pytest.raises(KeyboardInterrupt):
        simulate(Interrupted(), tmp_path, SimulateSettings(frames=2, width=96, height=64))
    assert [path.name for path in (tmp_path / "short").iterdir()] == ["0001"]
    lists = [(tmp_path / f"{kind}_list.txt").read_text() for kind in ("train", "val", "test")]
    assert lists == ["0001\n", "", ""]


@pytest.mark.parametrize("kind", ["short", "long"])
def test_a_scene_that_another_call_makes_meanwhile_stays(kind: str, tmp_path: Path) -> None:
    class Overtaken:
        def __init__(self) -> None:
            self.turns = count()

        def __iter__(self) -> Iterator[NDArray[np.uint8]]:
            if next(self.turns):  # the second time through
                (tmp_path / kind / "0001").mkdir(parents=True)
                (tmp_path / kind / "0001" / "00001.ARW").write_text("another's")
            yield photo(140, 180, 1)[None]

    with pytest.raises(OutputError):
        simulate(Overtaken(), tmp_path, SimulateSettings(frames=2, width=96, height=64))
    assert names(tmp_path / kind / "0001") == ["00001.ARW"]
    other = {"short": "long", "long": "short"}[kind]
    assert not (tmp_path / other / "0001").exists()


def test_a_picture_is_read_when_it_is_its_turn(
    picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are looked at first; then none is kept that is not being worked on."""
    out, made = picture.parent / "out", list[int]()

    def watched(path: Path) -> NDArray[np.uint8]:
        made.append(len(list(out.glob("short/*"))))
        return read_image(path)

    monkeypatch.setattr(pictures, "read_image", watched)
    assert call("simulate", *[picture] * 3, "-o", out, "--frames", "2", *SIZE).code == 0
    assert made == [0, 0, 0, 0, 1, 2]


def test_a_folder_that_cannot_be_written_is_told(picture: Path, new_burst: NewBurst) -> None:
    closed = picture.parent / "closed"
    closed.mkdir(mode=0o555)
    # The administrator may write anywhere but in /proc.
    out = (closed if os.geteuid() else Path("/proc")) / "out"
    ran = call("simulate", picture, "-o", out, "--frames", "2", *SIZE)
    assert ran.code == 7
    assert str(out) in ran.err
    shot = new_burst(1) / "00001.ARW"
    assert call("simulate", picture, "-o", shot / "out", "--frames", "2", *SIZE).code == 7


@pytest.mark.parametrize("motion", ["static", "handheld"])
def test_clean_views_are_what_the_shots_would_show_without_noise(
    motion: str, tmp_path: Path
) -> None:
    sources = [photo(140, 180, seed)[None] for seed in range(2)]
    asked = SimulateSettings(frames=6, motion=motion, objects=1, width=96, height=64)
    scene = simulate(sources, tmp_path, asked)[1]
    linear = read_developed(next(scene.long.iterdir())).astype(np.float32) / 65535
    long = torch.from_numpy(linear).permute(2, 0, 1)
    views = clean_views(sources[1], asked, number=2)
    assert views.shape == (6, 3, 64, 96)
    # Away from edges, where a demosaic must guess.
    errors = [float((view - long).abs().median()) for view in views]
    assert min(errors) == errors[4] < 0.01
    other = clean_views(sources[1], asked, number=1)
    assert not torch.equal(other, views)
