"""What training draws from: every kind of data, told apart by what is in it, decoded once."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from batman_cli.errors import BadInput, UsageError
from batman_cli.output import reason, spelled_out
from batman_cli.raw import RAW_SUFFIXES
from batman_cli.settings import DrvInput, OnBadData
from batman_cli.timeline import shown
from batman_cli.training.cache import Entry, Item, OnItem, build
from batman_cli.training.drv import find_scenes, is_drv
from batman_cli.training.drv_scene import DrvScene, bad_shots, scene_of
from batman_cli.training.folder import is_run
from batman_cli.training.footage import (
    PHOTO_SUFFIXES,
    SUFFIXES,
    Footage,
    footage_item,
    footage_of,
)

__all__ = ["DrvScene", "Footage", "Library", "Source", "prepare"]

HELD_OUT = 12  # one photo, clip or bright raw file in so many is for validation
EXPECTED = "a folder of photos, clips or bright raw files, or the DRV dataset (short/ and long/)"

SHOWN_REASONS = 3  # of those that left nothing

Source = Footage | DrvScene


@dataclass(frozen=True)
class Library:
    """Everything to draw from."""

    training: tuple[Source, ...]
    validation: tuple[Source, ...]
    skipped: tuple[BadInput, ...]  # what could not be used, and why


@dataclass(frozen=True)
class _Found:
    """What lies in the data folders."""

    files: dict[str, tuple[Path, str]]  # and the name in messages; by path with links followed
    datasets: dict[str, Path]
    bad: list[BadInput]


def prepare(
    data: Sequence[Path],
    cache: Path,
    *,
    bin: int | None,
    drv_input: DrvInput,
    on_bad: OnBadData,
    share: tuple[int, int] = (0, 1),
    on_item: OnItem | None = None,
) -> Library:
    """Decodes all data into the cache, as far as it is not there.

    Photos, clips and bright raw files may be mixed, in sub-folders too; what is of no known kind is
    ignored. One in twelve of them, by their paths, is for validation, and one alone serves both. A
    picture beside a raw file of the same name is the same picture and left out. The scenes of a DRV
    dataset are split by its lists, see `drv.find_scenes`.

    bin: of raw bursts, 1, 2 or 4; None takes the smallest whose frames are at most 1920 wide.
    share: (rank, world) of processes that prepare the same data in one cache, see `cache.build`.
    on_item: called with the items done and all items, after each.
    Raises UsageError for data that does not exist, OutputError where the cache cannot be written,
    and BadInput for a scene in two lists, for a list that cannot be read, if nothing can be used,
    and with on_bad="stop" for whatever would be skipped otherwise.
    """
    found = _look(data)
    files = [_footage_item(path, name, found.bad) for path, name in sorted(found.files.values())]
    sets = [
        find_scenes(root, bin=bin, drv_input=drv_input, on_bad=on_bad)
        for root in found.datasets.values()
    ]
    learned = [item for scenes in sets for item in scenes.training]
    held_out = [item for scenes in sets for item in scenes.validation]
    bad = [*found.bad, *(error for scenes in sets for error in scenes.bad)]
    stop = on_bad == "stop"
    if stop and bad:
        raise bad[0]
    items = [item for item in (*files, *learned, *held_out) if item]
    results = build(cache, items, stop_at_bad=stop, share=share, on_item=on_item)
    bad += [result for result in results.values() if isinstance(result, BadInput)]
    whole = {key: entry for key, entry in results.items() if isinstance(entry, Entry)}
    bad += [error for entry in whole.values() for error in bad_shots(entry)]
    if stop and bad:  # shots that were left out when their scene was decoded
        raise bad[0]
    training, validation = _split(files, whole)
    library = Library(
        (*_footage(training, whole), *_scenes(learned, whole)),
        (*_footage(validation, whole), *_scenes(held_out, whole)),
        tuple(bad),
    )
    _check(library, data)
    return library


def _look(data: Sequence[Path]) -> _Found:
    """What lies in the paths. Raises UsageError for one that does not exist."""
    found = _Found({}, {}, [])
    for given in data:
        if not given.exists():
            raise UsageError(f"--data {given}", "it does not exist", "check the spelling")
        top = spelled_out(given)
        paths = list(_walk(top, set(), found.bad))
        for path in paths:
            real = os.path.realpath(path)
            if path.is_dir():
                found.datasets.setdefault(real, path)
            else:
                found.files.setdefault(real, (path, shown(str(path.relative_to(top.parent)))))
        if not paths:
            found.bad.append(BadInput(shown(str(given)), "holds no data", f"name {EXPECTED}"))
    return found


def _walk(path: Path, seen: set[str], bad: list[BadInput]) -> Iterator[Path]:
    """Datasets and files of known kinds at or below a path, none that is hidden."""
    if not path.is_dir():
        if path.suffix.lower() in SUFFIXES:
            yield path
        return
    real = os.path.realpath(path)
    if real in seen or is_run(path):  # a link leads back; a run's strips are no photos
        return
    seen.add(real)
    if is_drv(path):
        yield path
        return
    try:
        entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        bad.append(BadInput(shown(str(path)), f"cannot be read: {reason(error)}"))
        return
    developed = {entry.stem for entry in entries if entry.suffix.lower() in RAW_SUFFIXES}
    for entry in entries:
        if entry.suffix.lower() not in PHOTO_SUFFIXES or entry.stem not in developed:
            yield from _walk(entry, seen, bad)


def _footage_item(path: Path, name: str, bad: list[BadInput]) -> Item | None:
    try:
        return footage_item(path, name)
    except BadInput as error:
        bad.append(error)
        return None


def _split(
    files: Sequence[Item | None], whole: Mapping[str, Entry]
) -> tuple[list[Item], list[Item]]:
    """Files for training and validation, by their place among all.

    So one that cannot be read, or can again, moves no other from one set to the other. Of copies
    with the same name and time only the first is taken.
    """
    training: list[Item] = []
    validation: list[Item] = []
    taken: set[str] = set()
    for number, item in enumerate(files):
        if item and item.key in whole and item.key not in taken:
            taken.add(item.key)
            (training if number % HELD_OUT else validation).append(item)
    if not validation:
        validation, training = training[:1], training[1:] or training
    return training or validation, validation


def _footage(items: Sequence[Item], whole: Mapping[str, Entry]) -> list[Footage]:
    return [footage_of(item.name, whole[item.key]) for item in items]


def _scenes(items: Sequence[Item], whole: Mapping[str, Entry]) -> list[DrvScene]:
    return [scene_of(item.name, whole[item.key]) for item in items if item.key in whole]


def _check(library: Library, data: Sequence[Path]) -> None:
    """Raises BadInput if there is nothing to train on, or nothing to validate with."""
    for purpose, sources in (("train on", library.training), ("validate", library.validation)):
        if not sources:
            places = ", ".join(shown(str(path)) for path in data)
            reasons = [str(error) for error in library.skipped[:SHOWN_REASONS]]
            more = len(library.skipped) - len(reasons)
            raise BadInput(
                f"nothing to {purpose} in {places}",
                "; ".join([*reasons, *([f"and {more} more"] if more > 0 else [])]),
                next((error.fix for error in library.skipped if error.fix), f"name {EXPECTED}"),
            )
