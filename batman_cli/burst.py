"""A folder of raw shots as one burst: which files, in which order, at which frame rate."""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import get_args

from batman_cli.copies import copies
from batman_cli.errors import BadInput, BadShot, UsageError
from batman_cli.raw import RAW_SUFFIXES, ShotInfo, read_info
from batman_cli.settings import OnBadFrame, Order
from batman_cli.timeline import Item, clock_of, frame_rate, in_order, pauses, shown

READERS = min(4, os.cpu_count() or 1)  # shots looked at at a time; some need 150 MB each
ENOUGH_FOR_RATE = 8  # shots of a chosen range whose times tell its rate; else those of all shots
UNEVEN = 1.02  # ratio of exposures that is pointed out; less is how exactly cameras state them

# What cameras, editors and systems leave beside raw files: ignored without a word.
_SIDECARS = frozenset(
    {".jpg", ".jpeg", ".heic", ".heif", ".hif", ".mp4", ".mov", ".wav", ".thm"}  # from the camera
    | {".xmp", ".aae", ".cos", ".dop", ".nksc", ".on1", ".pp3", ".rmd"}  # of raw editors
    | {".csv", ".htm", ".html", ".json", ".log", ".md", ".txt", ".xml"}  # notes
    | {".db", ".ds_store", ".ini", ".md5", ".sha256"}  # of the system, checksums
)

OnShot = Callable[[int, int], None]  # shots looked at, shots in all

# What must be one in a burst.
_ONE: dict[str, Callable[[ShotInfo], str]] = {
    "camera": lambda shot: shot.camera or "unknown camera",
    "size": lambda shot: f"{shot.width} x {shot.height}",
    "CFA pattern": lambda shot: shot.pattern,
}


@dataclass(frozen=True)
class Burst:
    """An ordered, checked burst.

    sequence: every shot in playing order; a `BadShot` keeps its place only for "repeat"
    shots: the usable ones of `sequence`; at least one
    near: these and those of their kind between them: neighbours in time for the noise
    bad: every bad shot of the chosen range, also those left out of `sequence`
    orientation: of the whole video, as in `ShotInfo`: that of most shots
    fps: frames/s of the video; `fps_reason` and `order_reason` say where they come from
    warnings: whole sentences for the user
    """

    folder: Path
    sequence: tuple[Item, ...]
    shots: tuple[ShotInfo, ...]
    near: tuple[ShotInfo, ...]
    bad: tuple[BadShot, ...]
    orientation: int
    fps: Fraction
    fps_reason: str
    order_reason: str
    warnings: tuple[str, ...]


def open_burst(
    folder: Path,
    *,
    order: Order = "time",
    fps: Fraction | None = None,
    on_bad_frame: OnBadFrame = "stop",
    start: int = 0,
    stop: int | None = None,
    step: int = 1,
    readers: int = READERS,
    on_shot: OnShot | None = None,
) -> Burst:
    """The burst in a folder (or of one raw file), from the headers alone.

    order: "time" (capture time, then file number) | "name"
    fps: frames/s, above 0; None takes the rate from the capture times
    on_bad_frame: "stop" raises | "skip" leaves the shot out | "repeat" keeps its place
    start, stop, step: the shots to use, counted from 0 in playing order without copies, stop
        excluded; a measured rate is divided by step, so the video lasts as long as the burst did
    readers: shots looked at at a time; files of some cameras have to be decoded for it
    on_shot: called with the shots looked at and those in all, after each; what it writes to file
        descriptor 2 may show only in the end, for LibRaw's own lines are kept off it meanwhile
    Raises UsageError for options that cannot be met, BadInput for a burst that cannot be one video.
    """
    _check_options(order, fps, on_bad_frame, start, stop, step)
    paths, warnings = _find_shots(folder)
    items, doubled = _without_copies(_read_all(paths, readers, on_shot))
    whole, order_reason, doubts = in_order(items, order)
    if start >= len(whole):
        raise UsageError(f"--start {start} leaves nothing", f"the burst has {len(whole)} shots")
    sequence = whole[start:stop:step]
    bad = tuple(item for item in sequence if isinstance(item, BadShot))
    shots = tuple(item for item in sequence if isinstance(item, ShotInfo))
    if bad and (on_bad_frame == "stop" or not shots):
        raise _refusal(whole, sequence, bad)
    _refuse_mixture(shots)
    orientation = Counter(shot.orientation for shot in shots).most_common(1)[0][0]
    near = _kin(shots[0], whole[start:stop])
    clock = clock_of(near if len(near) >= ENOUGH_FOR_RATE else _kin(shots[0], whole))
    fps, fps_reason = (fps, "as given") if fps else frame_rate(clock, step)
    return Burst(
        folder=folder if folder.is_dir() else folder.parent,
        sequence=shots if on_bad_frame == "skip" else tuple(sequence),
        shots=shots,
        near=near,
        bad=bad,
        orientation=orientation,
        fps=fps,
        fps_reason=fps_reason,
        order_reason=order_reason,
        warnings=(
            *(*warnings, *doubled, *doubts, *pauses(clock)),
            *(*_uneven(shots), *_turned(shots, orientation)),
        ),
    )


