"""Results on the disk, each whole or not at all, so that a run can be ended and gone on with.

results/<scene>/<system>.json    what a system left of a scene; of a checkpoint of the user's, the
                                 name has its stem and hash, for runs of training name theirs alike
results/<scene>/scene.json       pictures of the scene itself
report.html, .json, .csv, .md, .svg    all of them together, at the end
"""

import contextlib
import json
import math
from collections.abc import Generator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from batman_cli import __version__
from batman_cli.bench.data import Scene
from batman_cli.bench.measure import Cost, Measured
from batman_cli.bench.scores import Score
from batman_cli.bench.systems import System
from batman_cli.errors import OutputError
from batman_cli.output import exclusive, hidden, put_in_place, reason
from batman_cli.shipped import list_models, listed_name, sha256

RESULTS, SCENE = "results", "scene"
HASH_DIGITS = 12  # in names of files; the whole hash is in them
MEASURED = 4  # counts changes of what results hold; with another one all is measured anew
REPORTS = ("report.html", "report.json", "report.csv", "report.md", "report.svg")


@contextlib.contextmanager
def opened(folder: Path, *, overwrite: bool, resume: bool) -> Generator[None]:
    """A block that has the folder of a report for itself; made if need be.

    overwrite: an earlier report there is removed first, and nothing else. resume: it is gone on
    with. Raises OutputError where there is one and neither is asked, for files of these names that
    are no report's, where another run is in the folder, and where it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {folder}", reason(error), "choose another -o") from error
    try:
        with exclusive(folder / REPORTS[0]):
            _check(folder, overwrite=overwrite, resume=resume)
            if overwrite:
                _clear(folder)
            yield
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()  # where nothing was written


def _check(folder: Path, *, overwrite: bool, resume: bool) -> None:
    found = [name for name in (RESULTS, *REPORTS) if (folder / name).exists()]
    if not found:
        return
    if not (folder / RESULTS).is_dir():
        what = f"{folder} is not the folder of a report"
        raise OutputError(what, f"but it has a {found[0]}", "name another folder with -o")
    if not (overwrite or resume):
        raise OutputError(
            f"{folder} holds a report",
            f"there is {found[0]}",
            "--resume goes on with it, --overwrite replaces it, -o names another folder",
        )


def _clear(folder: Path) -> None:
    try:
        for path in (*(folder / name for name in REPORTS), *folder.glob(f"{RESULTS}/*/*.json")):
            path.unlink(missing_ok=True)
        for path in (*folder.glob(f"{RESULTS}/*"), folder / RESULTS):
            with contextlib.suppress(OSError):  # something else is in it
                path.rmdir()
    except OSError as error:
        raise OutputError(f"cannot clear {folder}", reason(error), "choose another -o") from error


class Store:
    """The results in the folder of a report."""

    def __init__(self, folder: Path, device: str) -> None:
        """Nothing is read or written yet. device: whose results count, such as "cpu, fp32"."""
        self.folder, self.device = folder, device

    def write(self, scene: Scene, system: System, measured: Measured) -> None:
        """Keeps a result. Raises OutputError."""
        weights = _hash_of(system)
        fields = {"of": self._identity(scene, weights), **asdict(measured)}
        write_whole(self._path(scene, _file_name(system, weights)), to_json(fields))

    def read(self, scene: Scene, system: System) -> Measured | None:
        """The result of this system, checkpoint, scene, device and version; None without one."""
        weights = _hash_of(system)
        fields = self._fields(scene, _file_name(system, weights))
        if fields.get("of") != json.loads(to_json(self._identity(scene, weights))):
            return None
        try:
            score = dict(fields["score"])
            frames = tuple(map(_number, score.pop("psnr_frames")))
            scores = {name: _number(value) for name, value in score.items()}
            width, height = fields["size"]
            cost = dict(fields["cost"])
            return Measured(
                Score(**scores, psnr_frames=frames),
                Cost(_number(cost.pop("ms")), **cost),
                (width, height),
                fields["picture"],
                fields["clip"],
            )
        except (KeyError, TypeError, ValueError, AttributeError):  # written by something else
            return None

    def write_pictures(self, scene: Scene, pictures: Mapping[str, str]) -> None:
        """Keeps data URIs of the scene itself, by name. Raises OutputError."""
        write_whole(self._path(scene, SCENE), to_json({"of": scene.facts, "pictures": pictures}))

    def read_pictures(self, scene: Scene) -> dict[str, str]:
        """What `write_pictures` kept of this very scene; empty without."""
        fields = self._fields(scene, SCENE)
        return fields["pictures"] if fields.get("of") == json.loads(to_json(scene.facts)) else {}

    def _identity(self, scene: Scene, weights: str | None) -> dict[str, Any]:
        return {
            "version": [__version__, MEASURED],
            "device": self.device,
            "scene": dict(scene.facts),
            "frames": scene.frames,
            "weights": weights,
        }

    def _path(self, scene: Scene, name: str) -> Path:
        return self.folder / RESULTS / scene.name / f"{name}.json"

    def _fields(self, scene: Scene, name: str) -> dict[str, Any]:
        try:
            fields = json.loads(self._path(scene, name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return fields if isinstance(fields, dict) else {}


def _file_name(system: System, weights: str | None) -> str:
    """Name of a system's results, without suffix; checkpoints of the user's never share one."""
    if system.weights is None:
        return system.name
    return f"{system.name}={system.weights.stem}-{(weights or 'none')[:HASH_DIGITS]}"


def _hash_of(system: System) -> str | None:
    """SHA-256 of the checkpoint; None for what has none, or has lost it."""
    if system.weights:
        return sha256(system.weights) if system.weights.is_file() else None
    listed = list_models().get(listed_name(system.name))
    return listed.sha256 if listed else None


def write_whole(path: Path, text: str) -> None:
    """Writes a file whole or not at all, over what is there. Raises OutputError."""
    part = hidden(path, "part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Names of files need not be text; what is not, JSON reads back as it was.
        part.write_text(text, encoding="utf-8", errors="backslashreplace")
        put_in_place(part, path, overwrite=True)
    except OSError as error:
        fix = "Free some space on that disk, then go on with --resume."
        raise OutputError(f"cannot write {path}", reason(error), fix) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def to_json(value: object) -> str:
    """JSON in which NaN is null and infinity the text "inf", for JSON has neither."""
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False, indent=1)


def _plain(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _number(value: float | str | None) -> float:
    """A float as `to_json` wrote it."""
    return math.nan if value is None else float(value)
