"""What differs between the networks of a run and those of another: all that train.py asks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from bursts import LONG_PAST_SHARE, Batch
from torch import Tensor

from batman_cli.models import Net

FRAMES = 8  # of a burst

Data = TypeVar("Data")


class Shown(NamedTuple):
    """Pictures to be scored."""

    pictures: Tensor  # (N, 3, H, W) linear white-balanced camera RGB
    reference: Tensor  # (N, 3, H, W) developed sRGB
    matrix: Tensor  # (N, 3, 3)


@dataclass(frozen=True)
class Recipe(Generic[Data]):
    """How networks that see the same data are trained.

    Data is what is made of a batch once for all networks, by `prepare`.
    """

    prepare: Callable[[Batch], Data]
    show: Callable[[Net, Data], Shown]  # for validation
    loss: Callable[[Net, Data, Tensor], Tensor]  # the last is (), the share of the run that is over
    batch: int  # bursts a step
    rate: float  # at its highest
    decay: float  # of the weights
    muon: bool  # Muon for kernels and Adam for the rest, or Adam for all
    clip: float  # norm of the gradient at most
    average: float  # share of the averaged weights that a step keeps
    warm_up: int  # steps
    held_out: int  # bursts of validation
    long_past: float = LONG_PAST_SHARE
    network: Mapping[str, Any] = field(default_factory=dict[str, Any])  # sizes, if not its own
