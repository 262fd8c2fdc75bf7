"""`vbm4d`: a re-implementation of V-BM4D, which denoises without anything learned.

Maggioni, Boracchi, Foi and Egiazarian, Video Denoising, Deblocking, and Enhancement Through
Separable 4-D Nonlocal Spatiotemporal Transforms, IEEE TIP 2012. Written anew from the published
algorithm, without its code; docs/vbm4d.md says where it differs.
"""

from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from batman_cli.develop import bilinear_demosaic
from batman_cli.models.anscombe import stabilised, unstabilised
from batman_cli.models.shrink import Total, Volumes, hard_threshold, wiener_shrink
from batman_cli.models.state import State
from batman_cli.models.tubes import Search, follow, grouped, matched_picture, mean_picture

HALF = 0.5**0.5  # of the power
# Brightness and three differences of colours of planes R G1 G2 B: orthonormal, so that white noise
# stays white. Brightness, the first, is what blocks are compared by.
COLOURS = (
    (0.5, 0.5, 0.5, 0.5),
    (HALF, 0.0, 0.0, -HALF),
    (0.5, -0.5, -0.5, 0.5),
    (0.0, HALF, -HALF, 0.0),
)


@dataclass(frozen=True)
class Vbm4dConfig:
    """Sizes and facts of the filter; all lengths are samples of the planes' grid."""

    block: int = 8  # side of a block
    step: int = 4  # from one reference block to the next
    frames: int = 4  # that a block is followed to each side
    first_radius: int = 7  # of the search in the next frame, while the velocity is unknown
    later_radius: int = 3  # of the search around a predicted place; at most `first_radius`
    group_radius: int = 12  # of the search for similar tubes
    group_step: int = 3  # from one place of that search to the next: what overlaps shares its noise
    group: int = 8  # tubes in a group at most, a power of 2
    threshold: float = 2.7  # of stage 1, in standard deviations of the noise
    multiple: int = 4  # any size will do, but tiles must lie on the same grid of blocks
    halo: int = 64  # samples around a tile

    @property
    def bytes_per_sample(self) -> int:
        """Memory that a step needs for each sample of the planes' grid."""
        return 3000  # measured: 2000

    def as_dict(self) -> dict[str, object]:
        """Plain values for a JSON file."""
        return asdict(self)


def searches(config: Vbm4dConfig) -> tuple[Search, Search]:
    """How both stages match; the numbers were chosen on simulated bursts, docs/vbm4d.md."""
    on_noisy = Search(
        first=config.first_radius,
        later=config.later_radius,
        beside=config.group_radius,
        apart=config.group_step,
        smoothing=1,
        noise=1 / 9,  # of a 3x3 mean
        penalty=1 / 6,
        lost=0.7,
        alike=1.0,
    )
    # What stage 1 leaves is not known; measured, a few hundredths of the noise.
    on_basic = replace(on_noisy, smoothing=0, noise=0.05, penalty=0.05, lost=0.8, alike=0.2)
    return on_noisy, on_basic


class _Window(NamedTuple):
    """What is held of the last frames, oldest first; stabilised, as COLOURS."""

    noise: Tensor  # (B, 2, 4) of the burst's first frame
    noisy: list[Tensor]  # (B, 4, h, w), of up to 2 h + 1 frames
    basic: list[Tensor]  # (B, 5, h, w): stage 1's total, values and weight; of the same frames
    final: list[Tensor]  # (B, 5, h, w): stage 2's total; of frames whose picture is not out yet


