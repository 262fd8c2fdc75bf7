"""A folder of dark raw shots becomes a bright video: the main path from end to end."""

import dataclasses
import datetime
import json
import shutil
import struct
from collections.abc import Sequence
from fractions import Fraction
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import (
    FORMATS,
    HEIGHT,
    KINDS,
    RATIO,
    WIDTH,
    Checkpoints,
    NewBurst,
    Scenes,
    photo,
    samples,
)
from numpy.typing import NDArray
from running import (
    Picture,
    Word,
    call,
    directly,
    mean_colours,
    names,
    pictures,
    plainly,
    probe,
)

from batman_cli import Result, enhance, enhance_frames
from batman_cli.errors import BadShot, UsageError
from batman_cli.plan import make_plan
from batman_cli.settings import EnhanceSettings, SimulateSettings
from batman_cli.simulate.dng import write_dng
from batman_cli.simulate.run import simulate
from batman_cli.simulate.scenes import srgb_to_linear
from batman_cli.simulate.tiff_writer import Exposure

pytestmark = pytest.mark.slow  # a real ffmpeg many times over: part of `make test` only

FPS = Fraction(20)


def tiny(checkpoints: Checkpoints, kind: str = "clstm") -> tuple[Word, ...]:
    """Options for a small network on the processor, in a precision that all of them have."""
    where = "--device", "cpu", "--precision", "fp32"
    return "--model", kind, "--weights", checkpoints[kind], *where


def as_settings(checkpoints: Checkpoints, kind: str, **more: object) -> EnhanceSettings:
    plain = EnhanceSettings(model=kind, weights=checkpoints[kind], device="cpu", precision="fp32")
    return dataclasses.replace(plain, **more)  # pyright: ignore[reportArgumentType]


def lossless(burst: Path, *options: Word, code: int = 0) -> list[Picture]:
    """The frames of a run, every bit of them; the video is removed."""
    video = burst.parent / "lossless.mkv"
    ran = call("enhance", burst, "-o", video, "--codec", "ffv1", *options)
    assert ran.code == code, ran.err
    frames = pictures(video)
    video.unlink()
    return frames


def same(some: list[Picture], others: list[Picture]) -> bool:
    return len(some) == len(others) and all(map(np.array_equal, some, others))


def plan_of(output: str) -> dict[str, object]:
    events = [json.loads(line) for line in output.splitlines()]
    return next(event for event in events if event["event"] == "plan")


