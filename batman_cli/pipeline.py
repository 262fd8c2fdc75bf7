"""The main path: a folder of dark raw shots becomes a bright video."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from batman_cli.ahead import read_ahead
from batman_cli.amplify import amplify
from batman_cli.develop import bilinear_demosaic, develop, registered, to_uint16
from batman_cli.device import Device, choose_device
from batman_cli.errors import BadInput, BadShot
from batman_cli.infer import Frame, infer
from batman_cli.models import Network
from batman_cli.pack import Planes
from batman_cli.plan import Plan, check_frame, make_plan
from batman_cli.raw import ShotInfo
from batman_cli.sample import stopping
from batman_cli.settings import EnhanceSettings
from batman_cli.shipped import check_choice
from batman_cli.stills import StillsWriter, stills_folder
from batman_cli.video import VideoWriter, default_output
from batman_cli.weights import load_runnable

Picture = NDArray[np.uint16]  # (H, W, 3), sRGB primaries, BT.709 curve, 65535 = 1
OnFrame = Callable[[int, int], None]  # frames done, frames in all

QUARTER_TURNS = {0: 0, 3: 2, 5: 1, 6: 3}  # LibRaw's orientation to counter-clockwise turns
PREVIEW_LEAD = 8  # usable shots before a previewed frame, which fill the network's memory


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
    settings = settings or EnhanceSettings()
    check_choice(settings.model, settings.weights)
    run = start(make_plan(Path(folder), settings), settings)
    target = Path(output) if output else default_output(Path(folder), settings.codec)
    return write_video(run, target, on_frame=on_frame)


def enhance_frames(
    folder: Path | str, settings: EnhanceSettings | None = None
) -> Iterator[Picture]:
    """The enhanced frames of a burst, one by one, as (H, W, 3) uint16."""
    settings = settings or EnhanceSettings()
    yield from start(make_plan(Path(folder), settings), settings).pictures()


def start(plan: Plan, settings: EnhanceSettings) -> "Run":
    """Everything loaded that a run needs."""
    network = load_runnable(settings.model, file=settings.weights)
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

    number: index in the burst, from 0, as if no shot turned out to be bad. Those that do are added
    to `run.bad`; unless the settings say stop, a neighbour stands in for them. Raises UsageError
    for no such frame.
    """
    plan, sequence = run.plan, run.plan.burst.sequence
    check_frame(plan, number)
    usable = [i for i in range(number + 1) if isinstance(sequence[i], ShotInfo)]
    first = usable[-1 - PREVIEW_LEAD] if len(usable) > PREVIEW_LEAD else 0
    burst = replace(plan.burst, sequence=sequence[first:])
    stops = run.settings.on_bad_frame == "stop"
    # With every place filled, the picture's index is the shot's.
    settings = run.settings if stops else replace(run.settings, on_bad_frame="repeat")
    short = Run(replace(plan, burst=burst), run.network, run.device, settings)
    with closing(short.pictures()) as pictures:
        picture = next(islice(pictures, number - first, None))
    run.bad = short.bad
    return picture


def frame_size(plan: Plan, settings: EnhanceSettings) -> tuple[int, int]:
    """Width and height of the written frames, after rotation and the comparison."""
    turned = QUARTER_TURNS[plan.burst.orientation] % 2 == 1
    width, height = (plan.height, plan.width) if turned else (plan.width, plan.height)
    return (2 * width if settings.compare else width), height


@dataclass(frozen=True)
class _Place:
    """A place in the video whose picture is not out yet."""

    repeat: bool  # shows its neighbour, since its own shot is bad
    planes: Planes | None = None  # kept for the comparison only


class Run:
    """One pass over a burst: shots in, finished pictures out, bad shots dealt with on the way."""

    def __init__(
        self, plan: Plan, network: Network, device: Device, settings: EnhanceSettings
    ) -> None:
        """Nothing is read until `pictures` is."""
        self.plan, self.network, self.device, self.settings = plan, network, device, settings
        self.bad = list(plan.burst.bad)
        self._places: deque[_Place] = deque()
        self._matrix = torch.tensor(plan.first.color_matrix, device=device.torch_device)
        self._bin = torch.tensor(float(plan.bin), device=device.torch_device)

    @property
    def total(self) -> int:
        """Number of pictures, if no further shot turns out to be bad."""
        return len(self.plan.burst.sequence)

    def pictures(self) -> Generator[Picture]:
        """Finished pictures in order. Raises BadShot at a bad shot if the settings say stop."""
        last: Picture | None = None
        with closing(read_ahead(self._decoded())) as shots:
            for rgb in self._inferred(shots):
                repeats = self._repeats_due()
                picture = self._finish(rgb, self._places.popleft().planes)
                yield from [picture if last is None else last] * repeats
                yield picture
                last = picture
        if last is None:
            raise BadInput("none of the shots can be read", str(self.bad[0]), self.bad[0].fix)
        yield from [last] * self._repeats_due()

    def _repeats_due(self) -> int:
        """Number of places that come before the next good one."""
        count = 0
        while self._places and self._places[0].repeat:
            self._places.popleft()
            count += 1
        return count

    def _inferred(self, shots: Iterator[tuple[ShotInfo, Planes] | BadShot]) -> Iterator[Tensor]:
        """Linear pictures from the network; the asked tile size counts output pixels."""
        tile = self.settings.tile
        return infer(
            self.network,
            self._frames(shots),
            self.device,
            tile=None if tile is None else tile // 2,
        )

    def _decoded(self) -> Iterator[tuple[ShotInfo, Planes] | BadShot]:
        """Shots in order, decoded and binned (in the read-ahead thread)."""
        for shot in self.plan.burst.sequence:
            if isinstance(shot, BadShot):
                yield shot
                continue
            try:
                yield shot, self.plan.planes_of(shot)
            except BadShot as error:
                if self.settings.on_bad_frame == "stop":
                    raise stopping(error) from error
                self.bad.append(error)
                yield error

    def _frames(self, shots: Iterator[tuple[ShotInfo, Planes] | BadShot]) -> Iterator[Frame]:
        """Amplified frames for the network; a bad shot only leaves a note."""
        for shot in shots:
            if isinstance(shot, BadShot):
                if self.settings.on_bad_frame == "repeat":
                    self._places.append(_Place(repeat=True))
                continue
            info, planes = shot
            ratio = self.plan.ratio_of(info)
            planes = amplify(planes, ratio, self.plan.first.white_balance)
            noise = self.plan.noise_of(info).amplified(ratio, self.plan.first.white_balance)
            kept = planes if self.settings.compare else None
            self._places.append(_Place(repeat=False, planes=kept))
            yield Frame(planes, noise)

    def _finish(self, rgb: Tensor, planes: Planes | None) -> Picture:
        """Developed, turned upright and, if asked, beside its plain amplified self."""
        turns = QUARTER_TURNS[self.plan.burst.orientation]
        picture = np.rot90(to_uint16(develop(registered(rgb, self._bin), self._matrix)), turns)
        if planes is not None:
            plain = bilinear_demosaic(torch.from_numpy(planes).to(rgb)[None])[0]
            left = np.rot90(to_uint16(develop(registered(plain, self._bin), self._matrix)), turns)
            picture = np.concatenate([left, picture], 1)
        return np.ascontiguousarray(picture)
