"""Making data and training on them, as CUDA graphs that overlap, or one after the other."""

from collections.abc import Callable
from typing import Generic, TypeVar

import torch

Data = TypeVar("Data")

WARM_UPS = 2  # calls before a capture: libraries choose their kernels and tables are filled
LEAD = 4  # steps: so often the CPU waits for the GPU, or it would queue ahead without end


def turns(
    make: Callable[[], Data], train: Callable[[Data], None], device: torch.device
) -> tuple[Callable[[], None], str]:
    """A function that makes data and trains on them, and how it does so.

    Data are trained on some times before this returns, if graphs are captured: undo it.
    """
    why = "no CUDA device"
    if device.type == "cuda":
        try:
            return Graphs(make, train).turn, "in CUDA graphs"
        except RuntimeError as error:
            torch.cuda.synchronize()
            why = f"no CUDA graphs: {str(error).splitlines()[0]}"
    return (lambda: train(make())), f"eagerly ({why})"


class Graphs(Generic[Data]):
    """Two places for data: one is filled, on a stream of its own, while the other is trained on."""

    def __init__(self, make: Callable[[], Data], train: Callable[[Data], None]) -> None:
        # Each graph has a memory pool of its own, which is what a capture without a named pool
        # gets. Never let the two that make data share one: a graph takes the memory of its pool
        # for free while it is captured, so the scratch of one lies where the other leaves its
        # data, and to replay it damages what is being trained on.
        made = [_captured(make) for _ in range(2)]
        self.make, self.data = [graph for graph, _ in made], [data for _, data in made]
        self._train = [_captured(lambda data=data: train(data))[0] for data in self.data]
        self._side = torch.cuda.Stream()
        self._ready = [torch.cuda.Event() for _ in range(2)]
        self._used = [torch.cuda.Event() for _ in range(2)]
        self._turn = 0
        torch.cuda.synchronize()
        for used in self._used:
            used.record()
        self._fill(0)

    def turn(self) -> None:
        """Trains on what is ready, and has the next made meanwhile."""
        now = self._turn % 2
        self._fill(1 - now)
        torch.cuda.current_stream().wait_event(self._ready[now])
        self._train[now].replay()
        self._used[now].record()
        if self._turn % LEAD == 0:
            self._used[1 - now].synchronize()
        self._turn += 1

    def _fill(self, place: int) -> None:
        with torch.cuda.stream(self._side):
            self._side.wait_event(self._used[place])
            self.make[place].replay()
            self._ready[place].record()


def _captured(act: Callable[[], Data]) -> tuple[torch.cuda.CUDAGraph, Data]:
    """A graph of what a function does, and the tensors that each replay fills."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UPS):
            act()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = act()
    return graph, result
