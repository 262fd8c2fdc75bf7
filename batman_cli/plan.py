"""All that is decided before the first frame is processed: order, size, ratio and noise."""

import math
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from itertools import pairwise, product
from pathlib import Path

import numpy as np

from batman_cli.amplify import Ratio, choose_ratio, ratio_from_light
from batman_cli.burst import READERS, Burst, OnShot, open_burst
from batman_cli.errors import BadInput, BadShot, UsageError
from batman_cli.hot import NO_HOT_PIXELS, HotPixels, find_hot_pixels
from batman_cli.noise import Noise, estimate, estimate_single
from batman_cli.output import spelled_out
from batman_cli.pack import Planes, bin_planes, pack
from batman_cli.raw import RAW_SUFFIXES, ShotInfo, read_info, read_mosaic
from batman_cli.settings import BINS, MAX_WIDTH, EnhanceSettings, check

ALIKE_EV = 1 / 32  # in which ISO or exposure time may differ and count as the same
SAMPLE_PLACES = 3  # pairs of neighbouring shots are looked at, over the length of the burst
LONG_EXPOSURE = 2.0  # times the light of the burst that its reference has at least
BAD_IN_SAMPLE = 8  # unreadable shots that the sample steps over before it gives up


@dataclass(frozen=True)
class _Sample:
    """A few decoded shots of one exposure."""

    frames: list[Planes]  # binned
    pairs: list[tuple[Planes, Planes]]  # neighbours, binned
    mean: Planes | None  # of the pairs' frames, not binned, if it is wanted and there are pairs


@dataclass(frozen=True)
class Plan:
    """How a burst will be processed."""

    burst: Burst
    bin: int
    ratio: Ratio
    noise: Noise  # of the binned planes before amplification
    hot: HotPixels  # of the planes before binning
    first: ShotInfo  # whose white balance and matrix the whole video has
    metered: ShotInfo  # a shot with the commonest exposure, for which ratio and noise hold
    width: int  # of the frames before rotation, pixels
    height: int

    def ratio_of(self, shot: ShotInfo) -> float:
        """Ratio of one shot: more for one that got less light than `metered`, if both are known."""
        light, metered = light_of(shot), light_of(self.metered)
        return self.ratio.value * (metered / light if light and metered else 1.0)

    def noise_of(self, shot: ShotInfo) -> Noise:
        """Noise of one shot: the ISO setting scales what comes out of the sensor, noise with it."""
        gain = shot.iso / self.metered.iso if shot.iso and self.metered.iso else 1.0
        return replace(self.noise, shot=self.noise.shot * gain, read=self.noise.read * gain**2)


def make_plan(
    folder: Path,
    settings: EnhanceSettings,
    *,
    readers: int = READERS,
    on_shot: OnShot | None = None,
) -> Plan:
    """Plan for a burst, from its headers and a few of its shots.

    readers, on_shot: as in `open_burst`.
    Raises BadInput if the burst cannot be used, UsageError for settings that cannot be met.
    """
    check(settings)
    burst = open_burst(
        folder,
        order=settings.order,
        fps=settings.fps,
        on_bad_frame=settings.on_bad_frame,
        start=settings.start,
        stop=settings.stop,
        step=settings.step,
        readers=readers,
        on_shot=on_shot,
    )
    first = burst.shots[0]
    factor = _choose_bin(first, settings.bin)
    alike = _commonest_exposure(burst.shots)
    needed = {shot.path for shot in burst.shots} if settings.on_bad_frame == "stop" else set[Path]()
    mean_wanted = settings.hot_pixels == "replace"
    pairs = _neighbours(burst.near, alike[0])
    sample = _take_sample(alike, pairs, factor, needed, mean_wanted=mean_wanted)
    noise = _estimate_noise(alike[0], sample, factor)
    return Plan(
        burst,
        factor,
        _choose_ratio(burst.folder, alike[0], sample, settings),
        noise,
        _find_hot_pixels(first, sample, noise, factor),
        first,
        alike[0],
        first.width // (2 * factor) * 2,
        first.height // (2 * factor) * 2,
    )


def check_frame(plan: Plan, number: int) -> None:
    """Raises UsageError where the burst has no frame of this index."""
    count = len(plan.burst.sequence)
    if not 0 <= number < count:
        raise UsageError(f"no frame {number}", f"the burst has frames 0 to {count - 1}")


def read_planes(shot: ShotInfo, factor: int, hot: HotPixels = NO_HOT_PIXELS) -> Planes:
    """Binned linear planes of a shot, `hot` replaced, not amplified. Raises BadShot."""
    planes = _read_whole(shot)
    hot.replace(planes)
    return bin_planes(planes, factor)


def _read_whole(shot: ShotInfo) -> Planes:
    """Planes of a shot, not binned. Raises BadShot."""
    mosaic = read_mosaic(shot.path)
    if (mosaic.info.size_bytes, mosaic.info.mtime_ns) != (shot.size_bytes, shot.mtime_ns):
        raise BadShot(shot.path, "it changed while the burst was being read", "run again")
    return pack(mosaic.data, shot.black, shot.white)


def stopping(error: BadShot) -> BadShot:
    """The error of a shot that ends a run, with what can be done instead."""
    fix = error.fix or "copy it again"
    more = f"{fix}, or go on without it: --on-bad-frame skip (or repeat)"
    return BadShot(error.path, error.why, more)


def _choose_bin(shot: ShotInfo, asked: int | None) -> int:
    if asked is not None:
        return asked
    return smallest_bin(shot.width, MAX_WIDTH)


