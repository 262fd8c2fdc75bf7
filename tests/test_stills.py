"""Stills are exact, numbered, and appear as a whole folder or not at all."""

import io
import os
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import photo
from numpy.typing import NDArray
from PIL import Image

from batman_cli import stills
from batman_cli.errors import BadInput, OutputError, UsageError
from batman_cli.stills import StillsWriter, check_stills, read_image, write_png

SHAPE = (24, 40, 3)


def texture(seed: int = 0) -> NDArray[np.uint16]:
    frame = np.random.default_rng(seed).integers(0, 65536, SHAPE, np.uint16)
    frame[0, :2] = ((0, 0, 0), (65535, 65535, 65535))
    return frame


def rounded(frame: NDArray[np.uint16]) -> NDArray[np.uint8]:
    return np.round(frame / 257).astype(np.uint8)


def write(folder: Path, count: int, *, kind: str = "png", overwrite: bool = False) -> Path:
    with StillsWriter(folder, kind=kind, overwrite=overwrite) as pictures:  # pyright: ignore[reportArgumentType]
        for i in range(count):
            pictures.write(texture(i))
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def tiff_samples(path: Path) -> NDArray[np.uint16]:
    """The picture of an uncompressed little-endian TIFF of 16-bit RGB, read by its definition."""
    data = path.read_bytes()
    order, magic, directory = struct.unpack_from("<2sHI", data)
    assert (order, magic) == (b"II", 42)
    size = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8}
    tags: dict[int, tuple[int, ...]] = {}
    for i in range(struct.unpack_from("<H", data, directory)[0]):
        at = directory + 2 + 12 * i
        tag, kind, count = struct.unpack_from("<HHI", data, at)
        if kind in (3, 4):
            inline = size[kind] * count <= 4
            start = at + 8 if inline else struct.unpack_from("<I", data, at + 8)[0]
            tags[tag] = struct.unpack_from(f"<{count}{'H' if kind == 3 else 'I'}", data, start)
    assert tags[258] == (16, 16, 16)  # bits per sample
    assert tags[259] == (1,)  # no compression
    assert tags[262] == (2,)  # RGB
    strips = zip(tags[273], tags[279], strict=True)
    pixels = b"".join(data[start : start + length] for start, length in strips)
    return np.frombuffer(pixels, "<u2").reshape(tags[257][0], tags[256][0], 3)


def test_png_stills_hold_the_frames_rounded_to_8_bits(tmp_path: Path) -> None:
    folder = write(tmp_path / "out", 3)
    assert names(folder) == ["00001.png", "00002.png", "00003.png"]
    for i in range(3):
        picture = np.asarray(Image.open(folder / f"{i + 1:05d}.png"))
        assert np.array_equal(picture, rounded(texture(i)))


def test_tiff_stills_hold_every_bit(tmp_path: Path) -> None:
    folder = write(tmp_path / "out", 2, kind="tiff16")
    assert names(folder) == ["00001.tiff", "00002.tiff"]
    for i in range(2):
        assert np.array_equal(tiff_samples(folder / f"{i + 1:05d}.tiff"), texture(i))


@pytest.mark.parametrize("name", ["-o", "a:b", "%03d", " ", "été", os.fsdecode(b"\xff"), "n" * 255])
@pytest.mark.parametrize("kind", ["png", "tiff16"])
def test_every_folder_name_works(
    kind: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path(name), 1, kind=kind)
    assert names(tmp_path) == [name]
    assert len(names(tmp_path / name)) == 1


def test_nothing_shows_before_the_end(tmp_path: Path) -> None:
    with StillsWriter(tmp_path / "out", kind="png", overwrite=False) as pictures:
        pictures.write(texture())
        assert not (tmp_path / "out").exists()
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_nothing(error: type[BaseException], tmp_path: Path) -> None:
    with (
        pytest.raises(error),
        StillsWriter(tmp_path / "out", kind="png", overwrite=False) as pictures,
    ):
        pictures.write(texture())
        raise error
    assert names(tmp_path) == []


@pytest.mark.parametrize("kind", ["png", "tiff16"])
@pytest.mark.parametrize(
    "frame",
    [texture()[..., :2], texture()[0], texture().astype(np.float32), texture().astype(np.uint8)],
    ids=["two channels", "flat", "float", "8 bit"],
)
def test_wrong_frames_are_refused(kind: str, frame: NDArray[np.uint16], tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="00001"),
        StillsWriter(tmp_path / "out", kind=kind, overwrite=False) as pictures,  # pyright: ignore[reportArgumentType]
    ):
        pictures.write(frame)
    assert names(tmp_path) == []


def test_an_empty_run_and_an_unknown_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no frame"):
        write(tmp_path / "out", 0)
    with pytest.raises(UsageError, match="unknown"):
        write(tmp_path / "out", 1, kind="jpeg")
    assert names(tmp_path) == []


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert names(write(tmp_path / "out", 1)) == ["00001.png"]


