"""What examples/gpu_training promises; most of it is checked on a CPU, eagerly."""

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import bursts
import numpy as np
import published
import pytest
import scenes
import shipped
import torch
import train
from bursts import Batch, make
from conftest import NARROW, photo
from flat import Trained
from graphs import Graphs, turns
from recipe import FRAMES
from sources import Sources
from test_models import BASELINES
from torch import Tensor
from training import photos

from batman_cli.models import Clstm, Cnn3d, Net, build
from batman_cli.models.state import State
from batman_cli.training.footage import Footage
from batman_cli.training.losses import pictures_of
from batman_cli.training.optimiser import Muon
from batman_cli.weights import load_network, read_facts

CPU = torch.device("cpu")
SIZE = 64  # pixels


def footage(folder: Path, frames: int, number: int, side: int = 160) -> Footage:
    """Frames that follow each other as in a clip, or a photo."""
    path = folder / f"{number}.npy"
    still = photo(side, side, number)
    np.save(path, np.stack([np.roll(still, 3 * t, 1) for t in range(frames)]))
    return Footage(path.name, path)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    folder = tmp_path_factory.mktemp("footage")
    frames = (1, 1, 1, FRAMES + 2)
    return Sources([footage(folder, t, i) for i, t in enumerate(frames)], FRAMES, CPU)


@pytest.fixture(scope="module")
def batch(sources: Sources) -> Batch:
    torch.manual_seed(3)
    return make(sources, 4, FRAMES, SIZE, long_past=0.0)


def moved(network: Net) -> Net:
    """The network with weights of which every one matters."""
    for value in network.parameters():
        value.data.add_(0.05 * torch.randn_like(value))
    return network.eval()


def new(kind: str) -> Net:
    torch.manual_seed(5)
    return moved(build(kind, BASELINES.get(kind, NARROW)))


# What is trained is what is used


@pytest.mark.parametrize("kind", ["clstm", "3dcnn"])
@pytest.mark.parametrize("begin", [0, 1, 3])
def test_shipped_networks_see_what_their_own_steps_see(kind: str, begin: int, batch: Batch) -> None:
    network = new(kind)
    count = len(batch.planes)
    data = shipped.fused(batch, torch.full((count,), begin), torch.full((count,), shipped.AHEAD))
    with torch.no_grad():
        found = shipped.show(network, data).pictures.unflatten(0, (shipped.GRADED, count))
        own = own_pictures(network, batch, begin)
    torch.testing.assert_close(found, torch.stack([own[4], own[5]]), atol=1e-6, rtol=0)


def own_pictures(network: Net, batch: Batch, begin: int) -> dict[int, Tensor]:
    """Pictures by frame, of steps from frame `begin` on; before frame 2 frames are absorbed."""
    assert isinstance(network, Clstm | Cnn3d)
    state: State | None = None
    found: dict[int, Tensor] = {}
    for t in range(begin, FRAMES):
        shown = t - network.delay
        if shown < shipped.FIRST:
            state = network.absorb(batch.planes[:, t], batch.noise, state)
            continue
        picture, state = network.step(batch.planes[:, t], batch.noise, state)
        if picture is not None:
            found[shown] = picture
    return found


def test_without_frames_to_come_there_is_no_look_ahead(batch: Batch) -> None:
    begin = torch.zeros(len(batch.planes), dtype=torch.long)
    data = shipped.fused(batch, begin, torch.zeros_like(begin))
    torch.testing.assert_close(data.ahead, data.past, atol=0, rtol=0)


@pytest.mark.parametrize("kind", BASELINES)
def test_published_networks_see_what_their_own_steps_see(kind: str, batch: Batch) -> None:
    network = new(kind)
    first = published.RECURRENT.start if kind == "clstm-paper" else 0
    with torch.no_grad():
        found = published.show(network, batch).pictures
        own, _ = pictures_of(network, batch.planes[:, first:], batch.noise)
    torch.testing.assert_close(found, own[published.CENTRE - first], atol=1e-5, rtol=0)


# Bursts