def _check_options(
    order: str, fps: Fraction | None, on_bad_frame: str, start: int, stop: int | None, step: int
) -> None:
    if order not in get_args(Order):
        raise UsageError(f"--order {order} is unknown", f"it is {' or '.join(get_args(Order))}")
    if on_bad_frame not in get_args(OnBadFrame):
        choices = " or ".join(get_args(OnBadFrame))
        raise UsageError(f"--on-bad-frame {on_bad_frame} is unknown", f"it is {choices}")
    if fps is not None and fps <= 0:
        raise UsageError(f"--fps {fps} is no frame rate", "it must be above 0")
    if start < 0 or step < 1 or (stop is not None and stop <= start):
        raise UsageError(
            f"--start {start} --stop {stop} --step {step} leaves nothing",
            "start counts from 0, stop lies after it, step is at least 1",
        )


def _find_shots(path: Path) -> tuple[list[Path], list[str]]:
    """Raw files of a folder, or the one raw file given; a warning names what else lies there."""
    try:
        if path.is_dir():
            entries = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
            return _pick(path, sorted(entries))
        if path.is_file() and path.suffix.lower() in RAW_SUFFIXES:
            return [path], []
        exists = path.exists()
    except OSError as error:
        raise BadInput(f"cannot open {shown(str(path))}", error.strerror or str(error)) from error
    if not exists:
        raise BadInput(f"{shown(str(path))} does not exist", fix="check the spelling of the path")
    raise BadInput(
        f"{shown(str(path))} is not a raw shot",
        "batman takes a folder of raw shots (.arw .dng .nef .cr2 ...) or one raw file",
        "a video or JPEG has lost the dark detail: name the folder of the raw files it came from",
    )


def _pick(folder: Path, entries: Sequence[Path]) -> tuple[list[Path], list[str]]:
    paths: list[Path] = []
    others: list[str] = []
    for entry in entries:
        suffix = entry.suffix.lower()
        # A link that leads nowhere is a shot that got lost, not a stranger to be passed over.
        lost = entry.is_symlink() and not entry.exists()
        if suffix in RAW_SUFFIXES and (entry.is_file() or lost):
            paths.append(entry)
        elif not entry.is_dir() and suffix not in _SIDECARS:
            others.append(shown(entry.name))
    if not paths:
        kinds = Counter(
            "folder" if e.is_dir() else e.suffix.lower() or "no suffix" for e in entries
        )
        found = ", ".join(f"{count} x {shown(kind)}" for kind, count in kinds.most_common())
        raise BadInput(
            f"no raw shots in {shown(str(folder))}",
            f"it holds {found}" if found else "it is empty",
            "name the folder in which the raw files lie; folders inside it are not searched",
        )
    return paths, [f"Ignored, not raw: {_few(others)}."] if others else []


def _read_all(paths: Sequence[Path], readers: int, on_shot: OnShot | None) -> list[Item]:
    items: list[Item] = []
    with ThreadPoolExecutor(readers, "look") as pool:
        for item in pool.map(_read, paths):
            items.append(item)
            if on_shot:
                on_shot(len(items), len(paths))
    return items


