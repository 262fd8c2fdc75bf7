"""The network over a stream: one frame in, one picture out, the same memory for any length."""

import logging
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from batman_cli.device import Device, free_memory, is_out_of_memory, release_memory
from batman_cli.errors import MemoryExhausted, NotFinite
from batman_cli.models import Network, State
from batman_cli.pack import Planes
from batman_cli.tiles import MIN_TILE, Tile, plan_tiles

MEMORY_SHARE = 0.6  # of what is free; the rest is for reading, developing and encoding

log = logging.getLogger(__name__)


class Frame(NamedTuple):
    """What the network is told about a shot."""

    planes: Planes  # (4, h, w) float32, amplified linear white-balanced
    noise: NDArray[np.float32]  # (2, 4) shot and read variance of the planes


class _Outcome(NamedTuple):
    """What a network gives: pictures that are ready, and its state."""

    pictures: list[Tensor]
    state: State

    def tensors(self) -> tuple[Tensor, ...]:
        return (*self.pictures, *self.state.tensors)


class Runner:
    """A network on a device: keeps its state, cuts tiles, retries when memory or range runs out."""

    def __init__(self, network: Network, device: Device, *, tile: int | None = None) -> None:
        """Prepare a run.

        tile: side in samples of the planes' grid, 0 for the whole frame; None chooses by the memory
        that is free at the first frame and shrinks when an allocation fails. A given size is never
        changed.
        """
        self.network = network
        self.device = device
        self.asked_tile = tile
        self.tile: int | None = tile or None
        self.state: State | None = None
        self.frames = 0
        self._size = (0, 0)  # of the planes before padding
        self._padded = (0, 0)

    def step(self, frame: Frame) -> Tensor | None:
        """Picture (3, 2h, 2w) linear camera RGB on the device, or None while frames are held.

        Raises MemoryExhausted when no tile fits and NotFinite when the result has NaN or infinity.
        """
        target = self.device.torch_device
        planes = torch.from_numpy(frame.planes).to(target)[None]
        noise = torch.from_numpy(frame.noise).to(target)[None]
        self._size = (planes.shape[-2], planes.shape[-1])
        planes = _pad(planes, self.network.config.multiple)
        if not self.frames and self.asked_tile is None:
            self.tile = self._fitting_tile(planes.shape[-2], planes.shape[-1])
        self._padded = (planes.shape[-2], planes.shape[-1])
        pictures, self.state = self._finite_run(planes, noise)
        self.frames += 1
        return self._cropped(pictures[0]) if pictures else None

    def flush(self) -> Iterator[Tensor]:
        """The pictures that are still held back. Raises as `step` does."""
        if self.state is not None:
            pictures, _ = self._finite_run(None, None)
            yield from map(self._cropped, pictures)

    def _cropped(self, picture: Tensor) -> Tensor:
        height, width = self._size
        return picture[0, :, : 2 * height, : 2 * width]

    def _finite_run(self, planes: Tensor | None, noise: Tensor | None) -> _Outcome:
        """A run whose result is checked; in half precision a bad one is done again in fp32."""
        outcome = self._fitting_run(planes, noise, bf16=self.device.bf16)
        if self.device.bf16 and not _finite(outcome):
            log.warning("frame %d left the range of bf16, done again in fp32", self.frames)
            outcome = self._fitting_run(planes, noise, bf16=False)
        if not _finite(outcome):
            raise NotFinite(
                f"the network's result for frame {self.frames} has NaN or infinity",
                "damaged weights, or values far outside what it was trained on",
                "try another --model, or --ratio with a smaller value",
            )
        return outcome

    def _fitting_run(self, planes: Tensor | None, noise: Tensor | None, *, bf16: bool) -> _Outcome:
        """A run in tiles as large as fit; the state is only replaced by a finished one."""
        while True:
            try:
                return self._tiled_run(planes, noise, bf16=bf16)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            # Outside of the handler, so that the traceback no longer holds tensors.
            self._shrink()

    def _shrink(self) -> None:
        release_memory(self.device.torch_device)
        side = self.tile or max(self._padded)
        if self.asked_tile is not None or side // 2 < MIN_TILE:
            asked = self.asked_tile is not None
            raise MemoryExhausted(
                f"no memory for a tile of {2 * side} pixels",
                "the size was given" if asked else "it is the smallest one",
                "give a smaller --tile" if asked else "use --bin 2 or 4, or --device cpu",
            )
        multiple = self.network.config.multiple
        self.tile = side // 2 // multiple * multiple
        log.warning("out of memory: going on with tiles of %d pixels", 2 * self.tile)

    @torch.inference_mode()
    def _tiled_run(self, planes: Tensor | None, noise: Tensor | None, *, bf16: bool) -> _Outcome:
        """One frame taken in, or the end of the burst for planes None."""
        height, width = self._padded
        config = self.network.config
        side = self.tile or max(height, width)
        tiles = plan_tiles(height, width, side, config.halo, config.multiple)
        if len(tiles) == 1:
            return self._network_run(planes, noise, self.state, bf16=bf16)
        totals: _Outcome | None = None
        for tile in tiles:
            part = None if planes is None else tile.cut(planes, height)
            outcome = self._network_run(
                part, noise, _cut_state(self.state, tile, height), bf16=bf16
            )
            totals = totals or _blank(outcome, tile, (height, width))
            for value, total in zip(outcome.tensors(), totals.tensors(), strict=True):
                tile.add(value, total)
        assert totals is not None
        return totals

    def _network_run(
        self, planes: Tensor | None, noise: Tensor | None, state: State | None, *, bf16: bool
    ) -> _Outcome:
        with torch.autocast(self.device.torch_device.type, torch.bfloat16, enabled=bf16):
            if planes is None or noise is None:
                assert state is not None
                return _Outcome([p.float() for p in self.network.flush(state)], state)
            picture, state = self.network.step(planes, noise, state)
        tensors = tuple(t.float() for t in state.tensors)
        pictures = [] if picture is None else [picture.float()]
        return _Outcome(pictures, State(state.seen, tensors))

    def _fitting_tile(self, height: int, width: int) -> int | None:
        """None if the whole frame fits into free memory, else the side of a tile that does."""
        budget = MEMORY_SHARE * free_memory(self.device.torch_device)
        config = self.network.config
        if height * width * config.bytes_per_sample <= budget:
            return None
        with_halo = int((budget / config.bytes_per_sample) ** 0.5)
        multiple = config.multiple
        side = max(MIN_TILE, with_halo - 2 * config.halo)
        return side // multiple * multiple