def test_noise_has_the_variance_that_is_told_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = 24
    sources = Sources([footage(tmp_path, 1, i) for i in range(3)], frames, CPU)
    monkeypatch.setattr(bursts, "NOISE_ERROR", 0.0)
    monkeypatch.setattr(bursts, "CODED_SHARE", 0.0)
    monkeypatch.setattr(scenes, "STILL_SHARE", 1.0)
    torch.manual_seed(1)
    made = make(sources, 24, frames, SIZE, long_past=1.0)
    still = [i for i, r in enumerate(made.reference) if bool((r == r[0]).all())]
    assert len(still) > 6
    ratios: list[float] = []
    for i in still:
        shot, read = made.noise[i, :, :, None, None]
        planes = made.planes[i, 1:]  # the first is an average
        level = planes.mean(0)
        told = (shot * level.clamp_min(0) + read).mean()
        ratios.append(float(planes.var(0).mean() / told))
        first = (made.planes[i, 0] - level).square().mean() / (
            told * (1 / made.past[i] + 1 / (frames - 1))
        )
        assert float(first) == pytest.approx(1, abs=0.2)
        assert 1 <= float(made.past[i]) <= bursts.LONGEST_PAST
    assert ratios == pytest.approx([1.0] * len(still), abs=0.06)
    assert sum(ratios) / len(ratios) == pytest.approx(1, abs=0.02)


def test_estimates_of_noise_are_in_error_by_as_much_as_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exact, past = torch.full((400, 1, 3, 4, 4), 0.3), torch.ones(400)
    torch.manual_seed(1)
    _, told = bursts._shot(exact, past)
    monkeypatch.setattr(bursts, "NOISE_ERROR", 0.0)
    torch.manual_seed(1)
    planes, true = bursts._shot(exact, past)
    error = (told / true).log()
    assert float(error.std()) == pytest.approx(0.06, rel=0.1)
    torch.testing.assert_close(error, error[..., :1].expand_as(error))  # one for all planes
    spread = (planes - 0.3).square().mean((1, 3, 4)) / (true[:, 0] * 0.3 + true[:, 1])
    assert float(spread.mean()) == pytest.approx(1, abs=0.05)


def test_cameras_map_white_to_white_and_back() -> None:
    matrix = bursts._cameras(50, CPU)
    torch.testing.assert_close(matrix.sum(2), torch.ones(50, 3))
    torch.testing.assert_close(bursts._inverse(matrix), torch.linalg.inv(matrix))


def test_crops_are_pieces_of_the_footage(tmp_path: Path) -> None:
    whole = footage(tmp_path, 1, 0, SIZE)
    held = Sources([whole, footage(tmp_path, FRAMES, 1, SIZE)], FRAMES, CPU)
    picture = torch.from_numpy(np.load(whole.pictures)[0]).permute(2, 0, 1) / 255
    torch.manual_seed(1)
    crops = held.cut(held.photos(20), 1, SIZE)[:, 0]
    mirrored = [bool((crop == picture.flip(2)).all()) for crop in crops]
    assert 0 < sum(mirrored) < 20
    for crop, turned in zip(crops, mirrored, strict=True):
        torch.testing.assert_close(crop, picture.flip(2) if turned else picture)
    wide = held.cut(held.clips(3), FRAMES, SIZE + 32)  # continued as in a mirror
    assert wide.shape == (3, FRAMES, 3, SIZE + 32, SIZE + 32)
    edge = wide[..., SIZE - 1 : SIZE + 1, :]
    torch.testing.assert_close(edge[..., 0, :], edge[..., 1, :])


# Steps


@pytest.mark.parametrize("kind", ["clstm", "3dcnn"])
def test_flat_weights_move_as_those_of_batman_train(kind: str) -> None:
    recipe = replace(shipped.RECIPE, clip=1e9, decay=0.1)
    start = new(kind)
    trained = Trained(kind, start, recipe, CPU)
    twin = new(kind)
    mover = Muon(twin, recipe.rate, recipe.decay)
    for group in mover.param_groups:
        group["lr"] = recipe.rate * group["share"]
    trained.rate.fill_(recipe.rate)
    # Not a loss of pictures: from its gradients of few directions rounding would grow.
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        slopes = [torch.randn(p.shape, generator=generator) for p in twin.parameters()]
        for network in (trained.network, twin):
            pairs = zip(network.parameters(), slopes, strict=True)
            loss = torch.stack([(p * slope).sum() for p, slope in pairs]).sum()
            if network is twin:
                loss.backward()
                mover.step()
                mover.zero_grad()
            else:
                trained.step(loss)
    for mine, theirs in zip(trained.network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)
    trained.restart()
    for mine, first in zip(trained.network.parameters(), start.parameters(), strict=True):
        torch.testing.assert_close(mine, first, atol=0, rtol=0)


