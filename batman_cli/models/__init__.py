"""The networks, all with one verb: `step` takes a frame in and gives a frame or None out."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any, NamedTuple, Protocol, Self

import torch
from torch import Tensor

from batman_cli.errors import WeightsError
from batman_cli.models.clstm import Clstm, ClstmConfig
from batman_cli.models.clstm_paper import ClstmPaper, ClstmPaperConfig
from batman_cli.models.cnn3d import Cnn3d, Cnn3dConfig
from batman_cli.models.cnn3d_paper import Cnn3dPaper, Cnn3dPaperConfig
from batman_cli.models.kpn import Kpn, KpnConfig
from batman_cli.models.rawpy_pipeline import RawpyPipeline, RawpyPipelineConfig
from batman_cli.models.sid import Sid, SidConfig
from batman_cli.models.smid import Smid, SmidConfig
from batman_cli.models.state import State
from batman_cli.models.vbm4d import Vbm4d, Vbm4dConfig

__all__ = [
    "KINDS",
    "WITHOUT_WEIGHTS",
    "Clstm",
    "ClstmConfig",
    "ClstmPaper",
    "ClstmPaperConfig",
    "Cnn3d",
    "Cnn3dConfig",
    "Cnn3dPaper",
    "Cnn3dPaperConfig",
    "Kpn",
    "KpnConfig",
    "Net",
    "Network",
    "RawpyPipeline",
    "RawpyPipelineConfig",
    "Runnable",
    "Sid",
    "SidConfig",
    "Smid",
    "SmidConfig",
    "State",
    "Vbm4d",
    "Vbm4dConfig",
    "build",
]


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

    @property
    def bytes_per_sample(self) -> int:
        """Memory that a step needs for each sample of the planes' grid, in fp32.

        Half as much again as was measured on a CPU (docs/performance.md, docs/baselines.md).
        """
        ...

    def as_dict(self) -> dict[str, object]:
        """Plain values for a JSON file."""
        ...


class Network(Protocol):
    """What `infer` needs of a network: `step` for each frame, `flush` after the last.

    Those of KINDS also have `absorb`, the state after a frame whose picture nobody wants, and
    `priming`: so many of the last frames before one that is trained on are not just absorbed.
    """

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


Net = Clstm | Cnn3d | Sid | Smid | Kpn | ClstmPaper | Cnn3dPaper  # what can be trained and stored
Runnable = Net | RawpyPipeline | Vbm4d  # what `enhance` can run


class Kind(NamedTuple):
    """A configuration, and the network that is built from it."""

    config: type[Any]
    network: Callable[[Any], Net]


KINDS: dict[str, Kind] = {
    "clstm": Kind(ClstmConfig, Clstm),
    "3dcnn": Kind(Cnn3dConfig, Cnn3d),
    "sid": Kind(SidConfig, Sid),
    "smid": Kind(SmidConfig, Smid),
    "kpn": Kind(KpnConfig, Kpn),
    "clstm-paper": Kind(ClstmPaperConfig, ClstmPaper),
    "3dcnn-paper": Kind(Cnn3dPaperConfig, Cnn3dPaper),
}


# Systems of `shipped.UNTRAINED`.
WITHOUT_WEIGHTS: dict[str, Callable[[], RawpyPipeline | Vbm4d]] = {
    "rawpy": lambda: RawpyPipeline(RawpyPipelineConfig()),
    "vbm4d": lambda: Vbm4d(Vbm4dConfig()),
}


def build(kind: str, config: dict[str, Any]) -> Net:
    """Untrained network of a kind of KINDS with the sizes that `config` names.

    Raises WeightsError for an unknown kind or a field that the kind does not have.
    """
    if kind not in KINDS:
        raise WeightsError(f"unknown network '{kind}'", f"known are {', '.join(KINDS)}")
    known = {field.name for field in fields(KINDS[kind].config)}
    if unknown := sorted(set(config) - known):
        raise WeightsError(f"unknown setting '{unknown[0]}' of network '{kind}'")
    # JSON has lists where the configurations have tuples.
    values: dict[str, Any] = (
        config | {"widths": tuple(config["widths"])} if "widths" in config else config
    )
    return KINDS[kind].network(KINDS[kind].config(**values))
