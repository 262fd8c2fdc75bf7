"""Checkpoints: listed ones by name, others by file. Only safetensors, which holds no code."""

import contextlib
import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_bytes

from batman_cli.errors import OutputError, WeightsError
from batman_cli.models import KINDS, WITHOUT_WEIGHTS, Net, Runnable, build
from batman_cli.output import check_target, hidden, reason, sync
from batman_cli.shipped import find_listed, verify

METADATA_KEY = "batman"  # of the safetensors header: a JSON object {kind, config, facts}
TRAINING_KEY = "batman-training"  # the same of the state of a training run
MAX_FILE_BYTES = 2 << 30
MAX_TENSORS = 10_000
PREFIXES = ("module.", "_orig_mod.")  # left by torch's wrappers for parallel and compiled training


def load_runnable(model: str, *, file: Path | None = None) -> Runnable:
    """What `enhance` runs: `load_network`, or one of WITHOUT_WEIGHTS, which needs no checkpoint."""
    if file is None and model in WITHOUT_WEIGHTS:
        return WITHOUT_WEIGHTS[model]()
    return load_network(model, file=file)


def load_network(model: str | None, *, file: Path | None = None) -> Net:
    """Network in evaluation mode on the CPU, in float32.

    model: a listed name; with `file`, the kind that the file must hold, None for any.
    Raises WeightsError if the checkpoint is missing, damaged, or of another shape.
    """
    if file is not None:
        return _read(file, expected_kind=model)
    listed = find_listed(model or "")
    verify(listed)
    return _read(listed.file, expected_kind=listed.kind)


