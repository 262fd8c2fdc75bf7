"""Options, exit codes, what is said and to whom, and how soon."""

import json
import logging
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Checkpoints, NewBurst, samples
from running import COMMAND, ROOT, Ran, batman, call, names, probe, start
from test_enhance import cut, damage_pixels, tiny

from batman_cli import __version__
from batman_cli.models import build
from batman_cli.shipped import list_models, weights_folder

POISON = "raise ImportError('loaded where it must not be')\n"
QUICK_S = 1.5  # seconds; 0.4 on a quiet machine, the rest is for a busy one


@pytest.fixture
def without_torch(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the slow libraries cannot be imported."""
    folder = tmp_path_factory.mktemp("poison")
    for library in ("torch", "safetensors"):
        (folder / f"{library}.py").write_text(POISON)
    return {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}


def events(ran: Ran) -> list[dict[str, Any]]:
    """The JSON lines of standard output: every line is one."""
    lines = ran.out.splitlines()
    assert all(isinstance(json.loads(line), dict) for line in lines)
    return [json.loads(line) for line in lines]


# Help


def test_help_comes_at_once_and_without_the_heavy_libraries() -> None:
    times: list[float] = []
    output = b""
    for _ in range(5):
        began = time.monotonic()
        output = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "batman_cli", "--help"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stderr
        times.append(time.monotonic() - began)
    loaded = {line.rpartition("|")[2].strip() for line in output.decode().splitlines()}
    assert "batman_cli.cli" in loaded
    heavy = {"torch", "numpy", "rawpy", "imageio", "imageio_ffmpeg", "safetensors", "tqdm"}
    assert not heavy & {name.partition(".")[0] for name in loaded}
    assert statistics.median(times) <= QUICK_S


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ((), ["enhance", "simulate", "models", "doctor", "--version"]),
        (("enhance",), ["--on-bad-frame", "--dry-run", "--compare", "--preview", "--overwrite"]),
        (("simulate",), ["--camera", "--ratio", "--motion", "--format", "--seed"]),
        (("models",), ["list", "info", "verify", "import"]),
        (("models", "import"), ["--kind"]),
        (("doctor",), ["--json"]),
    ],
    ids=str,
)
def test_every_command_explains_itself(command: tuple[str, ...], words: list[str]) -> None:
    ran = call(*command, "--help")
    assert (ran.code, ran.err) == (0, "")
    assert all(word in ran.out for word in words)


def test_version() -> None:
    assert call("--version") == Ran(0, f"batman {__version__}\n", "")


def complete(words: str, env: dict[str, str]) -> list[str]:
    """What the shell offers for the last of the words."""
    program = "import sys; sys.argv[0] = 'batman'; from batman_cli.cli import main; main()"
    asked = {
        "_BATMAN_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    return batman(python=(sys.executable, "-c", program), env=env | asked).out.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("batman en", ["enhance"]),
        ("batman enhance --on-b", ["--on-bad-frame"]),
        ("batman enhance --codec h", ["h264", "hevc10"]),
        ("batman enhance --model ", [*list_models(), "rawpy", "vbm4d"]),
        ("batman models info c", ["clstm", "clstm-paper"]),
    ],
)
def test_the_shell_completes(words: str, offered: list[str], without_torch: dict[str, str]) -> None:
    assert sorted(complete(words, without_torch)) == sorted(offered)


# Options that cannot be met


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("--ratio abc", "ratio"),
        ("--ratio 0", "ratio"),
        ("--ratio nan", "ratio"),
        ("--ratio inf", "ratio"),
        ("--bin 3", "bin"),
        ("--bin 1.5", "bin"),
        ("--fps 0", "fps"),
        ("--fps -25", "fps"),
        ("--fps fast", "fps"),
        ("--fps 1/0", "fps"),
        ("--codec av1 --fps 300", "240"),
        ("--codec vp9", "codec"),
        ("--crf 99", "crf"),
        ("--codec ffv1 --crf 20", "crf"),
        ("--tile x", "tile"),
        ("--tile -5", "tile"),
        ("--start -1", "start"),
        ("--start 3 --stop 3", "stop"),
        ("--start 99", "start"),
        ("--step 0", "step"),
        ("--preview 99", "99"),
        ("--preview 99 --dry-run", "99"),
        ("--preview -1", "-1"),
        ("--on-bad-frame maybe", "on-bad-frame"),
        ("--order size", "order"),
        ("--device tpu", "device"),
        ("--precision fp8", "precision"),
        ("--stills gif", "stills"),
        ("--colour red", "colour"),
        ("-o out.avi", "out.avi"),
        ("-o out.mp4 --codec prores", "prores"),
    ],
)
def test_options_that_cannot_be_met_are_named(
    options: str,
    named: str,
    new_burst: NewBurst,
    checkpoints: Checkpoints,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = call("enhance", new_burst(2), *tiny(checkpoints), *options.split())
    assert ran.code == 2
    assert ran.out == ""
    assert named in ran.err.replace("│", " ")
    assert names(tmp_path) == ["burst"]


def test_the_shots_of_a_burst_one_by_one_are_wrong_usage(
    new_burst: NewBurst, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    """`batman enhance burst/*.ARW` would make a video of each, among the shots."""
    burst = new_burst(3)
    ran = call("enhance", *sorted(burst.iterdir()), *tiny(checkpoints))
    assert ran.code == 2
    assert f"batman enhance {burst}" in ran.err.replace("\n", "")
    assert names(tmp_path) == ["burst"]


@pytest.mark.parametrize("words", [("enhance",), ("simulate",), ("dream",), ("models", "info")])
def test_missing_and_unknown_words_are_wrong_usage(words: tuple[str, ...]) -> None:
    assert call(*words).code == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device")
def test_a_device_that_is_not_there(new_burst: NewBurst, tmp_path: Path) -> None:
    ran = call("enhance", new_burst(2), "--device", "cuda")
    assert ran.code == 2
    assert "cuda" in ran.err
    assert names(tmp_path) == ["burst"]


# Input that cannot be used


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (None, "does not exist"),
        ([], "empty"),
        (["a.jpg", "b.xmp"], ".jpg"),
        (["._00001.ARW", ".00002.ARW"], "empty"),
    ],
)
def test_a_folder_without_shots_is_refused(
    content: list[str] | None, named: str, tmp_path: Path
) -> None:
    burst = tmp_path / "burst"
    if content is not None:
        burst.mkdir()
        for name in content:
            (burst / name).write_bytes(b"something")
    ran = call("enhance", burst)
    assert ran.code == 3
    assert named in ran.err
    assert names(tmp_path) == ([] if content is None else ["burst"])


def test_a_video_is_no_burst(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(b"no video either")
    ran = call("enhance", tmp_path / "film.mp4", "-o", tmp_path / "out.mp4")
    assert ran.code == 3
    assert "film.mp4" in ran.err
    assert names(tmp_path) == ["film.mp4"]


def test_shots_of_two_cameras_are_refused(new_burst: NewBurst, tmp_path: Path) -> None:
    burst, other = new_burst(3), new_burst(1, file_format="dng", name="other") / "00001.DNG"
    content = other.read_bytes().replace(b"DSC-RX100M6", b"DSC-RX100M7")
    (burst / "other.DNG").write_bytes(content)
    shutil.rmtree(other.parent)
    ran = call("enhance", burst)
    assert ran.code == 3
    assert "3 x SONY DSC-RX100M6" in ran.err
    assert "1 x SONY DSC-RX100M7" in ran.err
    assert names(tmp_path) == ["burst"]


BAD = (
    *("raw/bad/linear_not_bayer.dng", "raw/bad/linear_not_bayer_2.dng", "raw/bad/stub.arw"),
    *("raw/bad/truncated_a330.arw", "raw/bad/truncated_s90.cr2", "raw/bad/truncated.raf"),
    *("raw/bad/truncated_d1.nef", "raw/bad/mostly_zero.rw2", "raw/bad/damaged_d70s.nef"),
    *("raw/bad/all_zero_bayer.dng", "raw/bad/iphone_proraw_zero_pixels.dng"),
    "raw/sony/slt_a55v_header_only.ARW",
)


@pytest.mark.parametrize("name", BAD)
def test_a_real_bad_file_is_refused_by_name_and_reason(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shot = samples(name)
    ran = call("enhance", shot, "-o", tmp_path / "out.mp4")
    assert ran.code == 3
    assert re.search(rf"error: {re.escape(shot.name)}: \S", ran.err)
    assert names(tmp_path) == []
    assert capfd.readouterr() == ("", "")


def test_the_list_of_real_bad_files_is_complete() -> None:
    assert {f"raw/bad/{name}" for name in names(samples("raw/bad"))} <= set(BAD)


# Checkpoints


def test_a_checkpoint_that_cannot_be_used_is_named(
    new_burst: NewBurst, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    burst = new_burst(2)
    broken = tmp_path / "nan.safetensors"
    save_with(broken, float("nan"))
    for options, named in (
        (("--model", "3dcnn", "--weights", checkpoints["clstm"]), "clstm"),
        (("--model", "esrgan"), "esrgan"),
        (("--weights", tmp_path / "none.safetensors"), "none.safetensors"),
        (("--model", "clstm", "--weights", broken), "NaN"),
        (("--model", "clstm", "--weights", burst / "00001.ARW"), "00001.ARW"),
    ):
        ran = call("enhance", burst, *options)
        assert ran.code == 5
        assert named in ran.err
        early = named in ("esrgan", "none.safetensors")
        assert ("reading" in ran.err) is not early  # a long burst takes a while
    assert names(tmp_path) == ["burst", "nan.safetensors"]


def save_with(path: Path, value: float) -> None:
    from batman_cli.weights import save

    network = build("clstm", {"widths": (8, 8, 8, 8), "head": 4})
    torch.nn.init.constant_(network.get_parameter("head.last.weight"), value)
    save(path, network, "clstm", {})


def test_models_list_and_info() -> None:
    listed = call("models", "list")
    assert listed.code == 0
    assert {line.split()[0] for line in listed.out.splitlines()} == set(list_models())
    found = events(call("models", "list", "--json"))
    assert {event["name"] for event in found} == set(list_models())
    info = call("models", "info", "clstm")
    assert info.code == 0
    assert "sha256" in info.out
    assert events(call("models", "info", "clstm", "--json"))[0]["kind"] == "clstm"
    unknown = call("models", "info", "esrgan")
    assert unknown.code == 2
    assert "clstm" in unknown.err


def test_models_verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = call("models", "verify")
    assert good.code == 0
    assert good.out.count("undamaged") == len(list_models())
    shutil.copytree(weights_folder(), tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr("batman_cli.shipped.weights_folder", lambda: tmp_path)
    cut(tmp_path / "3dcnn.safetensors", 10_000)
    bad = call("models", "verify")
    assert bad.code == 5
    assert "3dcnn" in bad.err
    told = events(call("models", "verify", "--json"))
    assert (told[-1]["event"], told[-1]["exit_code"]) == ("error", 5)


def test_models_import(tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(build("3dcnn", {}).state_dict(), tmp_path / "mine.pt")
    torch.save({"weights": 1}, tmp_path / "other.pt")
    for source, code in (("mine.pt", 0), ("other.pt", 5), ("none.pt", 5)):
        out = tmp_path / f"{source}.safetensors"
        ran = call("models", "import", tmp_path / source, "--kind", "3dcnn", "-o", out)
        assert ran.code == code, ran.err
        assert out.exists() == (code == 0)
    words = ("models", "import", tmp_path / "mine.pt", "--kind", "3dcnn", "-o")
    mine = tmp_path / "mine.safetensors"
    mine.write_bytes(b"mine")
    assert call(*words, mine).code == call(*words, tmp_path / "none" / "x.safetensors").code == 7
    assert mine.read_bytes() == b"mine"
    assert call(*words, mine, "--overwrite").code == 0
    assert mine.stat().st_size > 1_000_000


# What is said


def test_quiet_is_silent(
    new_burst: NewBurst, checkpoints: Checkpoints, capfd: pytest.CaptureFixture[str]
) -> None:
    ran = call("enhance", new_burst(3), "-q", "--stills", "png", *tiny(checkpoints))
    assert ran == Ran(0, "", "")
    assert capfd.readouterr() == ("", "")


def test_quiet_still_warns(new_burst: NewBurst, checkpoints: Checkpoints) -> None:
    burst = new_burst(3)
    cut(burst / "00002.ARW", 3000)
    ran = call("enhance", burst, "-q", "--on-bad-frame", "skip", *tiny(checkpoints))
    assert ran.code == 4
    assert ran.out == ""
    assert "00002.ARW" in ran.err


def test_people_read_standard_error(new_burst: NewBurst, checkpoints: Checkpoints) -> None:
    ran = call("enhance", new_burst(3), "-v", *tiny(checkpoints))
    assert ran.out == ""
    for fact in ("SONY DSC-RX100M6", "96x64", "ISO 6400", "20 frames/s", "cpu", "00002.ARW"):
        assert fact in ran.err


def test_programs_read_json(new_burst: NewBurst, checkpoints: Checkpoints, tmp_path: Path) -> None:
    burst = new_burst(5)
    cut(burst / "00002.ARW", 3000)
    damage_pixels(burst / "00003.ARW")
    ran = batman("enhance", burst, "--json", "--on-bad-frame", "repeat", *tiny(checkpoints))
    assert ran.code == 4
    told = events(ran)
    assert {event["event"] for event in told[:-1]} <= {"warning", "plan", "progress"}
    plan, done = next(event for event in told if event["event"] == "plan"), told[-1]
    assert (plan["width"], plan["height"], plan["fps"]) == (96, 64, "20")
    assert done["event"] == "done"
    assert (done["output"], done["frames"]) == (str(tmp_path / "burst.mp4"), 5)
    assert [text.partition(":")[0] for text in done["bad"]] == ["00002.ARW", "00003.ARW"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("enhance", "/nowhere"), 3),
        (("enhance", "{burst}", "--model", "esrgan"), 5),
        (("enhance", "{burst}", "-o", "/nowhere/x.mp4"), 7),
        (("enhance", "{burst}", "--ratio", "0"), 2),
        (("simulate", "/nowhere.png", "-o", "{burst}/x"), 3),
        (("models", "info", "esrgan"), 2),
    ],
    ids=str,
)
def test_programs_read_errors_too(words: tuple[str, ...], code: int, new_burst: NewBurst) -> None:
    burst = str(new_burst(1))
    ran = call(*(word.replace("{burst}", burst) for word in words), "--json")
    assert ran.code == code
    error = events(ran)[-1]
    assert (error["event"], error["exit_code"]) == ("error", code)
    assert error["what"]


def test_a_traceback_is_shown_to_those_who_ask(tmp_path: Path) -> None:
    done = start("enhance", tmp_path / "none", "--debug")
    _, err = done.communicate()
    assert done.returncode != 0
    assert b"Traceback" in err
    assert b"BadInput" in err


@pytest.mark.parametrize("lines", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_reader_who_leaves_is_no_crash(
    lines: int, new_burst: NewBurst, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    running = start("enhance", new_burst(3), "--json", *tiny(checkpoints))
    assert running.stdout
    assert running.stderr
    for _ in range(lines):
        assert running.stdout.readline()
    running.stdout.close()
    err = running.stderr.read().decode()
    assert running.wait() == 7
    assert "Traceback" not in err
    assert "Exception ignored" not in err
    assert names(tmp_path) == ["burst"]


def ended(words: str, *, then: str = "") -> Ran:
    """The command as a shell runs it, its standard streams as `then` turns them."""
    done = subprocess.run(
        ["sh", "-c", f"exec {shlex.join(COMMAND)} {words} {then}"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_messages_that_cannot_be_written_do_not_change_how_a_run_ends(new_burst: NewBurst) -> None:
    burst = shlex.quote(str(new_burst(2)))
    for then in ("2>/dev/full", "2>&-"):
        assert ended("enhance /nowhere", then=then) == Ran(3, "", "")
        assert ended(f"enhance {burst} --dry-run", then=then) == Ran(0, "", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("then", [">/dev/full", ">&-"])
def test_events_that_cannot_be_written_end_the_call(then: str, new_burst: NewBurst) -> None:
    bursts = " ".join(shlex.quote(str(new_burst(1, name=name))) for name in "ab")
    ran = ended(f"enhance {bursts} --dry-run --json", then=then)
    assert ran.code == 7
    assert "error: standard output cannot be written" in ran.err
    assert "a fault in batman" not in ran.err
    assert ran.err.count("reading") == 1  # the next burst is not begun
    assert ended("enhance /nowhere --json", then=then).code == 7


def test_without_standard_error_programs_still_get_nothing_but_json(new_burst: NewBurst) -> None:
    burst = shlex.quote(str(new_burst(2)))
    ran = ended(f"enhance {burst} --dry-run --json", then="2>&-")
    assert ran.code == 0
    assert [event["event"] for event in events(ran)] == ["plan"]


# Looking only


def test_a_dry_run_needs_no_torch_and_writes_nothing(
    new_burst: NewBurst, without_torch: dict[str, str], tmp_path: Path
) -> None:
    bursts = [new_burst(3, name=name) for name in "ab"]
    before = [path.stat().st_mtime_ns for path in (tmp_path, *bursts)]
    ran = batman("enhance", *bursts, "-o", tmp_path / "videos", "--dry-run", env=without_torch)
    assert ran.code == 0, ran.err
    assert ran.out == ""
    for name in "ab":
        assert f"would write {tmp_path / 'videos' / name}.mp4" in ran.err
    assert [path.stat().st_mtime_ns for path in (tmp_path, *bursts)] == before
    assert batman("enhance", bursts[0], env=without_torch).code == 1  # it is needed for more


def test_a_dry_run_of_one_burst_touches_nothing_beside_it(
    new_burst: NewBurst, tmp_path: Path
) -> None:
    burst = new_burst(2)
    before = tmp_path.stat().st_mtime_ns
    for more in ((), ("--stills", "png"), ("--preview", "1")):
        assert call("enhance", burst, "--dry-run", *more).code == 0
    assert tmp_path.stat().st_mtime_ns == before


def test_a_dry_run_warns_of_a_result_that_could_not_be_written_and_goes_on(
    new_burst: NewBurst, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    burst, access = new_burst(2), os.access

    def read_only(path: Path, mode: int) -> bool:
        return path != tmp_path and access(path, mode)

    (tmp_path / "mine.mp4").touch()
    for name, why in (("mine.mp4", "exists already"), ("none/x.mp4", "there is no folder")):
        ran = call("enhance", burst, "--dry-run", "-o", tmp_path / name)
        assert ran.code == 0
        assert why in ran.err
        assert "in order of" in ran.err
    monkeypatch.setattr(os, "access", read_only)
    ran = call("enhance", burst, "--dry-run")
    assert ran.code == 0
    assert f"warning: burst.mp4: cannot write in {tmp_path}" in ran.err
    assert "frames/s" in ran.err


def test_a_preview_that_cannot_be_written_is_told_before_any_shot_is_read(
    new_burst: NewBurst, tmp_path: Path
) -> None:
    burst = new_burst(2)
    (tmp_path / "x_1.png").mkdir()
    ran = call("enhance", burst, "--preview", "1", "-o", tmp_path / "x.mp4")
    assert ran.code == 7
    assert "x_1.png" in ran.err
    assert "reading" not in ran.err


def test_a_dry_run_tells_of_bad_shots(new_burst: NewBurst, tmp_path: Path) -> None:
    burst = new_burst(3)
    cut(burst / "00002.ARW", 3000)
    assert call("enhance", burst, "--dry-run").code == 3
    ran = call("enhance", burst, "--dry-run", "--on-bad-frame", "skip")
    assert ran.code == 4
    assert "00002.ARW" in ran.err
    assert names(tmp_path) == ["burst"]


# Names


HOSTILE = (
    *(" two  spaces ", "-dash", "--help", "a:b", "http:x", "a\nb", 'it\'s "so"', "%03d%s"),
    *("a\\b", "été_夜_🦇", ".hidden", os.fsdecode(b"\xff\xfe"), "n" * 200),
)


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_any_name_of_a_folder_will_do(
    name: str,
    new_burst: NewBurst,
    checkpoints: Checkpoints,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    new_burst(1, name=name)
    monkeypatch.chdir(tmp_path)
    ran = call("enhance", *tiny(checkpoints), "--stills", "png", "--", name)
    assert ran.code == 0, ran.err
    assert names(tmp_path) == sorted([name, f"{name}.mp4", f"{name}_stills"])
    assert probe(tmp_path / f"{name}.mp4").frames == 1


def test_a_folder_name_too_long_for_its_video_is_refused_at_once(
    new_burst: NewBurst, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    burst = new_burst(1, name="n" * 253)
    ran = call("enhance", burst, *tiny(checkpoints))
    assert ran.code == 7
    assert "too long" in ran.err
    assert "ISO 6400" not in ran.err  # no shot was read for it
    assert names(tmp_path) == [burst.name]


def test_bytes_that_are_no_text_arrive_from_the_shell(
    new_burst: NewBurst, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    burst = new_burst(1, name=os.fsdecode(b"night \xff\n"))
    ran = batman("enhance", burst, "--json", *tiny(checkpoints))
    assert ran.code == 0, ran.err
    assert events(ran)[-1]["output"] == f"{burst}.mp4"
    assert names(tmp_path) == [burst.name, f"{burst.name}.mp4"]
    (burst / "00001.ARW").write_bytes(b"")
    ran = batman("enhance", burst, "--overwrite", *tiny(checkpoints))
    assert ran.code == 3
    assert "00001.ARW" in ran.err


# The machine


def test_doctor_examines_and_tries(capfd: pytest.CaptureFixture[str]) -> None:
    ran = call("doctor")
    for fact in ("python", "ffmpeg", "clstm", "3dcnn", "trial run"):
        assert fact in ran.out
    assert ran.code == (1 if "BAD" in ran.out else 0)
    assert re.search(r"^ok +trial run: 5 frames", ran.out, re.MULTILINE)
    found = events(call("doctor", "--json"))
    assert all(event["event"] == "check" for event in found)
    assert found[-1]["name"] == "trial run"
    assert found[-1]["ok"] is True
    assert capfd.readouterr().err == ""


def test_a_command_leaves_no_log_handler_behind(tmp_path: Path) -> None:
    call("enhance", tmp_path / "nowhere")
    assert not logging.getLogger("batman_cli").handlers
