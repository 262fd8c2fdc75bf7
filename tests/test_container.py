"""What is known of CR3 and RAF files, which are no TIFF but have TIFF blocks inside."""

import datetime
import struct
from pathlib import Path

import numpy as np
import pytest
from conftest import samples

from batman_cli.container import CANON, EXIF_START, tiff_blocks
from batman_cli.rawfile import read_file
from batman_cli.simulate.tiff_writer import Exposure, Kind, Tag, exif_tags, tiff_bytes

TIME = datetime.datetime(2024, 3, 1, 21, 30, 0, 250_000)
EXPOSURE = Exposure(12_800, 1 / 50, TIME, (2.0, 1.0, 1.6), 7)
CAMERA = [Tag(0x010F, Kind.ASCII, "Canon"), Tag(0x0110, Kind.ASCII, "Canon EOS R6m2")]


def box(kind: bytes, *bodies: bytes) -> bytes:
    body = b"".join(bodies)
    return struct.pack(">I4s", len(body) + 8, kind) + body


def cr3() -> bytes:
    picture = tiff_bytes(CAMERA, [], b"")
    exif = tiff_bytes(exif_tags(EXPOSURE), [], b"")
    own = box(b"uuid", CANON, box(b"CNCV", b"CanonCR3"), box(b"CMT1", picture), box(b"CMT2", exif))
    movie = box(b"moov", own, box(b"mvhd", bytes(100)))
    return box(b"ftyp", b"crx ", bytes(8)) + movie + box(b"mdat", bytes(500))


def raf() -> bytes:
    exif = EXIF_START + tiff_bytes(CAMERA, exif_tags(EXPOSURE), b"")
    preview = b"\xff\xd8\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    head = b"FUJIFILMCCD-RAW 0201FF000000".ljust(84, b"\0")
    return head + struct.pack(">II", 92, len(preview)) + preview + bytes(500)


@pytest.mark.parametrize("content", [cr3(), raf()], ids=["cr3", "raf"])
def test_camera_exposure_and_time_are_known(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "shot.raw"
    path.write_bytes(content)
    found = read_file(path).tiff
    assert found.camera == "Canon EOS R6m2"
    assert (found.iso, found.exposure_s) == (12_800, pytest.approx(1 / 50))
    assert found.time_s == TIME.replace(tzinfo=datetime.UTC).timestamp()
    assert found.has_subsecond
    assert not found.images  # places inside a block are not places in the file


@pytest.mark.parametrize("content", [cr3(), raf()], ids=["cr3", "raf"])
def test_damage_never_raises(content: bytes, tmp_path: Path) -> None:
    random, path = np.random.default_rng(1), tmp_path / "shot.raw"
    for _ in range(200):
        damaged = bytearray(content[: random.integers(17, len(content))])
        for place in random.integers(16, len(damaged), 8):
            damaged[place] = random.integers(256)
        path.write_bytes(damaged)
        read_file(path)


def test_other_files_are_left_to_others() -> None:
    for content in (b"", b"II*\0", tiff_bytes(CAMERA, [], b""), box(b"ftyp", b"heic", bytes(8))):
        assert tiff_blocks(content) is None


def test_a_real_raf_says_what_took_it() -> None:
    tiff = read_file(samples("raw/bad/truncated.raf")).tiff
    assert tiff.camera == "FUJIFILM FinePix S5Pro"
    assert (tiff.iso, tiff.exposure_s) == (100, pytest.approx(1 / 250))
