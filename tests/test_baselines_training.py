"""`batman train` of the published networks: from photos to a checkpoint that `enhance` uses."""

import json
import math
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import NewBurst
from running import call
from test_models import BASELINES, tiny
from torch import Tensor, nn
from training import SMALL, command, log, photos

from batman_cli import shipped
from batman_cli.commands import list_models_text, model_info_text, verify_models
from batman_cli.develop import bilinear_demosaic, develop_unclipped
from batman_cli.models import Kpn, build
from batman_cli.progress import Reporter
from batman_cli.settings import PUBLISHED, TrainSettings
from batman_cli.shipped import sha256
from batman_cli.training.bursts import Burst
from batman_cli.training.losses import BORDER, Objective, gradients, kpn_error, kpn_loss
from batman_cli.training.ranks import Ranks
from batman_cli.training.step import share_statistics
from batman_cli.weights import load_network, save


def toml(folder: Path, kind: str, **settings: object) -> Path:
    """A TOML file of a small run of a narrow network that leaves what is published as it is."""
    path = folder / "small.toml"
    values = {"model": kind, **SMALL, **settings}
    values.pop("frames")
    lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    network = [f"{name} = {value}" for name, value in BASELINES[kind].items()]
    path.write_text("\n".join([*lines, "[network]", *network]))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("kind", BASELINES)
def test_each_trains_as_published_and_is_used_by_enhance(
    kind: str, tmp_path: Path, new_burst: NewBurst
) -> None:
    run, out = tmp_path / "run", tmp_path / "out.mp4"
    ran = call(*command(photos(tmp_path / "photos"), run, toml(tmp_path, kind, steps=3)))
    assert ran.code == 0, ran.err
    assert [float(row["gradient"]) > 0 for row in log(run) if row["loss"]] == [True] * 3
    used = tomllib.loads((run / "train.toml").read_text())
    assert {name: used[name] for name in PUBLISHED[kind]} == PUBLISHED[kind]
    weights = run / "export" / f"{kind}.safetensors"
    trained = load_network(kind, file=weights)
    for name, statistics in trained.named_buffers():  # of the batches that it has seen
        assert float(statistics.abs().sum()) > 0, name
    ran = call("enhance", new_burst(3), "-o", out, "--model", kind, "--weights", weights)
    assert ran.code == 0, ran.err
    assert out.stat().st_size


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["clstm-paper", "3dcnn-paper"])
def test_frozen_statistics_stay_while_weights_move(kind: str, tmp_path: Path) -> None:
    """They are those of the checkpoint that the run begins from."""
    start, run = tmp_path / "start.safetensors", tmp_path / "run"
    first = tiny(kind)
    for values in first.buffers():
        values.copy_(torch.rand_like(values) + 0.5)
    save(start, first, kind, {"summary": "to begin from"})
    file = toml(tmp_path, kind, steps=2, statistics="frozen")
    ran = call(*command(photos(tmp_path / "photos"), run, file, "--start", start))
    assert ran.code == 0, ran.err
    last, first = (load_network(kind, file=path) for path in (run / "last.safetensors", start))
    assert all(map(torch.equal, first.buffers(), last.buffers()))
    assert not all(map(torch.equal, first.parameters(), last.parameters()))


@pytest.mark.parametrize(
    ("kind", "start"), [("sid", None), ("clstm-paper", None), ("3dcnn-paper", "clstm-paper")]
)
def test_statistics_that_nothing_has_learned_are_not_frozen(
    kind: str, start: str | None, tmp_path: Path
) -> None:
    words = command(
        photos(tmp_path / "photos"),
        tmp_path / "run",
        toml(tmp_path, kind, statistics="frozen"),
    )
    if start:
        file, encoder = tmp_path / "start.safetensors", tiny(start)
        for values in encoder.buffers():
            values.fill_(0.5)
        save(file, encoder, start, {"summary": "to begin from"})
        words += ("--start", file)
    ran = call(*words)
    assert ran.code == 2
    assert "layers with batch normalisation have learned none" in ran.err
    assert not (tmp_path / "run" / "state.safetensors").exists()


@pytest.mark.slow
def test_another_optimiser_has_rates_of_its_own(tmp_path: Path) -> None:
    """Not those that are published for Adam."""
    data, run = photos(tmp_path / "photos"), tmp_path / "run"
    ran = call(*command(data, run, toml(tmp_path, "sid", steps=1, optimiser="muon")))
    assert ran.code == 0, ran.err
    used = tomllib.loads((run / "train.toml").read_text())
    assert "rate" not in used
    assert used["weight_decay"] == TrainSettings.weight_decay


@pytest.mark.slow
def test_what_the_user_chooses_goes_before_what_is_published(tmp_path: Path) -> None:
    data, run = photos(tmp_path / "photos"), tmp_path / "run"
    file = toml(tmp_path, "sid", steps=1, optimiser="muon")
    ran = call(*command(data, run, file, "--rate", "0.003"))
    assert ran.code == 0, ran.err
    used = tomllib.loads((run / "train.toml").read_text())
    assert (used["optimiser"], used["rate"], used["frames"]) == ("muon", 0.003, 1)


def test_the_loss_of_kernels_is_refused_for_other_networks(tmp_path: Path) -> None:
    ran = call("train", "--data", tmp_path, "-o", tmp_path / "run", "--loss", "kpn")
    assert ran.code == 2
    assert "kpn" in ran.err


# The loss of kernels


