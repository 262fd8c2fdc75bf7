"""The report in a real browser: what it shows, how it answers, and that it asks nobody."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from bench import tiny_bursts, words
from browser import Page, browser
from conftest import Checkpoints
from imageio import v3 as iio
from running import call

pytestmark = pytest.mark.slow  # a browser takes seconds to start

SCENE = "document.querySelector('.scene')"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def report(checkpoints: Checkpoints, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run with two systems and one that failed."""
    folder = tmp_path_factory.mktemp("page") / "report <i>&"
    models = f"clstm={checkpoints['plain']},3dcnn={checkpoints['3dcnn']},sid=<b>none</b>"
    with tiny_bursts():
        assert call(*words(models, folder)).code == 4
    return folder / "report.html"


@pytest.fixture
def page(report: Path, tmp_path: Path) -> Iterator[Page]:
    """The report, opened in a window 1200 pixels wide."""
    with browser(tmp_path / "profile") as opened:
        opened.open(report, width=1200)
        opened.until(f"[...{SCENE}.querySelectorAll('img')].every(i => i.complete)")
        yield opened


def test_the_page_needs_nothing_but_itself(report: Path) -> None:
    text = report.read_text()
    assert not re.search(r"(src|href)=[\"']?(?!data:)[^\"' >]*[/.]", text)
    assert "http" not in re.sub(r"http-equiv", "", text)
    assert "default-src 'none'" in text
    assert "{{" not in text
    assert "<b>none" not in text  # names from outside are text, not markup


def test_it_loads_without_a_word_in_the_console_and_asks_nobody(page: Page, report: Path) -> None:
    page.until("[...document.querySelectorAll('video[src]')].every(v => v.readyState >= 2)")
    assert page.complaints() == []
    assert page.requests() == [report.as_uri()]


def test_the_slider_moves_by_keys_and_by_mouse(page: Page) -> None:
    at = f"{SCENE}.querySelector('.stage').style.getPropertyValue('--at')"
    clip = f"getComputedStyle({SCENE}.querySelector('img[data-side=left]')).clipPath"
    assert page.value(at) == "50%"
    before = page.value(clip)
    page.value(f"{SCENE}.querySelector('input').focus()")
    page.press("ArrowRight", 39)
    assert page.value(at) == "51%"
    assert page.value(clip) != before
    page.press("Home", 36)
    assert page.value(at) == "0%"
    page.value(f"{SCENE}.querySelector('.stage').scrollIntoView()")
    box = page.value(f"{SCENE}.querySelector('.stage').getBoundingClientRect().toJSON()")
    page.click(box["x"] + 0.75 * box["width"], box["y"] + box["height"] / 2)
    assert page.value(at) == "75%"
    assert page.value(f"{SCENE}.querySelector('input').value") == "75"
    page.drag(box["x"] + 0.75 * box["width"], box["y"] + 9, box["x"] + 0.25 * box["width"])
    assert page.value(at) == "25%"


def test_the_edge_shows_the_left_picture_on_its_left(page: Page) -> None:
    page.value(
        f"{SCENE}.querySelectorAll('select').forEach((s, i) => "
        "{ s.value = ['as shot', 'reference'][i]; s.dispatchEvent(new Event('change')); })"
    )
    page.until(f"[...{SCENE}.querySelectorAll('img')].every(i => i.complete)")
    stage = f"{SCENE}.querySelector('.stage')"
    box = page.value(
        f"(b => [b.x + scrollX, b.y + scrollY, b.width, b.height])({stage}.getBoundingClientRect())"
    )
    left, top, width, height = map(round, box)
    shot = iio.imread(page.screenshot())[top + 40 : top + height, left : left + width, :3]
    dark, bright = np.split(shot[:, : width // 2 * 2], 2, axis=1)
    assert dark[:, 4:-4].mean() < 30 < 60 < bright[:, 4:-4].mean()


def test_any_two_systems_can_be_chosen(page: Page) -> None:
    choices = page.value(f"[...{SCENE}.querySelector('select').options].map(o => o.value)")
    assert choices == ["as shot", "clstm=plain", "3dcnn=3dcnn", "reference"]
    seen: set[str] = set()
    for side in ("left", "right"):
        for choice in choices:
            page.value(
                f"(s => {{ s.value = {choice!r}; s.dispatchEvent(new Event('change')); }})"
                f"({SCENE}.querySelector('select[data-side={side}]'))"
            )
            image = f"{SCENE}.querySelector('img[data-side={side}]')"
            page.until(f"{image}.complete && {image}.naturalWidth == 96")
            seen.add(page.value(f"{image}.src"))
            alt = page.value(f"{image}.alt")
            assert alt.startswith(f"The fifth frame, {side}: ")
            hidden = page.value(
                f"{SCENE}.querySelector('video[data-side={side}]').parentElement.hidden"
            )
            assert hidden == (choice in ("as shot", "reference"))
    assert len(seen) == len(choices)
    assert page.complaints() == []


def test_clips_play_and_loop(page: Page) -> None:
    video = f"{SCENE}.querySelector('video[data-side=right]')"
    page.value(f"{video}.scrollIntoView()")  # browsers play what is in view only
    page.until(f"{video}.readyState >= 2 && !{video}.paused && {video}.currentTime > 0")
    assert page.value(f"{video}.loop && {video}.muted")
    assert 0.9 < page.value(f"{video}.duration") < 1.1  # 8 frames at 8 a second


@pytest.mark.parametrize("width", [400, 800, 1200])
@pytest.mark.parametrize("dark", [False, True])
def test_the_layout_holds(width: int, dark: bool, page: Page, report: Path) -> None:
    page.open(report, width=width, dark=dark)
    page.until(f"[...{SCENE}.querySelectorAll('img')].every(i => i.complete)")
    assert page.value(OVERFLOW) == 0
    cut = (
        "[...document.querySelectorAll('h1,h2,h3,p,li,label,select,figure,.stage,input')]"
        ".filter(e => e.offsetParent).map(e => [e.tagName, e.getBoundingClientRect()])"
        ".filter(([, b]) => b.left < 0 || b.right > innerWidth).map(([t]) => t)"
    )
    assert page.value(cut) == []
    ink, paper = (_brightness(page, what) for what in ("color", "backgroundColor"))
    assert (ink > paper) == dark
    assert abs(ink - paper) > 150
    smallest = (
        "Math.min(...[...document.querySelectorAll('svg text')].map(t => "
        "11 * t.ownerSVGElement.getBoundingClientRect().width / 440))"
    )
    assert page.value(smallest) > 8  # pixels


def _brightness(page: Page, what: str) -> float:
    colour = page.value(f"getComputedStyle(document.body).{what}")
    return float(np.mean([int(part) for part in re.findall(r"\d+", colour)[:3]]))


def test_everything_has_a_name_for_those_who_do_not_see_it(page: Page) -> None:
    unnamed = (
        "[...document.querySelectorAll('img, svg, video[src], input, select, [role=region]')]"
        ".filter(e => !(e.alt || e.getAttribute('aria-label') || e.labels?.length))"
        ".map(e => e.outerHTML.slice(0, 80))"
    )
    assert page.value(unnamed) == []