# Frames


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frames", [1, 2, 3, 5, 12])
def test_as_many_frames_as_shots(
    kind: str, frames: int, new_burst: NewBurst, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    ran = call("enhance", new_burst(frames), "-o", tmp_path / "out.mp4", *tiny(checkpoints, kind))
    assert ran.code == 0, ran.err
    assert probe(tmp_path / "out.mp4") == (frames, WIDTH, HEIGHT, FPS)
    assert names(tmp_path) == ["burst", "out.mp4"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frames", [1, 2, 5, 12])
def test_streaming_equals_the_whole_burst_at_once_bit_for_bit(
    kind: str, frames: int, new_burst: NewBurst, checkpoints: Checkpoints
) -> None:
    burst = new_burst(frames)
    streamed = lossless(burst, *tiny(checkpoints, kind))
    assert same(streamed, directly(burst, as_settings(checkpoints, kind)))
    assert frames == 1 or not same(streamed[:1], streamed[1:2])


@pytest.mark.parametrize("kind", KINDS)
def test_sides_that_fit_no_network_are_padded_and_cut_again(
    kind: str, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    burst = dng_burst(tmp_path / "burst", [0.02] * 3, width=102, height=70)
    streamed = lossless(burst, *tiny(checkpoints, kind))
    assert streamed[0].shape == (70, 102, 3)
    assert same(streamed, directly(burst, as_settings(checkpoints, kind)))


@pytest.mark.parametrize("file_format", FORMATS)
def test_every_format_shows_the_scene(
    file_format: str, new_burst: NewBurst, scenes: Scenes, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    """The result, 20 times brighter than the shots, is close to the long exposure of the scene."""
    options = ("--model", "clstm", "--weights", checkpoints["plain"], "--device", "cpu")
    enhanced = lossless(new_burst(5, file_format=file_format), *options, "--ratio", str(RATIO))
    reference = tmp_path / "long"
    shutil.copytree(scenes[file_format].long, reference)
    (bright,) = lossless(reference, *options, "--ratio", "1")
    error = np.sqrt(np.mean((enhanced[4] / 65535 - bright / 65535) ** 2))
    dark = lossless(tmp_path / "burst", *options, "--ratio", "1")
    assert error < 0.06
    assert dark[4].mean() < 0.4 * bright.mean()


def test_colours_are_those_of_the_scene(checkpoints: Checkpoints, tmp_path: Path) -> None:
    """From the photo through the camera's own colours and back, patch by patch."""
    source = photo()
    asked = SimulateSettings(frames=1, motion="static", width=WIDTH, height=HEIGHT)
    scene = simulate([source[None]], tmp_path / "scenes", asked)[0]
    options = ("--model", "clstm", "--weights", checkpoints["plain"], "--device", "cpu")
    (frame,) = lossless(scene.long, *options, "--ratio", "1", "--compare")
    top, left = (source.shape[0] - HEIGHT) // 2, (source.shape[1] - WIDTH) // 2
    truth = srgb_to_linear(
        torch.from_numpy(source[top : top + HEIGHT, left : left + WIDTH]) / 255
    ).numpy()
    coded = frame[:, :WIDTH] / 65535  # the plain half: nothing of it is smoothed
    linear = np.where(coded < 0.081, coded / 4.5, ((coded + 0.0993) / 1.0993) ** (1 / 0.45))
    error = patches(linear) - patches(truth)
    assert np.sqrt(np.mean(error**2)) < 0.01
    assert patches(truth).std(axis=2).mean() > 0.1  # there are colours to be lost


def patches(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean colours of 8 x 8 patches, away from their edges."""
    return image.reshape(HEIGHT // 8, 8, WIDTH // 8, 8, 3)[:, 2:6, :, 2:6].mean((1, 3))


def test_the_same_command_gives_the_same_bytes(
    new_burst: NewBurst, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    burst = new_burst(5)
    for name in ("a.mp4", "b.mp4"):
        assert call("enhance", burst, "-o", tmp_path / name, *tiny(checkpoints)).code == 0
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_a_shot_with_less_light_is_brightened_more(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    """Half the exposure in one shot does not show as a dark frame."""
    burst = dng_burst(tmp_path / "burst", [0.02, 0.02, 0.01, 0.02, 0.02])
    options = ("--model", "clstm", "--weights", checkpoints["plain"], "--device", "cpu")
    means = [frame.mean() for frame in lossless(burst, *options, "--ratio", "10")]
    assert means[2] == pytest.approx(means[1], rel=0.03)
    assert means[2] == pytest.approx(means[3], rel=0.03)


# What is asked for


def test_the_video_lies_beside_the_burst_by_default(
    new_burst: NewBurst, checkpoints: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    burst = new_burst(2, name="some where/night.1")
    assert call("enhance", burst, *tiny(checkpoints)).code == 0
    assert names(tmp_path / "some where") == ["night.1", "night.1.mp4"]
    monkeypatch.chdir(burst)
    ran = call("enhance", ".", *tiny(checkpoints), "--codec", "prores")
    assert ran.code == 0
    assert names(tmp_path / "some where") == ["night.1", "night.1.mov", "night.1.mp4"]
    (burst / "inside").mkdir()
    monkeypatch.chdir(burst / "inside")
    ran = call("enhance", "..", *tiny(checkpoints), "--codec", "ffv1")
    assert ran.code == 0
    assert "night.1.mkv" in names(tmp_path / "some where")


def test_one_raw_file_is_a_burst(
    new_burst: NewBurst, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    shot = new_burst(3) / "00002.ARW"
    assert call("enhance", shot, *tiny(checkpoints), growing=True).code == 0
    assert probe(shot.with_suffix(".mp4")).frames == 1


@pytest.mark.parametrize("fps", ["30000/1001", "29.97002997"])
def test_the_frame_rate_is_exact(
    fps: str, new_burst: NewBurst, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    ran = call("enhance", new_burst(), "-o", tmp_path / "x.mp4", "--fps", fps, *tiny(checkpoints))
    assert ran.code == 0
    assert probe(tmp_path / "x.mp4").fps == Fraction(30000, 1001)


def test_a_new_folder_may_have_a_dot_in_its_name(
    new_burst: NewBurst, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    bursts = [new_burst(1, name=name) for name in ("one", "two")]
    ran = call("enhance", *bursts, "-o", tmp_path / "2026.11.28", *tiny(checkpoints))
    assert ran.code == 0, ran.err
    assert names(tmp_path / "2026.11.28") == ["one.mp4", "two.mp4"]


def test_stills_of_one_raw_file_may_lie_beside_its_burst(
    new_burst: NewBurst, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    burst = new_burst(1)
    video = tmp_path / f"{burst.name}.mp4"
    words = ("-o", video, "--stills", "png", *tiny(checkpoints))
    ran = call("enhance", burst / "00001.ARW", *words)
    assert ran.code == 0, ran.err
    assert len(list((tmp_path / f"{burst.name}_stills").iterdir())) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_start_stop_and_step_choose_shots(
    kind: str, new_burst: NewBurst, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    burst = new_burst(12)
    options = ("--start", "2", "--stop", "9", "--step", "3")
    settings = as_settings(checkpoints, kind, start=2, stop=9, step=3)
    shots = make_plan(burst, settings).burst.shots
    assert [shot.path.name for shot in shots] == ["00003.ARW", "00006.ARW", "00009.ARW"]
    frames = lossless(burst, *options, *tiny(checkpoints, kind))
    assert same(frames, directly(burst, settings))
    assert call("enhance", burst, *options, *tiny(checkpoints, kind)).code == 0
    assert float(probe(tmp_path / "burst.mp4").fps) == pytest.approx(20 / 3, rel=0.01)


@pytest.mark.parametrize("tile", ["0", "256", "4096"])
def test_a_tile_larger_than_the_frame_changes_nothing(
    tile: str, new_burst: NewBurst, checkpoints: Checkpoints
) -> None:
    burst = new_burst(3)
    whole = lossless(burst, *tiny(checkpoints, "3dcnn"))
    assert same(lossless(burst, "--tile", tile, *tiny(checkpoints, "3dcnn")), whole)


def test_binning_halves_the_frame(new_burst: NewBurst, checkpoints: Checkpoints) -> None:
    frames = lossless(new_burst(3), "--bin", "2", *tiny(checkpoints))
    assert [frame.shape for frame in frames] == [(HEIGHT // 2, WIDTH // 2, 3)] * 3


def test_the_ratio_is_that_of_the_long_exposure_where_there_is_one(
    scenes: Scenes, new_burst: NewBurst, checkpoints: Checkpoints
) -> None:
    dry = ("--dry-run", "--json", *tiny(checkpoints))
    assert plan_of(call("enhance", scenes["arw"].short, *dry).out)["ratio"] == pytest.approx(RATIO)
    asked = plan_of(call("enhance", scenes["arw"].short, "--ratio", "7.5", *dry).out)["ratio"]
    assert asked == 7.5
    estimated = plan_of(call("enhance", new_burst(), *dry).out)["ratio"]
    assert isinstance(estimated, float)
    assert RATIO < estimated < 4 * RATIO


@pytest.mark.parametrize(("tag", "turns"), [(3, 2), (8, 1), (6, 3)])
def test_frames_stand_upright(
    tag: int, turns: int, new_burst: NewBurst, checkpoints: Checkpoints
) -> None:
    burst = new_burst(2)
    lying = lossless(burst, *tiny(checkpoints))
    plain = plainly(burst, as_settings(checkpoints, "clstm"))
    for shot in burst.iterdir():
        set_orientation(shot, tag)
    standing = lossless(burst, *tiny(checkpoints))
    assert same(standing, [np.rot90(frame, turns) for frame in lying])
    pairs = [np.rot90(np.stack(pair), turns, (1, 2)) for pair in zip(plain, lying, strict=True)]
    compared = lossless(burst, "--compare", *tiny(checkpoints))
    assert same(compared, [np.concatenate(list(pair), 1) for pair in pairs])


@pytest.mark.parametrize("kind", KINDS)
def test_comparison_has_the_plain_frame_left_and_the_enhanced_one_right(
    kind: str, new_burst: NewBurst, checkpoints: Checkpoints
) -> None:
    burst = new_burst()
    plain = plainly(burst, as_settings(checkpoints, kind))
    enhanced = lossless(burst, *tiny(checkpoints, kind))
    compared = lossless(burst, "--compare", *tiny(checkpoints, kind))
    assert same([frame[:, :WIDTH] for frame in compared], plain)
    assert same([frame[:, WIDTH:] for frame in compared], enhanced)


@pytest.mark.parametrize(("kind", "suffix"), [("png", "png"), ("tiff16", "tiff")])
def test_stills_are_the_frames(
    kind: str, suffix: str, new_burst: NewBurst, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    burst = new_burst(3)
    frames = lossless(burst, *tiny(checkpoints))
    ran = call("enhance", burst, "-o", tmp_path / "out.mp4", "--stills", kind, *tiny(checkpoints))
    assert ran.code == 0
    assert names(tmp_path) == ["burst", "out", "out.mp4"]
    assert names(tmp_path / "out") == [f"{number:05d}.{suffix}" for number in (1, 2, 3)]
    for frame, still in zip(frames, sorted((tmp_path / "out").iterdir()), strict=True):
        if kind == "tiff16":
            assert same(pictures(still), [frame])
        else:
            assert np.array_equal(eight_bits(frame), png(still))


def test_stills_never_go_into_the_burst(
    new_burst: NewBurst, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    burst = new_burst(2)
    assert call("enhance", burst, "--stills", "png", *tiny(checkpoints)).code == 0
    assert names(tmp_path) == ["burst", "burst.mp4", "burst_stills"]
    (tmp_path / "link").symlink_to(burst)
    ran = call(
        *("enhance", tmp_path / "link", "-o", burst.with_suffix(".mp4")),
        *("--stills", "png", "--overwrite", *tiny(checkpoints)),
    )
    assert ran.code == 7
    assert names(burst) == ["00001.ARW", "00002.ARW"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_preview_is_the_frame_of_the_full_run(
    kind: str, new_burst: NewBurst, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    burst = new_burst(12)
    frames = lossless(burst, *tiny(checkpoints, kind))
    for number in (0, 3, 7, 11):
        ran = call("enhance", burst, "--preview", str(number), *tiny(checkpoints, kind))
        assert ran.code == 0
        still = png(tmp_path / f"burst_{number}.png").astype(float)
        exact = eight_bits(frames[number])
        # From frame 8 on the network's memory is shorter than in the full run.
        assert number > 7 or np.array_equal(still, exact)
        assert np.abs(still - exact).mean() < 4
    assert names(tmp_path) == ["burst", *(f"burst_{n}.png" for n in (0, 11, 3, 7))]


def test_a_late_preview_is_as_bright_as_the_video(checkpoints: Checkpoints, tmp_path: Path) -> None:
    """Even where the light of the first shots, by which the video is measured, is not in it."""
    burst = dng_burst(tmp_path / "burst", [0.02] * 2 + [0.01] * 10)
    options = ("--model", "clstm", "--weights", checkpoints["plain"], "--ratio", "10")
    frames = lossless(burst, *options)
    assert call("enhance", burst, "--preview", "11", *options).code == 0
    late = png(tmp_path / "burst_11.png").mean() / 255
    assert late == pytest.approx(frames[11].mean() / 65535, rel=0.01)


def test_the_next_preview_replaces_the_last(
    new_burst: NewBurst, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    burst, still = new_burst(2), tmp_path / "burst_1.png"
    assert call("enhance", burst, "--preview", "1", *tiny(checkpoints)).code == 0
    before = png(still)
    ran = call("enhance", burst, "--preview", "1", "--ratio", "2", *tiny(checkpoints))
    assert ran.code == 0
    assert png(still).mean() < 0.8 * before.mean()


@pytest.mark.parametrize("kind", KINDS)
def test_a_preview_among_shots_without_a_header_shows_what_the_video_does(
    kind: str, new_burst: NewBurst, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    burst = new_burst(12)
    for number in (1, 2, 3, 9, 10, 11):
        cut(burst / f"{number:05d}.ARW", 3000)
    asked = ("--on-bad-frame", "repeat", *tiny(checkpoints, kind))
    frames = [eight_bits(frame) for frame in lossless(burst, *asked, code=4)]
    for number in (0, 3, 10):
        ran = call("enhance", burst, *asked, "--preview", str(number))
        assert ran.code == 4
        assert "00001.ARW" in ran.err
        assert np.array_equal(png(tmp_path / f"burst_{number}.png"), frames[number])


def test_memory_that_runs_out_outside_the_network_is_named(
    new_burst: NewBurst, checkpoints: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object) -> None:
        raise MemoryError("Unable to allocate 1.2 GiB for an array")

    monkeypatch.setattr("batman_cli.pipeline.develop", exhausted)
    first, second = new_burst(1, name="one"), new_burst(1, name="two")
    ran = call("enhance", first, second, "-o", f"{tmp_path / 'videos'}/", *tiny(checkpoints))
    assert ran.code == 6
    assert ran.err.count("1.2 GiB") == 2  # the second is tried too
    assert names(tmp_path / "videos") == []


def test_an_unknown_codec_is_wrong_usage_from_python_too(
    new_burst: NewBurst, checkpoints: Checkpoints
) -> None:
    with pytest.raises(UsageError, match="vp9"):
        enhance(new_burst(1), settings=as_settings(checkpoints, "clstm", codec="vp9"))


def test_existing_results_are_safe(
    new_burst: NewBurst, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    burst, video = new_burst(12), tmp_path / "burst.mp4"
    video.write_bytes(b"mine")
    ran = call("enhance", burst, *tiny(checkpoints))
    assert ran.code == 7
    assert "ISO" not in ran.err  # refused before any shot was read
    assert video.read_bytes() == b"mine"
    damage_pixels(burst / "00004.ARW")  # one that is decoded once the video is under way
    ran = call("enhance", burst, "--overwrite", *tiny(checkpoints))
    assert ran.code == 3
    assert "00004.ARW" in ran.err
    assert video.read_bytes() == b"mine"
    (burst / "00004.ARW").unlink()
    assert call("enhance", burst, "--overwrite", *tiny(checkpoints)).code == 0
    assert probe(video).frames == 11
    assert names(tmp_path) == ["burst", "burst.mp4"]


def test_a_video_inside_the_burst_is_no_shot(new_burst: NewBurst, checkpoints: Checkpoints) -> None:
    burst = new_burst(2)
    for more in ((), ("--overwrite",)):
        ran = call(
            *("enhance", burst, "-o", burst / "out.mp4", *tiny(checkpoints), *more), growing=True
        )
        assert ran.code == 0
        assert probe(burst / "out.mp4").frames == 2


# Several bursts


def test_one_bad_burst_does_not_stop_the_others(
    new_burst: NewBurst, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    bursts = [new_burst(2, name=name) for name in "abc"]
    cut(bursts[1] / "00002.ARW", 3000)
    ran = call("enhance", *bursts, "-o", tmp_path / "videos", "--json", *tiny(checkpoints))
    assert ran.code == 4
    assert names(tmp_path / "videos") == ["a.mp4", "c.mp4"]
    assert "00002.ARW" in ran.err
    events = [json.loads(line) for line in ran.out.splitlines()]
    assert [e["output"] for e in events if e["event"] == "done"] == [
        str(tmp_path / "videos" / name) for name in ("a.mp4", "c.mp4")
    ]
    (error,) = [event for event in events if event["event"] == "error"]
    assert str(bursts[1]) in error["what"]


def test_bursts_that_all_fail_alike_end_with_their_code(
    new_burst: NewBurst, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    bursts = [new_burst(1, name=name) for name in "ab"]
    for burst in bursts:
        cut(burst / "00001.ARW", 3000)
    assert call("enhance", *bursts, *tiny(checkpoints)).code == 3
    assert names(tmp_path) == ["a", "b"]


def test_bursts_that_would_share_a_video_are_refused(
    new_burst: NewBurst, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    bursts = [new_burst(1, name=name) for name in ("x/night", "y/night")]
    ran = call("enhance", *bursts, "-o", tmp_path / "x", *tiny(checkpoints), growing=True)
    assert ran.code == 2
    assert "same name" in ran.err
    assert names(tmp_path) == ["x", "y"]
    assert names(tmp_path / "x") == ["night"]
    assert call("enhance", bursts[0], bursts[0], *tiny(checkpoints)).code == 2
    assert call("enhance", *bursts, "-o", tmp_path / "one.mp4", *tiny(checkpoints)).code == 2
    assert names(tmp_path / "x") == ["night"]


@pytest.mark.parametrize("pair", [("Night", "night"), ("été", "e\u0301te\u0301")], ids=ascii)
def test_bursts_whose_names_some_disks_take_for_one_are_refused(
    pair: tuple[str, str], new_burst: NewBurst, tmp_path: Path
) -> None:
    bursts = [new_burst(1, name=f"{number}/{name}") for number, name in enumerate(pair)]
    ran = call("enhance", *bursts, "-o", tmp_path / "videos", "--dry-run")
    assert ran.code == 2
    assert "same name" in ran.err


# The Python interface


def test_enhance_from_python(new_burst: NewBurst, checkpoints: Checkpoints, tmp_path: Path) -> None:
    burst, seen = new_burst(4), list[tuple[int, int]]()
    settings = as_settings(checkpoints, "3dcnn", codec="ffv1")
    result = enhance(burst, settings=settings, on_frame=lambda *now: seen.append(now))
    assert isinstance(result, Result)
    assert (result.output, result.frames) == (tmp_path / "burst.mkv", 4)
    assert seen == [(number, 4) for number in (1, 2, 3, 4)]
    assert same(list(enhance_frames(burst, settings)), pictures(result.output))


def test_a_failure_from_python_is_an_exception_and_leaves_nothing(
    new_burst: NewBurst, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    burst = new_burst(12)
    damage_pixels(burst / "00004.ARW")
    with pytest.raises(BadShot, match=r"00004\.ARW: damaged"):
        enhance(str(burst), str(tmp_path / "out.mp4"), as_settings(checkpoints, "clstm"))
    assert names(tmp_path) == ["burst"]
    with pytest.raises(BadShot, match=r"00004\.ARW"):
        list(enhance_frames(burst, as_settings(checkpoints, "clstm")))


def test_frames_from_python_can_be_left_half_way(
    new_burst: NewBurst, checkpoints: Checkpoints
) -> None:
    frames = enhance_frames(new_burst(12), as_settings(checkpoints, "clstm"))
    assert next(iter(frames)).shape == (HEIGHT, WIDTH, 3)


# Real cameras


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "tolerance"),
    [
        ("canon.CRW", 0.03),
        ("canon_x4_colorchart.dng", 0.03),
        ("gopro_hero6.dng", 0.03),
        ("gopro_hero7.dng", 0.03),
        ("kodak_dc50.KDC", 0.05),  # LibRaw has a matrix for it that it does not tell
    ],
)
def test_a_real_raw_file_becomes_a_picture_of_true_colours(
    name: str, tolerance: float, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    import rawpy

    raw = samples(f"raw/good/{name}")
    options = ("--model", "clstm", "--weights", checkpoints["plain"], "--device", "cpu")
    ran = call("enhance", raw, "-o", tmp_path / "x.mp4", "--bin", "4", "--ratio", "1", *options)
    assert ran.code == 0, ran.err
    (ours,) = mean_colours(tmp_path / "x.mp4")
    with rawpy.imread(str(raw)) as file:
        stated = min(file.camera_whitebalance[:3]) > 0
        theirs = file.postprocess(
            user_wb=list(file.camera_whitebalance if stated else file.daylight_whitebalance),
            no_auto_bright=True,
            adjust_maximum_thr=0,
            half_size=True,
        )
    assert np.abs(ours - theirs.mean((0, 1)) / 255).max() < tolerance


@pytest.mark.slow
def test_dark_frames_of_a_real_camera_become_a_video(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    burst = tmp_path / "burst"
    burst.mkdir()
    for number in range(4):
        shutil.copy(samples(f"raw/sony/slt_a55v_dark_{number}.ARW"), burst)
    ran = call("enhance", burst, "--bin", "4", *tiny(checkpoints, "3dcnn"))
    assert ran.code == 0, ran.err
    assert probe(tmp_path / "burst.mp4").frames == 4
    for colour in mean_colours(tmp_path / "burst.mp4"):
        assert 0.1 < colour.min() <= colour.max() < 0.9


# Making and damaging shots


def cut(shot: Path, size: int) -> None:
    shot.write_bytes(shot.read_bytes()[:size])


def damage_pixels(shot: Path) -> None:
    """Zeros over the last third of the pixels: the header knows nothing of it."""
    content = shot.read_bytes()
    shot.write_bytes(content[: -WIDTH * HEIGHT // 3] + bytes(WIDTH * HEIGHT // 3))


def set_orientation(shot: Path, value: int) -> None:
    """Another value into the orientation entry of the first directory."""
    content = bytearray(shot.read_bytes())
    at = content.index(struct.pack("<HHI", 0x0112, 3, 1)) + 8
    content[at : at + 2] = struct.pack("<H", value)
    shot.write_bytes(content)


def dng_burst(
    folder: Path,
    exposures_s: Sequence[float],
    *,
    lights: Sequence[float] | None = None,
    width: int = WIDTH,
    height: int = HEIGHT,
) -> Path:
    """Shots of one scene at 20 a second; their light goes with the exposure, or is given."""
    folder.mkdir()
    random = np.random.default_rng(0)
    scene = random.uniform(0.02, 0.08, (height // 8 + 1, width // 8 + 1)).repeat(8, 0).repeat(8, 1)
    scene = scene[:height, :width]
    start = datetime.datetime(2024, 1, 1, 20, 0, 0, 250_000)
    lights = lights or [exposure_s / 0.02 for exposure_s in exposures_s]
    for number, exposure_s, light in zip(count(1), exposures_s, lights, strict=False):
        mosaic = (
            random.normal(1000 + scene * (16000 - 1000) * light, 12)
            .round()
            .clip(0, 16000)
            .astype(np.uint16)
        )
        time = start + datetime.timedelta(seconds=number / 20)
        write_dng(
            folder / f"{number:05d}.DNG",
            mosaic,
            Exposure(6400, exposure_s, time, (2.0, 1.0, 1.6), number),
            black=1000,
            white=16000,
            xyz_to_camera=[[0.7, 0.0, 0.0], [0.0, 1.1, 0.0], [0.0, 0.1, 0.7]],
            make="Nikon",
            model="D500",
        )
    return folder


def eight_bits(frame: Picture) -> np.ndarray:
    return np.round(frame / 257).astype(np.uint8)


def png(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image)
