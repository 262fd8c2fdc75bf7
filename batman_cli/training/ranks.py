"""Training in several processes at once, on one machine or many, as `torchrun` starts them."""

import contextlib
import os
from collections.abc import Generator
from datetime import timedelta
from typing import NamedTuple

import torch
from torch import Tensor, distributed

PATIENCE = timedelta(hours=2)  # one process may decode the data for that long


class Ranks(NamedTuple):
    """This process among those that train together."""

    rank: int = 0
    world: int = 1
    local: int = 0  # number among those on this machine: which GPU it takes

    @property
    def first(self) -> bool:
        """Whether this is the process that speaks and writes."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The values added up over all processes, in place."""
        if self.world > 1:
            distributed.all_reduce(values)
        return values

    def wait(self) -> None:
        """Until all processes are here."""
        if self.world > 1:
            distributed.barrier()


def own_rank() -> Ranks:
    """What `torchrun` says of this process; alone without it."""
    numbers = (os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    found = [int(number) for number in numbers if number.isdecimal()]
    return Ranks(*found) if len(found) == 3 else Ranks()


@contextlib.contextmanager
def together(ranks: Ranks, device: torch.device) -> Generator[None]:
    """A block in which the processes can reach each other."""
    if ranks.world == 1:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(ranks.local)
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=PATIENCE)
    try:
        yield
    finally:
        distributed.destroy_process_group()
