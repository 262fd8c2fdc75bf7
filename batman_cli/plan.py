"""All that is decided before the first frame is processed: order, size, ratio and noise."""

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

from batman_cli.amplify import Ratio, choose_ratio, ratio_from_light
from batman_cli.burst import READERS, Burst, OnShot, open_burst
from batman_cli.clipping import BlackClipping, find_clipping
from batman_cli.errors import BadShot, UsageError
from batman_cli.hot import NO_HOT_PIXELS, HotPixels, find_hot_pixels
from batman_cli.noise import Noise, estimate, estimate_single
from batman_cli.output import spelled_out
from batman_cli.pack import Planes
from batman_cli.raw import RAW_SUFFIXES, ShotInfo, read_info
from batman_cli.sample import Sample, commonest_exposure, neighbours_of, read_planes, take_sample
from batman_cli.settings import BINS, MAX_WIDTH, EnhanceSettings, check

LONG_EXPOSURE = 2.0  # times the light of the burst that its reference has at least


@dataclass(frozen=True)
class Plan:
    """How a burst will be processed."""

    burst: Burst
    bin: int
    ratio: Ratio
    noise: Noise  # of the binned planes before amplification
    clipping: BlackClipping | None  # at black, if the camera did that
    hot: HotPixels  # of the planes before binning
    first: ShotInfo  # whose white balance and matrix the whole video has
    metered: ShotInfo  # a shot with the commonest exposure, for which ratio and noise hold
    width: int  # of the frames before rotation, pixels
    height: int

    def ratio_of(self, shot: ShotInfo) -> float:
        """Ratio of one shot: more for one that got less light than `metered`, if both are known."""
        light, metered = light_of(shot), light_of(self.metered)
        return self.ratio.value * (metered / light if light and metered else 1.0)

    def planes_of(self, shot: ShotInfo) -> Planes:
        """Planes of one shot, mended and binned, not amplified. Raises BadShot."""
        return read_planes(shot, self.bin, self.hot, self.clipping)

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
    alike = commonest_exposure(burst.shots)
    needed = {shot.path for shot in burst.shots} if settings.on_bad_frame == "stop" else set[Path]()
    mean_wanted = settings.hot_pixels == "replace"
    pairs = neighbours_of(burst.near, alike[0])
    clipping = _find_clipping(alike, pairs, needed)
    sample = take_sample(alike, pairs, factor, needed, clipping, mean_wanted=mean_wanted)
    noise = _estimate_noise(alike[0], sample, factor, clipping)
    return Plan(
        burst,
        factor,
        _choose_ratio(burst.folder, alike[0], sample, settings),
        noise,
        clipping,
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


def _choose_bin(shot: ShotInfo, asked: int | None) -> int:
    if asked is not None:
        return asked
    return smallest_bin(shot.width, MAX_WIDTH)


def smallest_bin(width: int, widest: int) -> int:
    """The smallest factor that makes a mosaic at most `widest` pixels wide, or the largest."""
    return next((factor for factor in BINS if width // factor <= widest), BINS[-1])


def _choose_ratio(folder: Path, shot: ShotInfo, sample: Sample, settings: EnhanceSettings) -> Ratio:
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


def _find_clipping(
    shots: Sequence[ShotInfo],
    neighbours: Sequence[tuple[ShotInfo, ShotInfo]],
    needed: Set[Path],
) -> BlackClipping | None:
    """What a camera did that states black as 0; others have left noise below their black level."""
    shot, middle = shots[0], len(neighbours) // 2
    if max(shot.black) > 0:
        return None
    pair = neighbours[middle : middle + 1]
    sample = take_sample(shots, pair, 1, needed, None, mean_wanted=False)
    return find_clipping(sample.frames, shot.iso)


def _estimate_noise(
    shot: ShotInfo, sample: Sample, factor: int, clipping: BlackClipping | None
) -> Noise:
    known = clipping.noise if clipping else None
    if shot.noise_profile is not None:
        known = Noise(*shot.noise_profile, "NoiseProfile of the DNG file")
    if known:
        return replace(known, shot=known.shot / factor**2, read=known.read / factor**2)
    return estimate(sample.pairs) if sample.pairs else estimate_single(sample.frames[0])


def _find_hot_pixels(shot: ShotInfo, sample: Sample, noise: Noise, factor: int) -> HotPixels:
    """None where they are to be kept, or in a single frame, where noise is as high."""
    if sample.mean is None:
        return NO_HOT_PIXELS
    share = factor**2 / len(sample.frames)  # of a binned frame's variance that the mean has
    of_mean = Noise(noise.shot * share, noise.read * share)
    return find_hot_pixels(sample.mean, of_mean, shot.white_balance)