def _commonest_exposure(shots: Sequence[ShotInfo]) -> list[ShotInfo]:
    """The largest group of shots with the same ISO and exposure time, in order.

    Cameras that state both exactly have them differ a little from shot to shot: they are sorted
    into bins, and into such that lie half a bin off, so that no group lies across an edge.
    """
    groups: dict[tuple[object, ...], list[ShotInfo]] = {}
    for off in product((0.0, 0.5), repeat=2):
        for shot in shots:
            values = zip((shot.iso, shot.exposure_s), off, strict=True)
            bins = [value and math.floor(math.log2(value) / ALIKE_EV + by) for value, by in values]
            groups.setdefault((off, *bins), []).append(shot)
    return max(groups.values(), key=len)


def exposed_alike(shot: ShotInfo, other: ShotInfo) -> bool:
    """Whether ISO and exposure time are the same, but for how exactly they are stated."""
    pairs = ((shot.iso, other.iso), (shot.exposure_s, other.exposure_s))
    return all(a == b or (a and b and abs(math.log2(a / b)) < ALIKE_EV) for a, b in pairs)


def _neighbours(shots: Sequence[ShotInfo], metered: ShotInfo) -> list[tuple[ShotInfo, ShotInfo]]:
    """Pairs with the exposure of `metered` that follow each other as closely as any of them."""
    places = [place for place, shot in enumerate(shots) if exposed_alike(shot, metered)]
    nearest = min((after - before for before, after in pairwise(places)), default=0)
    return [(shots[a], shots[b]) for a, b in pairwise(places) if b - a == nearest]


def _take_sample(
    shots: Sequence[ShotInfo],
    neighbours: Sequence[tuple[ShotInfo, ShotInfo]],
    factor: int,
    needed: Set[Path],
    *,
    mean_wanted: bool,
) -> _Sample:
    """Pairs of neighbours over the length of the burst; one frame of `shots` where there is none.

    Raises BadShot at a bad one of those needed, else BadInput if none can be read.
    """
    pairs: list[tuple[Planes, Planes]] = []
    total: Planes | None = None
    bad: list[BadShot] = []
    for start in pair_starts(len(neighbours) + 1):
        try:
            first, second = (_read_whole(shot) for shot in neighbours[start])
            pairs.append((bin_planes(first, factor), bin_planes(second, factor)))
            if mean_wanted:
                total = np.zeros_like(first) if total is None else total
                total += first
                total += second
        except BadShot as error:
            if error.path in needed:
                raise stopping(error) from error
            bad.append(error)
    if pairs:
        frames = [frame for pair in pairs for frame in pair]
        if total is not None:
            total /= np.float32(len(frames))
        return _Sample(frames, pairs, total)
    for shot in shots[:: max(1, len(shots) // BAD_IN_SAMPLE)]:
        try:
            return _Sample([read_planes(shot, factor)], [], None)
        except BadShot as error:
            if error.path in needed:
                raise stopping(error) from error
            bad.append(error)
    raise BadInput("no shot of the burst can be read", str(bad[0]), bad[0].fix)


def pair_starts(count: int) -> list[int]:
    """Where pairs of neighbours begin that stand for a burst of `count` frames."""
    places = min(SAMPLE_PLACES, count // 2)
    return [i * (count - 2) // max(1, places - 1) for i in range(places)]


def smallest_bin(width: int, widest: int) -> int:
    """The smallest factor that makes a mosaic at most `widest` pixels wide, or the largest."""
    return next((factor for factor in BINS if width // factor <= widest), BINS[-1])


def _choose_ratio(
    folder: Path, shot: ShotInfo, sample: _Sample, settings: EnhanceSettings
) -> Ratio:
    if settings.ratio is not None:
        return Ratio(settings.ratio, "as asked")
    twin = _twin(spelled_out(folder))
    light, long_light = light_of(shot), light_of(twin) if twin else None
    if twin and light and long_light and long_light >= LONG_EXPOSURE * light:
        exposure = f"{twin.exposure_s:g} s at ISO {twin.iso:g}"
        return ratio_from_light(long_light, light, f"long exposure of {exposure}")
    return choose_ratio(sample.frames, shot.white_balance)


def _twin(folder: Path) -> ShotInfo | None:
    """A shot where the DRV layout has the reference of a burst (long/<id> for short/<id>), if any.

    Others have folders of these names too: it may be no long exposure.
    """
    if folder.parent.name != "short":
        return None
    twin = folder.parent.parent / "long" / folder.name
    for path in sorted(twin.glob("*")) if twin.is_dir() else []:
        if path.suffix.lower() in RAW_SUFFIXES:
            try:
                return read_info(path)
            except BadShot:
                continue
    return None


def light_of(shot: ShotInfo) -> float | None:
    """Exposure times ISO, None where the file does not say."""
    return shot.exposure_s * shot.iso if shot.exposure_s and shot.iso else None


def _estimate_noise(shot: ShotInfo, sample: _Sample, factor: int) -> Noise:
    if shot.noise_profile is not None:
        shot_noise, read = shot.noise_profile
        return Noise(shot_noise / factor**2, read / factor**2, "NoiseProfile of the DNG file")
    return estimate(sample.pairs) if sample.pairs else estimate_single(sample.frames[0])


def _find_hot_pixels(shot: ShotInfo, sample: _Sample, noise: Noise, factor: int) -> HotPixels:
    """None where they are to be kept, or in a single frame, where noise is as high."""
    if sample.mean is None:
        return NO_HOT_PIXELS
    share = factor**2 / len(sample.frames)  # of a binned frame's variance that the mean has
    of_mean = Noise(noise.shot * share, noise.read * share)
    return find_hot_pixels(sample.mean, of_mean, shot.white_balance)