def test_a_filled_folder_is_kept_without_overwrite(tmp_path: Path) -> None:
    folder = write(tmp_path / "out", 3)
    before = [path.read_bytes() for path in sorted(folder.iterdir())]
    with pytest.raises(OutputError, match="exists already"):
        check_stills(folder, overwrite=False)
    with pytest.raises(OutputError, match="exists already"):
        write(folder, 1)
    assert [path.read_bytes() for path in sorted(folder.iterdir())] == before
    assert names(tmp_path) == ["out"]


def test_overwriting_replaces_all_stills_at_the_end(tmp_path: Path) -> None:
    folder = write(tmp_path / "out", 3)
    with StillsWriter(folder, kind="tiff16", overwrite=True) as pictures:
        pictures.write(texture())
        assert len(names(folder)) == 3
    assert names(folder) == ["00001.tiff"]
    assert names(tmp_path) == ["out"]


def test_overwriting_never_removes_other_files(tmp_path: Path) -> None:
    folder = write(tmp_path / "out", 1)
    (folder / "DSC00001.ARW").write_text("raw")
    with pytest.raises(OutputError, match="other files than stills"):
        write(folder, 1, overwrite=True)
    (folder / "DSC00001.ARW").unlink()
    with (
        pytest.raises(OutputError, match="other files than stills"),
        StillsWriter(folder, kind="png", overwrite=True) as pictures,
    ):
        pictures.write(texture())
        (folder / "DSC00001.ARW").write_text("raw")
    assert names(folder) == ["00001.png", "DSC00001.ARW"]
    assert names(tmp_path) == ["out"]


def test_a_folder_filled_meanwhile_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with (
        pytest.raises(OutputError, match="exists already"),
        StillsWriter(folder, kind="png", overwrite=False) as pictures,
    ):
        pictures.write(texture())
        write_png_into(folder)
    assert names(folder) == ["00001.png"]
    assert names(tmp_path) == ["out"]


def write_png_into(folder: Path) -> None:
    folder.mkdir()
    write_png(folder / "00001.png", texture())


@pytest.mark.parametrize("at", [1, 2])
def test_a_replacement_that_fails_half_way_is_undone(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "out", 2)
    rename, calls = Path.rename, []

    def failing(self: Path, target: Path) -> Path:
        calls.append(self)
        if len(calls) == at:
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OutputError, match="Input/output error"):
        write(folder, 1, overwrite=True)
    assert names(folder) == ["00001.png", "00002.png"]
    assert names(tmp_path) == ["out"]


def test_what_killed_runs_left_is_set_right_by_the_next(tmp_path: Path) -> None:
    folder = write(tmp_path / "out", 2)
    folder.rename(tmp_path / ".out.old")  # killed between the two renames
    (tmp_path / ".out.0123abcd.part").mkdir()
    (tmp_path / ".out.0123abcd.part" / "00001.png").touch()
    with pytest.raises(ValueError), StillsWriter(folder, kind="png", overwrite=True):
        raise ValueError
    assert names(tmp_path) == ["out"]
    assert len(names(folder)) == 2


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(OutputError, match="not a folder"):
        write(tmp_path / "out", 1, overwrite=True)
    with pytest.raises(OutputError, match="there is no folder"):
        write(tmp_path / "none" / "out", 1)


def test_of_two_runs_on_one_folder_one_fails_at_once(tmp_path: Path) -> None:
    with StillsWriter(tmp_path / "out", kind="png", overwrite=False) as pictures:
        pictures.write(texture())
        with pytest.raises(OutputError, match="another run"):
            write(tmp_path / "out", 1)
    assert names(tmp_path / "out") == ["00001.png"]


def test_a_full_disk_is_an_error_that_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="No space left on device") as caught:
        write(tmp_path / "out", 1)
    assert "Free" in caught.value.fix
    with pytest.raises(OutputError, match="No space left on device"):
        write_png(tmp_path / "x.png", texture())
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_an_error_with_its_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(OutputError, match="out: No space left on device"):
        write(tmp_path / "out", 1)
    assert names(tmp_path) == []


def test_no_threads_or_files_stay_open(tmp_path: Path) -> None:
    def held() -> tuple[int, int]:
        descriptors = Path("/proc/self/fd")
        files = len(list(descriptors.iterdir())) if descriptors.exists() else 0
        return files, threading.active_count()

    write(tmp_path / "first", 1, kind="tiff16")
    before = held()
    for kind in ("png", "tiff16"):
        write(tmp_path / kind, 3, kind=kind)
    assert held() == before


# Single pictures


