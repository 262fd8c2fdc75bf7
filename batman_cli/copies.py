"""Shots that lie in a folder more than once: copied, or in two formats."""

import hashlib
import math
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from batman_cli.raw import ShotInfo

END_BYTES = 64 * 1024  # at either end of a file: its header and its last rows


def copies(shots: Sequence[ShotInfo]) -> list[tuple[Path, ...]]:
    """Paths of groups of the same shot, the shortest name first, for copies get longer ones.

    They are equal to the last byte, or one camera's, of one second, under one name with two
    suffixes: a raw file and the DNG it was converted to.
    """
    alike: defaultdict[object, list[ShotInfo]] = defaultdict(list)
    for shot in shots:
        second = shot.time_s if shot.time_s is None else math.floor(shot.time_s)
        alike[shot.camera, second, shot.path.with_suffix("")].append(shot)
    groups = [group for group in (*alike.values(), *_equal(shots)) if len(group) > 1]
    paths = [[shot.path for shot in group] for group in groups]
    # Each once: equal files of one name with two suffixes are found twice.
    return list(dict.fromkeys(tuple(sorted(g, key=lambda path: len(path.stem))) for g in paths))


def _equal(shots: Sequence[ShotInfo]) -> list[list[ShotInfo]]:
    """Groups of equal files; whole ones are read only where size and ends are those of another."""
    sizes = Counter(shot.size_bytes for shot in shots)
    ends: defaultdict[object, list[ShotInfo]] = defaultdict(list)
    for shot in shots:
        if sizes[shot.size_bytes] > 1 and (digest := _digest_of_ends(shot.path)):
            ends[shot.size_bytes, digest].append(shot)
    equal: defaultdict[bytes, list[ShotInfo]] = defaultdict(list)
    for shot in (shot for group in ends.values() if len(group) > 1 for shot in group):
        if digest := _digest(shot.path):
            equal[digest].append(shot)
    return list(equal.values())


def _digest_of_ends(path: Path) -> bytes | None:
    """Of a file's first and last 64 KiB; None if unreadable, which decoding will report."""
    try:
        with path.open("rb") as file:
            start = file.read(END_BYTES)
            file.seek(-min(END_BYTES, len(start)), os.SEEK_END)
            return hashlib.sha256(start + file.read(END_BYTES)).digest()
    except OSError:
        return None


def _digest(path: Path) -> bytes | None:
    """Of a whole file; None if unreadable."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return None
