"""People read standard error, programs standard output, and nobody gets the other's lines."""

import errno
import io
import json
import os
import sys
from pathlib import Path

import pytest

from batman_cli import progress
from batman_cli.progress import Reporter


class Clock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def process(reporter: Reporter, clock: Clock, total: int, *, frame_s: float) -> None:
    with reporter.frames(total) as tick:
        for _ in range(total):
            clock.now += frame_s
            tick()


def test_people_get_lines_and_programs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Reporter()
    reporter.say("110 frames [camera] :smile: " + "long " * 60)
    reporter.warn("no sub-seconds")
    reporter.event("start", {"frames": 110})
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "110 frames [camera] :smile: " + "long " * 59 + "long ",
        "warning: no sub-seconds",
    ]


def test_quiet_leaves_warnings_alone(capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
    reporter = Reporter(quiet=True)
    reporter.say("hello")
    process(reporter, clock, 100, frame_s=1)
    assert capsys.readouterr() == ("", "")
    reporter.warn("look")
    assert capsys.readouterr() == ("", "warning: look\n")


def test_json_lines_hold_every_event(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Reporter(json=True)
    strange = Path(os.fsdecode(b"a\xff\n\xc3\xa9"))
    reporter.say("for people")
    reporter.event("start", {"folder": strange, "frames": 3, "fps": 2.5, "none": None})
    reporter.warn("look")
    out, err = capsys.readouterr()
    assert [json.loads(line) for line in out.splitlines()] == [
        {"event": "start", "folder": str(strange), "frames": 3, "fps": 2.5, "none": None},
        {"event": "warning", "text": "look"},
    ]
    assert err == "for people\nwarning: look\n"


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_json_never_holds_what_is_not_json(
    number: float, capsys: pytest.CaptureFixture[str]
) -> None:
    Reporter(json=True).event("score", {"psnr": number, "ssim": 0.5})
    told = json.loads(capsys.readouterr().out)
    assert told == {"event": "score", "psnr": None, "ssim": 0.5}


def test_json_events_tell_frames_speed_and_time_left(
    capsys: pytest.CaptureFixture[str], clock: Clock
) -> None:
    process(Reporter(json=True), clock, 10, frame_s=0.5)
    out, err = capsys.readouterr()
    assert err == ""
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["done"] for event in events] == [2, 4, 6, 8, 10]  # one a second
    assert events[0] == {"event": "progress", "done": 2, "total": 10, "fps": 2.0, "left_s": 4.0}
    assert events[-1]["left_s"] == 0


def test_json_events_come_also_with_quiet(capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
    process(Reporter(json=True, quiet=True), clock, 2, frame_s=1)
    assert [json.loads(line)["done"] for line in capsys.readouterr().out.splitlines()] == [1, 2]


def test_without_a_terminal_lines_come_now_and_then(
    capsys: pytest.CaptureFixture[str], clock: Clock
) -> None:
    process(Reporter(), clock, 120, frame_s=0.1)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "50/120 frames, 10.00 frames/s, 00:07 left",
        "100/120 frames, 10.00 frames/s, 00:02 left",
        "120/120 frames, 10.00 frames/s, 00:00 left",
    ]


def test_a_short_run_says_once_that_it_is_done(
    capsys: pytest.CaptureFixture[str], clock: Clock
) -> None:
    process(Reporter(), clock, 1, frame_s=0)
    assert capsys.readouterr().err.startswith("1/1 frames")


def test_on_a_terminal_a_bar_shows_count_and_speed(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    terminal, results = Terminal(), io.StringIO()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(sys, "stdout", results)
    reporter = Reporter()
    with reporter.frames(4) as tick:
        for i in range(4):
            clock.now += 0.5
            tick()
            if i == 1:
                reporter.say("a line above the bar")
                sys.stdout.write("result\n")
    shown = terminal.getvalue()
    assert "4/4" in shown
    assert "2.00 frames/s" in shown
    assert "a line above the bar" in shown
    assert results.getvalue() == "result\n"


# Training


def train(reporter: Reporter, clock: Clock, steps: range, *, step_s: float) -> None:
    with reporter.training(20_000, "steps", start=steps[0] - 1) as advance:
        for step in steps:
            clock.now += step_s
            fields = {"loss": 0.05123, "bursts_per_s": 3.1}
            advance(step, "loss 0.0512  3.1 bursts/s", fields)


def test_training_says_a_line_every_half_minute(
    capsys: pytest.CaptureFixture[str], clock: Clock
) -> None:
    train(Reporter(), clock, range(1, 71), step_s=1)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "30/20000 steps, loss 0.0512  3.1 bursts/s, 5:32:50 left",
        "60/20000 steps, loss 0.0512  3.1 bursts/s, 5:32:20 left",
    ]


def test_the_time_left_of_a_resumed_training_counts_only_what_it_did_itself(
    capsys: pytest.CaptureFixture[str], clock: Clock
) -> None:
    train(Reporter(), clock, range(19_901, 20_001), step_s=1)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "19930/20000 steps, loss 0.0512  3.1 bursts/s, 01:10 left"
    assert lines[-1] == "20000/20000 steps, loss 0.0512  3.1 bursts/s, 00:00 left"


def test_training_events_come_once_a_second_with_their_fields(
    capsys: pytest.CaptureFixture[str], clock: Clock
) -> None:
    train(Reporter(json=True, quiet=True), clock, range(1, 9), step_s=0.5)
    out, err = capsys.readouterr()
    assert err == ""
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["done"] for event in events] == [2, 4, 6, 8]
    assert events[0] == {
        **{"event": "progress", "done": 2, "total": 20_000},
        **{"loss": 0.05123, "bursts_per_s": 3.1, "left_s": 9999.0},
    }


