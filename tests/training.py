"""What the tests of `batman train` share: data, small runs, and reading what they leave."""

import csv
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from conftest import NARROW, photo
from numpy.typing import NDArray
from running import Word

from batman_cli.device import Device
from batman_cli.settings import SimulateSettings
from batman_cli.simulate.run import simulate
from batman_cli.stills import write_png

CPU = torch.device("cpu")
PLAIN = Device(CPU, bf16=False, reason="")
SMALL = {
    "steps": 6,
    "batch": 2,
    "frames": 3,
    "size": 64,
    "validate_every": 3,
    "validation_bursts": 3,
    "save_every": 2,
    "threads": 2,
}


def photos(folder: Path, count: int = 4) -> Path:
    """A folder of made-up photos."""
    folder.mkdir(parents=True)
    for number in range(count):
        write_png(folder / f"{number}.png", photo(140, 160, number))
    return folder


def drv_tree(
    folder: Path, scenes: int = 10, frames: int = 8, motion: str = SimulateSettings.motion
) -> Path:
    """A small DRV dataset: six scenes to train on, one to validate, the rest to test."""
    asked = SimulateSettings(frames=frames, ratio=20.0, width=96, height=64, motion=motion)
    simulate([photo(140, 160, number)[None] for number in range(scenes)], folder, asked)
    return folder


def write_png16(path: Path, picture: NDArray[np.uint16]) -> None:
    """The plainest PNG of 16 bits."""
    height, width, _ = picture.shape
    rows = picture.astype(">u2").tobytes()
    line = 6 * width
    lines = b"".join(b"\0" + rows[y * line : (y + 1) * line] for y in range(height))

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(lines))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + body + chunk(b"IEND", b""))


def config(folder: Path, **settings: object) -> Path:
    """A TOML file of a small run with a narrow network."""
    path = folder / "small.toml"
    lines = [f"{name} = {_toml(value)}" for name, value in {**SMALL, **settings}.items()]
    lines += [
        "[network]",
        *(f"{name} = {list(v) if isinstance(v, tuple) else v}" for name, v in NARROW.items()),
    ]
    path.write_text("\n".join(lines))
    return path


def command(data: Path, run: Path, toml: Path, *more: Word) -> tuple[Word, ...]:
    """The words of a call."""
    return ("train", "--data", data, "-o", run, "--config", toml, *more)


def log(run: Path) -> list[dict[str, str]]:
    """Rows of the log."""
    with (run / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def losses(run: Path) -> Mapping[int, str]:
    """Loss of each step, as written."""
    return {int(row["step"]): row["loss"] for row in log(run) if row["loss"]}


def scores(run: Path) -> Mapping[int, float]:
    """PSNR of each validation, by step."""
    return {int(row["step"]): float(row["psnr"]) for row in log(run) if row["psnr"]}


def _toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()