def constant_burst(frames: int = 8) -> Burst:
    """A grey burst (2, frames, 4, 32, 32) without noise, and its reference."""
    matrix = torch.eye(3).repeat(2, 1, 1)
    reference = develop_unclipped(torch.full((2, 3, 64, 64), 0.25), matrix)
    return Burst(
        planes=torch.full((2, frames, 4, 32, 32), 0.25),
        noise=torch.full((2, 2, 4), 0.01),
        reference=reference[:, None].repeat(1, frames, 1, 1, 1),
        matrix=matrix,
        bin=torch.ones(2),
    )


def even_kernels() -> Kpn:
    """Every frame's estimate is its mean over 5x5."""
    network = tiny("kpn")
    assert isinstance(network, Kpn)
    assert network.last.bias is not None
    nn.init.zeros_(network.last.weight)
    nn.init.constant_(network.last.bias, 1 / 200)
    return network


@pytest.mark.parametrize("frames", [1, 5, 8])
def test_the_loss_is_nothing_where_every_estimate_is_the_reference(frames: int) -> None:
    assert kpn_loss(even_kernels(), constant_burst(frames), 0).item() == pytest.approx(0, abs=1e-3)


def test_each_frame_counts_a_hundredfold_at_first_and_hardly_at_the_end() -> None:
    """Kernels of half the brightness: nine equal errors, eight of them annealed."""
    network, burst = even_kernels(), constant_burst()
    assert network.last.bias is not None
    nn.init.constant_(network.last.bias, 1 / 400)
    half = develop_unclipped(torch.full((2, 3, 64, 64), 0.125), burst.matrix)
    one = kpn_error(half, burst.reference[:, 0]).item()
    for share, weight in ((0.0, 100), (0.5, 1), (1.0, 0.01)):
        expected = one * (1 + 8 * weight)
        assert kpn_loss(network, burst, share).item() == pytest.approx(expected, rel=1e-3)


def test_the_error_counts_squares_and_slopes_but_no_border() -> None:
    reference = torch.zeros(1, 3, 64, 64)
    ramp = (0.01 * torch.arange(64.0)).expand(1, 3, 64, 64)
    inner = ramp[..., BORDER:-BORDER, BORDER:-BORDER]
    expected = inner.square().mean().item() + 0.01
    assert kpn_error(ramp, reference).item() == pytest.approx(expected, rel=1e-4)
    changed = ramp.clone()
    changed[..., :BORDER, :] = 9
    assert torch.equal(kpn_error(changed, reference), kpn_error(ramp, reference))


def test_processes_share_the_statistics_of_batch_normalisation() -> None:
    network, other = (build("clstm-paper", {"width": 4, "fused": 2}) for _ in range(2))
    for number, one in enumerate((network, other)):
        for values in one.buffers():
            values.fill_(1.0 + 2 * number)
    theirs = torch.cat([values.flatten() for values in other.buffers()])

    class Pair(Ranks):
        """Two processes, of which the other has `other`."""

        def sum(self, values: Tensor) -> Tensor:
            return values + theirs

    share_statistics(network, Pair(0, 2))
    assert all(bool((values == 2).all()) for values in network.buffers())


def test_gradients_of_kernels_are_those_of_the_loss() -> None:
    network, burst = tiny("kpn"), constant_burst()
    assert isinstance(network, Kpn)
    objective = Objective("kpn", 0.0, 0.0, None, 8, share=0.3)
    found, loss = gradients(network, burst, objective)
    direct = kpn_loss(network, burst, 0.3)
    assert math.isclose(loss, direct.item(), rel_tol=1e-5)
    wanted = torch.autograd.grad(direct, list(network.parameters()))
    assert all(torch.allclose(a, b, rtol=1e-4) for a, b in zip(found, wanted, strict=True))


def test_the_picture_of_the_loss_is_that_of_the_stream() -> None:
    network, burst = tiny("kpn"), constant_burst()
    assert isinstance(network, Kpn)
    state, shown = None, list[Tensor]()
    with torch.no_grad():
        for frame in burst.planes.unbind(1):
            picture, state = network.step(frame, burst.noise, state)
            shown += [] if picture is None else [picture]
        direct = bilinear_demosaic(network.estimates(burst.planes, burst.noise).mean(1))
    assert torch.allclose(shown[4], direct, atol=1e-6)


# Listed checkpoints in a folder of their own


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of weights like the shipped one, with one more network in baselines/."""
    folder = tmp_path / "weights"
    shutil.copytree(shipped.weights_folder(), folder)
    file = folder / "baselines" / "3dcnn-narrow.safetensors"
    file.parent.mkdir(exist_ok=True)
    network = tiny("3dcnn-paper")
    save(file, network, "3dcnn-paper", {})
    models: dict[str, Any] = json.loads((folder / "models.json").read_text())
    models["models"]["3dcnn-narrow"] = {
        "file": "baselines/3dcnn-narrow.safetensors",
        "sha256": sha256(file),
        "kind": "3dcnn-paper",
        "config": network.config.as_dict(),
        "facts": {"summary": "a narrow one"},
    }
    (folder / "models.json").write_text(json.dumps(models))
    monkeypatch.setattr(shipped, "weights_folder", lambda: folder)
    return file


def test_a_listed_baseline_is_listed_told_of_and_verified(listed: Path) -> None:
    lines: list[str] = []
    list_models_text(Reporter(quiet=True), lines.append)
    assert "3dcnn-narrow  a narrow one" in lines
    model_info_text("3dcnn-narrow", Reporter(quiet=True), lines.append)
    assert any(str(listed) in line for line in lines)
    verify_models(Reporter(quiet=True), lines.append)
    assert "3dcnn-narrow: undamaged" in lines
    assert load_network("3dcnn-narrow").config.as_dict()["width"] == 4
