"""Bad shots, kills, full disks: what is left is whole or nothing, and the reason is told."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import FORMATS, KINDS, Checkpoints, NewBurst, photo
from running import (
    Picture,
    Word,
    batman,
    call,
    directly,
    names,
    probe,
    processes,
    start,
)
from test_enhance import as_settings, cut, damage_pixels, dng_burst, lossless, same, tiny

from batman_cli import enhance
from batman_cli.models import Clstm, build
from batman_cli.settings import SimulateSettings
from batman_cli.simulate.run import simulate
from batman_cli.video import VideoWriter
from batman_cli.weights import save

pytestmark = pytest.mark.fault

LONG = 60  # frames of a burst that lasts long enough to be struck
ORDERLY_S = 10  # seconds in which a signal must have ended everything; about 1 when quiet


def cut_header(shot: Path) -> None:
    """A file that ends before its pixels do, which its header tells."""
    cut(shot, 3000)


DAMAGES: dict[str, Callable[[Path], None]] = {"header": cut_header, "pixels": damage_pixels}


# Bad shots


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_cut_file_is_always_noticed(
    file_format: str, new_burst: NewBurst, tmp_path: Path
) -> None:
    burst = new_burst(1, file_format=file_format)
    (shot,) = burst.iterdir()
    whole = shot.read_bytes()
    places = np.linspace(0, len(whole) - 1, 20).astype(int).tolist()
    for place in places:
        shot.write_bytes(whole[:place])
        ran = call("enhance", burst)
        assert (place, ran.code) == (place, 3)
        assert f"error: {shot.name}: " in ran.err
    assert names(tmp_path) == ["burst"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("damage", "bad"),
    [
        *(("header", bad) for bad in ((0,), (2,), (4,), (0, 1), (1, 2), (3, 4))),
        *(("pixels", bad) for bad in ((0,), (2,), (4,), (1, 2), (1, 3))),
    ],
    ids=str,
)
def test_bad_shots_are_skipped_or_replaced_by_the_frame_before(
    kind: str, damage: str, bad: tuple[int, ...], new_burst: NewBurst, checkpoints: Checkpoints
) -> None:
    """Of bad shots at the start the frame after them takes the place."""
    burst = new_burst(5)
    for place in bad:
        DAMAGES[damage](burst / f"{place + 1:05d}.ARW")
    options = tiny(checkpoints, kind)
    skipped = lossless(burst, "--on-bad-frame", "skip", *options, code=4)
    assert same(skipped, directly(burst, as_settings(checkpoints, kind, on_bad_frame="skip")))
    assert len(skipped) == 5 - len(bad)
    good, last = iter(skipped), skipped[0]
    held: list[Picture] = []
    for place in range(5):
        last = last if place in bad else next(good)
        held.append(last)
    repeated = lossless(burst, "--on-bad-frame", "repeat", *options, code=4)
    assert same(repeated, held)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_bad_shot_stops_the_run_unless_told_otherwise(
    damage: str, new_burst: NewBurst, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    burst = new_burst(12)
    DAMAGES[damage](burst / "00004.ARW")
    ran = call("enhance", burst, "--stills", "png", *tiny(checkpoints))
    assert ran.code == 3
    assert "00004.ARW" in ran.err
    assert names(tmp_path) == ["burst"]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("choice", ["skip", "repeat"])
def test_a_burst_of_bad_shots_alone_is_refused(
    damage: str, choice: str, new_burst: NewBurst, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    burst = new_burst(3)
    for shot in burst.iterdir():
        DAMAGES[damage](shot)
    ran = call("enhance", burst, "--on-bad-frame", choice, *tiny(checkpoints))
    assert ran.code == 3
    assert "00001.ARW" in ran.err
    assert names(tmp_path) == ["burst"]


def test_a_bad_first_shot_of_an_exposure_of_its_own_is_skipped_too(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    burst = dng_burst(tmp_path / "burst", [0.02, 0.01, 0.01, 0.01, 0.01])
    damage_pixels(burst / "00001.DNG")
    frames = lossless(burst, "--on-bad-frame", "skip", *tiny(checkpoints), code=4)
    assert len(frames) == 4


@pytest.mark.parametrize("change", ["vanishes", "changes"])
def test_a_shot_that_does_not_stay_as_it_was_is_a_bad_one(
    change: str, new_burst: NewBurst, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    burst = new_burst(12)
    last = burst / "00012.ARW"

    def on_frame(done: int, _total: int) -> None:
        if done == 1 and change == "vanishes":
            last.unlink()
        elif done == 1:
            last.write_bytes((burst / "00011.ARW").read_bytes())

    settings = as_settings(checkpoints, "clstm", on_bad_frame="skip")
    result = enhance(burst, tmp_path / "out.mp4", settings, on_frame=on_frame)
    assert result.frames == probe(tmp_path / "out.mp4").frames == 11
    assert [shot.path for shot in result.bad] == [last]
    assert ("no such file" if change == "vanishes" else "changed") in result.bad[0].why


# Results that cannot be written


@pytest.mark.parametrize("stills", [(), ("--stills", "png")], ids=["video", "stills"])
def test_a_full_disk_is_told_and_left_as_it_was(
    stills: tuple[str, ...], small_disk: Path, new_burst: NewBurst, checkpoints: Checkpoints
) -> None:
    lossy_or_not = () if stills else ("--codec", "ffv1")
    output = small_disk / ("out.mp4" if stills else "out.mkv")
    ran = call("enhance", new_burst(12), "-o", output, *lossy_or_not, *stills, *tiny(checkpoints))
    assert ran.code == 7
    assert "No space left on device" in ran.err
    assert names(small_disk) == []


def test_a_disk_too_small_for_the_stills_is_told_before_the_first_frame(
    small_disk: Path, new_burst: NewBurst, checkpoints: Checkpoints
) -> None:
    asked = ("-o", small_disk / "out.mp4", "--stills", "tiff16")
    ran = call("enhance", new_burst(12), *asked, "--json", *tiny(checkpoints))
    assert ran.code == 7
    assert f"at least {12 * 96 * 64 * 6:,} bytes needed" in ran.err
    assert '"progress"' not in ran.out
    assert names(small_disk) == []


@pytest.mark.slow
def test_a_limit_of_file_size_is_told_and_nothing_left(
    new_burst: NewBurst, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    limited = (
        "import resource, runpy, sys;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY));"
        "runpy.run_module('batman_cli', run_name='__main__')"
    )
    ran = batman(
        *("enhance", new_burst(12), "-o", tmp_path / "out.mkv", "--codec", "ffv1"),
        *tiny(checkpoints),
        python=(sys.executable, "-c", limited),
    )
    assert ran.code == 7
    assert "File too large" in ran.err
    assert names(tmp_path) == ["burst"]


def test_a_folder_that_cannot_be_written_is_told_before_any_shot_is_read(
    new_burst: NewBurst, tmp_path: Path
) -> None:
    burst, closed = new_burst(1), tmp_path / "closed"
    closed.mkdir(mode=0o555)
    # The administrator may write anywhere but in /proc.
    unwritable = closed if os.geteuid() else Path("/proc")
    for folder in (unwritable, tmp_path / "missing"):
        ran = call("enhance", burst, "-o", folder / "out.mp4")
        assert ran.code == 7
        assert str(folder) in ran.err
        assert "ISO" not in ran.err
    assert call("enhance", burst, burst, "-o", unwritable / "new").code in (2, 7)
    assert names(tmp_path) == ["burst", "closed"]


def test_a_video_that_another_run_is_writing_is_left_to_it(
    new_burst: NewBurst, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    output = tmp_path / "out.mp4"
    with VideoWriter(output, width=96, height=64, fps=Fraction(25)) as other:
        other.write(np.zeros((64, 96, 3), np.uint16))
        ran = call("enhance", new_burst(2), "-o", output, "--overwrite", *tiny(checkpoints))
        assert ran.code == 7
        assert "another run" in ran.err
    assert probe(output).frames == 1


# Numbers


def test_numbers_out_of_range_never_become_a_frame(tmp_path: Path) -> None:
    """A network that overflows on what is bright, and a light that goes on at shot 6."""
    burst = dng_burst(tmp_path / "burst", [0.02] * 8, lights=[0.2] * 6 + [40, 0.2])
    torch.manual_seed(0)
    network = build("clstm", {"widths": (8, 8, 8, 8), "head": 4})
    assert isinstance(network, Clstm)
    with torch.no_grad():
        head = network.head
        for layer in (head.rise, head.fine, head.merge, head.refine, head.last):
            layer.weight.zero_()
            layer.bias.zero_()  # pyright: ignore[reportOptionalMemberAccess]
        # Each layer multiplies by about 36 x 2300; the picture is the square of it all.
        for layer in (head.fine, head.merge, head.refine, head.last):
            layer.weight[:, :4] = 2300
    weights = tmp_path / "overflow.safetensors"
    save(weights, network, "clstm", {})
    options = ("--model", "clstm", "--weights", weights, "--device", "cpu", "--ratio", "1")
    ran = call("enhance", burst, "--stills", "png", *options)
    assert ran.code == 1
    assert "frame 6" in ran.err
    assert "NaN or infinity" in ran.err
    assert names(tmp_path) == ["burst", "overflow.safetensors"]
    assert call("enhance", burst, "--stop", "6", *options).code == 0


# Kills and signals


@pytest.fixture
def long_burst(new_burst: NewBurst) -> Path:
    """LONG frames; use it with --order name."""
    return lengthen(new_burst(12), LONG)


def lengthen(burst: Path, frames: int) -> Path:
    """Repeats the shots, each with bytes of its own behind the picture: none is a copy."""
    shots = [shot.read_bytes() for shot in sorted(burst.iterdir())]
    for number in range(len(shots), frames):
        content = shots[number % len(shots)] + number.to_bytes(4)
        (burst / f"{number + 1:05d}.ARW").write_bytes(content)
    return burst


def long_run(burst: Path, checkpoints: Checkpoints, *more: Word) -> subprocess.Popen[bytes]:
    return start("enhance", burst, "--order", "name", "--fps", "25", *tiny(checkpoints), *more)


def await_part(running: subprocess.Popen[bytes], folder: Path) -> None:
    """Waits until the video is being written."""
    while running.poll() is None and not any(name.endswith(".part") for name in names(folder)):
        time.sleep(0.005)


def await_quiet(folder: Path) -> None:
    """Waits until nobody works in the folder; a hang is a failure."""
    until = time.monotonic() + ORDERLY_S
    while processes(folder):
        assert time.monotonic() < until, "something goes on for ever"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_a_whole_video_or_none(
    long_burst: Path, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    began = time.monotonic()
    running = long_run(long_burst, checkpoints)
    await_part(running, tmp_path)
    started_s, began = time.monotonic() - began, time.monotonic()
    assert running.wait() == 0
    written_s = time.monotonic() - began
    video = tmp_path / "burst.mp4"
    assert probe(video).frames == LONG
    moments = [(False, 0.3 * started_s), (False, 0.8 * started_s)]
    moments += [(True, share * written_s) for share in np.linspace(0, 1.05, 8).tolist()]
    for while_writing, after_s in moments:
        video.unlink(missing_ok=True)
        running = long_run(long_burst, checkpoints)
        if while_writing:
            await_part(running, tmp_path)
        time.sleep(after_s)
        running.kill()
        running.communicate()
        await_quiet(tmp_path)
        assert not video.exists() or probe(video).frames == LONG
    video.unlink(missing_ok=True)
    assert long_run(long_burst, checkpoints).wait() == 0
    assert probe(video).frames == LONG
    assert names(tmp_path) == ["burst", "burst.mp4"]


@pytest.mark.slow
def test_a_killed_encoder_is_told_and_nothing_left(
    long_burst: Path, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    running = long_run(lengthen(long_burst, 400), checkpoints)
    await_part(running, tmp_path)
    (encoder,) = [pid for pid in processes(tmp_path) if pid != running.pid]
    os.kill(encoder, signal.SIGKILL)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 7
    assert b"ffmpeg killed by SIGKILL" in err
    assert names(tmp_path) == ["burst"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_the_run_soon_and_leaves_nothing(
    number: signal.Signals, code: int, long_burst: Path, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    running = long_run(lengthen(long_burst, 400), checkpoints, "--stills", "png")
    await_part(running, tmp_path)
    time.sleep(0.3)
    began = time.monotonic()
    running.send_signal(number)
    _, err = running.communicate(timeout=60)
    assert time.monotonic() - began < ORDERLY_S
    assert running.returncode == code, err
    assert b"Traceback" not in err
    await_quiet(tmp_path)
    assert names(tmp_path) == ["burst"]


@pytest.mark.slow
def test_a_signal_before_the_first_frame_is_no_crash_either(
    new_burst: NewBurst, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    """The plan is told, and the slow libraries are being loaded."""
    running = start("enhance", new_burst(3), "--json", *tiny(checkpoints))
    assert running.stdout
    assert running.stdout.readline()
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    # Interrupted inside an exec of a library, Python ends itself by the signal; a shell sees 130.
    assert running.returncode in (130, -signal.SIGINT), err
    assert b"Traceback" not in err
    assert names(tmp_path) == ["burst"]


# Resources


def in_use() -> tuple[int, int]:
    """Open files and threads."""
    return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_nothing_stays_open_after_a_run_good_or_bad(
    new_burst: NewBurst, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    good, bad = new_burst(3, name="good"), new_burst(12, name="bad")
    damage_pixels(bad / "00004.ARW")

    def runs() -> None:
        for burst, code in ((good, 0), (bad, 3)):
            assert call("enhance", burst, "--overwrite", *tiny(checkpoints)).code == code

    runs()
    before = in_use()
    for _ in range(3):
        runs()
    assert in_use() == before
    assert processes(tmp_path) == []


@pytest.mark.slow
def test_ten_times_the_frames_need_no_more_memory(tmp_path: Path) -> None:
    settings = SimulateSettings(frames=6, ratio=20, width=768, height=512)
    burst = simulate([photo(560, 800)[None]], tmp_path / "scenes", settings)[0].short
    peaks: list[list[int]] = []
    for frames in (30, 300):
        lengthen(burst, frames)
        with ThreadPoolExecutor() as both:
            peaks.append(list(both.map(lambda kind: peak_bytes(burst, kind, tmp_path), KINDS)))
    for few, many in zip(*peaks, strict=True):
        assert many < 1.05 * few


def peak_bytes(burst: Path, kind: str, folder: Path) -> int:
    """Most memory the command itself (not ffmpeg) had in use at a time."""
    torch.manual_seed(0)
    weights = folder / f"{kind}.safetensors"
    save(weights, build(kind, {"widths": (2, 2, 2, 2), "head": 2}), kind, {})
    measured = (
        "import resource, sys, batman_cli.cli\n"
        "try: batman_cli.cli.main()\n"
        "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    ran = batman(
        *("enhance", burst, "-o", folder / f"{kind}.mp4", "--overwrite", "-q"),
        *("--order", "name", "--fps", "25", "--device", "cpu", "--bin", "2"),
        *("--model", kind, "--weights", weights),
        python=(sys.executable, "-c", measured),
    )
    assert ran.code == 0, ran.err
    return int(ran.out)
