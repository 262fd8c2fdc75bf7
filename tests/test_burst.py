"""A folder of shots: which are taken, what is refused, and what the user is told."""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from shots import NOON, a_bad_shot, a_shot, dsc, names_of

from batman_cli.burst import open_burst
from batman_cli.errors import BadInput, BadShot, UsageError
from batman_cli.raw import ShotInfo

Folder = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """Makes a folder whose headers are given; a shot without one has no capture time."""
    facts: dict[str, ShotInfo | BadShot] = {}

    def read_info(path: Path) -> ShotInfo:
        fact = facts.get(path.name, a_shot(path))
        if isinstance(fact, BadShot):
            raise BadShot(path, fact.why)
        return replace(fact, path=path, size_bytes=path.stat().st_size)

    def make(*shots: ShotInfo | BadShot | str, also: Sequence[str] = ()) -> Path:
        for shot in shots:
            name = shot if isinstance(shot, str) else shot.path.name
            if not isinstance(shot, str):
                facts[name] = shot
            (tmp_path / name).write_bytes(os.fsencode(name))  # contents differ
        for name in also:
            (tmp_path / name).write_bytes(b"something else")
        return tmp_path

    monkeypatch.setattr("batman_cli.burst.read_info", read_info)
    return make


# Looking at files