def infer(
    network: Network, frames: Iterable[Frame], device: Device, *, tile: int | None = None
) -> Iterator[Tensor]:
    """Pictures (3, 2h, 2w), linear camera RGB, one for each frame and in the same order.

    Streaming, whatever the kind of network: `network.delay` frames are held back and come after
    the last. tile: side in samples of the planes' grid, 0 the whole frame, None automatic.
    """
    network.to(device.torch_device)
    runner = Runner(network, device, tile=tile)
    for frame in frames:
        picture = runner.step(frame)
        if picture is not None:
            yield picture
    yield from runner.flush()


def _pad(planes: Tensor, multiple: int) -> Tensor:
    """Sides made a multiple, by a mirror at the right and bottom edge.

    Noise that is repeated along a side does not average out, and would be taken for the scene.
    """
    for axis in (-2, -1):
        side = planes.shape[axis]
        if rest := -side % multiple:
            at = torch.arange(side + rest, device=planes.device) % (2 * side)
            planes = planes.index_select(axis, torch.minimum(at, 2 * side - 1 - at))
    return planes


def _cut_state(state: State | None, tile: Tile, height: int) -> State | None:
    if state is None:
        return None
    return State(state.seen, tuple(tile.cut(t, height) for t in state.tensors))


def _blank(outcome: _Outcome, tile: Tile, size: tuple[int, int]) -> _Outcome:
    """Zeros over the whole frame at the scales of a tile's result."""
    rows, columns = tile.rows, tile.columns

    def zeros(part: Tensor) -> Tensor:
        height = size[0] * part.shape[-2] // (rows.stop - rows.start)
        width = size[1] * part.shape[-1] // (columns.stop - columns.start)
        return part.new_zeros(*part.shape[:2], height, width)

    state = State(outcome.state.seen, tuple(map(zeros, outcome.state.tensors)))
    return _Outcome(list(map(zeros, outcome.pictures)), state)


def _finite(outcome: _Outcome) -> bool:
    return all(bool(torch.isfinite(value).all()) for value in outcome.tensors())
