"""What a comparison measures, what it leaves, and how it goes on."""

import json
import math
import os
import re
import signal
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from bench import (
    photos,
    read_csv,
    read_json,
    read_markdown,
    tiny_bursts,
    without_times,
    words,
)
from conftest import Checkpoints
from running import call, names, start
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from training import drv_tree, write_png16

from batman_cli import enhance_frames
from batman_cli.bench import data, run
from batman_cli.bench.data import Scene, find_scenes
from batman_cli.bench.measure import measure
from batman_cli.bench.plot import LETTER, Point, alone, scatter
from batman_cli.bench.scene import FIFTH, Ready, prepare
from batman_cli.bench.scores import Scores, graded
from batman_cli.bench.store import REPORTS
from batman_cli.bench.systems import SYSTEMS, choose
from batman_cli.bench.tables import TABLES, note_of
from batman_cli.develop import develop, tone_curve
from batman_cli.device import choose_device
from batman_cli.errors import BadInput, UsageError
from batman_cli.metrics import psnr
from batman_cli.models import KINDS, build
from batman_cli.raw import read_developed
from batman_cli.settings import EnhanceSettings
from batman_cli.weights import save


@pytest.fixture(autouse=True)
def small() -> Iterator[None]:
    with tiny_bursts():
        yield


def both(checkpoints: Checkpoints) -> str:
    """Two systems, as `--models` takes them."""
    return f"clstm={checkpoints['plain']},3dcnn={checkpoints['3dcnn']}"


