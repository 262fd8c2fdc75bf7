"""Order and frame rate from capture times and file numbers."""

import random
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shots import NOON, a_bad_shot, a_shot, dsc, names_of

from batman_cli.raw import ShotInfo
from batman_cli.settings import Order
from batman_cli.timeline import DEFAULT_FPS, by_name, clock_of, frame_rate, in_order, pauses

# Order


def ordered(shots: Sequence[ShotInfo], order: Order = "time") -> tuple[list[str], str, list[str]]:
    items, reason, doubts = in_order(shots, order)
    return names_of(items), reason, doubts


TIE = [(n, NOON + (n - 1) // 4) for n in range(1, 13)]
ROLL_OVER = [(n, NOON) for n in (9997, 9998, 9999, 1, 2, 3)]
CLOCK_BACK = [(n, NOON - 3600 * (n > 5) + n / 10) for n in range(1, 11)]
SOME_WITHOUT_TIME = [(n, None if n == 3 else NOON - n) for n in range(1, 8)]


@pytest.mark.parametrize(
    ("burst", "numbers"),
    [
        (TIE, range(1, 13)),
        (ROLL_OVER, (9997, 9998, 9999, 1, 2, 3)),
        (CLOCK_BACK, (6, 7, 8, 9, 10, 1, 2, 3, 4, 5)),
        (SOME_WITHOUT_TIME, range(1, 8)),
        ([(n, None) for n, _ in ROLL_OVER], (9997, 9998, 9999, 1, 2, 3)),
    ],
    ids=["tie", "roll-over", "clock set back", "a time missing", "roll-over without times"],
)
@settings(max_examples=200, deadline=None)
@given(seed=st.randoms(use_true_random=False))
def test_the_order_does_not_depend_on_how_files_are_listed(
    burst: list[tuple[int, float | None]], numbers: Sequence[int], seed: random.Random
) -> None:
    shots = [a_shot(dsc(number), time_s) for number, time_s in burst]
    seed.shuffle(shots)
    assert ordered(shots)[0] == [dsc(n) for n in numbers]


@settings(max_examples=300, deadline=None)
@given(
    names=st.lists(
        st.from_regex(r"[A-Za-z0-9 _()-]{1,12}\.(ARW|dng)", fullmatch=True), min_size=1, unique=True
    ),
    data=st.data(),
)
def test_every_set_of_names_has_one_order_that_loses_nothing(
    names: list[str], data: st.DataObject
) -> None:
    paths = [Path(name) for name in names]
    shuffled = data.draw(st.permutations(paths))
    assert by_name(paths) == by_name(shuffled)
    assert sorted(by_name(paths)) == sorted(paths)


def test_fractions_of_a_second_come_before_file_numbers() -> None:
    shots = [a_shot(dsc(n), NOON + (10 - n) / 20) for n in range(1, 10)]
    names, reason, (doubt,) = ordered(shots)
    assert names == [dsc(n) for n in range(9, 0, -1)]
    assert reason == "capture time, then file number"
    assert dsc(9) in doubt
    assert "--order name" in doubt


def test_a_fraction_that_is_always_zero_counts_as_whole_seconds() -> None:
    shots = [a_shot(dsc(n), NOON + n // 5) for n in range(1, 12)]
    names, reason, doubts = ordered(shots)
    assert names == [dsc(n) for n in range(1, 12)]
    assert reason == "capture time in whole seconds, then file number"
    assert doubts == []


def test_one_shot_without_fraction_makes_all_of_them_whole_seconds() -> None:
    shots = [
        a_shot(dsc(1), NOON + 0.9),
        a_shot(dsc(2), NOON, has_subsecond=False),
        a_shot(dsc(3), NOON + 0.1),
    ]
    assert ordered(shots)[0] == [dsc(1), dsc(2), dsc(3)]


def test_a_clock_set_back_is_pointed_out() -> None:
    _, _, (doubt,) = ordered([a_shot(dsc(n), t) for n, t in CLOCK_BACK])
    assert dsc(6) in doubt


def test_a_missing_time_orders_by_name_and_says_why() -> None:
    _, reason, _ = ordered([a_shot(dsc(n), t) for n, t in SOME_WITHOUT_TIME])
    assert reason == "file name: 1 of 7 shots have no capture time"


def test_order_by_name_when_asked() -> None:
    shots = [a_shot(dsc(n), NOON - n) for n in range(1, 5)]
    names, reason, doubts = ordered(shots, "name")
    assert names == [dsc(n) for n in range(1, 5)]
    assert reason == "file name, as asked"
    assert doubts == []


def test_numbers_are_read_as_numbers() -> None:
    names = ["frame1.dng", "frame2.dng", "frame10.dng", "Frame11.dng"]
    assert names_of([a_shot(path) for path in by_name(map(Path, reversed(names)))]) == names


def test_a_roll_over_in_the_middle_of_a_timed_burst_raises_no_doubt() -> None:
    numbers = [*range(9950, 10000), *range(1, 61)]
    shots = [a_shot(dsc(n), NOON + i // 20) for i, n in enumerate(numbers)]
    names, reason, doubts = ordered(shots)
    assert names == [dsc(n) for n in numbers]
    assert "roll over" in reason
    assert doubts == []


def test_a_roll_over_among_shots_of_one_second_is_seen_though_the_folder_holds_more() -> None:
    timed = [(3000, NOON), (6500, NOON + 1), (9999, NOON + 2), (1, NOON + 2), (2, NOON + 2)]
    names, _, _ = ordered([a_shot(dsc(n), t) for n, t in timed])
    assert names == [dsc(n) for n, _ in timed]


@pytest.mark.parametrize(
    "names",
    [
        [f"shot{n}.dng" for n in (1, 2, 3, 997, 998, 999)],
        [dsc(n) for n in (1, 2, 3, 7001, 7002)],
        [f"frame_{n:05d}.dng" for n in (9998, 9999, 10000, 10001)],
        [dsc(n) for n in range(1, 10000, 3)],
        ["A0001.ARW", "B9999.ARW"],
        [dsc(1), "DSC00002-a.ARW", dsc(9999)],
        [dsc(1)],
    ],
    ids=[
        "three digits",
        "two bursts",
        "five digits",
        "all numbers",
        "two cards",
        "odd names",
        "one shot",
    ],
)
def test_numbers_that_did_not_roll_over_stay_in_order(names: list[str]) -> None:
    assert [path.name for path in by_name(map(Path, reversed(names)))] == names


def test_a_bad_shot_follows_its_neighbour_by_number_when_times_give_the_order() -> None:
    items = [a_shot(dsc(1), NOON + 1.5), a_bad_shot(dsc(2)), a_shot(dsc(3), NOON + 0.5)]
    order, _, _ = in_order(items, "time")
    assert names_of(order) == [dsc(3), dsc(1), dsc(2)]


# Frame rate


def rate_of(times: Sequence[float], *, has_subsecond: bool = True, step: int = 1) -> Fraction:
    shots = [a_shot(dsc(n), t, has_subsecond=has_subsecond) for n, t in enumerate(times)]
    return frame_rate(clock_of(shots), step)[0]


RATES = [Fraction(n) for n in (2, 8, 10, 15, 16, 20, 24, 25, 30, 50, 60, 120)]
NTSC = [Fraction(n, 1001) for n in (24_000, 30_000, 60_000)]


@pytest.mark.parametrize("rate", [*RATES, *NTSC], ids=str)
def test_times_in_milliseconds_give_the_exact_rate(rate: Fraction) -> None:
    assert rate_of([round(NOON + i / rate, 3) for i in range(110)]) == rate


@pytest.mark.parametrize("rate", RATES[:9], ids=str)
def test_times_in_hundredths_give_the_rate_though_their_steps_differ(rate: Fraction) -> None:
    measured = rate_of([int(i * 100 / rate) / 100 + NOON for i in range(110)])
    assert measured == pytest.approx(rate, rel=0.002)


@settings(max_examples=200, deadline=None)
@given(rate=st.sampled_from([3, 5, 8, 10, 16, 20, 24]), phase=st.floats(0, 0.999))
def test_whole_seconds_give_the_rate_of_a_fast_burst(rate: int, phase: float) -> None:
    times = [NOON + int(phase + i / rate) for i in range(110)]
    assert rate_of(times, has_subsecond=False) == pytest.approx(rate, rel=0.021)


def test_an_odd_rate_is_kept_as_a_fraction() -> None:
    assert rate_of([NOON + i / 9.43 for i in range(50)]) == Fraction(943, 100)


def test_lost_shots_and_pauses_do_not_slow_the_video() -> None:
    times = [NOON + i / 20 for i in range(110) if i % 17]
    assert rate_of(times) == 20
    assert rate_of([*times, *(t + 60 for t in times)]) == 20
    whole = [NOON + i // 20 for i in range(110)]
    assert rate_of([*whole, *(t + 60 for t in whole)], has_subsecond=False) == 20


@pytest.mark.parametrize("shots", [3, 21, 41, 109])
def test_tenths_of_a_second_give_the_rate_of_a_faster_burst(shots: int) -> None:
    assert rate_of([NOON + i // 2 / 10 for i in range(shots)]) == 20


@pytest.mark.parametrize("phase", [0.0, 0.3, 0.61, 0.97])
@pytest.mark.parametrize("rate", [1, 2, 3, 5, 7, 8, 10, 12])
def test_tenths_of_a_second_give_the_rate_where_steps_differ_by_one(
    rate: int, phase: float
) -> None:
    """Of 7 or 8 frames/s most steps are one tenth and many are two, which are no lost shots."""
    assert rate_of([NOON + int(phase + 10 * i / rate) / 10 for i in range(85)]) == rate


def test_shots_lost_from_times_in_tenths_do_not_slow_the_video() -> None:
    assert rate_of([NOON + i / 10 for i in range(85) if i % 9]) == 10


@pytest.mark.parametrize("shots", [6, 12, 40])
@pytest.mark.parametrize("rate", [8, 20, 24, 30, 60])
def test_a_few_times_in_hundredths_give_a_standard_rate(rate: int, shots: int) -> None:
    """Up to the difference of 30 and 29.97 frames/s."""
    times = [NOON + int(0.5 + 100 * i / rate) / 100 for i in range(shots)]
    assert rate_of(times) == pytest.approx(rate, rel=0.045 if shots < 12 else 0.0011)


@pytest.mark.parametrize("interval", [0.9999, 1.0001])
def test_one_frame_a_second_may_be_a_little_slower(interval: float) -> None:
    assert rate_of([NOON + 0.03 + i * interval for i in range(20)]) == 1


@pytest.mark.parametrize(("interval", "step"), [(1.0, 2), (1.0, 3), (0.5, 5), (1001 / 30000, 2)])
def test_a_video_of_every_so_many_shots_lasts_as_long(interval: float, step: int) -> None:
    """However slow that makes it."""
    times = [NOON + 0.03 + i * interval for i in range(20)]
    assert rate_of(times, step=step) == rate_of(times) / step
    shots = [a_shot(dsc(n), time) for n, time in enumerate(times)]
    assert frame_rate(clock_of(shots), step)[1].endswith(f"one shot in {step}")


def test_two_shots_at_one_time_and_a_third_give_a_rate() -> None:
    assert rate_of([NOON, NOON, NOON + 0.1]) == 20


@pytest.mark.parametrize(
    "times",
    [[], [NOON + 0.5], [NOON, NOON], [NOON + 0.5] * 9, [NOON + i // 10 for i in range(25)]],
    ids=["none", "one", "two at once", "all at once", "too short for whole seconds"],
)
def test_times_that_tell_nothing_give_the_default(times: Sequence[float]) -> None:
    shots = [a_shot(dsc(n), t) for n, t in enumerate(times)]
    rate, reason = frame_rate(clock_of(shots), 1)
    assert rate == DEFAULT_FPS
    assert reason.startswith("default: ")


@pytest.mark.parametrize("interval", [0.001, 5.0])
def test_a_rate_no_video_has_gives_the_default_with_a_note(interval: float) -> None:
    shots = [a_shot(dsc(n), NOON + 0.5 + n * interval) for n in range(20)]
    rate, reason = frame_rate(clock_of(shots), 1)
    assert rate == DEFAULT_FPS
    assert "is no video's rate" in reason


def test_a_pause_is_pointed_out() -> None:
    times = [NOON + i / 20 + 30 * (i >= 6) for i in range(12)]
    (warning,) = pauses(clock_of(a_shot(dsc(n), t) for n, t in enumerate(times)))
    assert warning.startswith(f"A pause of 30 s before {dsc(6)}:")


def test_a_slow_burst_may_hesitate() -> None:
    times = [NOON + t for t in (0, 3, 6, 9, 16, 19, 22)]
    assert pauses(clock_of(a_shot(dsc(n), t) for n, t in enumerate(times))) == []


def test_a_steady_burst_has_no_pause() -> None:
    for interval in (0.05, 1.0, 20.0):
        times = [NOON + i * interval for i in range(12)]
        assert pauses(clock_of(a_shot(dsc(n), t) for n, t in enumerate(times))) == []