def test_a_png_is_written_from_8_and_16_bits(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", texture())
    write_png(tmp_path / "b.png", rounded(texture()))
    for name in "ab":
        assert np.array_equal(read_image(tmp_path / f"{name}.png"), rounded(texture()))
    assert names(tmp_path) == ["a.png", "b.png"]


def test_a_png_replaces_another_only_when_told(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        write_png(tmp_path / "a.png", texture())
    assert (tmp_path / "a.png").read_text() == "mine"
    write_png(tmp_path / "a.png", texture(), overwrite=True)
    assert read_image(tmp_path / "a.png").shape == SHAPE


RGB = rounded(texture())
GRAY = RGB[..., 0]


def save(
    path: Path, array: NDArray[np.generic], mode: str | None = None, **options: object
) -> None:
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("name", "make", "expected"),
    [
        ("rgb.png", lambda p: save(p, RGB), RGB),
        ("gray.png", lambda p: save(p, GRAY), np.stack([GRAY] * 3, 2)),
        ("alpha.png", lambda p: save(p, np.dstack([RGB, GRAY])), RGB),
        ("gray alpha.png", lambda p: save(p, GRAY, "LA"), np.stack([GRAY] * 3, 2)),
        ("bits.png", lambda p: save(p, GRAY > 99), np.stack([255 * (GRAY > 99)] * 3, 2)),
        (
            "gray16.png",
            lambda p: save(p, texture()[..., 0]),
            np.stack([rounded(texture()[..., 0])] * 3, 2),
        ),
        ("colours.bmp", lambda p: save(p, RGB), RGB),
        ("any name", lambda p: save(p, RGB, format="PNG"), RGB),
    ],
)
def test_every_kind_of_picture_becomes_rgb(
    name: str, make: Callable[[Path], None], expected: NDArray[np.uint8], tmp_path: Path
) -> None:
    make(tmp_path / name)
    picture = read_image(tmp_path / name)
    assert picture.dtype == np.uint8
    assert np.array_equal(picture, expected)


def test_a_palette_becomes_its_colours(tmp_path: Path) -> None:
    few = np.repeat(np.repeat(RGB[:2, :2], 8, 0), 8, 1)  # 4 colours
    for name in ("x.gif", "x.png"):
        save(tmp_path / name, few, "P", **({} if name == "x.gif" else {"transparency": 0}))
        exact = np.asarray(Image.open(tmp_path / name).convert("RGB"))
        assert np.array_equal(read_image(tmp_path / name), exact)


def test_cmyk_and_jpeg_are_read(tmp_path: Path) -> None:
    smooth = np.full(SHAPE, (200, 100, 50), np.uint8)
    save(tmp_path / "x.jpg", smooth, quality=95)
    save(tmp_path / "y.tiff", smooth, "CMYK")
    for name in ("x.jpg", "y.tiff"):
        assert np.abs(read_image(tmp_path / name).astype(int) - smooth).max() <= 4


def test_photos_are_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise makes it upright
    save(tmp_path / "x.png", RGB, exif=exif)
    assert np.array_equal(read_image(tmp_path / "x.png"), np.rot90(RGB, -1))


def test_hostile_names_are_read(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"-\xff:%d.png")
    write_png(path, RGB)
    assert np.array_equal(read_image(path), RGB)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"", "no picture"),
        (b"text" * 99, "no picture"),
        ("cut", "no picture"),
        ("flipped", "no picture"),
    ],
    ids=str,
)
def test_unreadable_pictures_are_named(
    content: bytes | str | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.png"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        write_png(path, RGB)
        whole = path.read_bytes()
        half = len(whole) // 2
        flipped = (
            whole[:half] + bytes(b ^ 255 for b in whole[half : half + 40]) + whole[half + 40 :]
        )
        path.write_bytes(whole[:half] if content == "cut" else flipped)
    with pytest.raises(BadInput, match=rf"x\.png.*{message}"):
        read_image(path)


def test_floating_point_pictures_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "x.tiff", GRAY.astype(np.float32))
    with pytest.raises(BadInput, match="floating-point"):
        read_image(tmp_path / "x.tiff")


def test_rounding_keeps_both_ends_and_every_8_bit_value() -> None:
    every = np.arange(65536, dtype=np.uint16)
    assert np.array_equal(stills.to_8_bits(every), np.round(every / 257))


def test_a_jpeg_looks_like_its_picture() -> None:
    picture = photo(64, 96)
    coded = stills.jpeg(picture, quality=95)
    assert coded.startswith(b"\xff\xd8\xff")
    with Image.open(io.BytesIO(coded)) as image:
        assert (image.format, image.size) == ("JPEG", (96, 64))
        assert np.abs(np.asarray(image).astype(int) - picture).mean() < 3
    assert len(stills.jpeg(picture, quality=50)) < len(coded)


def test_pure_noise_becomes_a_jpeg_too() -> None:
    """Hardly anything needs more bytes, and an encoder with too small a buffer gives up on it."""
    noise = np.random.default_rng(0).integers(0, 256, (256, 384, 3)).astype(np.uint8)
    coded = stills.jpeg(noise, quality=90)
    assert coded.startswith(b"\xff\xd8") and coded.endswith(b"\xff\xd9")
