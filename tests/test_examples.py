"""What the examples promise."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import NewBurst
from running import ROOT, batman, names, probe

from batman_cli.burst import open_burst
from batman_cli.settings import TrainSettings, check_training
from batman_cli.training.config import read_config


def test_the_example_burst_is_one() -> None:
    burst = open_burst(ROOT / "examples" / "burst")
    assert len(burst.shots) == 20
    assert burst.warnings == ()
    assert burst.shots[0].camera == "SONY DSC-RX100M6"


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize("target", ["demo", "clean"])
def test_make_leaves_the_video_of_the_first_command_alone(target: str) -> None:
    shell = ["make", "--dry-run", "--always-make", target]
    done = subprocess.run(shell, cwd=ROOT, capture_output=True, text=True, check=True)
    first = next(line for line in (ROOT / "README.md").open() if "batman enhance" in line)
    assert "demo.mp4" in done.stdout
    assert first.split()[-1] not in done.stdout


@pytest.mark.slow
def test_the_python_example_runs_as_it_stands(new_burst: NewBurst, tmp_path: Path) -> None:
    burst = new_burst(4)
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "python_api.py", burst],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "4 shots of a SONY DSC-RX100M6, 20 frames/s" in done.stdout
    assert "frame 2: (64, 96, 3) uint16" in done.stdout
    assert "3/3" in done.stdout
    assert names(tmp_path) == ["burst", "python_api.mp4"]
    assert probe(tmp_path / "python_api.mp4").frames == 3


@pytest.mark.parametrize("recipe", sorted((ROOT / "examples").glob("*.toml")), ids=lambda p: p.stem)
def test_every_recipe_names_settings_that_exist(recipe: Path) -> None:
    check_training(replace(TrainSettings(data=(ROOT,)), **read_config(recipe)))


@pytest.mark.slow
@pytest.mark.parametrize("model", ["clstm", "3dcnn"])
def test_the_shipped_models_enhance_the_example(model: str, tmp_path: Path) -> None:
    burst = tmp_path / "burst"
    burst.mkdir()
    for shot in sorted((ROOT / "examples" / "burst").iterdir())[:3]:
        shutil.copy(shot, burst)
    ran = batman("enhance", burst, "--model", model)
    assert ran.code == 0, ran.err
    assert probe(tmp_path / "burst.mp4").frames == 3