def _read(path: Path) -> Item:
    try:
        return read_info(path)
    except BadShot as error:
        return error


def _refusal(whole: Sequence[Item], sequence: Sequence[Item], bad: Sequence[BadShot]) -> BadInput:
    if len(whole) == 1:
        return bad[0]
    place = {item.path: number for number, item in enumerate(whole)}
    listed = [f"{shown(shot.path.name)} (shot {place[shot.path]}): {shot.why}" for shot in bad]
    remedies = list(dict.fromkeys(shot.fix for shot in bad if shot.fix))
    if len(bad) < len(sequence):
        remedies.append("--on-bad-frame skip leaves them out, repeat holds the frame before them")
    return BadInput(
        f"{len(bad)} of {len(sequence)} shots cannot be used",
        _few(listed, between="; "),
        _few(remedies, between="; "),
    )


def _refuse_mixture(shots: Sequence[ShotInfo]) -> None:
    """Raises BadInput naming the groups, largest first, when shots differ in what must be one."""
    mixed = {name: of for name, of in _ONE.items() if len(set(map(of, shots))) > 1}
    if not mixed:
        return
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for shot in shots:
        groups[", ".join(of(shot) for of in mixed.values())].append(shown(shot.path.name))
    largest_first = sorted(groups.items(), key=lambda group: -len(group[1]))
    listed = [f"{len(names)} x {fact} ({_few(names)})" for fact, names in largest_first]
    raise BadInput(
        f"the shots differ in {', '.join(mixed)}",
        _few(listed, between="; "),
        "keep one group in this folder and move the others to folders of their own",
    )


def _kin(first: ShotInfo, items: Sequence[Item]) -> tuple[ShotInfo, ...]:
    """The usable shots that can be in one burst with the first."""
    usable = (item for item in items if isinstance(item, ShotInfo))
    return tuple(shot for shot in usable if all(of(shot) == of(first) for of in _ONE.values()))


def _uneven(shots: Sequence[ShotInfo]) -> list[str]:
    isos = [shot.iso for shot in shots if shot.iso]
    exposures = [shot.exposure_s for shot in shots if shot.exposure_s]
    told: list[str] = []
    for what, values, name in (("ISO", isos, _iso), ("Exposure", exposures, _exposure)):
        if values and max(values) > UNEVEN * min(values):
            counts = Counter(map(name, values)).most_common()
            listed = _few([f"{count} x {value}" for value, count in counts])
            told.append(f"{what} differs inside the burst: {listed}.")
    return told


def _iso(iso: float) -> str:
    return f"ISO {iso:g}"


def _exposure(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 0.3 else f"1/{1 / seconds:.3g} s"


def _turned(shots: Sequence[ShotInfo], orientation: int) -> list[str]:
    """A warning that names the shots which are marked as held another way than most."""
    others = [shown(shot.path.name) for shot in shots if shot.orientation != orientation]
    if not others:
        return []
    return [
        f"{len(others)} of {len(shots)} shots are marked as held another way ({_few(others)}): "
        "all are turned as most of them say."
    ]


def _without_copies(items: Sequence[Item]) -> tuple[list[Item], list[str]]:
    """Items without copies of others, and a warning that names them.

    A bad file is left out too where the same shot is there in another format.
    """
    groups = copies([item for item in items if isinstance(item, ShotInfo)])
    again = {path for group in groups for path in group[1:]}
    usable = {item.path.with_suffix("") for item in items if isinstance(item, ShotInfo)}
    bad = [item.path for item in items if isinstance(item, BadShot)]
    useless = [path for path in bad if path.with_suffix("") in usable]
    doubles = [" = ".join(shown(path.name) for path in group) for group in groups]
    doubles += [f"{shown(path.name)}, bad, in another format too" for path in useless]
    told = [f"The same shot more than once, used once: {_few(doubles)}."] if doubles else []
    return [item for item in items if item.path not in {*again, *useless}], told


def _few(texts: Sequence[str], *, between: str = ", ") -> str:
    """The first three texts, and how many more there are."""
    more = [f"and {len(texts) - 3} more"] if len(texts) > 3 else []
    return between.join([*texts[:3], *more])
