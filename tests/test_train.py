"""`batman train`: from a folder of pictures to a checkpoint that `batman enhance` uses."""

import json
import math
import tomllib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import KINDS, NARROW, NewBurst
from running import call, names
from training import CPU, PLAIN, command, config, drv_tree, log, losses, photos, scores

from batman_cli.develop import develop_unclipped
from batman_cli.device import choose_device
from batman_cli.models import build
from batman_cli.settings import TrainSettings
from batman_cli.shipped import sha256
from batman_cli.stills import read_image
from batman_cli.training.bursts import Stock, draw, shoot, softened, stacked, stock_of
from batman_cli.training.losses import Objective, gradients, picture_loss, pictures_of
from batman_cli.training.optimiser import REST_SHARE, Muon, orthogonal
from batman_cli.training.ranks import Ranks
from batman_cli.training.sources import prepare
from batman_cli.training.state import Run, is_finite, load_run, new_run
from batman_cli.training.step import Crew, draws, length_of, rate_at, take_step
from batman_cli.weights import load_network

pytestmark = pytest.mark.slow  # as a file: every test trains


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photos(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture(scope="session")
def stock(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Stock:
    cache = tmp_path_factory.mktemp("cache")
    library = prepare([pictures], cache, bin=None, drv_input="short", on_bad="stop")
    return stock_of(library.training)


# From data to a checkpoint


@pytest.mark.parametrize("kind", KINDS)
def test_what_training_leaves_is_used_by_enhance(
    kind: str, pictures: Path, tmp_path: Path, new_burst: NewBurst
) -> None:
    run = tmp_path / "run"
    ran = call(*command(pictures, run, config(tmp_path, model=kind)))
    assert ran.code == 0, ran.err
    left = {"state.safetensors", "last.safetensors", "best.safetensors", "train.toml", "log.csv"}
    assert left | {"strips", "cache", "export"} <= set(names(run))
    for weights in (
        run / "best.safetensors",
        run / "last.safetensors",
        run / "export" / f"{kind}.safetensors",
    ):
        out = tmp_path / f"{weights.parent.name}_{weights.stem}.mp4"
        ran = call(
            "enhance", new_burst(3, name=out.stem), "-o", out, "--model", kind, "--weights", weights
        )
        assert ran.code == 0, ran.err
        assert out.stat().st_size


def test_the_log_has_every_step_and_the_scores_of_every_validation(
    pictures: Path, tmp_path: Path
) -> None:
    assert call(*command(pictures, tmp_path / "run", config(tmp_path))).code == 0
    assert list(losses(tmp_path / "run")) == [1, 2, 3, 4, 5, 6]
    assert list(scores(tmp_path / "run")) == [0, 3, 6]
    for row in log(tmp_path / "run")[1:]:
        assert float(row["bursts_per_s"]) > 0
        assert 0 <= float(row["waiting"]) <= 1
        assert float(row["gradient"]) > 0
    strips = names(tmp_path / "run" / "strips")
    assert strips == [f"{step:06d}_{n}.png" for step in (0, 3, 6) for n in (1, 2, 3)]
    assert read_image(tmp_path / "run" / "strips" / strips[0]).shape == (64, 3 * 64, 3)


def test_training_makes_pictures_better(pictures: Path, tmp_path: Path) -> None:
    toml = config(tmp_path, steps=60, validate_every=60, validation_bursts=6, rate=0.02, warm_up=5)
    assert call(*command(pictures, tmp_path / "run", toml)).code == 0
    psnr = scores(tmp_path / "run")
    assert psnr[60] > psnr[0] + 0.05


def test_a_run_that_is_given_its_own_settings_is_the_same_run(
    pictures: Path, tmp_path: Path
) -> None:
    assert call(*command(pictures, tmp_path / "one", config(tmp_path))).code == 0
    ran = call("train", "--config", tmp_path / "one" / "train.toml", "-o", tmp_path / "two")
    assert ran.code == 0, ran.err
    assert losses(tmp_path / "two") == losses(tmp_path / "one")


def test_the_clock_ends_a_run(pictures: Path, tmp_path: Path) -> None:
    toml = config(tmp_path, steps=100_000, minutes=0.05)
    assert call(*command(pictures, tmp_path / "run", toml)).code == 0
    last = log(tmp_path / "run")[-1]
    assert 0.05 <= float(last["minutes"]) < 0.5
    assert (
        float(last["rate"]) < 0.1 * TrainSettings().highest_rate
    )  # the schedule went by the clock too


def test_patience_ends_a_run_that_does_not_get_better(pictures: Path, tmp_path: Path) -> None:
    toml = config(tmp_path, steps=50, validate_every=1, patience=2, rate=1e-12)
    assert call(*command(pictures, tmp_path / "run", toml)).code == 0
    assert max(losses(tmp_path / "run")) <= 10


def test_more_patience_lets_a_run_go_on(pictures: Path, tmp_path: Path) -> None:
    run, more = tmp_path / "run", tmp_path / "more.toml"
    toml = config(tmp_path, steps=50, validate_every=1, patience=2, rate=1e-12)
    assert call(*command(pictures, run, toml)).code == 0
    ended = max(losses(run))
    ran = call("train", "-o", run, "--resume", "--steps", str(ended + 5))
    assert ran.code == 0
    assert "a larger patience" in ran.err
    assert max(losses(run)) == ended
    more.write_text("patience = 100")
    assert (
        call("train", "-o", run, "--resume", "--steps", str(ended + 5), "--config", more).code == 0
    )
    assert max(losses(run)) == ended + 5


def test_weights_to_begin_from_are_taken_over(pictures: Path, tmp_path: Path) -> None:
    toml = config(tmp_path, model="clstm", rate=1e-9, steps=1)
    assert call(*command(pictures, tmp_path / "one", toml)).code == 0
    start = tmp_path / "one" / "last.safetensors"
    toml = config(tmp_path, model="3dcnn", rate=1e-9, steps=1, seed=5)
    ran = call(*command(pictures, tmp_path / "two", toml, "--start", start))
    assert ran.code == 0, ran.err
    one = load_network("clstm", file=start).state_dict()
    two = load_network("3dcnn", file=tmp_path / "two" / "last.safetensors").state_dict()
    torch.testing.assert_close(two["trunk.encoder.stem.weight"], one["trunk.encoder.stem.weight"])


def test_an_export_is_a_model_with_its_card(pictures: Path, tmp_path: Path) -> None:
    toml = config(tmp_path, model="clstm")
    assert call(*command(pictures, tmp_path / "run", toml, "--licence", "CC0")).code == 0
    ran = call("train", "-o", tmp_path / "run", "--export", tmp_path / "models", "--licence", "CC0")
    assert ran.code == 0, ran.err
    for folder in (tmp_path / "run" / "export", tmp_path / "models"):
        listed = json.loads((folder / "models.json").read_text())["models"]["clstm"]
        assert listed["sha256"] == sha256(folder / "clstm.safetensors")
        card = (folder / "clstm.md").read_text()
        assert "CC0" in card
        assert str(tmp_path) not in card


# Data


def test_a_corrupt_photo_is_named_and_left_out(pictures: Path, tmp_path: Path) -> None:
    data = photos(tmp_path / "photos")
    (data / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 torn")
    ran = call(*command(data, tmp_path / "run", config(tmp_path, steps=1)))
    assert ran.code == 0
    assert "torn.jpg" in ran.err
    assert "1 left out" in ran.err
    ran = call(*command(data, tmp_path / "two", config(tmp_path), "--on-bad-data", "stop"))
    assert ran.code == 3
    assert "torn.jpg" in ran.err


def test_a_dataset_in_the_layout_of_drv_is_trained_on(tmp_path: Path) -> None:
    data = drv_tree(tmp_path / "drv")
    toml = config(tmp_path, frames=3)
    ran = call(*command(data, tmp_path / "run", toml))
    assert ran.code == 0, ran.err
    assert "6 to train on, 1 to validate on" in ran.err
    assert list(scores(tmp_path / "run")) == [0, 3, 6]


def test_several_kinds_of_data_mix(pictures: Path, tmp_path: Path) -> None:
    data = drv_tree(tmp_path / "drv", scenes=7)
    ran = call(*command(pictures, tmp_path / "run", config(tmp_path, steps=2), "--data", data))
    assert ran.code == 0, ran.err
    assert "9 to train on, 2 to validate on" in ran.err


def test_a_burst_is_the_same_whoever_makes_it(stock: Stock) -> None:
    def made(number: int, take: int = 0) -> torch.Tensor:
        drawn = draw(stock, number, seed=1, frames=3, size=64, take=take)
        return shoot(drawn, CPU).planes

    assert torch.equal(made(3), made(3))
    assert not torch.equal(made(3), made(4))


def test_two_takes_show_the_same_with_other_noise(stock: Stock) -> None:
    one, two = (shoot(draw(stock, 3, seed=1, frames=3, size=64, take=take), CPU) for take in (0, 1))
    assert torch.equal(one.reference, two.reference)
    assert not torch.equal(one.planes, two.planes)


def test_bursts_of_all_numbers_are_finite_and_of_the_size_asked(stock: Stock) -> None:
    for number in range(20):
        burst = shoot(draw(stock, number, seed=2, frames=4, size=128), CPU)
        assert burst.planes.shape == (4, 4, 64, 64)
        assert burst.reference.shape == (4, 3, 128, 128)
        assert all(bool(torch.isfinite(part).all()) for part in burst)
        assert burst.noise.shape == (2, 4)
        assert bool((burst.noise > 0).all())


def test_still_bursts_stand_still(stock: Stock) -> None:
    for number in range(5):
        drawn = draw(stock, number, seed=7, frames=4, size=64, still=True)
        reference = shoot(drawn, CPU).reference
        assert torch.equal(reference, reference[:1].expand_as(reference))


def test_binned_views_are_soft_but_keep_their_places() -> None:
    point = torch.zeros(1, 3, 9, 9)
    point[..., 4, 4] = 1
    soft = softened(point)[0, 0]
    assert float(soft.sum()) == pytest.approx(1)
    offset = torch.arange(9.0) - 4
    assert float(soft.sum(0) @ offset) == pytest.approx(0, abs=1e-6)
    assert float(soft.sum(0) @ offset**2) == pytest.approx(1 / 3)


# Losses


def objective(**changes: object) -> Objective:
    plain = {"kind": "l1", "consistency": 0.0, "temporal": 0.0, "truncate": None, "graded": 99}
    return Objective(**{**plain, **changes})  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("truncate", [1, 2, 3])
def test_truncation_changes_gradients_but_not_the_loss(
    kind: str, truncate: int, stock: Stock
) -> None:
    torch.manual_seed(1)
    network = build(kind, NARROW)
    for values in network.parameters():
        if not values.any():  # layers that begin at zero let no gradient through
            torch.nn.init.normal_(values, std=0.05)
    drawn = [draw(stock, n, seed=1, frames=5, size=64) for n in range(2)]
    burst = stacked([shoot(one, CPU) for one in drawn])
    terms = {"temporal": 0.5}
    whole, loss = gradients(network, burst, objective(**terms))
    short, same = gradients(network, burst, objective(truncate=truncate, **terms))
    long, also = gradients(network, burst, objective(truncate=5, **terms))
    assert same == pytest.approx(loss, rel=1e-5)
    assert also == loss
    assert all(torch.equal(a, b) for a, b in zip(whole, long, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(whole, short, strict=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("graded", [1, 2])
def test_graded_frames_have_the_loss_they_have_in_a_whole_burst(
    kind: str, graded: int, stock: Stock
) -> None:
    """The frames before them are in the average. Networks fresh: their memory adds nothing."""
    torch.manual_seed(1)
    network = build(kind, NARROW)
    burst = stacked([shoot(draw(stock, 3, seed=1, frames=6, size=64), CPU)])
    _, loss = gradients(network, burst, objective(graded=graded))
    pictures, _ = pictures_of(network, burst.planes, burst.noise)
    first = 6 - graded - network.delay
    errors = [
        (develop_unclipped(pictures[i], burst.matrix) - burst.reference[:, i]).abs().mean()
        for i in range(first, first + graded)
    ]
    assert loss == pytest.approx(float(torch.stack(errors).mean().detach()), rel=1e-4)


@pytest.mark.parametrize(("delay", "shortest"), [(0, 2), (2, 4)])
def test_bursts_have_any_length_that_leaves_pictures_to_grade(delay: int, shortest: int) -> None:
    settings = TrainSettings(frames=6, graded=2)
    lengths = [length_of(settings, step, delay) for step in range(200)]
    assert set(lengths) == set(range(shortest, 7))
    assert lengths == [length_of(settings, step, delay) for step in range(200)]
    assert length_of(TrainSettings(frames=6, graded=6), 0, delay) == 6


def test_every_term_of_the_loss_counts(stock: Stock) -> None:
    torch.manual_seed(1)
    network = build("clstm", NARROW)
    drawn = [
        draw(stock, number, seed=1, frames=3, size=64, take=take)
        for take in (0, 1)
        for number in (1, 2)
    ]
    burst = stacked([shoot(one, CPU) for one in drawn])
    found = [
        gradients(network, burst, objective(**terms))[1]
        for terms in ({}, {"kind": "l2"}, {"consistency": 0.1}, {"temporal": 1.0})
    ]
    assert len(set(found)) == 4
    assert min(found[2], found[3]) > found[0]


def test_two_takes_count_as_in_print() -> None:
    """SMID: |a - r| + |b - r| + weight |a - b|, of which this is half."""
    torch.manual_seed(1)
    first, second, reference = torch.rand(3, 2, 3, 8, 8)
    terms = objective(consistency=0.05)
    found = picture_loss([torch.cat([first, second])], [torch.cat([reference] * 2)], terms)
    pairs = ((first, reference), (second, reference), (first, second))
    one, other, apart = ((a - b).abs().mean() for a, b in pairs)
    assert float(found) == pytest.approx(float(one + other + 0.05 * apart) / 2)


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "l2", "schedule": "constant"},
        {"consistency": 0.05, "temporal": 0.5, "truncate": 2},
        {"frames": 1},
        {"warm_up": 0, "average": 0.0},
    ],
)
def test_every_recipe_trains(settings: dict[str, object], pictures: Path, tmp_path: Path) -> None:
    ran = call(*command(pictures, tmp_path / "run", config(tmp_path, **settings)))
    assert ran.code == 0, ran.err
    assert all(np.isfinite(float(loss)) for loss in losses(tmp_path / "run").values())


# A step


def fresh(kind: str, sizes: Mapping[str, object]) -> Run:
    return new_run(
        kind,
        sizes,
        optimiser="adamw",
        rate=1.0,
        weight_decay=0,
        seed=1,
        start=None,
        device=PLAIN,
    )


def one_step(run: Run, stock: Stock, settings: TrainSettings, threads: int) -> None:
    with ThreadPoolExecutor(threads) as pool:
        crew = Crew(pool, threads, choose_device("cpu", "fp32"), Ranks())
        drawn = next(draws(stock, settings, 0, Ranks(), delay=0))
        take_step(run, drawn, settings, crew, share=0.0, signal=None)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("terms", [{}, {"consistency": 0.1, "temporal": 0.5, "truncate": 2}])
def test_a_step_does_not_depend_on_how_many_threads_share_it(
    threads: int, terms: dict[str, float], stock: Stock
) -> None:
    settings = TrainSettings(batch=3, frames=3, graded=3, size=64, **terms)  # pyright: ignore[reportArgumentType]

    def stepped(threads: int) -> list[torch.Tensor]:
        run = fresh("clstm", NARROW)
        one_step(run, stock, settings, threads)
        return [
            parameter.grad for parameter in run.network.parameters() if parameter.grad is not None
        ]

    for one, other in zip(stepped(1), stepped(threads), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_step_without_effect_leaves_the_statistics_as_they_were(
    stock: Stock,
) -> None:
    """Of batch normalisation, which are no weights: NaN in them would never leave again."""
    settings = TrainSettings(batch=2, size=64, frames=2, graded=2)
    run = fresh("clstm-paper", {"width": 4, "fused": 2})
    next(iter(run.network.parameters())).data.fill_(math.nan)
    before = [values.clone() for values in run.network.buffers()]
    one_step(run, stock, settings, 1)
    assert run.position.skipped == 1
    assert before
    assert all(map(torch.equal, before, run.network.buffers()))


def test_the_rate_rises_and_falls() -> None:
    settings = TrainSettings(rate=1.0, warm_up=10)
    rates = [rate_at(settings, step, step / 1000) for step in range(1001)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(rates[10], rel=1e-3)
    assert rates[-1] == pytest.approx(0.02)
    assert sorted(rates[10:], reverse=True) == rates[10:]
    constant = TrainSettings(rate=1.0, warm_up=0, schedule="constant")
    assert {rate_at(constant, step, step / 10) for step in range(10)} == {1.0}
    short = [rate_at(TrainSettings(rate=1.0, warm_up=1000), step, step / 20) for step in range(20)]
    assert max(short) > 0.9  # the warm-up is no longer than a tenth of the run


# Optimisers


@pytest.mark.parametrize("shape", [(8, 8), (24, 40), (64, 9), (16, 300)])
def test_orthogonal_brings_all_singular_values_near_one(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    spread = torch.diag(torch.logspace(0, -1.5, min(shape)))
    left = torch.linalg.qr(torch.randn((shape[0], min(shape)), generator=generator))[0]
    right = torch.linalg.qr(torch.randn((shape[1], min(shape)), generator=generator))[0]
    found = torch.linalg.svdvals(orthogonal(left @ spread @ right.T))
    assert 0.5 < float(found.min()) <= float(found.max()) < 1.3


def test_in_half_precision_a_kernel_moves_nearly_the_same() -> None:
    torch.manual_seed(1)
    full, half = build("clstm", NARROW), build("clstm", NARROW)
    half.load_state_dict(full.state_dict())
    before = full.get_parameter("trunk.encoder.stem.weight").detach().clone()
    for one, other in zip(full.parameters(), half.parameters(), strict=True):
        one.grad = torch.randn_like(one)
        other.grad = one.grad.clone()
    Muon(full, 0.1, 0.0).step()
    Muon(half, 0.1, 0.0, bf16=True).step()
    one, other = (n.get_parameter("trunk.encoder.stem.weight").detach() for n in (full, half))
    assert not torch.equal(one, other)
    assert float((one - other).norm()) < 0.05 * float((one - before).norm())
    assert one.dtype == other.dtype == torch.float32


def test_kernels_move_by_the_rate_and_the_rest_as_adamw_moves_it() -> None:
    torch.manual_seed(1)
    network, twin = build("clstm", NARROW), build("clstm", NARROW)
    twin.load_state_dict(network.state_dict())
    ours, theirs = Muon(network, 0.1, 0.0), torch.optim.AdamW(twin.parameters(), 0.1 * REST_SHARE)
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    for one, other in zip(network.parameters(), twin.parameters(), strict=True):
        one.grad = torch.randn_like(one)
        other.grad = one.grad.clone()
    for group in ours.param_groups:
        group["lr"] = 0.1 * group["share"]
    ours.step()
    theirs.step()
    stem = network.get_parameter("trunk.encoder.stem.weight")
    moved = before["trunk.encoder.stem.weight"] - stem.detach()
    assert float(torch.linalg.matrix_norm(moved.flatten(1), 2)) == pytest.approx(0.1, rel=0.3)
    for name in ("head.last.weight", "trunk.encoder.stem.bias"):
        torch.testing.assert_close(network.get_parameter(name), twin.get_parameter(name))


# What cannot be


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ((), 2, "--data"),
        (("--data", "nowhere"), 2, "nowhere"),
        (("--data", "."), 3, "holds no data"),
        (("--data", "PHOTOS", "--batch", "0"), 2, "batch"),
        (("--data", "PHOTOS", "--size", "100"), 2, "multiple of 64"),
        (("--data", "PHOTOS", "--rate", "-1"), 2, "rate"),
        (("--data", "PHOTOS", "--seed", "99999999999999999999"), 2, "seed"),
        (("--data", "PHOTOS", "--model", "unet"), 2, "unet"),
        (("--data", "PHOTOS", "--config", "no.toml"), 2, "no.toml"),
        (("--data", "PHOTOS", "--start", "no.safetensors"), 5, "no.safetensors"),
        (("--resume",), 5, "state.safetensors"),
        (("--export", "models"), 5, "best.safetensors"),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason(
    words: tuple[str, ...],
    code: int,
    told: str,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    asked = [str(pictures) if word == "PHOTOS" else word for word in words]
    ran = call("train", *asked)
    assert ran.code == code, ran.err
    assert told in ran.err


@pytest.mark.parametrize(
    "line", ["step = 5", 'steps = "many"', 'loss = "l3"', "data = 3", "network = 1", "steps = ="]
)
def test_a_setting_that_does_not_exist_is_refused(
    line: str, pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.toml").write_text(line)
    ran = call(*command(pictures, tmp_path / "run", tmp_path / "bad.toml"))
    assert ran.code == 2
    assert "bad.toml" in ran.err


def test_an_earlier_run_is_not_replaced_unasked(pictures: Path, tmp_path: Path) -> None:
    words = command(pictures, tmp_path / "run", config(tmp_path, steps=1))
    assert call(*words).code == 0
    before = (tmp_path / "run" / "state.safetensors").read_bytes()
    ran = call(*words)
    assert ran.code == 7
    assert "--resume" in ran.err
    assert (tmp_path / "run" / "state.safetensors").read_bytes() == before
    assert call(*words, "--overwrite", "--data", tmp_path / "no-such-folder").code == 2
    assert call(*words, "--overwrite", "--model", "unet").code == 2
    assert (tmp_path / "run" / "state.safetensors").read_bytes() == before
    start = ("--start", tmp_path / "run" / "last.safetensors")
    ran = call(*words, "--overwrite", *start, growing=True)  # the start itself is replaced
    assert ran.code == 0, ran.err


def test_only_a_run_is_ever_replaced(pictures: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "export").mkdir(parents=True)
    (project / "export" / "thesis.tex").write_text("mine")
    (project / "train.toml").write_bytes(config(tmp_path, steps=1).read_bytes())
    ran = call(*command(pictures, project, project / "train.toml", "--overwrite"))
    assert ran.code == 7
    assert "not the folder of a training run" in ran.err
    run = tmp_path / "run"
    assert call(*command(pictures, run, project / "train.toml")).code == 0
    (run / "export" / "thesis.tex").write_text("mine")
    assert call(*command(pictures, run, project / "train.toml", "--overwrite")).code == 0
    for folder in (project, run):
        assert (folder / "export" / "thesis.tex").read_text() == "mine"


def test_settings_of_a_run_under_way_do_not_change(pictures: Path, tmp_path: Path) -> None:
    words = command(pictures, tmp_path / "run", config(tmp_path, steps=2))
    assert call(*words).code == 0
    ran = call("train", "-o", tmp_path / "run", "--resume", "--rate", "0.1")
    assert ran.code == 2
    assert "rate" in ran.err
    ran = call("train", "-o", tmp_path / "run", "--resume", "--steps", "4")
    assert ran.code == 0, ran.err
    assert list(losses(tmp_path / "run")) == [1, 2, 3, 4]


def test_changed_data_end_a_resumed_run(tmp_path: Path) -> None:
    data = photos(tmp_path / "photos")
    assert call(*command(data, tmp_path / "run", config(tmp_path, steps=2))).code == 0
    (data / "1.png").unlink()
    ran = call("train", "-o", tmp_path / "run", "--resume", "--steps", "4")
    assert ran.code == 3
    assert "data" in ran.err


def test_steps_that_are_not_finite_have_no_effect_and_twenty_in_a_row_end_the_run(
    pictures: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    toml = config(tmp_path, steps=100, rate=1e30, warm_up=0, save_every=1, validate_every=100)
    ran = call(*command(pictures, run, toml))
    assert ran.code == 1
    assert "20 steps in a row" in ran.err
    assert int(log(run)[-1]["skipped"]) == 20
    load_network(None, file=run / "last.safetensors")  # what is left is the last good one
    saved = load_run(
        run / "state.safetensors", optimiser="muon", rate=1.0, weight_decay=0.0, device=PLAIN
    )
    assert is_finite(saved)


def test_defaults_stand_in_the_help() -> None:
    text = call("train", "--help").out
    for value in (
        TrainSettings.steps,
        TrainSettings.batch,
        TrainSettings.size,
        TrainSettings.model,
    ):
        assert str(value) in text


def test_the_settings_of_a_run_lie_beside_it(pictures: Path, tmp_path: Path) -> None:
    assert call(*command(pictures, tmp_path / "run", config(tmp_path, steps=1))).code == 0
    values = tomllib.loads((tmp_path / "run" / "train.toml").read_text())
    assert values["steps"] == 1
    assert values["data"] == [str(pictures)]
    assert values["network"]["head"] == NARROW["head"]


# Devices


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_makes_bursts_like_those_of_the_cpu(stock: Stock) -> None:
    cuda = torch.device("cuda")
    for number in range(12):
        drawn = draw(stock, number, seed=3, frames=3, size=192)
        here, there = shoot(drawn, CPU), shoot(drawn, cuda)
        assert all(part.device.type == "cuda" for part in there)
        torch.testing.assert_close(there.reference.cpu(), here.reference, atol=1e-3, rtol=0)
        noise = (here.planes - there.planes.cpu()).std()  # of two draws
        level = here.planes.mean((0, 2, 3)).clamp_min(0)
        expected = (2 * (here.noise[0] * level + here.noise[1]).mean()).sqrt()
        assert noise == pytest.approx(expected, rel=0.25)
