"""A run can be looked at while it goes on, and the record survives kills and full disks."""

import contextlib
import csv
import math
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import photo
from running import names

from batman_cli.errors import OutputError
from batman_cli.stills import read_image
from batman_cli.training.record import LOG_COLUMNS, Record, strip

SCORES = {"psnr": 24.123456789, "ssim": 0.8, "tpsnr": math.inf}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


def add_step(record: Record, step: int) -> None:
    record.step(
        step,
        minutes=step / 7,
        loss=1 / (step + 2),
        gradient=math.pi * step,
        rate=1e-4 / 3,
        bursts_per_s=3.1,
        waiting=0.05,
        skipped=0,
    )


def add(folder: Path, steps: range, *, from_step: int, validate: int | None = None) -> None:
    """Records some steps, with a validation after each multiple of `validate`."""
    with Record(folder, from_step=from_step) as record:
        for step in steps:
            add_step(record, step)
            if validate and step % validate == 0:
                record.validation(step, SCORES, [photo(16, 48, seed=step)])


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def steps(folder: Path) -> list[int]:
    return [int(row["step"]) for row in rows(folder)]


# The log


def test_every_step_is_one_row_and_its_scores_stand_in_it(run: Path) -> None:
    add(run, range(1, 6), from_step=0, validate=2)
    assert (run / "log.csv").read_text().splitlines()[0] == ",".join(LOG_COLUMNS)
    assert steps(run) == [1, 2, 3, 4, 5]
    assert [row["psnr"] for row in rows(run)] == ["", "24.123456789", "", "24.123456789", ""]
    assert all(None not in row and None not in row.values() for row in rows(run))


def test_floats_are_read_back_as_the_very_same(run: Path) -> None:
    random = np.random.default_rng(0)
    losses = [float(x) for x in random.normal(size=50) * 10.0 ** random.integers(-300, 300, 50)]
    losses += [math.inf, 5e-324, -0.0]
    with Record(run, from_step=0) as record:
        for step, loss in enumerate(losses, 1):
            others = dict.fromkeys(("minutes", "gradient", "rate", "bursts_per_s", "waiting"), 0.0)
            record.step(step, loss=loss, skipped=0, **others)
    read = [float(row["loss"]) for row in rows(run)]
    assert [struct.pack("d", x) for x in read] == [struct.pack("d", x) for x in losses]


def test_a_loss_that_is_no_number_is_a_number_for_readers(run: Path) -> None:
    with Record(run, from_step=0) as record:
        none = float(np.float32("nan"))
        record.step(
            *(1,), minutes=0, loss=none, gradient=none, rate=0, bursts_per_s=0, waiting=0, skipped=1
        )
    read = np.genfromtxt(run / "log.csv", delimiter=",", names=True)
    assert math.isnan(read["loss"]) and read["skipped"] == 1


def test_rows_can_be_read_while_the_run_goes_on(run: Path) -> None:
    with Record(run, from_step=0) as record:
        add_step(record, 1)
        assert steps(run) == [1]
        record.validation(1, SCORES, [])
        assert rows(run)[0]["psnr"] == "24.123456789"
        add_step(record, 2)
        assert steps(run) == [1, 2]


def test_scores_before_any_training_have_a_row_of_step_0(run: Path) -> None:
    with Record(run, from_step=0) as record:
        record.validation(0, SCORES, [])
        add_step(record, 1)
    assert steps(run) == [0, 1]
    assert rows(run)[0]["loss"] == "" and rows(run)[0]["tpsnr"] == "inf"


def test_a_validation_done_again_replaces_its_scores(run: Path) -> None:
    add(run, range(1, 5), from_step=0, validate=4)
    before = (run / "log.csv").read_bytes()
    with Record(run, from_step=4) as record:
        record.validation(4, {"psnr": 1.0}, [])
    assert (rows(run)[3]["psnr"], rows(run)[3]["ssim"]) == ("1.0", "")
    with Record(run, from_step=4) as record:
        record.validation(4, SCORES, [])
    assert (run / "log.csv").read_bytes() == before


# Going on


def test_a_resumed_run_leaves_the_log_of_one_that_never_stopped(run: Path, tmp_path: Path) -> None:
    add(run, range(1, 13), from_step=0, validate=3)
    for stop in range(13):
        again = tmp_path / f"stopped{stop}"
        add(again, range(1, stop + 1), from_step=0, validate=3)
        saved = stop // 4 * 4  # the checkpoint
        add(again, range(saved + 1, 13), from_step=saved, validate=3)
        assert (again / "log.csv").read_bytes() == (run / "log.csv").read_bytes()
        assert names(again / "strips") == names(run / "strips")


def test_what_came_after_the_checkpoint_is_removed(run: Path) -> None:
    add(run, range(1, 13), from_step=0, validate=2)
    (run / "strips" / "mine.png").touch()
    with Record(run, from_step=7):
        pass
    assert steps(run) == [1, 2, 3, 4, 5, 6, 7]
    kept = ["000002_1.png", "000004_1.png", "000006_1.png", "mine.png"]
    assert names(run / "strips") == kept


@pytest.mark.parametrize("validated", [False, True])
def test_a_log_cut_anywhere_in_its_last_row_resumes_with_whole_rows(
    validated: bool, run: Path
) -> None:
    add(run, range(1, 5), from_step=0, validate=4 if validated else None)
    log = run / "log.csv"
    whole = log.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for place in range(last, len(whole) + 1):
        log.write_bytes(whole[:place])
        with Record(run, from_step=4) as record:
            assert log.read_bytes() == (whole if place == len(whole) else whole[:last])
            add_step(record, 5)
        assert steps(run) == ([1, 2, 3, 4, 5] if place == len(whole) else [1, 2, 3, 5])


