"""Videos are whole, true in colour and time, or not there at all."""

import contextlib
import dataclasses
import errno
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from batman_cli import codecs, ffmpeg
from batman_cli.errors import BadInput, OutputError, UsageError
from batman_cli.video import CODECS, VideoWriter, check_output, read_clip

DISK = "1m"  # of the tests of full disks
pytestmark = pytest.mark.slow  # a real ffmpeg many times over: part of `make test` only

FPS = Fraction(25)
WIDTH, HEIGHT = 64, 48
PATCHES = (  # 8-bit RGB
    *((200, 30, 30), (30, 200, 30), (30, 30, 200), (255, 255, 255), (0, 0, 0), (128, 128, 128)),
    *((250, 240, 20), (20, 10, 12), (4, 4, 5), (255, 0, 0), (0, 255, 0), (0, 0, 255)),
)
NAMES = {
    "dash": "-dash.mp4",
    "colon": "a:b.mp4",
    "protocol": "http:x.mp4",
    "spaces": " two  spaces .mp4",
    "quotes": 'it\'s "so".mp4',
    "newline": "a\nb.mp4",
    "percent": "%03d%s.mp4",
    "backslash": "a\\b.mp4",
    "unicode": "été_夜_🦇.mp4",
    "not UTF-8": os.fsdecode(b"\xff\xfe.mp4"),
    "long": "n" * 251 + ".mp4",
    "hidden": ".hidden.mp4",
    "capitals": "OUT.MP4",
}


def flat(level: int, width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint16]:
    return np.full((height, width, 3), level, np.uint16)


def texture(seed: int, width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint16]:
    """Noise, which no codec makes small."""
    return np.random.default_rng(seed).integers(0, 65536, (height, width, 3), np.uint16)


def write(path: Path, frames: Sequence[NDArray[np.uint16]], **options: object) -> Path:
    height, width = frames[0].shape[:2]
    settings = {"width": width, "height": height, "fps": FPS, **options}
    with VideoWriter(path, **settings) as video:  # pyright: ignore[reportArgumentType]
        for frame in frames:
            video.write(frame)
    return path


def decoded(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path), "r") as container:
        return list(container.decode(video=0))


def plane(frame: av.VideoFrame, index: int) -> NDArray[np.float64]:
    kind = np.uint8 if frame.format.components[index].bits == 8 else np.uint16
    rows = np.frombuffer(bytes(frame.planes[index]), np.uint8).reshape(
        frame.planes[index].height, -1
    )
    return rows.view(kind)[:, : frame.planes[index].width].astype(np.float64)


