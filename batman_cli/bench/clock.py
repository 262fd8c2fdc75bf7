"""A network under a watch: how long it works, and how much memory there is meanwhile."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Self, TypeVar

import torch
from torch import Tensor

from batman_cli.models import Config, Network, State

T = TypeVar("T")

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")  # Linux alone has them


class Watched:
    """A network that counts the seconds in its calls, and the highest memory within them.

    Memory is that of the process on a CPU, weights and all, and what torch holds on a CUDA card.
    """

    def __init__(self, network: Network) -> None:
        """The network works as it did."""
        self.network, self.delay = network, network.delay
        self.seconds = 0.0
        self.memory_bytes: int | None = None  # None where the system does not tell
        self._device = torch.device("cpu")

    @property
    def config(self) -> Config:
        """That of the network."""
        return self.network.config

    def step(
        self, planes: Tensor, noise: Tensor, state: State | None
    ) -> tuple[Tensor | None, State]:
        """That of the network."""
        return self._watched(lambda: self.network.step(planes, noise, state))

    def flush(self, state: State) -> list[Tensor]:
        """That of the network."""
        return self._watched(lambda: self.network.flush(state))

    def to(self, device: torch.device) -> Self:
        """Moves the weights."""
        self.network.to(device)
        self._device = device
        return self

    def _watched(self, call: Callable[[], T]) -> T:
        self._wait()
        known = _reset_peak(self._device)
        began = time.perf_counter()
        result = call()
        self._wait()
        self.seconds += time.perf_counter() - began
        if known:
            self.memory_bytes = max(_peak(self._device), self.memory_bytes or 0)
        return result

    def _wait(self) -> None:
        """Until the device has done all that it was given."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        elif self._device.type == "mps":
            torch.mps.synchronize()


def _reset_peak(device: torch.device) -> bool:
    """Sets the highest memory to what is held now; whether that was possible."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    try:
        RESET.write_text("5")  # proc(5)
    except OSError:
        return False
    return device.type == "cpu"


def _peak(device: torch.device) -> int:
    """Bytes held at most since `_reset_peak`."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    line = next(x for x in STATUS.read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) << 10
