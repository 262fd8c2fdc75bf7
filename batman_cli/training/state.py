"""A training run between two steps: everything it needs to go on as if never interrupted.

Random numbers need no place in it: every burst follows from its number (see bursts.py).
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from batman_cli.device import Device
from batman_cli.errors import UsageError, WeightsError
from batman_cli.models import Net, build
from batman_cli.models.paper_blocks import BatchNorm
from batman_cli.settings import OptimiserKind
from batman_cli.training.optimiser import Muon
from batman_cli.weights import (
    TRAINING_KEY,
    load_network,
    read_metadata,
    read_tensors,
    write_tensors,
)

FORMAT = 1


@dataclass
class Position:
    """How far a run has come."""

    step: int = 0  # done, those without effect included
    seconds: float = 0.0
    skipped: int = 0  # steps without effect: their loss or gradient was not finite
    skipped_in_a_row: int = 0
    validated: int = -1  # step of the last validation
    before: dict[str, float] = field(default_factory=dict[str, float])  # scores without training
    best: dict[str, float] = field(default_factory=dict[str, float])  # scores of the best so far
    since_best: int = 0  # validations


@dataclass
class Run:
    """A network in training."""

    kind: str
    network: Net
    average: Net  # running average of the network's weights: what is validated and kept
    optimiser: Muon | torch.optim.AdamW
    position: Position


def new_run(
    kind: str,
    config: Mapping[str, Any],
    *,
    optimiser: OptimiserKind,
    rate: float,
    weight_decay: float,
    seed: int,
    start: Path | None,
    device: Device,
) -> Run:
    """A run at its beginning.

    config: sizes that differ from the kind's own.
    start: a checkpoint whose weights are taken over where name and shape agree, so that one kind
    of network can begin from the other's encoder. Raises WeightsError if nothing in it agrees.
    """
    torch.manual_seed(seed)
    network = build(kind, dict(config)).to(device.torch_device)
    if start is not None:
        _take_over(network, start)
    mover = _optimiser(optimiser, network, rate, weight_decay, device)
    return Run(kind, network, copy.deepcopy(network).eval(), mover, Position())


def save_run(run: Run, path: Path, facts: dict[str, Any]) -> None:
    """Writes everything, in full precision. Raises OutputError, with the file before untouched.

    facts: plain values to be handed back by `load_run`.
    """
    tensors = {f"network.{k}": v for k, v in run.network.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in run.average.state_dict().items()}
    for index, moments in run.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{k}": v for k, v in moments.items()}
    header = {
        "format": FORMAT,
        "kind": run.kind,
        "config": run.network.config.as_dict(),
        "position": asdict(run.position),
        "facts": facts,
    }
    write_tensors(path, tensors, {TRAINING_KEY: json.dumps(header)})


def read_facts(path: Path) -> dict[str, Any]:
    """The facts that were saved with a run. Raises WeightsError for a file that is none."""
    return _header(path, read_metadata(path))["facts"]


def read_position(path: Path) -> Position:
    """How far a saved run has come. Raises WeightsError for a file that is none."""
    return Position(**_header(path, read_metadata(path))["position"])


def load_run(
    path: Path, *, optimiser: OptimiserKind, rate: float, weight_decay: float, device: Device
) -> Run:
    """The run as it was saved. Raises WeightsError for a file that is none."""
    tensors, metadata = read_tensors(path)
    header = _header(path, metadata)
    network = build(header["kind"], header["config"]).to(device.torch_device)
    average = copy.deepcopy(network).eval()
    mover = _optimiser(optimiser, network, rate, weight_decay, device)
    try:
        network.load_state_dict(_part(tensors, "network."))
        average.load_state_dict(_part(tensors, "average."))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _part(tensors, "optimiser.").items():
            index, key = name.split(".")
            moments.setdefault(int(index), {})[key] = value
        groups = mover.state_dict()["param_groups"]
        mover.load_state_dict({"state": moments, "param_groups": groups})
        position = Position(**header["position"])
    except (RuntimeError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} does not fit its network", str(error)) from error
    return Run(header["kind"], network, average, mover, position)


def freeze_statistics(network: Net) -> None:
    """Lets batch normalisation use the statistics that it has learned, in training too.

    Raises UsageError where there are none.
    """
    norms = [module for module in network.modules() if isinstance(module, BatchNorm)]
    fresh = sum(not bool(norm.mean.any()) for norm in norms)
    if fresh or not norms:
        why = f"{fresh} of {len(norms)} layers with batch normalisation have learned none"
        raise UsageError("statistics = frozen", why, "give --start a checkpoint that has all")
    for norm in norms:
        norm.eval()


def is_finite(run: Run) -> bool:
    """Whether all weights, and their average, are numbers that half precision can hold."""
    values = chain(run.network.state_dict().values(), run.average.state_dict().values())
    return all(bool(torch.isfinite(value.half()).all()) for value in values)


def _optimiser(
    kind: OptimiserKind, network: Net, rate: float, weight_decay: float, device: Device
) -> Muon | torch.optim.AdamW:
    if kind == "muon":
        return Muon(network, rate, weight_decay, bf16=device.bf16)
    return torch.optim.AdamW(network.parameters(), rate, weight_decay=weight_decay)


def _header(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    if TRAINING_KEY not in metadata:
        raise WeightsError(
            f"{path} cannot be resumed", "it is no training state", "give the run's folder with -o"
        )
    header = json.loads(metadata[TRAINING_KEY])
    if header.get("format") != FORMAT:
        raise WeightsError(
            f"{path} cannot be resumed", "another version of batman wrote it", "use that version"
        )
    return header


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _take_over(network: Net, start: Path) -> None:
    own, given = network.state_dict(), load_network(None, file=start).state_dict()
    shared = {k: v for k, v in given.items() if k in own and v.shape == own[k].shape}
    if not shared:
        raise WeightsError(f"{start.name} shares nothing with the network to be trained")
    network.load_state_dict(own | shared)
