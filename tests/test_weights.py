"""Checkpoints are checked before they are believed, and never run code."""

import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from test_models import tiny

from batman_cli.errors import WeightsError
from batman_cli.models import KINDS, WITHOUT_WEIGHTS, RawpyPipeline, Smid, Vbm4d
from batman_cli.shipped import UNTRAINED, list_models, sha256, weights_folder
from batman_cli.weights import METADATA_KEY, import_state, load_network, load_runnable, save


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    save(path, tiny("clstm"), "clstm", {"summary": "test"})
    return path


def test_round_trip_in_half_precision(checkpoint: Path) -> None:
    back = load_network("clstm", file=checkpoint)
    for name, value in tiny("clstm").state_dict().items():
        assert torch.equal(back.state_dict()[name], value.half().float())
    assert not [p for p in checkpoint.parent.iterdir() if p != checkpoint]


def test_prefixes_of_torch_wrappers_are_taken_off(tmp_path: Path) -> None:
    network = tiny("3dcnn")
    header = {"kind": "3dcnn", "config": network.config.as_dict(), "facts": {}}
    tensors = {f"module._orig_mod.{k}": v for k, v in network.state_dict().items()}
    path = tmp_path / "wrapped.safetensors"
    save_file(tensors, path, metadata={METADATA_KEY: json.dumps(header)})
    load_network("3dcnn", file=path)


def test_another_kind_is_refused(checkpoint: Path) -> None:
    with pytest.raises(WeightsError, match="holds a 'clstm'"):
        load_network("3dcnn", file=checkpoint)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt", ".safetensors"])
def test_a_pickle_never_runs_whatever_its_name(tmp_path: Path, suffix: str) -> None:
    canary = tmp_path / "canary"

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(canary),)

    path = tmp_path / f"bomb{suffix}"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(WeightsError):
        load_network("clstm", file=path)
    with pytest.raises(WeightsError):
        import_state(path, "clstm", tmp_path / "out.safetensors", overwrite=False)
    assert not canary.exists() and not (tmp_path / "out.safetensors").exists()


def test_two_hundred_damaged_checkpoints_give_two_hundred_clear_errors(checkpoint: Path) -> None:
    good = bytearray(checkpoint.read_bytes())
    random = np.random.default_rng(0)
    for trial in range(200):
        bad = bytearray(good)
        if trial % 2:
            bad = bad[: int(random.integers(len(bad)))]
        else:
            for _ in range(8):
                bad[int(random.integers(400))] = int(random.integers(256))
        if bad == good:
            continue
        checkpoint.write_bytes(bad)
        try:
            load_network("clstm", file=checkpoint)
        except WeightsError as error:
            assert error.what


def test_missing_and_unknown_tensors_are_named(tmp_path: Path) -> None:
    network = tiny("clstm")
    header = {"kind": "clstm", "config": network.config.as_dict(), "facts": {}}
    tensors = dict(network.state_dict())
    del tensors["head.last.bias"]
    tensors["extra"] = torch.zeros(1)
    path = tmp_path / "odd.safetensors"
    save_file(tensors, path, metadata={METADATA_KEY: json.dumps(header)})
    with pytest.raises(WeightsError, match=r"head.last.bias is missing; extra is unknown"):
        load_network("clstm", file=path)


def test_nan_weights_are_refused(tmp_path: Path) -> None:
    network = tiny("clstm")
    with torch.no_grad():
        network.get_parameter("head.last.weight").fill_(float("nan"))
    save(tmp_path / "nan.safetensors", network, "clstm", {})
    with pytest.raises(WeightsError, match="NaN"):
        load_network("clstm", file=tmp_path / "nan.safetensors")


def test_import_of_an_honest_pickle(tmp_path: Path) -> None:
    torch.manual_seed(0)
    from batman_cli.models import build

    network = build("clstm", {})
    torch.save({f"module.{k}": v for k, v in network.state_dict().items()}, tmp_path / "a.pt")
    import_state(tmp_path / "a.pt", "clstm", tmp_path / "a.safetensors", overwrite=False)
    load_network("clstm", file=tmp_path / "a.safetensors")


def test_shipped_checkpoints_are_the_listed_ones_and_small() -> None:
    models = list_models()
    assert {model.kind for model in models.values()} == set(KINDS)
    for model in models.values():
        assert sha256(model.file) == model.sha256
        assert model.file.stat().st_size <= (20e6 if model.name in ("clstm", "3dcnn") else 32e6)
        assert load_network(model.name).training is False


def test_systems_without_weights_and_narrower_builds_go_by_their_own_names() -> None:
    assert set(WITHOUT_WEIGHTS) == set(UNTRAINED)
    assert isinstance(load_runnable("rawpy"), RawpyPipeline)
    assert isinstance(load_runnable("vbm4d"), Vbm4d)
    narrower = load_runnable("smid")
    assert isinstance(narrower, Smid)
    assert narrower.config.width < 32
    with pytest.raises(WeightsError, match=r"no model .rawpi.*rawpy, vbm4d"):
        load_runnable("rawpi")


def test_one_flipped_bit_in_a_shipped_checkpoint_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(weights_folder(), tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr("batman_cli.shipped.weights_folder", lambda: tmp_path)
    victim = tmp_path / "clstm.safetensors"
    data = bytearray(victim.read_bytes())
    data[-100] ^= 1
    victim.write_bytes(data)
    with pytest.raises(WeightsError, match="damaged"):
        load_network("clstm")


def test_unknown_model_names_the_shipped_ones() -> None:
    with pytest.raises(WeightsError, match="clstm"):
        load_network("esrgan")
