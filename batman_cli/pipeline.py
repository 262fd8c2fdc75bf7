"""The main path: a folder of dark raw shots becomes a bright video."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from batman_cli.ahead import read_ahead
from batman_cli.amplify import amplify
from batman_cli.burst import Burst
from batman_cli.codecs import CODECS
from batman_cli.develop import develop, plain_demosaic, to_uint16
from batman_cli.device import Device, choose_device
from batman_cli.errors import BadInput, BadShot, UsageError
from batman_cli.infer import Frame, infer
from batman_cli.pack import Planes
from batman_cli.plan import Plan, make_plan, read_planes
from batman_cli.raw import ShotInfo
from batman_cli.settings import EnhanceSettings
from batman_cli.stills import StillsWriter, stills_folder
from batman_cli.tiles import MIN_TILE
from batman_cli.video import VideoWriter
from batman_cli.weights import Net, load_network

Picture = NDArray[np.uint16]  # (H, W, 3), sRGB primaries, BT.709 curve, 65535 = 1
OnFrame = Callable[[int, int], None]  # frames done, frames in all

QUARTER_TURNS = {0: 0, 3: 2, 5: 1, 6: 3}  # LibRaw's orientation to counter-clockwise turns
PREVIEW_LEAD = 8  # frames before a previewed one, which fill the network's memory


@dataclass(frozen=True)
class Result:
    """What a run has made."""

    output: Path
    stills: Path | None
    frames: int
    bad: tuple[BadShot, ...]  # shots that were skipped or replaced
    seconds: float


def enhance(
    folder: Path | str,
    output: Path | str | None = None,
    settings: EnhanceSettings | None = None,
    *,
    on_frame: OnFrame | None = None,
) -> Result:
    """Enhance a burst into a video file.

    folder: the shots; output: default is `<folder>.mp4` beside it; on_frame(done, total) is called
    after each frame. Raises the errors of `batman_cli.errors`; then there is no output.
    """
    run = start(Path(folder), settings or EnhanceSettings())
    target = Path(output) if output else default_output(Path(folder), run.settings.codec)
    return write_video(run, target, on_frame=on_frame)


def enhance_frames(
    folder: Path | str, settings: EnhanceSettings | None = None
) -> Iterator[Picture]:
    """The enhanced frames of a burst, one by one, as (H, W, 3) uint16."""
    yield from start(Path(folder), settings or EnhanceSettings()).pictures()


def start(folder: Path, settings: EnhanceSettings, plan: Plan | None = None) -> "Run":
    """Everything loaded that a run over a burst needs; `plan` if it has been made already."""
    plan = plan or make_plan(folder, settings)
    network = load_network(settings.model, file=settings.weights)
    return Run(plan, network, choose_device(settings.device, settings.precision), settings)


def write_video(run: "Run", output: Path, *, on_frame: OnFrame | None = None) -> Result:
    """A run into a video file, and into stills if its settings say so."""
    began = time.monotonic()
    plan, settings = run.plan, run.settings
    total, done = run.total, 0
    width, height = frame_size(plan, settings)
    stills = stills_folder(output, plan.burst.folder) if settings.stills else None
    with ExitStack() as stack:
        # Entered first, so left last: the stills appear once the video is found good.
        pages = None
        if stills and settings.stills:
            pages = stack.enter_context(
                StillsWriter(stills, kind=settings.stills, overwrite=settings.overwrite)
            )
        video = stack.enter_context(
            VideoWriter(
                output,
                width=width,
                height=height,
                fps=plan.burst.fps,
                codec=settings.codec,
                crf=settings.crf,
                overwrite=settings.overwrite,
            )
        )
        for picture in run.pictures():
            video.write(picture)
            if pages:
                pages.write(picture)
            done += 1
            if on_frame:
                on_frame(done, total)
    return Result(output, stills, done, tuple(run.bad), time.monotonic() - began)


def preview(run: "Run", number: int) -> Picture:
    """One enhanced frame, from the few shots around it that it depends on.

    number: index in the burst, from 0. Raises UsageError if there is no such frame.
    """
    plan, count = run.plan, len(run.plan.burst.sequence)
    if not 0 <= number < count:
        raise UsageError(f"no frame {number}", f"the burst has frames 0 to {count - 1}")
    first, stop = max(0, number - PREVIEW_LEAD), number + run.network.delay + 1
    part = plan.burst.sequence[first:stop]
    shots = tuple(shot for shot in part if isinstance(shot, ShotInfo))
    bad = tuple(shot for shot in part if isinstance(shot, BadShot))
    burst: Burst = replace(plan.burst, shots=shots, sequence=part, bad=bad)
    short = Run(replace(plan, burst=burst), run.network, run.device, run.settings)
    for index, picture in enumerate(short.pictures()):
        if first + index == number:
            return picture
    raise BadInput(f"frame {number} cannot be read", "its shot is damaged")


def default_output(folder: Path, codec: str) -> Path:
    """`<folder>.mp4` beside the folder; the suffix goes with the codec."""
    folder = folder.absolute()
    stem = folder.stem if folder.is_file() else folder.name
    return folder.parent / f"{stem}{CODECS[codec].suffixes[0]}"


def frame_size(plan: Plan, settings: EnhanceSettings) -> tuple[int, int]:
    """Width and height of the written frames, after rotation and the comparison."""
    turned = QUARTER_TURNS[plan.first.orientation] % 2 == 1
    width, height = (plan.height, plan.width) if turned else (plan.width, plan.height)
    return (2 * width if settings.compare else width), height


@dataclass
class _Inside:
    """A frame that the network has taken in and not given out."""

    planes: Planes | None  # kept for the comparison only
    copies: int = 1  # one more for each bad shot after it that it stands in for


class Run:
    """One pass over a burst: shots in, finished pictures out, bad shots dealt with on the way."""

    def __init__(self, plan: Plan, network: Net, device: Device, settings: EnhanceSettings) -> None:
        """Nothing is read until `pictures` is."""
        self.plan, self.network, self.device, self.settings = plan, network, device, settings
        # Those of the sequence are noted when their turn comes.
        self.bad = [shot for shot in plan.burst.bad if shot not in plan.burst.sequence]
        self._inside: deque[_Inside] = deque()
        self._late = 0  # copies owed of the picture that was given out last
        self._matrix = torch.tensor(plan.first.color_matrix, device=device.torch_device)

    @property
    def total(self) -> int:
        """Number of pictures, if no further shot turns out to be bad."""
        repeat = self.settings.on_bad_frame == "repeat"
        return len(self.plan.burst.sequence if repeat else self.plan.burst.shots)

    def pictures(self) -> Iterator[Picture]:
        """Finished pictures in order. Raises BadShot at a bad shot if the settings say stop."""
        last: Picture | None = None
        owed = 0  # copies for bad shots before the first good one
        with closing(read_ahead(self._decoded())) as shots:
            for rgb in self._inferred(shots):
                late, self._late = self._late, 0
                if last is None:
                    owed = late
                else:
                    yield from [last] * late
                frame = self._inside.popleft()
                last = self._finish(rgb, frame.planes)
                yield from [last] * (frame.copies + owed)
                owed = 0
        if last is None:
            raise BadInput("no shot of the burst can be read", str(self.bad[0]), self.bad[0].fix)
        yield from [last] * self._late

    def _inferred(self, shots: Iterator[tuple[ShotInfo, Planes] | BadShot]) -> Iterator[Tensor]:
        """Linear pictures from the network; the asked tile size counts output pixels."""
        tile = self.settings.tile
        if tile is not None:
            if tile != 0 and tile < 2 * MIN_TILE:
                raise UsageError(f"--tile {tile} is too small", f"{2 * MIN_TILE} is the least")
            tile //= 2
        return infer(self.network, self._frames(shots), self.device, tile=tile)

    def _decoded(self) -> Iterator[tuple[ShotInfo, Planes] | BadShot]:
        """Shots in order, decoded and binned (in the read-ahead thread)."""
        for shot in self.plan.burst.sequence:
            if isinstance(shot, BadShot):
                yield shot
                continue
            try:
                yield shot, read_planes(shot, self.plan.bin)
            except BadShot as error:
                if self.settings.on_bad_frame == "stop":
                    raise
                yield error

    def _frames(self, shots: Iterator[tuple[ShotInfo, Planes] | BadShot]) -> Iterator[Frame]:
        """Amplified frames for the network; a bad shot only leaves a note."""
        for shot in shots:
            if isinstance(shot, BadShot):
                self._note(shot)
                continue
            info, planes = shot
            ratio = self.plan.ratio_of(info)
            planes = amplify(planes, ratio, self.plan.first.white_balance)
            noise = self.plan.noise_of(info).amplified(ratio, self.plan.first.white_balance)
            self._inside.append(_Inside(planes if self.settings.compare else None))
            yield Frame(planes, noise)

    def _note(self, shot: BadShot) -> None:
        self.bad.append(shot)
        if self.settings.on_bad_frame == "repeat":
            if self._inside:
                self._inside[-1].copies += 1
            else:
                self._late += 1

    def _finish(self, rgb: Tensor, planes: Planes | None) -> Picture:
        """Developed, turned upright and, if asked, beside its plain amplified self."""
        turns = QUARTER_TURNS[self.plan.first.orientation]
        picture = np.rot90(to_uint16(develop(rgb, self._matrix)), turns)
        if planes is not None:
            plain = plain_demosaic(torch.from_numpy(planes).to(rgb)[None])[0]
            left = np.rot90(to_uint16(develop(plain, self._matrix)), turns)
            picture = np.concatenate([left, picture], 1)
        return np.ascontiguousarray(picture)
