"""Running the command, in this process or in one of its own, and looking at what it made."""

import contextlib
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import torch
from numpy.typing import NDArray
from typer.testing import CliRunner

from batman_cli.amplify import amplify
from batman_cli.cli import app
from batman_cli.develop import bilinear_demosaic, develop, to_uint16
from batman_cli.errors import BadShot
from batman_cli.pack import Planes
from batman_cli.plan import make_plan
from batman_cli.raw import RAW_SUFFIXES
from batman_cli.settings import EnhanceSettings
from batman_cli.weights import load_network

ROOT = Path(__file__).parents[1]
COMMAND = (sys.executable, "-m", "batman_cli")
NO_INPUT = {"-o", "--output", "--weights"}  # options whose value is a path that may change
LIMIT_S = 300  # of a run of its own; far above what any takes, so that a hang is a failure

Word = str | Path
Picture = NDArray[np.uint16]


@dataclass(frozen=True)
class Ran:
    """How a run ended."""

    code: int
    out: str
    err: str


class Video(NamedTuple):
    frames: int
    width: int
    height: int
    fps: Fraction


def call(*words: Word, growing: bool = False) -> Ran:
    """Runs the command in this process; its inputs must come out as they went in.

    growing: other files than raw ones may appear or change among the inputs.
    """
    arguments = [str(word) for word in words]
    before = _inputs(arguments, Path.cwd())
    if growing:
        before = {path: _raw_alone(old) for path, old in before.items()}
    result = CliRunner().invoke(app, arguments)
    _check_inputs(before, growing=growing)
    crashed = result.exception is not None and not isinstance(result.exception, SystemExit)
    assert not crashed, result.exception
    assert "Traceback" not in result.stderr
    return Ran(result.exit_code, result.stdout, result.stderr)


def batman(
    *words: Word,
    cwd: Path = ROOT,
    env: Mapping[str, str] | None = None,
    python: Sequence[str] = COMMAND,
) -> Ran:
    """Runs the command in a process of its own; its inputs must come out as they went in."""
    before = _inputs([str(word) for word in words], cwd)
    done = start(*words, cwd=cwd, env=env, python=python)
    out, err = done.communicate(timeout=LIMIT_S)
    _check_inputs(before, growing=False)
    assert b"Traceback" not in err, err
    return Ran(done.returncode, _text(out), _text(err))


def start(
    *words: Word,
    cwd: Path = ROOT,
    env: Mapping[str, str] | None = None,
    python: Sequence[str] = COMMAND,
) -> subprocess.Popen[bytes]:
    """The command in a process of its own, under way."""
    return subprocess.Popen(
        [*python, *map(os.fsencode, words)],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def names(folder: Path) -> list[str]:
    """Everything in a folder, also what is hidden."""
    return sorted(path.name for path in folder.iterdir())


def contents(path: Path) -> dict[Path, tuple[str, int]]:
    """Hash and time of a file, or of every file below a folder."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return {
        file: (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_mtime_ns)
        for file in files
    }


def processes(folder: Path) -> list[int]:
    """Processes that name something below a folder in their command line."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if os.fsencode(folder) in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found


def probe(path: Path) -> Video:
    """Facts of a video, its frames counted by decoding them."""
    with path.open("rb") as file, av.open(file, "r") as container:
        stream = container.streams.video[0]
        frames = sum(1 for _ in container.decode(stream))
        assert stream.average_rate
        return Video(frames, stream.width, stream.height, stream.average_rate)


def pictures(path: Path) -> list[Picture]:
    """The frames of a lossless video, exactly: (H, W, 3) uint16."""
    with path.open("rb") as file, av.open(file, "r") as container:
        return [_rgb48(frame) for frame in container.decode(video=0)]


def mean_colours(path: Path) -> list[NDArray[np.float64]]:
    """Mean R G B of each frame, 0..1."""
    with path.open("rb") as file, av.open(file, "r") as container:
        frames = container.decode(video=0)
        return [frame.to_ndarray(format="rgb24").mean((0, 1)) / 255 for frame in frames]


def directly(folder: Path, settings: EnhanceSettings) -> list[Picture]:
    """The frames of a burst by the plain definition: every step over the whole frame, in a list."""
    plan = make_plan(folder, settings)
    network = load_network(settings.model, file=settings.weights)
    matrix = torch.tensor(plan.first.color_matrix)
    results: list[torch.Tensor] = []
    state = None
    with torch.inference_mode():
        for planes, noise in _amplified(folder, settings):
            rest = [(0, -side % 32) for side in planes.shape[1:]]
            padded = torch.from_numpy(np.pad(planes, [(0, 0), *rest], mode="symmetric"))
            result, state = network.step(padded[None], torch.from_numpy(noise)[None], state)
            results += [] if result is None else [result]
        assert state is not None
        results += network.flush(state)
    height, width = plan.height, plan.width
    return [to_uint16(develop(rgb[0, :, :height, :width], matrix)) for rgb in results]


def plainly(folder: Path, settings: EnhanceSettings) -> list[Picture]:
    """The frames of a burst amplified and demosaiced, and nothing more."""
    matrix = torch.tensor(make_plan(folder, settings).first.color_matrix)
    return [
        to_uint16(develop(bilinear_demosaic(torch.from_numpy(planes)[None])[0], matrix))
        for planes, _ in _amplified(folder, settings)
    ]


def _amplified(
    folder: Path, settings: EnhanceSettings
) -> Iterator[tuple[Planes, NDArray[np.float32]]]:
    plan = make_plan(folder, settings)
    balance = plan.first.white_balance
    for shot in plan.burst.shots:
        ratio, noise = plan.ratio_of(shot), plan.noise_of(shot)
        try:
            planes = plan.planes_of(shot)
        except BadShot:
            assert settings.on_bad_frame == "skip"
        else:
            yield amplify(planes, ratio, balance), noise.amplified(ratio, balance)


def _rgb48(frame: av.VideoFrame) -> Picture:
    assert frame.format.name in ("gbrp16le", "rgb48le")
    if frame.format.name == "rgb48le":
        rows = np.frombuffer(bytes(frame.planes[0]), "<u2").reshape(frame.height, -1)
        return rows[:, : 3 * frame.width].reshape(frame.height, frame.width, 3)
    planes = [
        np.frombuffer(bytes(plane), "<u2").reshape(plane.height, -1)[:, : plane.width]
        for plane in frame.planes
    ]
    green, blue, red = planes
    return np.stack([red, green, blue], 2)


def _inputs(arguments: Sequence[str], cwd: Path) -> dict[Path, dict[Path, tuple[str, int]]]:
    """Contents of every burst, picture or clip among the arguments."""
    options = ["", *arguments]
    found = [
        cwd / word
        for option, word in zip(options, arguments, strict=False)
        if option not in NO_INPUT and word and len(os.fsencode(word)) < 4096
    ]
    return {path: contents(path) for path in found if path.exists()}


def _check_inputs(before: dict[Path, dict[Path, tuple[str, int]]], *, growing: bool) -> None:
    for path, old in before.items():
        new = contents(path)
        assert (_raw_alone(new) if growing else new) == old


def _raw_alone(files: dict[Path, tuple[str, int]]) -> dict[Path, tuple[str, int]]:
    return {path: facts for path, facts in files.items() if path.suffix.lower() in RAW_SUFFIXES}


def _text(output: bytes) -> str:
    return output.decode(errors="surrogateescape")