def save(path: Path, network: Net, kind: str, facts: dict[str, Any]) -> None:
    """Checkpoint in half precision, whole or not at all: written beside and moved into place."""
    header = {"kind": kind, "config": network.config.as_dict(), "facts": facts}
    tensors = {k: v.detach().half() for k, v in network.state_dict().items()}
    write_tensors(path, tensors, {METADATA_KEY: json.dumps(header)})


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """A safetensors file, whole or not at all: written beside and moved into place.

    Raises OutputError, with what was at `path` as it was.
    """
    part = hidden(path, "part")
    try:
        # Not save_file, whose files nobody but their owner may read.
        part.write_bytes(
            save_bytes({k: v.cpu().contiguous() for k, v in tensors.items()}, metadata)
        )
        sync(part)
        part.replace(path)
        sync(path.parent)
    except (OSError, SafetensorError) as error:
        with contextlib.suppress(OSError):
            part.unlink()
        why = reason(error) if isinstance(error, OSError) else str(error)
        raise OutputError(f"cannot write {path}", why, "free some space on that disk") from error


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file. Raises WeightsError."""
    with _readable(path), safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, file.metadata() or {}


def read_metadata(path: Path) -> dict[str, str]:
    """Metadata of a safetensors file, without its tensors. Raises WeightsError."""
    with _readable(path), safe_open(path, framework="pt") as file:
        return file.metadata() or {}


@contextlib.contextmanager
def _readable(path: Path) -> Generator[None]:
    """A block in which a file that safetensors cannot read becomes a WeightsError."""
    try:
        yield
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path} is not a readable checkpoint", str(error)) from error


def read_facts(path: Path) -> dict[str, Any]:
    """What was saved with a checkpoint about it. Raises WeightsError for a file that is none."""
    return _header(path, read_metadata(path)).get("facts", {})


def own_sizes(path: Path) -> dict[str, Any]:
    """The sizes of a checkpoint's network that are not the usual ones of its kind, by name.

    Raises WeightsError for a file that is no checkpoint.
    """
    header = _header(path, read_metadata(path))
    kind = KINDS.get(header["kind"])
    usual = json.loads(json.dumps(kind.config().as_dict())) if kind else {}
    return {name: value for name, value in header["config"].items() if usual.get(name) != value}


def import_state(source: Path, kind: str, out: Path, *, overwrite: bool) -> None:
    """Converts a PyTorch state dictionary of the default sizes to a new checkpoint.

    The pickle is read with `weights_only`, which refuses anything but tensors; there is no way
    around it. Raises WeightsError if it holds anything else or does not fit the network, and
    OutputError if `out` exists already (without `overwrite`) or cannot be written.
    """
    if out.suffix != ".safetensors" or source.suffix == ".safetensors":
        raise WeightsError(f"{source.name} to {out.name}", "goes from a pickle to .safetensors")
    check_target(out, overwrite=overwrite)
    network = build(kind, {})
    try:
        state = torch.load(source, map_location="cpu", weights_only=True)
        network.load_state_dict({_strip(str(k)): v for k, v in state.items()})
    except Exception as error:
        # Whatever a hostile file makes the reader raise: nothing of it has run.
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise WeightsError(f"{source.name} cannot be imported", reason) from error
    _refuse_not_finite(source, network.state_dict())
    save(out, network, kind, {"summary": f"imported from {source.name}"})


def _read(path: Path, *, expected_kind: str | None) -> Net:
    if path.suffix in (".pt", ".pth", ".bin", ".ckpt"):
        raise WeightsError(
            f"{path.name} is not read", "pickle files can run code", "convert it to safetensors"
        )
    if not path.is_file():
        raise WeightsError(f"no checkpoint {path}")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise WeightsError(f"{path.name} is not a checkpoint", "it is larger than 2 GiB")
    try:
        with safe_open(path, framework="pt") as file:
            header = _header(path, file.metadata())
            if expected_kind is not None and header["kind"] != expected_kind:
                raise WeightsError(
                    f"{path.name} holds a '{header['kind']}' network",
                    f"not '{expected_kind}'",
                    f"use --model {header['kind']}",
                )
            network = build(header["kind"], header["config"])
            names = {_strip(key): key for key in list(file.keys())[: MAX_TENSORS + 1]}
            _check_shapes(path, network, {k: file.get_slice(v) for k, v in names.items()})
            state = {k: file.get_tensor(v).float() for k, v in names.items()}
    except (SafetensorError, OSError, RuntimeError, TypeError, KeyError, ValueError) as error:
        raise WeightsError(f"{path.name} is not a readable checkpoint", str(error)) from error
    _refuse_not_finite(path, state)
    network.load_state_dict(state)
    # Convolutions take kernels with the channels last as they lie, a tenth to a third faster on a
    # CPU. Not for training: gradients of such kernels in several threads crash torch 2.13.
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network.eval()


def _header(path: Path, metadata: dict[str, str] | None) -> dict[str, Any]:
    if metadata and TRAINING_KEY in metadata:
        raise WeightsError(
            f"{path.name} is the state of a training run",
            "it is for `batman train --resume`",
            "use best.safetensors or last.safetensors beside it",
        )
    if not metadata or METADATA_KEY not in metadata:
        raise WeightsError(
            f"{path.name} is not a batman checkpoint", "its header does not say which network"
        )
    header = json.loads(metadata[METADATA_KEY])
    if (
        not isinstance(header, dict)
        or not isinstance(header.get("kind"), str)
        or not isinstance(header.get("config"), dict)
    ):
        raise WeightsError(f"{path.name} is not a batman checkpoint", "its header is incomplete")
    return header


def _check_shapes(path: Path, network: Net, slices: dict[str, Any]) -> None:
    """Names and shapes, before any tensor is read; the first three differences are told."""
    wanted = {k: list(v.shape) for k, v in network.state_dict().items()}
    found = {k: list(v.get_shape()) for k, v in slices.items()}
    differences = [f"{k} is missing" for k in wanted if k not in found]
    differences += [f"{k} is unknown" for k in found if k not in wanted]
    differences += [
        f"{k} is {found[k]}, not {wanted[k]}"
        for k in wanted
        if k in found and found[k] != wanted[k]
    ]
    if differences:
        raise WeightsError(f"{path.name} does not fit its network", "; ".join(differences[:3]))


def _refuse_not_finite(path: Path, state: dict[str, torch.Tensor]) -> None:
    if not all(bool(torch.isfinite(value).all()) for value in state.values()):
        raise WeightsError(f"{path.name} is damaged", "it holds NaN or infinity")


def _strip(key: str) -> str:
    for prefix in PREFIXES:
        key = key.removeprefix(prefix)
    return key
