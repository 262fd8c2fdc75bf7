"""Bursts of real and of written camera files."""

import datetime
import hashlib
import random
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import samples
from shots import dsc, names_of

from batman_cli.burst import open_burst
from batman_cli.errors import BadInput
from batman_cli.simulate.arw import write_arw
from batman_cli.simulate.dng import write_dng
from batman_cli.simulate.tiff_writer import Exposure

DUSK = datetime.datetime(2024, 1, 1, 20, 0, 0, 250_000)
SONY_BLACK, SONY_WHITE = 800, 16300


def write_shot(path: Path, *, after_s: float = 0.0, iso: int = 6400, seed: int = 1) -> None:
    mosaic = np.random.default_rng(seed).integers(700, 1100, (64, 96), dtype=np.uint16)
    exposure = Exposure(
        iso=iso,
        exposure_s=0.01,
        time=DUSK + datetime.timedelta(seconds=after_s),
        white_balance=(2.1, 1.0, 1.8),
        shot_number=seed,
    )
    if path.suffix == ".ARW":
        write_arw(path, mosaic, exposure, lossy=True)
    else:
        write_dng(
            path,
            mosaic,
            exposure,
            black=SONY_BLACK,
            white=SONY_WHITE,
            xyz_to_camera=np.eye(3).tolist(),
            make="Nikon",
            model="D500",
            pattern="GRBG",
        )


def write_burst(folder: Path, *, shots: int, first_number: int = 1, rate: float = 20) -> list[str]:
    """Files whose names, made in random order, tell less about the order than their times."""
    names = [dsc((first_number - 1 + i) % 9999 + 1) for i in range(shots)]
    places = list(enumerate(names))
    random.Random(3).shuffle(places)
    for i, name in places:
        write_shot(folder / name, after_s=i / rate, seed=i)
    return names


def contents(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        file.name: (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_mtime_ns)
        for file in folder.iterdir()
    }


def refusal(path: Path) -> BadInput:
    with pytest.raises(BadInput) as caught:
        open_burst(path)
    return caught.value


def test_camera_files_come_in_order_across_a_roll_over_at_their_rate(tmp_path: Path) -> None:
    names = write_burst(tmp_path, shots=24, first_number=9990, rate=24)
    before = contents(tmp_path)
    burst = open_burst(tmp_path)
    assert names_of(burst.shots) == names
    assert burst.fps == 24
    assert burst.order_reason == "capture time, then file number (the file numbers roll over)"
    assert burst.warnings == ()
    assert contents(tmp_path) == before


def test_camera_files_of_two_makers_are_refused_with_both_named(tmp_path: Path) -> None:
    write_burst(tmp_path, shots=3)
    write_shot(tmp_path / "DSC_0007.dng")
    error = refusal(tmp_path)
    assert error.what == "the shots differ in camera, size, CFA pattern"
    assert "3 x SONY DSC-RX100M6, 96 x 64, RGGB" in error.why
    assert "1 x Nikon D500, 94 x 64, GRBG (DSC_0007.dng)" in error.why


def test_truncated_empty_and_foreign_files_are_named_with_their_reasons(tmp_path: Path) -> None:
    names = write_burst(tmp_path, shots=6)
    (tmp_path / names[1]).write_bytes((tmp_path / names[1]).read_bytes()[:-2000])
    (tmp_path / names[3]).write_bytes(b"")
    (tmp_path / names[4]).write_text("this is not a photograph")
    error = refusal(tmp_path)
    assert error.what == "3 of 6 shots cannot be used"
    for place in (1, 3, 4):
        assert f"{names[place]} (shot {place}): " in error.why
    burst = open_burst(tmp_path, on_bad_frame="repeat")
    assert names_of(burst.sequence) == names
    assert names_of(burst.shots) == [names[i] for i in (0, 2, 5)]


def test_a_link_to_a_raw_is_a_shot_and_a_link_to_nothing_a_bad_shot(tmp_path: Path) -> None:
    write_shot(tmp_path / "elsewhere.ARW")
    folder = tmp_path / "burst"
    folder.mkdir()
    write_shot(folder / "1.ARW", seed=2)
    (folder / "2.ARW").symlink_to(tmp_path / "elsewhere.ARW")
    (folder / "3.ARW").symlink_to(tmp_path / "gone.ARW")
    (folder / "4.ARW").symlink_to(folder / "4.ARW")
    burst = open_burst(folder, on_bad_frame="skip")
    assert names_of(burst.shots) == ["1.ARW", "2.ARW"]
    assert names_of(burst.bad) == ["3.ARW", "4.ARW"]


@pytest.mark.slow
def test_the_headers_of_110_shots_take_under_three_seconds(tmp_path: Path) -> None:
    names = write_burst(tmp_path, shots=110)
    begin = time.process_time()
    burst = open_burst(tmp_path)
    assert time.process_time() - begin < 3
    assert names_of(burst.shots) == names


def test_real_sony_files_of_a_dark_burst_open() -> None:
    burst = open_burst(samples("raw/sony"), on_bad_frame="skip")
    assert [name.startswith("slt_a55v_dark_") for name in names_of(burst.shots)] == [True] * 4
    assert names_of(burst.bad) in ([], ["slt_a55v_header_only.ARW"])
    assert {shot.camera for shot in burst.shots} == {"SONY SLT-A55V"}
    assert burst.warnings == ()  # one header in all four, yet no copies


def test_real_files_of_several_makers_are_refused_as_a_mixture() -> None:
    error = refusal(samples("raw/good"))
    assert error.what.startswith("the shots differ in camera, size")


def test_a_folder_of_damaged_files_is_refused() -> None:
    error = refusal(samples("raw/bad"))
    assert "shots cannot be used" in error.what
    assert error.exit_code == 3