def test_a_loss_that_is_no_number_does_not_stop_the_events(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Reporter(json=True).training(1, "steps") as advance:
        advance(1, "loss nan", {"loss": float("nan"), "gradient": float("inf"), "skipped": 1})
    event = json.loads(capsys.readouterr().out)
    assert (event["loss"], event["gradient"], event["skipped"]) == (None, None, 1)


def test_a_quiet_training_says_nothing(capsys: pytest.CaptureFixture[str], clock: Clock) -> None:
    train(Reporter(quiet=True), clock, range(1, 100), step_s=60)
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_of_80_columns_a_bar_shows_the_whole_note(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "stderr", terminal)
    train(Reporter(), clock, range(1, 11), step_s=1)
    assert "10/20000 steps, loss 0.0512  3.1 bursts/s, 5:33:10 left" in terminal.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_an_exception_passes_and_gives_the_terminal_back(
    terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Terminal() if terminal else io.StringIO()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", stream)
    with pytest.raises(KeyboardInterrupt), Reporter().frames(4) as tick:
        tick()
        raise KeyboardInterrupt
    assert sys.stderr is stream
    hides, shows = stream.getvalue().count("\x1b[?25l"), stream.getvalue().count("\x1b[?25h")
    assert hides == shows == (1 if terminal else 0)  # the cursor


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("code", [errno.EIO, errno.EPIPE], ids=["dead terminal", "closed pipe"])
def test_frames_go_on_when_nobody_can_be_told(
    code: int, terminal: bool, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    class Dead(io.StringIO):
        def isatty(self) -> bool:
            return terminal

        def write(self, text: str) -> int:
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(sys, "stderr", Dead())
    reporter = Reporter()
    reporter.warn("the terminal is gone")
    process(reporter, clock, 20, frame_s=3)


def test_names_that_are_not_utf8_can_be_said(tmp_path: Path) -> None:
    with (tmp_path / "err").open("w", encoding="utf-8", errors="backslashreplace") as stream:
        backup, sys.stderr = sys.stderr, stream
        try:
            Reporter().say(os.fsdecode(b"shot \xff.ARW"))
        finally:
            sys.stderr = backup
    assert (tmp_path / "err").read_text() == "shot \\udcff.ARW\n"


def test_a_table_keeps_its_numbers_however_narrow_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = "a system with [a] long name " * 4
    Reporter().table("Table 1", ("system", "PSNR", "SSIM"), [(name, "28.26", "0.815")])
    Reporter(quiet=True).table("Table 2", ("system",), [])
    out, err = capsys.readouterr()
    assert out == ""
    title, headings, first, *rest = (line.rstrip() for line in err.splitlines())
    assert title == "Table 1"
    assert headings.split() == ["system", "PSNR", "SSIM"]
    assert first.endswith("28.26  0.815")
    assert "".join([first.removesuffix("28.26  0.815"), *rest]).replace(" ", "") == name.replace(
        " ", ""
    )
    assert all(len(line) <= 80 for line in (first, *rest))


def test_counting_is_told_only_where_it_takes_long(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    for shot_s, told in ((0.01, []), (1.0, [5, 10])):
        for json_too in (False, True):
            on_shot = Reporter(json=json_too).counting("looking", "looked at", "shots")
            for done in range(1, 13):
                clock.now += shot_s
                on_shot(done, 12)
            out, err = capsys.readouterr()
            assert err.splitlines() == [f"looked at {done} of 12 shots" for done in told]
            events = [json.loads(line) for line in out.splitlines()]
            assert events == [
                {"event": "looking", "done": done, "total": 12} for done in told if json_too
            ]