def test_every_shot_is_told_in_order_while_several_are_looked_at(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each waits for another: one after the other they would wait for ever."""
    from batman_cli import burst

    together = threading.Barrier(2, timeout=60)
    read = burst.read_info

    def slowly(path: Path) -> ShotInfo:
        together.wait()
        return read(path)

    made = folder(*(f"a{number}.NEF" for number in range(8)))
    monkeypatch.setattr("batman_cli.burst.read_info", slowly)
    told: list[tuple[int, int]] = []
    shots = open_burst(made, on_shot=lambda done, total: told.append((done, total))).shots
    assert names_of(shots) == [f"a{number}.NEF" for number in range(8)]
    assert told == [(number, 8) for number in range(1, 9)]


# Which files


def test_takes_raw_files_whatever_the_case_of_their_suffix(folder: Folder) -> None:
    burst = open_burst(folder("a1.ARW", "a2.arw", "a3.Dng"))
    assert names_of(burst.shots) == ["a1.ARW", "a2.arw", "a3.Dng"]
    assert burst.warnings == ()


def test_sidecars_and_hidden_files_are_passed_over_in_silence(folder: Folder) -> None:
    sidecars = ("a1.JPG", "a1.xmp", "a1.ARW.pp3", "notes.md", "Thumbs.db", "burst.json")
    hidden = (".DS_Store", "._a1.ARW", ".a1.ARW", ".hidden")
    burst = open_burst(folder("a1.ARW", also=(*sidecars, *hidden)))
    assert names_of(burst.shots) == ["a1.ARW"]
    assert burst.warnings == ()


def test_other_files_make_one_warning(folder: Folder) -> None:
    strangers = ("c.zip", "a.ARW.part", "b.tmp", "noext", "d.pdf")
    (warning,) = open_burst(folder("a1.ARW", also=strangers)).warnings
    assert warning == "Ignored, not raw: a.ARW.part, b.tmp, c.zip, and 2 more."


def test_folders_inside_are_not_searched(folder: Folder) -> None:
    path = folder("a1.ARW")
    (path / "more.ARW").mkdir()
    (path / "more.ARW" / "a2.ARW").write_bytes(b"raw")
    assert names_of(open_burst(path).shots) == ["a1.ARW"]


def test_one_raw_file_is_a_burst_of_one(folder: Folder) -> None:
    path = folder("a1.ARW", "a2.ARW")
    burst = open_burst(path / "a2.ARW")
    assert names_of(burst.sequence) == ["a2.ARW"]
    assert burst.folder == path


def test_a_pipe_named_like_a_raw_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a1.ARW")
    with pytest.raises(BadInput, match="no raw shots"):
        open_burst(tmp_path)
    with pytest.raises(BadInput, match="not a raw shot"):
        open_burst(tmp_path / "a1.ARW")


HOSTILE_NAMES = (
    "with space.ARW",
    "-o.ARW",
    "x:y.ARW",
    "line\nbreak.ARW",
    "quote'\".ARW",
    "%d.ARW",
    "$HOME.ARW",
    "naïve-夜.ARW",
    os.fsdecode(b"not-utf8-\xff.ARW"),
    "n" * 251 + ".ARW",
    ";ls.ARW",
    "*.ARW",
)


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_any_file_name_works_and_can_be_printed(folder: Folder, name: str) -> None:
    path = folder(name, "a1.ARW", also=[name.removesuffix(".ARW")[:200] + ".odd"])
    burst = open_burst(path)
    assert name in names_of(burst.shots)
    for text in (*burst.warnings, burst.order_reason, burst.fps_reason):
        assert "\n" not in text
        text.encode()


# Refusals


def refusal(path: Path, **options: object) -> BadInput:
    with pytest.raises(BadInput) as caught:
        open_burst(path, **options)  # pyright: ignore[reportArgumentType]
    return caught.value


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    assert "nowhere does not exist" in str(refusal(tmp_path / "nowhere"))


def test_an_empty_folder_says_so(tmp_path: Path) -> None:
    assert str(refusal(tmp_path)).endswith("it is empty")


def test_a_folder_without_raw_lists_what_it_holds(folder: Folder) -> None:
    path = folder(also=("1.JPG", "2.jpg", "3.xmp", "bare"))
    (path / "DCIM").mkdir()
    error = refusal(path)
    assert str(error).endswith("it holds 2 x .jpg, 1 x .xmp, 1 x folder, 1 x no suffix")
    assert "folders inside it are not searched" in error.fix


@pytest.mark.parametrize("name", ["clip.MP4", "photo.jpg", "notes.txt", "bare"])
def test_a_file_that_is_not_raw_is_told_what_batman_takes(folder: Folder, name: str) -> None:
    error = refusal(folder(also=(name,)) / name)
    assert error.what.endswith(f"{name} is not a raw shot")
    assert ".arw" in error.why
    assert "JPEG" in error.fix


def test_a_folder_that_may_not_be_read_is_named_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> list[Path]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    error = refusal(tmp_path)
    assert error.what == f"cannot open {tmp_path}"
    assert error.why == "Permission denied"


@pytest.mark.parametrize(
    ("field", "value", "named", "shown"),
    [
        ("camera", "Canon EOS R5", "camera", "Canon EOS R5"),
        ("width", 5472, "size", "5472 x 3670"),
        ("pattern", "GRBG", "CFA pattern", "GRBG"),
    ],
)
def test_a_mixture_is_refused_with_both_groups(
    folder: Folder, field: str, value: object, named: str, shown: str
) -> None:
    ours = [a_shot(dsc(n)) for n in range(1, 8)]
    strangers = [replace(a_shot(dsc(n)), **{field: value}) for n in (90, 91)]
    error = refusal(folder(*ours, *strangers))
    assert error.what == f"the shots differ in {named}"
    larger, smaller = error.why.split("; ")
    assert larger.startswith("7 x ")
    assert larger.endswith(f"({dsc(1)}, {dsc(2)}, {dsc(3)}, and 4 more)")
    assert smaller == f"2 x {shown} ({dsc(90)}, {dsc(91)})"


def test_a_mixture_in_two_ways_names_both(folder: Folder) -> None:
    stranger = replace(a_shot(dsc(3)), camera="Canon EOS R5", pattern="GRBG")
    error = refusal(folder(dsc(1), dsc(2), stranger))
    assert error.what == "the shots differ in camera, CFA pattern"


def test_a_mixture_outside_of_the_chosen_range_does_no_harm(folder: Folder) -> None:
    stranger = replace(a_shot(dsc(3)), camera="Canon EOS R5")
    assert len(open_burst(folder(dsc(1), dsc(2), stranger), stop=2).shots) == 2


# Bad shots


def with_bad(folder: Folder, *bad: int, shots: int = 9) -> Path:
    items = [
        a_bad_shot(dsc(n)) if n in bad else a_shot(dsc(n), NOON + n / 20)
        for n in range(1, shots + 1)
    ]
    return folder(*items)


def test_one_bad_shot_stops_with_its_name_place_and_reason(folder: Folder) -> None:
    error = refusal(with_bad(folder, 4))
    assert error.what == "1 of 9 shots cannot be used"
    assert error.why == "DSC00004.ARW (shot 3): the file is cut short"
    assert "skip" in error.fix
    assert "repeat" in error.fix


def test_many_bad_shots_are_listed_by_the_first_three_and_their_number(folder: Folder) -> None:
    error = refusal(with_bad(folder, 1, 2, 5, 6, 9))
    assert error.what == "5 of 9 shots cannot be used"
    assert error.why.count("cut short") == 3
    assert error.why.endswith("; and 2 more")


def test_skip_leaves_bad_shots_out(folder: Folder) -> None:
    burst = open_burst(with_bad(folder, 1, 4), on_bad_frame="skip")
    assert names_of(burst.sequence) == [dsc(n) for n in (2, 3, 5, 6, 7, 8, 9)]
    assert burst.shots == burst.sequence
    assert names_of(burst.bad) == [dsc(1), dsc(4)]


def test_repeat_keeps_the_place_of_bad_shots(folder: Folder) -> None:
    burst = open_burst(with_bad(folder, 1, 4, 5, 9), on_bad_frame="repeat")
    assert names_of(burst.sequence) == [dsc(n) for n in range(1, 10)]
    assert names_of(burst.shots) == [dsc(n) for n in (2, 3, 6, 7, 8)]
    assert names_of(burst.bad) == [dsc(n) for n in (1, 4, 5, 9)]


@pytest.mark.parametrize("choice", ["stop", "skip", "repeat"])
def test_a_burst_of_bad_shots_alone_is_refused(folder: Folder, choice: str) -> None:
    error = refusal(with_bad(folder, 1, 2, 3, shots=3), on_bad_frame=choice)
    assert error.what == "3 of 3 shots cannot be used"
    assert "skip" not in error.fix


def test_a_bad_shot_given_alone_is_its_own_error(folder: Folder) -> None:
    error = refusal(with_bad(folder, 4) / dsc(4))
    assert isinstance(error, BadShot)


def test_a_bad_shot_outside_of_the_chosen_range_does_no_harm(folder: Folder) -> None:
    assert len(open_burst(with_bad(folder, 1), start=1).shots) == 8


# Choosing shots


def test_start_stop_and_step_choose_by_playing_order(folder: Folder) -> None:
    path = with_bad(folder)
    assert names_of(open_burst(path, start=2, stop=8, step=3).shots) == [dsc(3), dsc(6)]


@pytest.mark.parametrize(
    "options",
    [
        {"start": -1},
        {"step": 0},
        {"step": -1},
        {"start": 3, "stop": 3},
        {"start": 9},
        {"stop": -1},
        {"fps": Fraction(0)},
        {"fps": Fraction(-25)},
        {"order": "size"},
        {"on_bad_frame": "ignore"},
    ],
)
def test_options_that_cannot_be_met_are_usage_errors(
    folder: Folder, options: Mapping[str, object]
) -> None:
    path = with_bad(folder)
    with pytest.raises(UsageError):
        open_burst(path, **options)  # pyright: ignore[reportArgumentType]


# Frame rate and warnings


def test_a_burst_without_times_says_so(folder: Folder) -> None:
    burst = open_burst(folder(dsc(1), dsc(2)))
    assert burst.fps == Fraction(20)
    assert burst.fps_reason == "default: not every shot has a capture time"


def test_the_rate_given_wins(folder: Folder) -> None:
    burst = open_burst(with_bad(folder), fps=Fraction(30000, 1001), step=2)
    assert burst.fps == Fraction(30000, 1001)
    assert burst.fps_reason == "as given"


def test_every_second_shot_plays_at_half_the_rate(folder: Folder) -> None:
    path = with_bad(folder)
    assert open_burst(path).fps == 20
    assert open_burst(path, step=2).fps == 10
    assert open_burst(path, start=3, stop=5).fps == 20


def test_the_rate_is_that_of_the_chosen_range(folder: Folder) -> None:
    """A burst of 5 frames/s, a pause, another one of 20; and a rate that falls on the way."""
    slow = [a_shot(dsc(n), 0.2 * n) for n in range(1, 11)]
    fast = [a_shot(dsc(n), 60 + 0.05 * n) for n in range(11, 31)]
    slower = [a_shot(dsc(n), 61.5 + 0.2 * (n - 30)) for n in range(31, 81)]
    path = folder(*slow, *fast, *slower)
    for start, stop, fps in ((0, 10, 5), (10, 30, 20), (30, None, 5)):
        burst = open_burst(path, start=start, stop=stop)
        assert burst.fps == fps
        assert not burst.warnings
    (warning,) = open_burst(path, stop=30).warnings
    assert "A pause of 59 s" in warning


def test_changing_exposure_and_iso_are_pointed_out(folder: Folder) -> None:
    longer = replace(a_shot(dsc(3)), exposure_s=0.5)
    coarser = replace(a_shot(dsc(4)), iso=12800.0)
    unknown = replace(a_shot(dsc(5)), iso=None, exposure_s=None)
    burst = open_burst(folder(dsc(1), dsc(2), longer, coarser, unknown))
    assert burst.warnings == (
        "ISO differs inside the burst: 3 x ISO 6400, 1 x ISO 12800.",
        "Exposure differs inside the burst: 3 x 1/100 s, 1 x 0.5 s.",
    )


def test_shots_held_another_way_are_turned_as_the_others(folder: Folder) -> None:
    """Cameras that look up or down at once are not sure which way is up."""
    others = [replace(a_shot(dsc(n)), orientation=6) for n in (1, 4)]
    burst = open_burst(folder(*others, *(a_shot(dsc(n)) for n in (2, 3, 5))))
    assert burst.orientation == 0
    assert len(burst.shots) == 5
    (warning,) = burst.warnings
    assert warning.startswith(f"2 of 5 shots are marked as held another way ({dsc(1)}, {dsc(4)}): ")
    assert open_burst(burst.folder, stop=1).orientation == 6


# The same shot more than once


def with_copy(folder: Folder, name: str, *, shots: int, timed: bool = True) -> Path:
    """Shots, the second of them copied under another name."""
    times = [NOON + n / 20 if timed else None for n in range(shots)]
    path = folder(
        *(a_shot(dsc(n), time_s) for n, time_s in enumerate(times)), a_shot(name, times[1])
    )
    (path / name).write_bytes((path / dsc(1)).read_bytes())
    return path


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("name", ["DSC00001 (1).ARW", "Copy of DSC00001.ARW"])
def test_a_copy_is_left_out_and_told(folder: Folder, name: str, timed: bool) -> None:
    burst = open_burst(with_copy(folder, name, shots=3, timed=timed))
    (warning,) = burst.warnings
    assert warning == f"The same shot more than once, used once: {dsc(1)} = {name}."
    expected = [dsc(0), dsc(1), dsc(2)]
    assert names_of(burst.sequence) == names_of(burst.shots) == names_of(burst.near) == expected


@pytest.mark.parametrize("shots", [2, 3, 4, 20])
def test_a_copy_does_not_change_the_rate(folder: Folder, shots: int) -> None:
    burst = open_burst(with_copy(folder, "copy of 1.ARW", shots=shots))
    assert burst.fps == 20
    assert burst.fps_reason.startswith("measured")


def test_copies_do_not_count_in_a_range(folder: Folder) -> None:
    path = with_copy(folder, "DSC00001 (1).ARW", shots=5)
    assert names_of(open_burst(path, start=2).shots) == [dsc(2), dsc(3), dsc(4)]
    assert names_of(open_burst(path, step=2).shots) == [dsc(0), dsc(2), dsc(4)]


@pytest.mark.parametrize("place", [-1, 150_000])
def test_shots_alike_but_for_a_byte_are_no_copies(folder: Folder, place: int) -> None:
    path = folder(dsc(1), dsc(2))
    for number in (1, 2):
        content = bytearray(b"same header" * 30_000)
        content[place] = number
        (path / dsc(number)).write_bytes(content)
    burst = open_burst(path)
    assert len(burst.shots) == 2
    assert burst.warnings == ()


def test_one_shot_in_two_formats_is_used_once(folder: Folder) -> None:
    """Although a converted file may have other borders, and no fractions of seconds."""
    shots = [a_shot(dsc(n), NOON + 0.5 + n / 20) for n in (1, 2)]
    converted = replace(a_shot("DSC00001.dng", NOON, has_subsecond=False), width=5472, height=3648)
    burst = open_burst(folder(*shots, converted))
    (warning,) = burst.warnings
    assert warning == f"The same shot more than once, used once: {dsc(1)} = DSC00001.dng."
    assert names_of(burst.shots) == [dsc(1), dsc(2)]


def test_equal_files_in_two_formats_are_told_once(folder: Folder) -> None:
    path = folder(*(name for n in range(4) for name in (dsc(n), f"DSC{n:05d}.dng")))
    for n in range(4):
        (path / f"DSC{n:05d}.dng").write_bytes((path / dsc(n)).read_bytes())
    (warning,) = open_burst(path).warnings
    assert warning.endswith("DSC00002.ARW = DSC00002.dng, and 1 more.")


def test_a_bad_file_gives_way_to_the_same_shot_in_another_format(folder: Folder) -> None:
    burst = open_burst(folder(dsc(1), a_bad_shot(dsc(2)), a_shot("DSC00002.dng"), dsc(3)))
    assert names_of(burst.shots) == [dsc(1), "DSC00002.dng", dsc(3)]
    assert burst.bad == ()
    (warning,) = burst.warnings
    assert f"{dsc(2)}, bad, in another format too" in warning


@pytest.mark.parametrize(
    "change", [{"camera": "NIKON D850"}, {"time_s": NOON + 60}], ids=["camera", "time"]
)
def test_shots_of_one_name_that_are_not_the_same_both_stay(
    folder: Folder, change: Mapping[str, object]
) -> None:
    other = replace(a_shot("DSC00001.NEF", NOON), **change)  # pyright: ignore[reportArgumentType]
    made = folder(a_shot(dsc(1), NOON), other)
    if "camera" in change:
        assert "NIKON D850" in refusal(made).why
    else:
        assert len(open_burst(made).shots) == 2