def test_a_step_that_is_not_finite_moves_nothing(batch: Batch) -> None:
    trained = Trained("clstm", new("clstm"), shipped.RECIPE, CPU)
    before = trained._weights.clone()
    trained.rate.fill_(0.01)
    loss = shipped.loss(trained.network, shipped.prepare(batch), torch.zeros(()))
    trained.step(loss * torch.inf)
    assert torch.equal(trained._weights, before)


# Runs


def run(monkeypatch: pytest.MonkeyPatch, *words: str | Path, sizes: dict[str, Any]) -> None:
    """A run on the CPU of narrow networks, which Ctrl-C ends in its third step."""

    def interrupted(
        make: Callable[[], Any], act: Callable[[Any], None], device: torch.device
    ) -> tuple[Callable[[], None], str]:
        turn, how = turns(make, act, device)
        done: list[int] = []

        def counted() -> None:
            turn()
            done.append(1)
            if len(done) == 3:
                signal.raise_signal(signal.SIGINT)

        return counted, how

    monkeypatch.setattr(train, "turns", interrupted)
    small = ("--batch", "2", "--size", str(SIZE), "--held-out", "2", "--device", "cpu")
    network = ("--network", json.dumps(sizes))
    every = ("train.py", "--minutes", "5", *words, *small, *network)
    monkeypatch.setattr("sys.argv", [str(word) for word in every])
    with pytest.raises(SystemExit) as ended:
        train.main()
    assert ended.value.code == 128 + signal.SIGINT


@pytest.mark.parametrize("models", [["clstm", "3dcnn"], ["kpn"]])
def test_a_run_leaves_checkpoints_that_another_begins_from(
    models: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, cache = photos(tmp_path / "photos", 3), tmp_path / "cache"
    asked = ("--data", data, "--cache", cache, "--models", ",".join(models))
    sizes = BASELINES.get(models[0], NARROW)
    run(monkeypatch, *asked, "-o", tmp_path / "first", sizes=sizes)
    log = json.loads((tmp_path / "first" / "log.json").read_text())
    assert (log["models"], log["steps"], log["device"]) == (models, 3, "CPU")
    for kind in models:
        file = tmp_path / "first" / f"{kind}.safetensors"
        trained = load_network(kind, file=file)
        assert trained.config == build(kind, sizes).config
        assert all(bool(value.isfinite().all()) for value in trained.state_dict().values())
        last = log["curve"][-1][kind]
        assert read_facts(file)["scores"]["psnr"] == last["psnr"] > 0
        assert last["gradient"] > 0

    again = ("-o", tmp_path / "second", "--start", tmp_path / "first", "--rate", "1e-9")
    run(monkeypatch, *asked, *again, sizes={})
    for kind in models:  # at no rate worth the name the weights stay what they were
        first, second = (
            load_network(kind, file=tmp_path / name / f"{kind}.safetensors").state_dict()
            for name in ("first", "second")
        )
        torch.testing.assert_close(second, first, atol=1e-4, rtol=1e-3)


def test_networks_that_see_different_data_are_not_trained_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train.py", "--data", str(tmp_path), "--models", "clstm,sid", "--minutes", "1"]
    monkeypatch.setattr("sys.argv", [*words, "-o", str(tmp_path / "run")])
    with pytest.raises(SystemExit):
        train.main()
    assert "clstm, 3dcnn, both, or one of sid" in capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_data_that_are_trained_on_are_not_overwritten_by_the_next(tmp_path: Path) -> None:
    cuda = torch.device("cuda")
    held = Sources([footage(tmp_path, 1, i) for i in range(3)], FRAMES, cuda)
    graphs = Graphs(lambda: shipped.prepare(make(held, 2, FRAMES, SIZE)), lambda data: None)
    torch.cuda.synchronize()
    for place in (0, 1):
        graphs.make[place].replay()
        torch.cuda.synchronize()
        kept = graphs.data[place].reference.clone()
        graphs.make[1 - place].replay()
        torch.cuda.synchronize()
        assert torch.equal(graphs.data[place].reference, kept)
        assert not torch.equal(graphs.data[1 - place].reference, kept)
