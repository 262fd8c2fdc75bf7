"""Kills, signals, full disks, several processes: a training run loses nothing."""

import os
import signal
import socket
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from running import COMMAND, LIMIT_S, batman, call, start
from training import PLAIN, command, config, losses, photos, scores

from batman_cli.training import loop as looping
from batman_cli.training import step as stepping
from batman_cli.training.state import load_run
from batman_cli.weights import load_network

DISK = "4m"  # of the tests of full disks
pytestmark = [pytest.mark.fault, pytest.mark.slow]

STEPS = 12
KILLS = 10


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photos(tmp_path_factory.mktemp("data") / "photos")


@pytest.fixture(scope="module")
def toml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe with every part that has to be resumed."""
    return config(
        tmp_path_factory.mktemp("config"),
        steps=STEPS,
        save_every=1,
        validate_every=4,
        batch=3,
        consistency=0.05,
        temporal=0.5,
        truncate=2,
        patience=50,
    )


@pytest.fixture(scope="module")
def whole(pictures: Path, toml: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert batman(*command(pictures, run, toml)).code == 0
    return run


def readable(run: Path) -> None:
    """Every checkpoint that is there can be read."""
    for name in ("best.safetensors", "last.safetensors"):
        if (run / name).exists():
            load_network(None, file=run / name)
    if (run / "state.safetensors").exists():
        load_run(
            run / "state.safetensors",
            optimiser="muon",
            rate=1.0,
            weight_decay=0.0,
            device=PLAIN,
        )


def test_a_killed_run_goes_on_as_if_it_had_not_been(
    pictures: Path, toml: Path, whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = command(pictures, run, toml)
    random = np.random.default_rng(1)
    for _ in range(KILLS):
        began = (run / "state.safetensors").exists()
        running = start(*(("train", "-o", run, "--resume") if began else (*words, "--overwrite")))
        log = run / "log.csv"
        rows = len(losses(run)) if log.exists() else 0
        deadline = time.monotonic() + LIMIT_S
        # Struck some time after its first new row, or while it starts.
        while running.poll() is None and time.monotonic() < deadline:
            if log.exists() and log.stat().st_size and len(losses(run)) > rows:
                break
            time.sleep(0.01)
        time.sleep(random.uniform(0, 0.15))
        running.kill()
        running.communicate()
        readable(run)
    done = batman("train", "-o", run, "--resume")
    assert done.code == 0, done.err
    assert losses(run) == losses(whole)
    assert scores(run) == scores(whole)
    for name in ("best.safetensors", "last.safetensors"):
        one, other = (load_network(None, file=path / name).state_dict() for path in (run, whole))
        assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_run_with_everything_saved(
    number: signal.Signals, pictures: Path, toml: Path, whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    running = start(*command(pictures, run, toml))
    while running.poll() is None and not ((run / "log.csv").exists() and len(losses(run)) > 2):
        time.sleep(0.01)
    running.send_signal(number)
    _, err = running.communicate(timeout=LIMIT_S)
    assert running.returncode == 128 + number, err
    assert b"--resume" in err
    readable(run)
    done = batman("train", "-o", run, "--resume")
    assert done.code == 0, done.err
    assert losses(run) == losses(whole)


@pytest.mark.parametrize("at", [4, 5])
def test_a_signal_loses_no_validation(
    at: int,
    pictures: Path,
    toml: Path,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the step before one, or in any other."""
    real, run = stepping.take_step, tmp_path / "run"

    def struck(run: Any, *rest: Any, **options: Any) -> Any:
        options["signal"] = signal.SIGTERM if run.position.step + 1 == at else None
        return real(run, *rest, **options)

    with monkeypatch.context() as patched:
        patched.setattr(looping, "take_step", struck)
        assert call(*command(pictures, run, toml)).code == 128 + signal.SIGTERM
    assert max(losses(run)) == at
    ran = call("train", "-o", run, "--resume")
    assert ran.code == 0, ran.err
    assert scores(run) == scores(whole)
    assert losses(run) == losses(whole)