def rgb_of(frame: av.VideoFrame) -> NDArray[np.float64]:
    """RGB 0..255 by the definition of BT.709 limited range, chroma repeated."""
    depth = 2.0 ** (frame.format.components[0].bits - 8)
    y, u, v = (plane(frame, i) / depth for i in range(3))
    u, v = (
        np.kron(c, np.ones((y.shape[0] // c.shape[0], y.shape[1] // c.shape[1]))) for c in (u, v)
    )
    y, u, v = (y - 16) / 219, (u - 128) / 224, (v - 128) / 224
    red, blue = y + 1.5748 * v, y + 1.8556 * u
    green = (y - 0.2126 * red - 0.0722 * blue) / 0.7152
    return np.stack([red, green, blue], 2) * 255


def patch_frame() -> NDArray[np.uint16]:
    rows = np.array(PATCHES, np.uint16).reshape(3, 4, 3) * 257
    return np.repeat(np.repeat(rows, 32, 0), 32, 1)


def patch_errors(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """Largest error of the mean of each patch, away from its edges."""
    inner = rgb.reshape(3, 32, 4, 32, 3)[:, 8:24, :, 8:24].mean((1, 3)).reshape(-1, 3)
    return np.abs(inner - np.array(PATCHES)).max(1)


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def children() -> set[int]:
    return {
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and parent_of(entry) == os.getpid()
    }


def parent_of(entry: Path) -> int:
    try:
        return int((entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    except OSError:
        return 0


def resources() -> tuple[int, int, set[int]]:
    """Open files, threads and child processes."""
    return len(list(Path("/proc/self/fd").iterdir())), threading.active_count(), children()


@pytest.fixture
def no_leaks() -> Iterator[None]:
    ffmpeg.encoders()
    before = resources() if Path("/proc/self/fd").exists() else None
    yield
    if before:
        assert resources() == before


@pytest.fixture
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffmpeg, "STALL_S", 0.4)


# Colour


@pytest.mark.parametrize("codec", [name for name in CODECS if name != "ffv1"])
def test_colours_survive_the_codec(codec: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"x{CODECS[codec].suffixes[0]}", [patch_frame()] * 3, codec=codec)
    assert patch_errors(rgb_of(decoded(path)[1])).max() <= 4


def test_colours_survive_without_subsampling_and_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = dataclasses.replace(CODECS["h264"], pixels="yuv444p", options=(), crf=0)
    monkeypatch.setitem(CODECS, "h264", full)
    frame = decoded(write(tmp_path / "x.mp4", [patch_frame()]))[0]
    assert frame.format.name == "yuv444p"
    assert patch_errors(rgb_of(frame)).max() <= 2


def test_ffv1_keeps_every_bit(tmp_path: Path) -> None:
    frames = [texture(0), texture(1)]
    got = decoded(write(tmp_path / "x.mkv", frames, codec="ffv1"))
    for frame, source in zip(got, frames, strict=True):
        assert frame.format.name == "gbrp16le"
        green, blue, red = (plane(frame, i) for i in range(3))
        assert np.array_equal(np.stack([red, green, blue], 2), source)


@pytest.mark.parametrize("codec", CODECS)
def test_colours_are_tagged(codec: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"x{CODECS[codec].suffixes[0]}", [flat(20000)] * 2, codec=codec)
    frame = decoded(path)[0]
    assert (frame.color_primaries, frame.color_trc) == (1, 1)  # BT.709
    # RGB, full range for ffv1; else BT.709, limited range
    assert (frame.colorspace, frame.color_range) == ((0, 2) if codec == "ffv1" else (1, 1))
    assert frame.format.name == CODECS[codec].pixels


def test_hevc_has_the_tag_that_apple_players_want(tmp_path: Path) -> None:
    path = write(tmp_path / "x.mp4", [flat(9)] * 2, codec="hevc10")
    with av.open(str(path), "r") as container:
        assert container.streams.video[0].codec_tag == "hvc1"


def test_chroma_sits_where_players_expect_it(tmp_path: Path) -> None:
    """A wave of blue: the chroma samples lie on even luma columns, not between two."""
    x = np.arange(256)
    frame = np.zeros((64, 256, 3), np.uint16)
    frame[..., 2] = 30000 + 20000 * np.cos(2 * np.pi * x / 32)
    blue = plane(decoded(write(tmp_path / "x.mp4", [frame], crf=1))[0], 1)[8]
    wave = np.exp(-2j * np.pi * x[::2] / 32)[16:112]
    assert abs(np.angle((blue[16:112] * wave).sum())) * 32 / (2 * np.pi) < 0.1  # pixels


@pytest.mark.parametrize("codec", ["h264", "hevc10", "av1", "prores"])
def test_dark_gradients_do_not_band(codec: str, tmp_path: Path) -> None:
    """Between two 8-bit levels the mean follows the 16-bit source: that is what dither does."""
    levels = np.linspace(1000, 2000, 512)
    frame = np.repeat(np.repeat(levels[None, :, None], 64, 0), 3, 2).astype(np.uint16)
    path = write(tmp_path / f"x{CODECS[codec].suffixes[0]}", [frame] * 25, codec=codec)
    luma = plane(decoded(path)[12], 0) / (1 if codec == "h264" else 4)
    want = (16 + 219 * levels / 65535).reshape(-1, 8).mean(1)
    error = np.abs(luma.reshape(8, 8, 64, 8).mean((1, 3)) - want)
    banded = np.abs(np.round(want) - want)
    assert error.mean() < 0.4 * banded.mean()
    assert error.max() < 0.8 * banded.max()


# Frames and time


@pytest.mark.parametrize(
    "fps",
    [
        *("1/7", "1", "167/50", "16", "24000/1001", "25", "30000/1001", "60"),
        *("120000/1001", "121", "240"),
    ],
)
def test_frames_last_exactly_as_long_as_asked(fps: str, tmp_path: Path) -> None:
    check_times(Fraction(fps), 9, tmp_path)


@pytest.mark.parametrize(("fps", "count"), [("167/100", 900), ("121", 250)])
def test_no_frame_is_lost_where_a_standard_rate_is_near(
    fps: str, count: int, tmp_path: Path
) -> None:
    check_times(Fraction(fps), count, tmp_path)


def check_times(fps: Fraction, count: int, folder: Path) -> None:
    path = write(folder / "x.mp4", [flat(i % 60 * 1000) for i in range(count)], fps=fps)
    with av.open(str(path), "r") as container:
        stream = container.streams.video[0]
        times = [(f.pts or 0) * (f.time_base or 0) for f in container.decode(video=0)]
        assert times == [i / fps for i in range(count)]
        assert stream.duration
        assert stream.time_base
        assert stream.duration * stream.time_base == count / fps
        assert stream.average_rate == fps


@pytest.mark.parametrize(
    ("codec", "suffix"), [(name, suffix) for name, c in CODECS.items() for suffix in c.suffixes]
)
def test_every_codec_keeps_all_frames_in_every_container(
    codec: str, suffix: str, tmp_path: Path
) -> None:
    fps, levels = Fraction(30000, 1001), range(5000, 65000, 6000)
    path = write(tmp_path / f"x{suffix}", [flat(v) for v in levels], codec=codec, fps=fps)
    check_output(tmp_path / f"y{suffix}", codec, overwrite=False, frames=9, width=64, height=48)
    frames = decoded(path)
    greys = [f.to_ndarray(format="gray16le").mean() for f in frames]
    assert greys == pytest.approx(list(levels), abs=800)
    resolution = 0.001 if suffix == ".mkv" else 1e-9  # Matroska counts whole milliseconds
    assert [f.time for f in frames] == pytest.approx(
        [float(i / fps) for i in range(len(levels))], abs=resolution
    )
    assert leftovers(tmp_path) == [path.name]


@pytest.mark.parametrize("codec", CODECS)
def test_same_frames_give_the_same_bytes(codec: str, tmp_path: Path) -> None:
    frames = [texture(i) for i in range(4)]
    suffix = CODECS[codec].suffixes[0]
    one, two = (write(tmp_path / f"{n}{suffix}", frames, codec=codec) for n in "ab")
    assert one.read_bytes() == two.read_bytes()


def test_of_odd_sides_the_last_column_and_row_are_cut(tmp_path: Path) -> None:
    frame = flat(30000, 65, 49)
    frame[-1], frame[:, -1] = 65535, 65535
    with VideoWriter(tmp_path / "x.mp4", width=65, height=49, fps=FPS) as video:
        assert (video.width, video.height) == (64, 48)
        video.write(frame)
    got = decoded(tmp_path / "x.mp4")[0]
    assert (got.width, got.height) == (64, 48)
    assert got.to_ndarray(format="gray").max() < 130


def test_lossless_keeps_odd_sides(tmp_path: Path) -> None:
    frame = decoded(write(tmp_path / "x.mkv", [texture(0, 65, 49)], codec="ffv1"))[0]
    assert (frame.width, frame.height) == (65, 49)


@pytest.mark.parametrize("codec", CODECS)
def test_the_smallest_and_the_longest_pictures_work(codec: str, tmp_path: Path) -> None:
    found, suffix = CODECS[codec], CODECS[codec].suffixes[0]
    least = found.min_side
    write(tmp_path / f"small{suffix}", [texture(0, least, least)], codec=codec)
    for width, height in ((found.max_width + 2, 64), (64, found.max_height + 2), (least - 1, 64)):
        with pytest.raises(OutputError, match="pixels"):
            VideoWriter(tmp_path / f"x{suffix}", width=width, height=height, fps=FPS, codec=codec)


def test_a_frame_may_be_changed_after_it_was_written(tmp_path: Path) -> None:
    frame = flat(0)
    with VideoWriter(tmp_path / "x.mp4", width=WIDTH, height=HEIGHT, fps=FPS) as video:
        for level in (10000, 20000, 30000):
            frame[:] = level
            video.write(frame)
    means = [f.to_ndarray(format="gray16le").mean() for f in decoded(tmp_path / "x.mp4")]
    assert means == pytest.approx([10000, 20000, 30000], abs=500)


# Refusals


@pytest.mark.parametrize(
    "frame",
    [flat(0, HEIGHT, WIDTH), flat(0)[1:], flat(0)[..., :1], flat(0).astype(np.float32), flat(0)[0]],
    ids=["turned", "row missing", "gray", "float", "flat"],
)
def test_wrong_frames_are_refused(frame: NDArray[np.uint16], tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="frame 1 is"):
        write(tmp_path / "x.mp4", [flat(0), frame])
    assert leftovers(tmp_path) == []


def test_a_video_without_frames_is_refused(tmp_path: Path, no_leaks: None) -> None:
    with (
        pytest.raises(OutputError, match="no frame"),
        VideoWriter(tmp_path / "x.mp4", width=WIDTH, height=HEIGHT, fps=FPS),
    ):
        pass
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("x.avi", {}, "codec h264 is not kept in .avi"),
        ("x", {}, "without suffix"),
        ("x.mp4", {"codec": "prores"}, "not kept in .mp4"),
        ("x.mp4", {"codec": "ffv1"}, "not kept in .mp4"),
        ("x.mp4", {"codec": "vp9"}, "unknown"),
        ("x.mp4", {"crf": 52}, "takes 1 .* to 51"),
        ("x.mov", {"codec": "prores", "crf": 18}, "no such setting"),
        ("x.mp4", {"fps": Fraction(0)}, "not a frame rate"),
        ("x.mp4", {"codec": "av1", "fps": Fraction(300)}, "at most 240"),
        ("x.mp4", {"fps": Fraction(-25)}, "not a frame rate"),
    ],
)
def test_impossible_options_are_refused_at_once(
    name: str, options: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        write(tmp_path / name, [flat(0)], **options)
    assert caught.value.fix or "crf" in caught.value.what
    assert leftovers(tmp_path) == []


def test_an_impossible_crf_is_refused_before_work_begins(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    with pytest.raises(UsageError, match="crf 99"):
        check_output(path, "h264", overwrite=False, crf=99, frames=1, width=64, height=48)


def test_suffix_advice_names_the_right_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        check_output(tmp_path / "x.mp4", "prores", overwrite=False, frames=1, width=64, height=48)
    assert "*.mov" in caught.value.fix


def test_a_missing_encoder_is_named_with_alternatives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codecs, "encoders", lambda: frozenset({"libx264", "ffv1"}))
    with pytest.raises(OutputError, match="lacks the encoder libx265") as caught:
        check_output(tmp_path / "x.mp4", "hevc10", overwrite=False, frames=1, width=64, height=48)
    assert "h264, ffv1" in caught.value.fix


@pytest.mark.parametrize("program", ["missing", "not a program"])
def test_a_missing_ffmpeg_is_named(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "not a program").touch()
    monkeypatch.setattr(ffmpeg, "ffmpeg_path", lambda: str(tmp_path / program))
    with pytest.raises(OutputError, match="ffmpeg cannot be started") as caught:
        write(tmp_path / "x.mp4", [flat(0)])
    assert "IMAGEIO_FFMPEG_EXE" in caught.value.fix
    ffmpeg.encoders.cache_clear()
    with pytest.raises(OutputError, match="ffmpeg cannot be started"):
        ffmpeg.encoders()
    assert leftovers(tmp_path) == ["not a program"]


def test_a_folder_for_temporary_files_that_is_full_is_named_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(OutputError, match="No space left on device") as caught:
        ffmpeg.Ffmpeg(["-version"], subject="x.mp4")
    assert "TMPDIR" in caught.value.fix


def unwritable() -> Path:
    return Path("/proc/self")  # nobody can make files there, not even root


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda t: t / "none" / "x.mp4", "there is no folder"),
        (lambda t: (t / "file").touch() or t / "file" / "x.mp4", "there is no folder"),
        (lambda t: unwritable() / "x.mp4", "cannot write in"),
        (lambda t: (t / "d.mp4").mkdir() or t / "d.mp4", "is a folder"),
        (lambda t: os.mkfifo(t / "f.mp4") or t / "f.mp4", "not a regular file"),
    ],
    ids=["no folder", "file as folder", "read-only", "folder", "pipe"],
)
def test_impossible_places_are_refused_before_work_begins(
    make: object, message: str, tmp_path: Path
) -> None:
    path = make(tmp_path)  # pyright: ignore[reportCallIssue]
    before = leftovers(tmp_path)
    for overwrite in (False, True):
        with pytest.raises(OutputError, match=message):
            check_output(path, "h264", overwrite=overwrite, frames=1, width=64, height=48)
        with pytest.raises(OutputError, match=message):
            write(path, [flat(0)], overwrite=overwrite)
    assert leftovers(tmp_path) == before


def test_a_disk_far_too_small_is_refused_with_both_numbers(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"No space.* [\d,]+ bytes needed, [\d,]+ free"):
        check_output(
            tmp_path / "x.mp4", "h264", overwrite=False, frames=10**10, width=4096, height=2160
        )
    assert leftovers(tmp_path) == []


# Never a half-made or lost file


def test_an_existing_video_is_kept_without_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    path.write_text("mine")
    with pytest.raises(OutputError, match="exists already") as caught:
        check_output(path, "h264", overwrite=False, frames=1, width=64, height=48)
    assert "--overwrite" in caught.value.fix
    with pytest.raises(OutputError, match="exists already"):
        write(path, [flat(0)])
    assert path.read_text() == "mine"
    assert leftovers(tmp_path) == ["x.mp4"]


def test_a_video_that_appears_meanwhile_is_kept(tmp_path: Path, no_leaks: None) -> None:
    path = tmp_path / "x.mp4"
    with (
        pytest.raises(OutputError, match="exists already"),
        VideoWriter(path, width=WIDTH, height=HEIGHT, fps=FPS) as video,
    ):
        video.write(flat(0))
        path.write_text("mine")
    assert path.read_text() == "mine"
    assert leftovers(tmp_path) == ["x.mp4"]


@pytest.fixture
def without_hard_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")  # as FAT answers

    monkeypatch.setattr(os, "link", link)


@pytest.mark.usefixtures("without_hard_links")
def test_without_hard_links_a_failed_move_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replace(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(OutputError, match="Input/output error"):
        write(tmp_path / "x.mp4", [flat(0)])
    assert leftovers(tmp_path) == []


@pytest.mark.usefixtures("without_hard_links")
def test_without_hard_links_nothing_is_replaced_either(tmp_path: Path) -> None:
    path = write(tmp_path / "x.mp4", [flat(0)])
    assert len(decoded(path)) == 1
    with (
        pytest.raises(OutputError, match="exists already"),
        VideoWriter(tmp_path / "y.mp4", width=WIDTH, height=HEIGHT, fps=FPS) as video,
    ):
        video.write(flat(0))
        (tmp_path / "y.mp4").write_text("mine")
    assert (tmp_path / "y.mp4").read_text() == "mine"
    assert leftovers(tmp_path) == ["x.mp4", "y.mp4"]


def test_overwriting_replaces_only_at_the_very_end(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    path.write_text("mine")
    with VideoWriter(path, width=WIDTH, height=HEIGHT, fps=FPS, overwrite=True) as video:
        for i in range(30):
            video.write(texture(i))
        assert path.read_text() == "mine"
    assert len(decoded(path)) == 30
    assert leftovers(tmp_path) == ["x.mp4"]


def test_overwriting_follows_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.mp4").write_text("old")
    (tmp_path / "x.mp4").symlink_to("real.mp4")
    write(tmp_path / "x.mp4", [flat(0)], overwrite=True)
    assert (tmp_path / "x.mp4").is_symlink()
    assert len(decoded(tmp_path / "real.mp4")) == 1


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_everything_as_it_was(
    error: type[BaseException], tmp_path: Path, no_leaks: None
) -> None:
    path = tmp_path / "x.mp4"
    path.write_text("mine")
    with (
        pytest.raises(error),
        VideoWriter(path, width=WIDTH, height=HEIGHT, fps=FPS, overwrite=True) as video,
    ):
        video.write(texture(0))
        raise error
    assert path.read_text() == "mine"
    assert leftovers(tmp_path) == ["x.mp4"]


def test_a_file_that_does_not_decode_to_all_frames_is_refused(
    tmp_path: Path, no_leaks: None
) -> None:
    video = VideoWriter(tmp_path / "x.mp4", width=WIDTH, height=HEIGHT, fps=FPS)
    video._arguments += ["-frames:v", "3"]
    with pytest.raises(OutputError, match="decodes to 3 frames of 64x48, not 4"), video:
        for _ in range(4):
            video.write(flat(0))
    assert leftovers(tmp_path) == []


def test_a_damaged_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_leaks: None
) -> None:
    finish = ffmpeg.Ffmpeg.finish

    def finish_and_damage(self: ffmpeg.Ffmpeg, growing: Path | None = None) -> None:
        finish(self, growing)
        if growing:
            os.truncate(growing, growing.stat().st_size * 2 // 3)

    monkeypatch.setattr(ffmpeg.Ffmpeg, "finish", finish_and_damage)
    with pytest.raises(OutputError):
        write(tmp_path / "x.mkv", [texture(i) for i in range(6)])
    assert leftovers(tmp_path) == []


# Faults of ffmpeg, the disk and the machine


def killed_with(number: int, tmp_path: Path) -> OutputError:
    with (
        pytest.raises(OutputError) as caught,
        VideoWriter(tmp_path / "x.mp4", width=640, height=480, fps=FPS) as video,
    ):
        for i in range(100):
            video.write(texture(i, 640, 480))
            if i == 1:
                os.kill(video._ffmpeg.process.pid, number)
    return caught.value


def test_a_killed_ffmpeg_is_named_with_its_signal(tmp_path: Path, no_leaks: None) -> None:
    start = time.monotonic()
    assert "killed by SIGKILL" in str(killed_with(signal.SIGKILL, tmp_path))
    assert time.monotonic() - start < 5
    assert leftovers(tmp_path) == []


def test_a_crashed_ffmpeg_is_named_with_its_signal(tmp_path: Path, no_leaks: None) -> None:
    assert "killed by SIGSEGV" in str(killed_with(signal.SIGSEGV, tmp_path))
    assert leftovers(tmp_path) == []


def test_a_frozen_ffmpeg_is_ended(tmp_path: Path, short_patience: None, no_leaks: None) -> None:
    assert "no progress for 0.4 s" in str(killed_with(signal.SIGSTOP, tmp_path))
    assert leftovers(tmp_path) == []


def test_an_ffmpeg_that_freezes_at_the_end_is_ended(
    tmp_path: Path, short_patience: None, no_leaks: None
) -> None:
    with (
        pytest.raises(OutputError, match="no progress"),
        VideoWriter(tmp_path / "x.mp4", width=WIDTH, height=HEIGHT, fps=FPS) as video,
    ):
        video.write(flat(0))
        os.kill(video._ffmpeg.process.pid, signal.SIGSTOP)
    assert leftovers(tmp_path) == []


def test_ffmpeg_failing_by_itself_is_quoted(tmp_path: Path, no_leaks: None) -> None:
    video = VideoWriter(tmp_path / "x.mp4", width=WIDTH, height=HEIGHT, fps=FPS)
    video._arguments += ["-profile:v", "nonsense"]
    with pytest.raises(OutputError, match="nonsense"), video:
        for _ in range(50):
            video.write(flat(0))
    assert leftovers(tmp_path) == []


def test_ctrl_c_does_not_reach_ffmpeg(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "x.mp4", width=WIDTH, height=HEIGHT, fps=FPS) as video:
        assert os.getpgid(video._ffmpeg.process.pid) != os.getpgrp()
        video.write(flat(0))


def python(code: str, *arguments: str, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(  # pyright: ignore[reportCallIssue]
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=Path(__file__).parents[1],
        **options,  # pyright: ignore[reportArgumentType]
    )


WRITE_NOISE = """
import sys, numpy as np
from fractions import Fraction
from pathlib import Path
from batman_cli.errors import OutputError
from batman_cli.video import VideoWriter
try:
    with VideoWriter(Path(sys.argv[1]), width=160, height=120, fps=Fraction(25),
                     codec=sys.argv[3]) as video:
        for i in range(int(sys.argv[2])):
            noise = np.random.default_rng(i).integers(0, 65536, (120, 160, 3), np.uint16)
            video.write(noise)
            print(i, flush=True)
except OutputError as error:
    print(error, error.fix, flush=True)
"""


def test_a_limited_file_size_is_an_error_with_its_cause(tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    run = python(WRITE_NOISE, str(tmp_path / "x.mkv"), "100", "ffv1", preexec_fn=limit)
    output, _ = run.communicate(timeout=60)
    assert "x.mkv: File too large" in output.splitlines()[-1]
    assert "space" in output.splitlines()[-1]
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(("codec", "used"), [("h264", 900_000), ("ffv1", 500_000), ("ffv1", 0)])
def test_a_full_disk_is_an_error_with_its_cause(
    codec: str, used: int, small_disk: Path, no_leaks: None
) -> None:
    (small_disk / "other").write_bytes(bytes(used))
    path = small_disk / f"x{CODECS[codec].suffixes[0]}"
    with pytest.raises(OutputError, match="No space left on device") as caught:
        write(path, [texture(i, 160, 120) for i in range(60)], codec=codec)
    assert "Free" in caught.value.fix
    assert leftovers(small_disk) == ["other"]
    (small_disk / "other").unlink()
    write(path, [flat(0)], codec=codec)
    assert leftovers(small_disk) == [path.name]


def test_a_killed_run_leaves_no_video_and_the_next_run_cleans_up(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    for frames in (1, 12):
        run = python(WRITE_NOISE, str(path), "1000", "h264")
        assert run.stdout
        for _ in range(frames):
            run.stdout.readline()
        run.kill()
        run.wait()
        run.stdout.close()
        assert not path.exists()
    wait_for(lambda: not using(tmp_path))  # ffmpeg ends its hidden file by itself
    assert not path.exists()
    assert any(name.endswith(".part") for name in leftovers(tmp_path))
    (tmp_path / ".xx.mp4.01234567.part").touch()  # of another video
    write(path, [flat(0)] * 3)
    assert len(decoded(path)) == 3
    assert leftovers(tmp_path) == [".xx.mp4.01234567.part", "x.mp4"]


def using(folder: Path) -> list[str]:
    """Open files below a folder, of all processes."""
    found: list[str] = []
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            found.append(str(link.readlink()))
    return [name for name in found if name.startswith(str(folder))]


def wait_for(condition: object, patience_s: float = 10) -> None:
    end = time.monotonic() + patience_s
    while not condition():  # pyright: ignore[reportCallIssue]
        assert time.monotonic() < end
        time.sleep(0.02)


# Two runs, one video


def test_a_second_run_on_the_same_video_fails_at_once(tmp_path: Path, no_leaks: None) -> None:
    path = tmp_path / "x.mp4"
    with VideoWriter(path, width=WIDTH, height=HEIGHT, fps=FPS) as video:
        video.write(flat(0))
        start = time.monotonic()
        with pytest.raises(OutputError, match=f"another run .*process {os.getpid()} "):
            write(path, [flat(0)], overwrite=True)
        with pytest.raises(OutputError, match="another run"):
            check_output(path, "h264", overwrite=True, frames=1, width=64, height=48)
        assert time.monotonic() - start < 1
        write(tmp_path / "y.mp4", [flat(0)])
        video.write(flat(0))
    assert len(decoded(path)) == 2
    assert leftovers(tmp_path) == ["x.mp4", "y.mp4"]


def test_on_a_disk_without_locks_a_second_call_takes_nothing_from_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    path = tmp_path / "x.mp4"
    with VideoWriter(path, width=WIDTH, height=HEIGHT, fps=FPS) as video:
        video.write(flat(0))
        wait_for(lambda: any(name.endswith(".part") for name in leftovers(tmp_path)))
        check_output(path, "h264", overwrite=True, frames=1, width=64, height=48)
    assert len(decoded(path)) == 1
    assert leftovers(tmp_path) == ["x.mp4"]


def test_of_runs_that_race_one_writes_and_the_others_fail(tmp_path: Path) -> None:
    for turn in range(4):
        path, start = tmp_path / f"{turn}.mp4", threading.Barrier(3)
        results: list[object] = []

        def run(
            count: int,
            path: Path = path,
            start: threading.Barrier = start,
            results: list[object] = results,
        ) -> None:
            start.wait()
            try:
                write(path, [flat(0)] * count)
                results.append(count)
            except OutputError as error:
                results.append(error)

        threads = [threading.Thread(target=run, args=(count,)) for count in (2, 3, 4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        winners = [result for result in results if isinstance(result, int)]
        assert len(results) == 3
        assert [len(decoded(path))] == winners
    assert leftovers(tmp_path) == [f"{turn}.mp4" for turn in range(4)]


# Names


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_every_name_works(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(name)
    check_output(path, "h264", overwrite=False, frames=1, width=64, height=48)
    write(path, [flat(20000)] * 2)
    assert leftovers(tmp_path) == [name]
    assert [frame.shape for frame in read_clip(path)] == [(48, 64, 3)] * 2


# Reading


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frames = [flat(i * 6000, 96, 64) for i in range(10)]
    return write(tmp_path_factory.mktemp("clip") / "clip.mp4", frames)


def levels(frames: Iterator[NDArray[np.uint8]]) -> list[int]:
    return [round(frame.mean() * 257 / 6000) for frame in frames]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, list(range(10))),
        ({"start": 4}, [4, 5, 6, 7, 8, 9]),
        ({"frames": 3}, [0, 1, 2]),
        ({"start": 7, "frames": 2}, [7, 8]),
        ({"start": 8, "frames": 5}, [8, 9]),
    ],
)
def test_the_asked_frames_are_read(
    options: dict[str, int], expected: list[int], clip: Path, no_leaks: None
) -> None:
    assert levels(read_clip(clip, **options)) == expected


def test_frames_are_scaled_with_their_aspect(clip: Path) -> None:
    frame = next(read_clip(clip, width=48))
    assert (frame.shape, frame.dtype) == ((32, 48, 3), np.uint8)
    frame[0] = 1  # the caller's own


def test_frames_are_read_in_the_colours_that_were_written(tmp_path: Path) -> None:
    path = write(tmp_path / "x.mp4", [patch_frame()])
    assert patch_errors(next(read_clip(path)).astype(np.float64)).max() <= 4


def test_a_reader_that_is_left_early_leaves_nothing_running(clip: Path, no_leaks: None) -> None:
    reader = read_clip(clip)
    next(reader)
    reader.close()  # pyright: ignore[reportAttributeAccessIssue]


def test_a_missing_clip_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="not a file"):
        read_clip(tmp_path / "none.mp4")


@pytest.mark.parametrize("options", [{"start": -1}, {"frames": 0}, {"width": 0}])
def test_senseless_parts_of_a_clip_are_refused(options: dict[str, int], clip: Path) -> None:
    with pytest.raises(UsageError):
        read_clip(clip, **options)


def test_a_start_beyond_the_end_is_refused(clip: Path) -> None:
    with pytest.raises(BadInput, match="no frame 10"):
        list(read_clip(clip, start=10))


@pytest.mark.parametrize("content", [b"", b"no video " * 999], ids=["empty", "text"])
def test_what_is_no_video_is_refused(content: bytes, tmp_path: Path, no_leaks: None) -> None:
    (tmp_path / "x.mp4").write_bytes(content)
    with pytest.raises(BadInput, match=r"x\.mp4"):
        list(read_clip(tmp_path / "x.mp4"))


def test_a_damaged_clip_is_refused(clip: Path, tmp_path: Path, no_leaks: None) -> None:
    whole = write(tmp_path / "x.mp4", [texture(i) for i in range(10)]).read_bytes()
    middle = len(whole) // 2
    (tmp_path / "x.mp4").write_bytes(whole[:middle] + bytes(9000) + whole[middle + 9000 :])
    with pytest.raises(BadInput):
        list(read_clip(tmp_path / "x.mp4"))


def test_a_playlist_cannot_make_ffmpeg_open_an_address(tmp_path: Path) -> None:
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/x.ts\n"
    (tmp_path / "x.m3u8").write_text(playlist + "#EXT-X-ENDLIST\n")
    with pytest.raises(BadInput, match=r"(?i)whitelist|not allowed|failed"):
        list(read_clip(tmp_path / "x.m3u8"))


def test_a_clip_that_freezes_is_an_error(
    clip: Path, monkeypatch: pytest.MonkeyPatch, short_patience: None, no_leaks: None
) -> None:
    started: list[ffmpeg.Ffmpeg] = []
    start = ffmpeg.Ffmpeg.__enter__

    def start_and_stop(self: ffmpeg.Ffmpeg) -> ffmpeg.Ffmpeg:
        os.kill(self.process.pid, signal.SIGSTOP)
        started.append(self)
        return start(self)

    monkeypatch.setattr(ffmpeg.Ffmpeg, "__enter__", start_and_stop)
    with pytest.raises(BadInput, match="no progress"):
        list(read_clip(clip))
    assert started
