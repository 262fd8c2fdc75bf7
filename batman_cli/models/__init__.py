"""The networks, all with one verb: `step` takes a frame in and gives a frame or None out."""

from dataclasses import fields
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from batman_cli.errors import WeightsError
from batman_cli.models.clstm import Clstm, ClstmConfig
from batman_cli.models.cnn3d import Cnn3d, Cnn3dConfig
from batman_cli.models.state import State

__all__ = ["CONFIGS", "Clstm", "ClstmConfig", "Cnn3d", "Cnn3dConfig", "Network", "State", "build"]


class Config(Protocol):
    """Facts that every network's configuration states."""

    @property
    def multiple(self) -> int:
        """The sides of the planes must be a multiple of it."""
        ...

    @property
    def halo(self) -> int:
        """Samples of the planes' grid around a tile; beyond, a still scene matters by < 1/255."""
        ...

    def as_dict(self) -> dict[str, object]:
        """Plain values for a JSON file."""
        ...


class Network(Protocol):
    """What `infer` needs of a network: `step` for each frame, `flush` after the last."""

    delay: int

    @property
    def config(self) -> Config:
        """Sizes and facts, as stored in the checkpoint."""
        ...

    def step(
        self, planes: Tensor, noise: Tensor, state: State | None
    ) -> tuple[Tensor | None, State]:
        """Take in (B, 4, h, w) planes with (B, 2, 4) noise; give (B, 3, 2h, 2w) or None."""
        ...

    def flush(self, state: State) -> list[Tensor]:
        """Pictures of the last `delay` frames."""
        ...

    def to(self, device: torch.device) -> Self:
        """Moves the weights."""
        ...


CONFIGS: dict[str, type[ClstmConfig] | type[Cnn3dConfig]] = {
    "clstm": ClstmConfig,
    "3dcnn": Cnn3dConfig,
}


def build(kind: str, config: dict[str, Any]) -> Clstm | Cnn3d:
    """Untrained network of a kind ("clstm" or "3dcnn") with the sizes that `config` names.

    Raises WeightsError for an unknown kind or a field that the kind does not have.
    """
    if kind not in CONFIGS:
        raise WeightsError(f"unknown network '{kind}'", f"known are {', '.join(CONFIGS)}")
    known = {field.name for field in fields(CONFIGS[kind])}
    if unknown := sorted(set(config) - known):
        raise WeightsError(f"unknown setting '{unknown[0]}' of network '{kind}'")
    # JSON has lists where the configurations have tuples.
    values: dict[str, Any] = (
        config | {"widths": tuple(config["widths"])} if "widths" in config else config
    )
    if kind == "clstm":
        return Clstm(ClstmConfig(**values))
    return Cnn3d(Cnn3dConfig(**values))
