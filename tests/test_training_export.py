"""A trained network can be handed on: whole files, honest words, no private paths."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import KINDS, NARROW, NewBurst
from running import call, contents, names

from batman_cli.errors import OutputError, UsageError
from batman_cli.models import Net, build
from batman_cli.models.cost import multiply_adds, parameters
from batman_cli.settings import TrainSettings
from batman_cli.shipped import list_models, sha256, verify, weights_folder
from batman_cli.simulate.camera import XYZ_TO_CAMERA
from batman_cli.training.bursts import RATIOS
from batman_cli.training.card import DRV_SCENES, TrainingFacts
from batman_cli.training.config import read_config
from batman_cli.training.export import export
from batman_cli.weights import load_network

SECRET = Path("/home/somebody/secret")
FACTS = TrainingFacts(
    settings=TrainSettings(
        model="clstm",
        data=(SECRET / "nights", SECRET / "days"),
        start=SECRET / "first.safetensors",
        cache=SECRET / "cache",
        batch=3,
    ),
    steps=1234,
    minutes=42.4,
    hardware="2 CPU cores",
    started="2026-11-23",
    data={"photos": 20, "clips": 1, "raw files": 0, DRV_SCENES: 0},
    held_out=2,
    licence="CC0 and my own",
    scores_before={"psnr": 18.2, "ssim": 0.51, "tpsnr": 30.0},
    scores_after={"psnr": 23.456, "ssim": 0.712, "tpsnr": 36.5},
)


def network(kind: str = "clstm", seed: int = 0) -> Net:
    torch.manual_seed(seed)
    return build(kind, NARROW)


def facts(kind: str) -> TrainingFacts:
    return replace(FACTS, settings=replace(FACTS.settings, model=kind))


def entries(folder: Path) -> dict[str, dict[str, Any]]:
    return json.loads((folder / "models.json").read_text())["models"]


# Cost


@pytest.mark.parametrize("kind", KINDS)
def test_size_and_cost_are_those_of_the_shipped_cards(kind: str) -> None:
    card = (weights_folder() / f"{kind}.md").read_text()
    shipped = load_network(kind)
    assert f"| {parameters(shipped) / 1e6:.2f} M |" in card
    cost = multiply_adds(shipped, 918, 1374) / 1e9
    assert f"| {cost:.1f} GMAC |" in card
    assert cost < 120
    assert next(shipped.parameters()).device.type == "cpu"  # it is left alone


@pytest.mark.parametrize("kind", KINDS)
def test_the_cost_is_what_the_convolutions_do(kind: str) -> None:
    """Against the plain definition: samples out x channels in x samples of the kernel."""
    net = network(kind)
    expected = multiply_adds(net, 64, 128)
    counts: list[int] = []

    def count(layer: torch.nn.Conv2d, _inputs: object, out: torch.Tensor) -> None:
        counts.append(out.numel() * layer.in_channels * math.prod(layer.kernel_size))

    for layer in net.modules():
        if isinstance(layer, torch.nn.Conv2d | torch.nn.Conv3d):
            layer.register_forward_hook(count)  # pyright: ignore[reportArgumentType]
    state = None
    with torch.no_grad():
        for _ in range(net.delay + 1):
            counts.clear()
            _, state = net.step(torch.zeros(1, 4, 32, 64), torch.ones(1, 2, 4), state)
    assert sum(counts) == expected


# Files


@pytest.mark.parametrize("kind", KINDS)
def test_the_exported_checkpoint_is_the_listed_one_and_loads(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = network(kind)
    path = export(trained, "mine", tmp_path / "new" / "folder", facts(kind), overwrite=False)
    assert names(path.parent) == ["mine.md", "mine.safetensors", "models.json"]
    loaded = load_network(kind, file=path).state_dict()
    for name, value in trained.state_dict().items():
        assert torch.equal(loaded[name], value.half().float())
    monkeypatch.setattr("batman_cli.shipped.weights_folder", lambda: path.parent)
    (listed,) = list_models().values()
    verify(listed)
    assert (listed.name, listed.file, listed.kind) == ("mine", path, kind)
    assert load_network("mine").config == trained.config
    assert call("models", "verify").out == "mine: undamaged\n"


def test_the_entry_has_the_keys_of_the_shipped_ones(tmp_path: Path) -> None:
    path = export(network(), "mine", tmp_path, FACTS, overwrite=False)
    ours, shipped = entries(tmp_path)["mine"], list_models()["clstm"]
    assert list(ours) == ["file", "sha256", "kind", "config", "facts"]
    assert ours["sha256"] == sha256(path)
    assert ours["facts"] == {
        "summary": "recurrent, no delay; 42 minutes on 2 CPU cores; 23.46 dB in its validation",
        "trained_on": "20 photos, 1 clip",
        "training": "42 minutes on 2 CPU cores, "
        "1234 steps of 3 bursts of up to 8 frames of 128 x 128",
        "cameras": "any Bayer camera; simulated noise of Sony, Nikon and Canon sensors",
        "licence": "data: CC0 and my own",
        "card": "mine.md",
    }
    assert set(shipped.facts) == set(ours["facts"])


def test_a_second_export_keeps_the_other_entries(tmp_path: Path) -> None:
    export(network(), "first", tmp_path, FACTS, overwrite=False)
    first = entries(tmp_path)["first"]
    export(network("3dcnn"), "second", tmp_path, facts("3dcnn"), overwrite=False)
    assert list(entries(tmp_path)) == ["first", "second"]
    assert entries(tmp_path)["first"] == first
    assert sha256(tmp_path / "first.safetensors") == first["sha256"]


@pytest.mark.parametrize("there", ["mine.safetensors", "mine.md"])
def test_what_is_there_is_replaced_only_when_told(there: str, tmp_path: Path) -> None:
    (tmp_path / there).write_text("precious")
    with pytest.raises(OutputError, match="exists already"):
        export(network(), "mine", tmp_path, FACTS, overwrite=False)
    assert names(tmp_path) == [there]
    assert (tmp_path / there).read_text() == "precious"
    path = export(network(seed=2), "mine", tmp_path, FACTS, overwrite=True)
    assert entries(tmp_path)["mine"]["sha256"] == sha256(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"models": 3}', "\x00"])
def test_a_listing_that_is_none_is_left_alone(text: str, tmp_path: Path) -> None:
    (tmp_path / "models.json").write_text(text)
    with pytest.raises(OutputError, match=r"models.json"):
        export(network(), "mine", tmp_path, FACTS, overwrite=True)
    assert names(tmp_path) == ["models.json"]
    assert (tmp_path / "models.json").read_text() == text


@pytest.mark.parametrize("name", ["", "..", "a/b", "../a", ".hidden", "-o"])
def test_a_name_that_is_no_file_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="file name"):
        export(network(), name, tmp_path / "folder", FACTS, overwrite=False)
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        export(network(), "mine", tmp_path / "file", FACTS, overwrite=False)


@pytest.mark.fault
def test_a_full_disk_is_told_and_leaves_the_folder_as_it_was(small_disk: Path) -> None:
    export(network(), "mine", small_disk, FACTS, overwrite=False)
    before = contents(small_disk)
    large = build("clstm", {})
    for name in ("mine", "other"):
        with pytest.raises(OutputError) as caught:
            export(large, name, small_disk, FACTS, overwrite=True)
        assert "No space left on device" in caught.value.why
        assert contents(small_disk) == before


# The card


def card(tmp_path: Path, kind: str = "clstm", **changes: Any) -> str:
    changed = replace(facts(kind), **changes)
    export(network(kind), "mine", tmp_path, changed, overwrite=True)
    return (tmp_path / "mine.md").read_text()


def test_the_card_says_what_it_is_and_how_it_was_made(tmp_path: Path) -> None:
    text = card(tmp_path)
    for part in (
        *("`clstm`: recurrent, no delay", '"widths": [8, 8, 8, 8]', "GMAC", "2 CPU cores"),
        *("1234 steps", "2026-11-23", "20 photos, 1 clip", "2 of them were held out", "`nights`"),
        *("CC0 and my own", f"Ratio {RATIOS[0]:g} to {RATIOS[1]:g}", *XYZ_TO_CAMERA),
        *("| PSNR, dB | 18.20 | 23.46 |", "| SSIM | 0.510 | 0.712 |", "No real dark burst"),
        sha256(tmp_path / "mine.safetensors"),
    ):
        assert part in text
    assert "2 frames of look-ahead" in card(tmp_path, "3dcnn")


def test_no_file_tells_where_the_data_lie(tmp_path: Path) -> None:
    export(network(), "mine", tmp_path, FACTS, overwrite=False)
    for file in tmp_path.iterdir():
        for private in (b"somebody", b"secret", b"/home"):
            assert private not in file.read_bytes()


def test_the_settings_of_the_card_train_again(tmp_path: Path) -> None:
    text = card(tmp_path)
    (tmp_path / "again.toml").write_text(text.split("```toml\n")[1].split("```")[0])
    values = read_config(tmp_path / "again.toml")
    assert (values["batch"], values["data"]) == (3, (Path("nights"), Path("days")))


def test_the_line_of_the_card_enhances_a_burst(
    tmp_path: Path, new_burst: NewBurst, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = card(tmp_path)
    (line,) = [line for line in text.splitlines() if line.startswith("    batman enhance")]
    new_burst(2)
    monkeypatch.chdir(tmp_path)
    assert call(*line.split()[1:]).code == 0
    assert (tmp_path / "burst.mp4").is_file()


def test_a_training_of_no_use_says_so(tmp_path: Path) -> None:
    useless = "no use"
    assert useless not in card(tmp_path)
    assert useless in card(tmp_path, scores_after=FACTS.scores_before)
    assert useless in card(tmp_path, scores_after={"psnr": float("nan")})
    assert "No validation was run." in card(tmp_path, scores_before={}, scores_after={})


def test_real_and_simulated_data_are_told_apart(tmp_path: Path) -> None:
    real = card(tmp_path, data={DRV_SCENES: 3})
    assert "No real dark burst" not in real and "Tukey" not in real
    assert entries(tmp_path)["mine"]["facts"]["cameras"] == (
        "any Bayer camera; real noise of 3 DRV scenes"
    )
    mixed = card(tmp_path, data={"photos": 5, DRV_SCENES: 1})
    assert "5 photos, 1 DRV scene" in mixed and "Tukey" in mixed


def test_a_licence_that_nobody_named_is_not_made_up(tmp_path: Path) -> None:
    assert "Licence of the data: not stated." in card(tmp_path, licence=None)
    assert entries(tmp_path)["mine"]["facts"]["licence"] == "not stated"