def test_several_processes_learn_what_one_does(pictures: Path, tmp_path: Path) -> None:
    toml = config(tmp_path, steps=20, batch=4, validate_every=20, threads=1)
    assert batman(*command(pictures, tmp_path / "one", toml)).code == 0
    torchrun = (
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "batman_cli",
    )
    done = batman(
        *command(pictures, tmp_path / "two", toml), python=(sys.executable, "-m", *torchrun)
    )
    assert done.code == 0, done.err
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert list(one) == list(two) == list(range(1, 21))
    for step, loss in one.items():
        assert float(two[step]) == pytest.approx(float(loss), abs=1e-4)
    assert scores(tmp_path / "two")[20] == pytest.approx(scores(tmp_path / "one")[20], abs=1e-2)


@pytest.mark.parametrize("who", ["all", "second"])
def test_a_signal_ends_all_processes_with_everything_saved(
    who: str, pictures: Path, tmp_path: Path
) -> None:
    toml = config(tmp_path, steps=100_000, batch=4, validate_every=100_000, threads=1)
    run = tmp_path / "run"
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    running = [
        start(
            *command(pictures, run, toml),
            env={**common, "RANK": rank, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": "2"},
        )
        for rank in ("0", "1")
    ]
    while running[0].poll() is None and not ((run / "log.csv").exists() and len(losses(run)) > 2):
        time.sleep(0.01)
    for process in running if who == "all" else running[1:]:
        process.terminate()
    for process in running:
        _, err = process.communicate(timeout=LIMIT_S)
        assert process.returncode == 128 + signal.SIGTERM, err
    readable(run)
    saved = load_run(
        run / "state.safetensors",
        optimiser="muon",
        rate=1.0,
        weight_decay=0.0,
        device=PLAIN,
    )
    assert saved.position.step == max(losses(run))


def test_a_run_started_to_outlive_its_terminal_does(
    pictures: Path, toml: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    running = start(*command(pictures, run, toml), python=("nohup", *COMMAND))
    while running.poll() is None and not ((run / "log.csv").exists() and len(losses(run)) > 2):
        time.sleep(0.01)
    running.send_signal(signal.SIGHUP)
    _, err = running.communicate(timeout=LIMIT_S)
    assert running.returncode == 0, err
    assert len(losses(run)) == STEPS


def test_one_bad_step_is_skipped_and_counted(
    pictures: Path, toml: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = stepping.gradients

    calls = count()

    def poisoned(*arguments: Any, **options: Any) -> tuple[list[torch.Tensor], float]:
        found, loss = real(*arguments, **options)
        if next(calls) == 4:
            found[0][...] = float("nan")
        return found, loss

    monkeypatch.setattr(stepping, "gradients", poisoned)
    ran = call(*command(pictures, tmp_path / "run", toml))
    assert ran.code == 0, ran.err
    state = tmp_path / "run" / "state.safetensors"
    saved = load_run(state, optimiser="muon", rate=1.0, weight_decay=0.0, device=PLAIN)
    assert (saved.position.skipped, saved.position.skipped_in_a_row) == (1, 0)
    load_network(None, file=tmp_path / "run" / "last.safetensors")


def test_a_full_disk_ends_the_run_and_keeps_what_was_saved(
    pictures: Path, toml: Path, whole: Path, small_disk: Path, tmp_path: Path
) -> None:
    run = small_disk / "run"
    words = command(pictures, run, toml, "--cache", tmp_path / "cache", "--steps", "4")
    assert call(*words).code == 0
    kept = (run / "state.safetensors").read_bytes()
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    (small_disk / "ballast").write_bytes(bytes(max(0, free - 20_000)))
    ran = call("train", "-o", run, "--resume", "--steps", str(STEPS))
    assert ran.code == 7, ran.err
    assert "No space left" in ran.err
    assert (run / "state.safetensors").read_bytes() == kept
    readable(run)
    (small_disk / "ballast").unlink()
    ran = call("train", "-o", run, "--resume", "--steps", str(STEPS))
    assert ran.code == 0, ran.err


def test_two_runs_do_not_share_a_folder(pictures: Path, toml: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    running = start(*command(pictures, run, toml, "--steps", "100000"))
    while running.poll() is None and not ((run / "log.csv").exists() and losses(run)):
        time.sleep(0.01)
    ran = call("train", "-o", run, "--resume")
    running.kill()
    running.communicate()
    assert ran.code == 7
    assert "another run" in ran.err