class Vbm4d(nn.Module):
    """V-BM4D (our re-implementation) on variance-stabilised planes, without weights.

    Each frame is the centre of a window of up to 2 h + 1 frames once, when the last of them has
    come. What its groups tell of the other frames of the window goes into their totals, too.
    """

    def __init__(self, config: Vbm4dConfig) -> None:
        super().__init__()
        self.config = config
        self.delay = config.frames
        self.searches = searches(config)

    def step(
        self, planes: Tensor, noise: Tensor, state: State | None
    ) -> tuple[Tensor | None, State]:
        """Picture (B, 3, 2h, 2w) of the frame `delay` steps ago, None until there is one.

        planes: (B, 4, h, w) amplified linear; noise: (B, 2, 4).
        """
        denoised, state = self.step_planes(planes, noise, state)
        return None if denoised is None else bilinear_demosaic(denoised), state

    @torch.no_grad()
    def step_planes(
        self, planes: Tensor, noise: Tensor, state: State | None
    ) -> tuple[Tensor | None, State]:
        """As `step`, but the denoised planes (B, 4, h, w), linear as they came in."""
        window, seen = self._with(planes, noise, state)
        if seen <= self.delay:
            return None, _state(seen, window, planes)
        denoised, window = self._render(window, self.delay)
        return denoised, _state(seen, window, planes)

    @torch.no_grad()
    def absorb(self, planes: Tensor, noise: Tensor, state: State | None) -> State:
        """The state after a frame whose picture nobody wants: stage 1 alone, half of the cost."""
        window, seen = self._with(planes, noise, state)
        if seen > self.delay:
            centre = len(window.noisy) - 1 - self.delay
            window = self._moved_on(self._with_basic(window, centre), centre)
        return _state(seen, window, planes)

    def flush(self, state: State) -> list[Tensor]:
        """Pictures of the last `delay` frames (fewer for a shorter burst)."""
        return [bilinear_demosaic(planes) for planes in self.flush_planes(state)]

    @torch.no_grad()
    def flush_planes(self, state: State) -> list[Tensor]:
        """As `flush`, but the denoised planes."""
        window, rest = self._held(state), list[Tensor]()
        for ahead in reversed(range(min(self.delay, state.seen))):
            denoised, window = self._render(window, ahead)
            rest.append(denoised)
        return rest

    def _with(self, planes: Tensor, noise: Tensor, state: State | None) -> tuple[_Window, int]:
        """The window with one more frame, and how many have been seen."""
        window = self._held(state) if state else _Window(noise.float(), [], [], [])
        frame = _mixed(stabilised(planes.float(), window.noise), inverse=False)
        blank = frame.new_zeros(len(frame), 5, *frame.shape[-2:])
        window = _Window(
            window.noise,
            [*window.noisy, frame],
            [*window.basic, blank],
            [*window.final, blank],
        )
        return window, state.seen + 1 if state else 1

    def _render(self, window: _Window, ahead: int) -> tuple[Tensor, _Window]:
        """Denoised planes of the frame that `ahead` more follow, and the window after it."""
        centre = len(window.noisy) - 1 - ahead
        window = self._with_final(self._with_basic(window, centre), centre)
        values, weight = window.final[0].split((4, 1), 1)
        planes = _mixed(values / weight, inverse=True)
        return unstabilised(planes, window.noise), self._moved_on(window, centre)

    def _moved_on(self, window: _Window, centre: int) -> _Window:
        """The window as the frame after `centre` needs it."""
        gone = max(0, centre + 1 - self.delay)
        return _Window(window.noise, window.noisy[gone:], window.basic[gone:], window.final[1:])

    def _with_basic(self, window: _Window, centre: int) -> _Window:
        """The window after stage 1 with the blocks of the frame `centre`."""
        return window._replace(basic=_added(window.basic, self._stage(window, centre, None)))

    def _with_final(self, window: _Window, centre: int) -> _Window:
        """The window after stage 2 with the blocks of the frame `centre`."""
        # Where no block has come to lie yet, nothing alike was found: so nothing will be.
        basic = [
            torch.where(total[:, 4:] > 0, total[:, :4] / total[:, 4:], noisy)
            for total, noisy in zip(window.basic, window.noisy, strict=True)
        ]
        totals = self._stage(window, centre, basic)
        return window._replace(final=_added(window.final, totals[centre:]))

    def _stage(self, window: _Window, centre: int, basic: list[Tensor] | None) -> list[Tensor]:
        """Totals (B, 5, h, w) of each frame of the window: stage 2 where there is a basic one."""
        height, width = window.noisy[0].shape[-2:]
        samples: list[Tensor] = []
        for number in range(len(window.noisy[0])):
            noisy = self._padded([frame[number] for frame in window.noisy])
            pilot = self._padded([frame[number] for frame in basic]) if basic else None
            with torch.autocast(noisy.device.type, enabled=False):
                total = torch.cat(self._filtered(noisy, pilot, centre), 1)
            samples.append(total[..., :height, :width])
        return list(torch.stack(samples, 1))

    def _padded(self, frames: list[Tensor]) -> Tensor:
        """Frames (T, 4, h, w), in which a block has room."""
        stacked = torch.stack(frames)
        height, width = stacked.shape[-2:]
        rest = (0, max(0, self.config.block - width), 0, max(0, self.config.block - height))
        return functional.pad(stacked, rest, mode="replicate")

    def _filtered(self, noisy: Tensor, pilot: Tensor | None, centre: int) -> Total:
        """What the blocks of the frame `centre` tell of all frames (T, 4, h, w)."""
        config, search = self.config, self.searches[pilot is not None]
        brightness = (noisy if pilot is None else pilot)[:, 0]
        pictures = matched_picture(brightness, search.smoothing)
        tubes = follow(pictures, centre, config.block, config.step, search)
        mean = mean_picture(pictures, tubes, centre, config.block)
        groups = grouped(mean, tubes, centre, config.block, config.group, search)
        volumes = Volumes(tubes, groups, centre, config.block)
        if pilot is None:
            return hard_threshold(noisy, volumes, config.threshold)
        return wiener_shrink(noisy, pilot, volumes)

    def _held(self, state: State) -> _Window:
        """The window out of the tensors of a state."""
        noise, *tensors = state.tensors
        frames = min(state.seen, 2 * self.delay)
        return _Window(
            noise[..., 0, 0].unflatten(1, (2, 4)),
            tensors[:frames],
            tensors[frames : 2 * frames],
            tensors[2 * frames :],
        )


def _added(totals: list[Tensor], others: list[Tensor]) -> list[Tensor]:
    return [total + other for total, other in zip(totals, others, strict=True)]


def _state(seen: int, window: _Window, planes: Tensor) -> State:
    """A state of tensors over the whole frame; the noise is the same all over it."""
    noise = window.noise.flatten(1)[..., None, None].expand(-1, -1, *planes.shape[-2:])
    return State(seen, (noise, *window.noisy, *window.basic, *window.final))


def _mixed(planes: Tensor, *, inverse: bool) -> Tensor:
    """Planes (B, 4, h, w) as COLOURS, or back."""
    matrix = planes.new_tensor(COLOURS)
    with torch.autocast(planes.device.type, enabled=False):  # half precision is as coarse as noise
        return torch.einsum("ij,bjhw->bihw", matrix.T if inverse else matrix, planes)