@pytest.fixture(scope="module")
def report(checkpoints: Checkpoints, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of two systems that work and one that has no checkpoint."""
    folder = tmp_path_factory.mktemp("bench") / "report"
    with tiny_bursts():
        ran = call(*words(f"{both(checkpoints)},kpn={folder / 'none.safetensors'}", folder))
    assert ran.code == 4, ran.err
    return folder


def test_what_is_missing_is_named_and_the_rest_goes_on(report: Path) -> None:
    rows = {row["label"]: row for row in read_csv(report)}
    assert rows["KPN + rawpy, none†"]["scenes"] == "0 of 2"
    assert "no checkpoint" in rows["KPN + rawpy, none†"]["failed"]
    assert rows["batman clstm, plain"]["scenes"] == "2 of 2"
    assert rows["batman clstm, plain"]["failed"] == ""
    assert read_json(report)["failures"][0]["system"] == "kpn=none"
    for name in ("report.md", "report.html"):
        assert "KPN + rawpy, none†: no checkpoint" in (report / name).read_text()


def test_the_numbers_are_the_same_in_every_format(report: Path) -> None:
    written, told = read_csv(report), read_json(report)["rows"]
    assert [row["system"] for row in written] == ["kpn=none", "clstm=plain", "3dcnn=3dcnn"]
    for row, other in zip(written, told, strict=True):
        assert row.keys() == other.keys()
        for name, value in other.items():
            assert row[name] == ("" if value is None else str(value))
    for (_, columns), (headings, *rows) in zip(TABLES, read_markdown(report), strict=True):
        assert headings == [column.heading for column in columns]
        for row, cells in zip(written, rows, strict=True):
            for column, cell in zip(columns, cells, strict=True):
                value = row[column.field]
                if column.digits is not None and value:
                    assert float(cell) == float(value)
                else:
                    assert cell == (value or "-")


def test_every_line_says_that_it_is_simulated(report: Path) -> None:
    assert {row["data"] for row in read_csv(report)} == {"simulated"}
    for _, *rows in read_markdown(report):
        assert all(row[1] == "simulated" for row in rows)
    assert "<strong>simulated</strong>" in (report / "report.html").read_text()


def test_every_score_is_there_but_those_that_are_not_defined(report: Path) -> None:
    still, moving = (scene["results"]["3dcnn=3dcnn"] for scene in read_json(report)["scenes"])
    assert all(still["score"][name] > 0 for name in ("psnr", "ssim", "tpsnr", "tssim", "tmae"))
    assert still["score"]["temporal_error"] is None
    assert len(still["score"]["psnr_frames"]) == 8
    assert still["score"]["psnr_frames"][FIFTH] == still["score"]["psnr"]
    assert moving["score"]["tpsnr"] is None
    assert moving["score"]["temporal_error"] > 0
    assert moving["score"]["psnr_frames"] == []
    cost = still["cost"]
    assert cost["ms"] > 0
    assert cost["gmac"] > 0
    assert cost["parameters"] > 1000
    assert cost["delay"] == 2
    assert cost["memory_mib"] is None or 50 < cost["memory_mib"] < 20_000


def test_scores_are_those_of_the_protocol(checkpoints: Checkpoints, report: Path) -> None:
    scene = find_scenes(None, quick=True)[0]
    with prepare(scene) as ready:
        folder = ready.plan.burst.folder
        settings = EnhanceSettings(model="clstm", weights=checkpoints["plain"])
        frames = [(frame / 257).round() / 255 for frame in enhance_frames(folder, settings)]
        long = next((folder.parents[1] / "long" / folder.name).iterdir())
        linear = read_developed(long).astype(np.float64) / 65535
    reference = tone_curve(torch.from_numpy(linear)).numpy()
    similarity = structural_similarity(
        *(frames[4], reference),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1,
        channel_axis=2,
    )
    pairs = [peak_signal_noise_ratio(frames[t], frames[t + 1], data_range=1) for t in (4, 5, 6)]
    score = read_json(report)["scenes"][0]["results"]["clstm=plain"]["score"]
    psnr = peak_signal_noise_ratio(reference, frames[4], data_range=1)
    assert score["psnr"] == pytest.approx(psnr, abs=1e-6)
    assert score["ssim"] == pytest.approx(similarity, abs=1e-6)
    assert score["tpsnr"] == pytest.approx(np.mean(pairs), abs=1e-6)


def test_temporal_scores_cover_the_fifth_frame_to_the_last_but_three() -> None:
    assert list(graded(12)) == [4, 5, 6, 7, 8]
    assert graded(110) == range(4, 107)
    assert list(graded(8)) == [4, 5, 6, 7]  # one frame alone makes no pair
    assert len(graded(5)) == 1


def test_a_constant_picture_wins_no_more_than_the_scores_without_reference() -> None:
    still, moving = find_scenes(None, quick=True)
    with prepare(still) as ready:
        grey = _scores(ready, lambda _: np.full((64, 96, 3), 128, np.uint8))
        assert grey.score().tpsnr == np.inf
        assert grey.score().tmae == 0
        assert grey.score().psnr < 20
    with prepare(moving) as ready:
        assert ready.views is not None
        views = (ready.views.permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)
        right = _scores(ready, lambda t: views[t]).score()
        grey = _scores(ready, lambda _: np.full((64, 96, 3), 128, np.uint8)).score()
        frozen = _scores(ready, lambda _: views[0]).score()
    assert right.temporal_error < 0.3
    assert grey.temporal_error == frozen.temporal_error > 10 * right.temporal_error


def _scores(ready: Ready, picture) -> Scores:
    scores = Scores(ready)
    for number in range(ready.scene.frames):
        scores.add(picture(number))
    return scores


def test_the_reference_of_a_moving_scene_is_its_fifth_frame() -> None:
    with prepare(find_scenes(None, quick=True)[1]) as ready:
        assert ready.views is not None
        errors = [float((view - ready.reference).square().mean()) for view in ready.views]
    assert int(np.argmin(errors)) == FIFTH


@pytest.mark.slow
def test_a_system_that_fails_on_a_scene_is_named(
    checkpoints: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = run.measure

    def fails(system, ready, device, **options):
        if system.name == "clstm" and ready.scene.name == "02":
            raise RuntimeError("out of ideas")
        return measure(system, ready, device, **options)

    monkeypatch.setattr(run, "measure", fails)
    ran = call(*words(both(checkpoints), tmp_path / "report"))
    assert ran.code == 4
    assert "batman clstm, plain on scene 02 failed: RuntimeError: out of ideas" in ran.err
    clstm, cnn = read_csv(tmp_path / "report")
    assert (clstm["scenes"], cnn["scenes"]) == ("1 of 2", "2 of 2")
    assert clstm["failed"] == "scene 02: RuntimeError: out of ideas"


def test_without_any_result_the_reason_is_the_error(tmp_path: Path) -> None:
    ran = call(*words(f"clstm={tmp_path / 'none.safetensors'}", tmp_path / "report"))
    assert ran.code == 5
    assert "nothing could be measured: no checkpoint" in ran.err
    assert not (tmp_path / "report").exists()


@pytest.mark.slow
def test_what_is_done_is_not_done_again(
    checkpoints: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, measure = tmp_path / "report", run.measure
    done: list[str] = []

    def interrupted(system, ready, device, **options):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(f"{ready.scene.name} {system.name}")
        return measure(system, ready, device, **options)

    monkeypatch.setattr(run, "measure", interrupted)
    ran = call(*words(both(checkpoints), folder))
    assert ran.code == 130
    assert "go on with --resume" in ran.err
    assert names(folder) == ["results"]
    done.clear()
    assert call(*words(both(checkpoints), folder, "--resume")).code == 0
    assert done == ["02 3dcnn"]
    done.clear()
    assert call(*words(both(checkpoints), folder, "--resume")).code == 0
    assert done == []
    other = f"clstm={checkpoints['clstm'].rename(tmp_path / 'plain.safetensors')}"
    assert call(*words(other, folder, "--resume")).code == 0
    (tmp_path / "plain.safetensors").rename(checkpoints["clstm"])
    assert done == ["01 clstm", "02 clstm"]  # another checkpoint under the same name


def test_names_need_not_be_text(checkpoints: Checkpoints, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    pictures = photos(folder / "photos")
    first = next(pictures.iterdir())
    first.rename(first.with_stem(os.fsdecode(b"night \xe9")))
    words_of = words(f"clstm={checkpoints['plain']}", tmp_path / "one", "--data", pictures)
    assert call(*words_of).code == 0
    assert {path.name for path in (tmp_path / "one").iterdir()} == {"results", *REPORTS}
    assert "simulated" in (tmp_path / "one" / "report.svg").read_text()
    root = drv_tree(folder / "DRV")
    words_of = words(f"clstm={checkpoints['plain']}", tmp_path / "two", "--data", root)
    assert call(*words_of).code == 0
    (result, *_) = (tmp_path / "two").glob("results/*/clstm*")
    before = result.stat().st_mtime_ns
    assert call(*words_of, "--resume").code == 0
    assert result.stat().st_mtime_ns == before


@pytest.mark.fault
def test_a_killed_run_goes_on_where_it_was(checkpoints: Checkpoints, tmp_path: Path) -> None:
    pictures, folder = photos(tmp_path / "photos"), tmp_path / "report"
    asked = words(both(checkpoints), folder, "--data", pictures)
    running = start(*asked)
    while not (done := list(folder.glob("results/*/clstm*.json"))):
        assert running.poll() is None, running.communicate()
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    first = (done[0].read_bytes(), done[0].stat().st_mtime_ns)
    again = start(*asked, "--resume")
    _, said = again.communicate(timeout=120)
    assert again.returncode == 0, said
    assert (done[0].read_bytes(), done[0].stat().st_mtime_ns) == first
    assert names(folder) == sorted([*REPORTS, "results"])
    whole = start(*words(both(checkpoints), tmp_path / "whole", "--data", pictures))
    whole.communicate(timeout=120)
    resumed, straight = (read_json(f)["scenes"] for f in (folder, tmp_path / "whole"))
    assert without_times(resumed) == without_times(straight)


@pytest.mark.slow
def test_a_report_is_replaced_only_if_that_is_asked(
    checkpoints: Checkpoints, report: Path, tmp_path: Path
) -> None:
    asked = f"clstm={checkpoints['plain']}"
    before = (report / "report.json").read_text()
    refused = call(*words(asked, report))
    assert refused.code == 7
    assert "--resume goes on with it, --overwrite replaces it" in refused.err
    assert (report / "report.json").read_text() == before
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    assert call(*words(asked, folder)).code == 0
    (folder / "results" / "01" / "own.txt").write_text("mine")
    assert call(*words(f"3dcnn={checkpoints['3dcnn']}", folder, "--overwrite")).code == 0
    assert [row["system"] for row in read_csv(folder)] == ["3dcnn=3dcnn"]
    result, *others = names(folder / "results" / "01")
    assert re.fullmatch(r"3dcnn=3dcnn-[0-9a-f]{12}\.json", result)
    assert others == ["own.txt", "scene.json"]
    assert (folder / "notes.txt").read_text() == "mine"
    both_asked = call(*words(asked, folder, "--overwrite", "--resume"))
    assert both_asked.code == 2


def test_a_plot_has_all_systems_and_joins_the_best() -> None:
    points = [
        Point("cheap", "#111", 1, 20),
        Point("best", "#222", 100, 25),
        Point("beaten", "#333", 1000, 24),
        Point("nothing learned", "#444", math.nan, 22),
        Point("failed", "#555", math.nan, math.nan),
    ]
    drawing = ET.fromstring(alone(scatter("work", "quality", points)))
    svg = "{http://www.w3.org/2000/svg}"
    said = {text.text for text in drawing.iter(f"{svg}text")}
    assert {"cheap", "best", "beaten", "nothing learned"} <= said
    assert "failed" not in said
    circles = {c.get("fill"): (c.get("cx"), c.get("cy")) for c in drawing.iter(f"{svg}circle")}
    assert circles.keys() == {"#111", "#222", "#333"}
    (front,) = drawing.iter(f"{svg}polyline")
    assert front.get("points") == " ".join(",".join(map(str, circles[c])) for c in ("#111", "#222"))
    (level,) = (line for line in drawing.iter(f"{svg}line") if line.get("stroke") == "#444")
    ends = level.get("y1"), level.get("y2")
    assert ends[0] == ends[1]
    assert float(circles["#222"][1] or 0) < float(ends[0] or 0) < float(circles["#111"][1] or 0)


def test_a_label_is_nearest_to_its_own_point() -> None:
    points = [
        Point("3D-CNN (report)", "#111", 453, 22.8),
        Point("KPN + rawpy", "#222", 777, 22.4),
        Point("CLSTM (report)", "#333", 431, 22.1),
        Point("a name at the left end", "#444", 50, 22.5),
        Point("input", "#555", math.nan, 13.5),
    ]
    drawing = ET.fromstring(alone(scatter("work", "quality", points)))
    svg = "{http://www.w3.org/2000/svg}"
    texts = {text.text: text for text in drawing.iter(f"{svg}text")}
    places = {
        circle.get("fill"): (float(circle.get("cx") or 0), float(circle.get("cy") or 0))
        for circle in drawing.iter(f"{svg}circle")
    }
    for point in points[:-1]:
        text = texts[point.label]
        x, row = float(text.get("x") or 0), float(text.get("y") or 0)
        width = LETTER * len(point.label)
        left = x - width * {"start": 0, "middle": 0.5, "end": 1}[text.get("text-anchor") or ""]
        gaps = {
            colour: math.hypot(max(left - across, across - left - width, 0), row - 4 - down)
            for colour, (across, down) in places.items()
        }
        assert min(gaps, key=gaps.__getitem__) == point.colour


def test_no_plot_is_written_where_nothing_can_be_drawn() -> None:
    assert alone(scatter("work", "quality", [Point("level", "#444", math.nan, 22)])) == ""


def test_another_folder_with_such_a_file_is_left_alone(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    (tmp_path / "report.csv").write_text("mine")
    ran = call(*words(f"clstm={checkpoints['plain']}", tmp_path, "--overwrite"))
    assert ran.code == 7
    assert (tmp_path / "report.csv").read_text() == "mine"


@pytest.mark.parametrize("marked", [True, False])
def test_a_copy_of_drv_is_measured_by_its_test_list(
    marked: bool, checkpoints: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = drv_tree(tmp_path / "DRV")
    if not marked:  # as if a camera had made them
        monkeypatch.setattr(data, "SOFTWARE", "no such program")
    listed = (root / "test_list.txt").read_text().split()
    (root / "test_list.txt").write_text(f"{listed[0]}\n0999\n")
    ran = call(*words(f"clstm={checkpoints['plain']}", tmp_path / "report", "--data", root))
    assert ran.code == 4
    assert "scene 0999 failed: there is no folder short/0999" in ran.err
    row = read_csv(tmp_path / "report")[0]
    assert (row["data"], row["scenes"]) == ("simulated" if marked else "DRV", "1 of 2")
    assert "short/0999" in row["failed"]


@pytest.mark.parametrize("motion", ["static", "handheld"])
def test_simulated_scenes_that_move_are_not_scored_as_still_ones(
    motion: str, tmp_path: Path
) -> None:
    root = drv_tree(tmp_path / "DRV", motion=motion)
    assert {scene.still for scene in find_scenes(root, quick=False)} == {motion == "static"}


def test_a_scene_is_another_once_any_file_of_it_is(tmp_path: Path) -> None:
    root = drv_tree(tmp_path / "DRV")
    name = (root / "test_list.txt").read_text().split()[0]
    seen = [find_scenes(root, quick=False)[0].facts]
    for file in ("short/{}/00002.ARW", "long/{}/0001.ARW", "long/{}/half0001_x.png"):
        path = root / file.format(name)
        path.touch()
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
        seen.append(find_scenes(root, quick=False)[0].facts)
    assert len({facts["files"] for facts in seen}) == 4


def test_the_notes_say_what_network_was_measured(tmp_path: Path) -> None:
    """Of a file what is in it, not what is shipped under that name."""

    def note(**sizes: object) -> str:
        file = tmp_path / "best.safetensors"
        save(file, build("smid", {"width": 2, **sizes}), "smid", {})
        return note_of(choose(f"smid={file}")[0])

    assert "given batman's aligned average" in note()
    assert "of another size than usual: width 2;" in note(input="vbm4d")
    assert "given our V-BM4D" in note(input="vbm4d")
    (shipped,) = choose("smid")
    assert "of another size than usual: width 13" in note_of(shipped)
    (full,) = choose("sid")
    assert "another size" not in note_of(full)


def test_a_folder_with_nothing_to_measure_on_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder, code, said in (
        (tmp_path / "empty", 3, "nothing to measure on"),
        (tmp_path / "nowhere", 2, "is no folder"),
    ):
        ran = call("bench", "--data", folder, "-o", tmp_path / "report")
        assert (ran.code, said in ran.err) == (code, True)
    (tmp_path / "empty" / "short").mkdir()
    (tmp_path / "empty" / "long").mkdir()
    assert call("bench", "--data", tmp_path / "empty", "-o", tmp_path / "report").code == 3


def test_systems_stand_in_the_order_of_the_paper() -> None:
    order = ["rawpy", "vbm4d", "kpn", "sid", "smid", "clstm-paper", "3dcnn-paper", "clstm", "3dcnn"]
    assert [system.name for system in SYSTEMS] == order
    assert set(order) - {"rawpy", "vbm4d"} == set(KINDS)  # what can be trained
    assert [system.name for system in choose("3dcnn, rawpy,smid")] == ["rawpy", "smid", "3dcnn"]
    for asked in ("nothing", "", ",", "clstm,clstm"):
        with pytest.raises(UsageError):
            choose(asked)


def test_checkpoints_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    def told(*files: str) -> list[tuple[str, str]]:
        asked = ",".join(f"3dcnn={tmp_path / file}" for file in files)
        return [(system.key, system.label) for system in choose(asked)]

    assert told("a/best.safetensors", "b/best.safetensors", "b/other.safetensors") == [
        ("3dcnn=a/best", "batman 3dcnn, a/best"),
        ("3dcnn=b/best", "batman 3dcnn, b/best"),
        ("3dcnn=other", "batman 3dcnn, other"),
    ]
    assert told("a/run/best.safetensors", "b/run/best.safetensors", "c/best.safetensors") == [
        ("3dcnn=a/run/best", "batman 3dcnn, a/run/best"),
        ("3dcnn=b/run/best", "batman 3dcnn, b/run/best"),
        ("3dcnn=c/best", "batman 3dcnn, c/best"),
    ]
    assert told("a/best.safetensors") == [("3dcnn=best", "batman 3dcnn, best")]
    with pytest.raises(UsageError):
        told("a/best.safetensors", "b/../a/best.safetensors")
    two_systems = choose(f"clstm={tmp_path}/a/best.safetensors,3dcnn={tmp_path}/b/best.safetensors")
    assert [system.key for system in two_systems] == ["clstm=best", "3dcnn=best"]


def test_results_of_checkpoints_of_one_name_lie_side_by_side(
    checkpoints: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (tmp_path / run / "best.safetensors" for run in ("first", "second"))
    for source, copy in ((checkpoints["plain"], first), (checkpoints["clstm"], second)):
        copy.parent.mkdir()
        copy.write_bytes(source.read_bytes())
    folder = tmp_path / "report"
    assert call(*words(f"clstm={first}", folder)).code == 0
    assert call(*words(f"clstm={second}", folder, "--resume")).code == 0
    assert [row["system"] for row in read_csv(folder)] == ["clstm=best"]

    def nothing_to_do(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(run, "measure", nothing_to_do)
    assert call(*words(f"clstm={first},clstm={second}", folder, "--resume")).code == 0
    rows = read_csv(folder)
    assert [row["system"] for row in rows] == ["clstm=first/best", "clstm=second/best"]
    assert rows[0]["label"] == "batman clstm, first/best"
    assert rows[0]["psnr"] != rows[1]["psnr"]


def test_events_are_json_lines(checkpoints: Checkpoints, tmp_path: Path) -> None:
    ran = call(*words(f"clstm={checkpoints['plain']}", tmp_path / "report", "--json"))
    events = [json.loads(line) for line in ran.out.splitlines()]
    results = [event for event in events if event["event"] == "result"]
    assert [(event["scene"], event["data"]) for event in results] == [
        ("01", "simulated"),
        ("02", "simulated"),
    ]
    assert events[-1]["event"] == "done"


def test_every_photo_and_every_light_is_used(tmp_path: Path) -> None:
    scenes = find_scenes(photos(tmp_path / "photos", 9), quick=False)
    assert len({scene.facts["picture"] for scene in scenes}) == 9
    assert {scene.facts["ratio"] for scene in scenes} == {60, 100, 200}
    assert {scene.still for scene in scenes} == {True, False}
    assert len({scene.facts["seed"] for scene in scenes}) == len(scenes)


def test_a_burst_without_a_fifth_shot_is_refused(tmp_path: Path) -> None:
    scene: Scene = replace(find_scenes(None, quick=True)[0], frames=4)
    with pytest.raises(Exception, match="4 shots"), prepare(scene):
        pass


def test_the_pictures_are_small_and_their_origin_is_told() -> None:
    folder = data.PICTURES[0].parent
    assert sorted(folder.glob("*.jpg")) == sorted(data.PICTURES)
    assert sum(path.stat().st_size for path in data.PICTURES) < 300_000
    told = (folder / "README.md").read_text()
    assert all(path.name in told for path in data.PICTURES)


def denoised_before(root: Path, scene: str) -> tuple[Path, list[tuple[float, float, float]]]:
    """The folder of V-BM4D's pictures of a scene, even ones, and their levels."""
    folder = root / "VBM4D_rawRGB" / scene
    folder.mkdir(parents=True)
    levels = [(0.2 + 0.01 * number, 0.3, 0.1) for number in range(8)]
    for number, level in enumerate(levels, 1):
        even = np.broadcast_to(np.rint(65535 * np.array(level)).astype(np.uint16), (64, 96, 3))
        write_png16(folder / f"{number:04d}.png", even)
    return folder, levels


def test_pictures_of_others_have_no_time_and_hold_up_nobody(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    root, folder = drv_tree(tmp_path / "DRV"), tmp_path / "report"
    first, *_ = (root / "test_list.txt").read_text().split()
    (root / "test_list.txt").write_text(first)
    denoised_before(root, first)
    asked = words(f"vbm4d,clstm={checkpoints['plain']}", folder, "--data", root, "--json")
    ran = call(*asked)
    assert ran.code == 0, ran.err
    told = [json.loads(line) for line in ran.out.splitlines()]
    times = {event["system"]: event["ms"] for event in told if event["event"] == "result"}
    assert times.pop("vbm4d") is None
    assert [ms > 0 for ms in times.values()] == [True]
    assert call(*asked, "--resume").code == 0
    assert [row["ms"] == "" for row in read_csv(folder)] == [True, False]


def test_the_datasets_own_vbm4d_pictures_are_taken(tmp_path: Path) -> None:
    """Linear, amplified, without white balance: developed as every system's frames are."""
    root = drv_tree(tmp_path / "DRV")
    name = (root / "test_list.txt").read_text().split()[0]
    folder, levels = denoised_before(root, name)
    scene = next(one for one in find_scenes(root, quick=False) if one.name == name)
    with prepare(scene) as ready:
        first = ready.plan.first
        shown = torch.tensor(levels[FIFTH]) * torch.tensor(first.white_balance)
        wanted = develop(shown[:, None, None], torch.tensor(first.color_matrix))
        wanted = ((wanted * 255).round() / 255).expand(ready.reference.shape)
        system, *_ = choose("vbm4d")
        device = choose_device("cpu", "fp32")
        found = measure(system, ready, device, pictures=False, like=None, on_frame=lambda: None)
        assert found.score.psnr == pytest.approx(psnr(wanted, ready.reference), abs=1e-3)
        assert math.isnan(found.cost.ms)
        (folder / "0005.png").write_bytes(b"damaged")
        with pytest.raises(BadInput, match=r"0005\.png"):
            measure(system, ready, device, pictures=False, like=None, on_frame=lambda: None)
