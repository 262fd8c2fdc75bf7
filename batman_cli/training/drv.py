"""The layout of the DRV dataset: which scenes there are, for what, and of which files.

train_list.txt, val_list.txt, test_list.txt    an id on each line
short/<id>/*.ARW                               the dark shots
long/<id>/*.ARW                                the long exposure, the first by name
long/<id>/half0001*.png                        it developed, where the dataset has that
VBM4D_rawRGB/<id>/*.png                        the shots amplified and denoised by V-BM4D
"""

from functools import partial
from pathlib import Path
from typing import NamedTuple

from batman_cli.errors import BadInput
from batman_cli.output import reason
from batman_cli.raw import RAW_SUFFIXES
from batman_cli.settings import DrvInput, OnBadData
from batman_cli.training.cache import Item, entry_key
from batman_cli.training.drv_scene import SceneFiles, about, write_scene

FOLDERS: dict[DrvInput, str] = {"short": "short", "vbm4d": "VBM4D_rawRGB"}
LISTS = ("train", "val", "test")
HELD_OUT = 8  # one scene in so many is for validation where no list says
DYNAMIC = "M"  # ids of sequences with motion begin so; their "long" exposure shows something else


class Scenes(NamedTuple):
    """The scenes of a dataset, and what is wrong with it."""

    training: list[Item]
    validation: list[Item]
    bad: list[BadInput]


def is_drv(folder: Path) -> bool:
    """Whether a folder has the layout of the DRV dataset."""
    if (folder / "train_list.txt").is_file():
        return True
    dark = any((folder / name).is_dir() for name in FOLDERS.values())
    return dark and (folder / "long").is_dir()


def find_scenes(root: Path, *, bin: int | None, drv_input: DrvInput, on_bad: OnBadData) -> Scenes:
    """The scenes that the lists of a dataset name; those for testing are never touched.

    Without a list for training that is every static scene of no other list, without one for
    validation every eighth of those for training. One scene alone serves both.
    Raises BadInput for a scene in two lists and for a list that cannot be read.
    """
    training, validation, bad = _split(root, drv_input)
    items: dict[str, Item] = {}
    for name in dict.fromkeys([*training, *validation]):
        try:
            files = find_files(root, name, drv_input)
            known = [*files.shots, files.long, *filter(None, [files.developed])]
            key = entry_key(known, drv_input, bin if drv_input == "short" else None)
            items[name] = Item(name, key, partial(write_scene, files, bin, drv_input, on_bad))
        except BadInput as error:
            bad.append(about(name, error))
    return Scenes(
        [items[name] for name in training if name in items],
        [items[name] for name in validation if name in items],
        bad,
    )


def _split(root: Path, drv_input: DrvInput) -> tuple[list[str], list[str], list[BadInput]]:
    """Ids for training and validation, and what is empty. Raises BadInput for an id in two."""
    lists = {kind: read_list(root / f"{kind}_list.txt") for kind in LISTS}
    list_of: dict[str, str] = {}
    for kind, names in lists.items():
        for name in names or []:
            if list_of.setdefault(name, kind) != kind:
                why = f"stands in {list_of[name]}_list.txt and in {kind}_list.txt of {root}"
                raise BadInput(f"scene {name}", why, "leave it in one of them")
    training, validation = lists["train"], lists["val"]
    bad = [
        BadInput(f"{root.name}/{kind}_list.txt", "names no scene")
        for kind in ("train", "val")
        if lists[kind] == []
    ]
    if training is None:
        folder = root / FOLDERS[drv_input]
        training = [name for name in _present(folder) if name not in list_of]
        if not training:
            other = _other(drv_input)
            fix = ""
            if _present(root / FOLDERS[other]):
                fix = f"--drv-input {other} reads {FOLDERS[other]}"
            bad.append(BadInput(f"{root.name}/{folder.name}", "holds no scene to train on", fix))
    if not validation:
        validation = sorted(training)[::HELD_OUT]
        training = [name for name in training if name not in validation] or training
    return training, validation, bad


def read_list(path: Path) -> list[str] | None:
    """Ids of a list, each once; None if there is no list. Raises BadInput."""
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadInput(path.name, f"cannot be read: {reason(error)}") from error
    return list(dict.fromkeys(line.strip() for line in lines if line.strip()))


def _present(folder: Path) -> list[str]:
    """Ids of the static scenes that have a folder."""
    if not folder.is_dir():
        return []
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    return [name for name in names if not name.startswith((".", DYNAMIC))]


def find_files(root: Path, name: str, drv_input: DrvInput) -> SceneFiles:
    """The files of a scene. Raises BadInput where some are missing."""
    if Path(name).name != name:
        raise BadInput("is no id of a scene", fix="lists have an id such as 0022 on each line")
    if name.startswith(DYNAMIC):
        raise BadInput("has motion and thus no reference", fix="take it from its list")
    folder = root / FOLDERS[drv_input] / name
    shots = _listing(folder, RAW_SUFFIXES if drv_input == "short" else frozenset({".png"}))
    if not shots:
        what = "there are no shots in" if folder.is_dir() else "there is no folder"
        fix = "complete the dataset, or take the scene from its list"
        other = _other(drv_input)
        if (root / FOLDERS[other] / name).is_dir():
            fix = f"--drv-input {other} reads {FOLDERS[other]}/{name}"
        raise BadInput(f"{what} {FOLDERS[drv_input]}/{name}", fix=fix)
    long = _listing(root / "long" / name, RAW_SUFFIXES)
    if not long:
        raise BadInput(f"there is no long exposure in long/{name}", fix="complete the dataset")
    developed = sorted((root / "long" / name).glob("half0001*.png"))
    return SceneFiles(name, shots, long[0], developed[0] if developed else None)


def _other(drv_input: DrvInput) -> DrvInput:
    return "vbm4d" if drv_input == "short" else "short"


def _listing(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    """Files with one of some suffixes, by name; none where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and not path.name.startswith(".")
    )