def test_a_run_killed_while_it_wrote_the_header_can_go_on(run: Path) -> None:
    header = (",".join(LOG_COLUMNS) + "\n").encode()
    run.mkdir()
    for place in range(len(header) + 1):
        (run / "log.csv").write_bytes(header[:place])
        add(run, range(1, 3), from_step=0)
        assert steps(run) == [1, 2]


def test_another_file_named_log_csv_is_left_alone(run: Path) -> None:
    run.mkdir()
    (run / "log.csv").write_text("date,what\n2026-01-01,night\n")
    with pytest.raises(OutputError, match="not the log of a training"), Record(run, from_step=0):
        pass
    assert (run / "log.csv").read_text() == "date,what\n2026-01-01,night\n"


KILLED = """
import sys
from pathlib import Path
from test_training_record import SCORES, add_step, photo
from batman_cli.training.record import Record
with Record(Path(sys.argv[1]), from_step=0) as record:
    print("ready", flush=True)
    for step in range(1, 10**6):
        add_step(record, step)
        if step % 50 == 0:
            record.validation(step, SCORES, [photo(16, 48)])
"""


@pytest.mark.slow
@pytest.mark.fault
def test_a_killed_run_leaves_whole_rows_and_at_most_one_that_is_not(run: Path) -> None:
    for wait_s in (0.02, 0.1, 0.2):
        shutil.rmtree(run, ignore_errors=True)
        command = [sys.executable, "-c", KILLED, str(run)]
        env = {"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"}
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE) as running:
            assert running.stdout and running.stdout.readline() == b"ready\n"
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.wait(wait_s)
            running.kill()
        *whole, last = (run / "log.csv").read_text().split("\n")[1:]
        assert [line.split(",")[0] for line in whole] == [str(i + 1) for i in range(len(whole))]
        assert all(line.count(",") == len(LOG_COLUMNS) - 1 for line in whole)
        with Record(run, from_step=10**6):
            pass
        assert len(steps(run)) == len(whole) > 0, last


# Strips


def test_a_strip_shows_before_after_and_reference_side_by_side() -> None:
    values = (0.0, 0.5, 1.5)
    before, after, reference = (torch.full((3, 4, 6), value) for value in values)
    after[1] = -1  # no green
    picture = strip(before, after, reference)
    assert (picture.shape, picture.dtype) == ((4, 18, 3), np.uint8)
    assert np.unique(picture[:, :6].reshape(-1, 3), axis=0).tolist() == [[0, 0, 0]]
    assert np.unique(picture[:, 6:12].reshape(-1, 3), axis=0).tolist() == [[128, 0, 128]]
    assert np.unique(picture[:, 12:].reshape(-1, 3), axis=0).tolist() == [[255, 255, 255]]


def test_strips_are_pictures_named_by_step_and_number(run: Path) -> None:
    pictures = [photo(16, 48, seed=seed) for seed in range(3)]
    with Record(run, from_step=0) as record:
        record.validation(500, SCORES, pictures)
    assert names(run / "strips") == ["000500_1.png", "000500_2.png", "000500_3.png"]
    for name, picture in zip(names(run / "strips"), pictures, strict=True):
        assert (read_image(run / "strips" / name) == picture).all()


# TensorBoard


def test_tensorboard_shows_each_step_once_after_a_resume(run: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    add(run, range(1, 11), from_step=0, validate=5)
    add(run, range(5, 9), from_step=4, validate=5)
    shown = EventAccumulator(str(run / "events"), size_guidance={"scalars": 0, "images": 0})
    shown.Reload()
    losses = shown.Scalars("training/loss")
    assert [event.step for event in losses] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert losses[0].value == pytest.approx(1 / 3)
    assert [event.step for event in shown.Scalars("validation/psnr")] == [5]
    (image,) = shown.Images("strip/1")
    written = (run / "strips" / "000005_1.png").read_bytes()
    assert (image.step, image.encoded_image_string) == (5, written)


def hide_tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the package were not installed."""
    loaded = [name for name in sys.modules if name.startswith("tensorboard.")]
    for name in ("tensorboard", *loaded):
        monkeypatch.setitem(sys.modules, name, None)


def test_without_tensorboard_all_the_rest_is_recorded(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide_tensorboard(monkeypatch)
    with Record(run, from_step=0) as record:
        assert not record.tensorboard
        add_step(record, 1)
        record.validation(1, SCORES, [photo(16, 48)])
    assert names(run) == ["log.csv", "strips"]
    assert steps(run) == [1]


# What cannot be written


@pytest.mark.fault
@pytest.mark.parametrize("tensorboard", [True, False])
@pytest.mark.parametrize("strips", [True, False])
def test_a_full_disk_is_told_and_the_run_can_go_on_where_there_is_room(
    tensorboard: bool,
    strips: bool,
    small_disk: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if not tensorboard:
        hide_tensorboard(monkeypatch)
    with pytest.raises(OutputError) as caught:
        add(small_disk / "run", range(1, 10**6), from_step=0, validate=10 if strips else None)
    assert "No space left on device" in caught.value.why
    assert caught.value.exit_code == 7
    assert capfd.readouterr() == ("", "")
    shutil.copytree(small_disk / "run", tmp_path / "run")
    add(tmp_path / "run", range(21, 31), from_step=20)
    assert steps(tmp_path / "run") == list(range(1, 31))


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"), Record(tmp_path / "file", from_step=0):
        pass


def test_an_exception_of_the_block_passes(run: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Record(run, from_step=0) as record:
        add_step(record, 1)
        raise KeyboardInterrupt
    assert steps(run) == [1]
