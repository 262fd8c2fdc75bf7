"""All that is decided before the first frame is processed: order, size, ratio and noise."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from batman_cli.amplify import Ratio, choose_ratio, ratio_from_long_exposure
from batman_cli.burst import Burst, open_burst
from batman_cli.errors import BadInput, BadShot, UsageError
from batman_cli.noise import Noise, estimate, estimate_single
from batman_cli.pack import Planes, bin_planes, pack
from batman_cli.raw import RAW_SUFFIXES, ShotInfo, read_info, read_mosaic
from batman_cli.settings import BINS, MAX_WIDTH, EnhanceSettings

SAMPLE_PLACES = 3  # pairs of neighbouring shots are looked at, over the length of the burst
BAD_IN_SAMPLE = 8  # unreadable shots that the sample steps over before it gives up


@dataclass(frozen=True)
class Plan:
    """How a burst will be processed."""

    burst: Burst
    bin: int
    ratio: Ratio
    noise: Noise  # of the binned planes before amplification
    first: ShotInfo  # whose white balance, matrix and orientation the whole video has
    width: int  # of the frames before rotation, pixels
    height: int

    def ratio_of(self, shot: ShotInfo) -> float:
        """Ratio of one shot: more for one that got less light than the first, if both are known."""
        light, first = _light(shot), _light(self.first)
        return self.ratio.value * (first / light if light and first else 1.0)

    def noise_of(self, shot: ShotInfo) -> Noise:
        """Noise of one shot: the ISO setting scales what comes out of the sensor, noise with it."""
        gain = shot.iso / self.first.iso if shot.iso and self.first.iso else 1.0
        return replace(self.noise, shot=self.noise.shot * gain, read=self.noise.read * gain**2)


def make_plan(folder: Path, settings: EnhanceSettings) -> Plan:
    """Plan for a burst, from its headers and a few of its shots.

    Raises BadInput if the burst cannot be used, UsageError for settings that cannot be met.
    """
    burst = open_burst(
        folder,
        order=settings.order,
        fps=settings.fps,
        on_bad_frame=settings.on_bad_frame,
        start=settings.start,
        stop=settings.stop,
        step=settings.step,
    )
    factor = _choose_bin(burst.shots[0], settings.bin)
    pairs = _sample_pairs(burst.shots, factor, stop_at_bad=settings.on_bad_frame == "stop")
    return Plan(
        burst,
        factor,
        _choose_ratio(burst, pairs, settings),
        _estimate_noise(burst.shots[0], pairs, factor),
        burst.shots[0],
        burst.shots[0].width // (2 * factor) * 2,
        burst.shots[0].height // (2 * factor) * 2,
    )


def read_planes(shot: ShotInfo, factor: int) -> Planes:
    """Binned linear planes of a shot, not amplified. Raises BadShot."""
    mosaic = read_mosaic(shot.path)
    if (mosaic.info.size_bytes, mosaic.info.mtime_ns) != (shot.size_bytes, shot.mtime_ns):
        raise BadShot(shot.path, "it changed while the burst was being read", "run again")
    return bin_planes(pack(mosaic.data, shot.black, shot.white), factor)


def _choose_bin(shot: ShotInfo, asked: int | None) -> int:
    if asked is not None:
        if asked not in BINS:
            raise UsageError(f"--bin {asked} is not one of {', '.join(map(str, BINS))}")
        return asked
    return next((b for b in BINS if shot.width // b <= MAX_WIDTH), BINS[-1])


def _sample_pairs(
    shots: Sequence[ShotInfo], factor: int, *, stop_at_bad: bool
) -> list[tuple[Planes, ...]]:
    """Pairs of neighbouring shots over the length of the burst; one single for a burst of one.

    Both of a pair have the exposure of the first shot, for which ratio and noise are found.
    """
    shots = [shot for shot in shots if _light(shot) == _light(shots[0])]
    if len(shots) == 1:
        return [(read_planes(shots[0], factor),)]
    places = min(SAMPLE_PLACES, len(shots) // 2)
    starts = [i * (len(shots) - 2) // max(1, places - 1) for i in range(places)]
    pairs: list[tuple[Planes, ...]] = []
    bad: list[BadShot] = []
    for start in starts:
        try:
            pairs.append(tuple(read_planes(shot, factor) for shot in shots[start : start + 2]))
        except BadShot as error:
            if stop_at_bad:
                raise
            bad.append(error)
    return pairs or [(_first_readable(shots, factor, bad),)]


def _first_readable(shots: Sequence[ShotInfo], factor: int, bad: list[BadShot]) -> Planes:
    for shot in shots[:: max(1, len(shots) // BAD_IN_SAMPLE)]:
        try:
            return read_planes(shot, factor)
        except BadShot as error:
            bad.append(error)
    raise BadInput("no shot of the burst can be read", str(bad[0]), bad[0].fix)


def _choose_ratio(
    burst: Burst, pairs: Sequence[tuple[Planes, ...]], settings: EnhanceSettings
) -> Ratio:
    if settings.ratio is not None:
        if not 0 < settings.ratio < 1e5:
            raise UsageError(f"--ratio {settings.ratio:g} is not a sensible amplification")
        return Ratio(settings.ratio, "as asked")
    first = burst.shots[0]
    long_exposure = _long_exposure(burst.folder)
    if long_exposure is not None and _light(long_exposure) and _light(first):
        assert long_exposure.exposure_s and long_exposure.iso and first.exposure_s and first.iso
        return ratio_from_long_exposure(
            long_exposure.exposure_s, long_exposure.iso, first.exposure_s, first.iso
        )
    return choose_ratio([planes for pair in pairs for planes in pair], first.white_balance)


def _long_exposure(folder: Path) -> ShotInfo | None:
    """The reference shot of a burst in the DRV layout (short/<id> beside long/<id>), if any."""
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


def _light(shot: ShotInfo) -> float | None:
    """Exposure times ISO, None where the file does not say."""
    return shot.exposure_s * shot.iso if shot.exposure_s and shot.iso else None


def _estimate_noise(shot: ShotInfo, pairs: Sequence[tuple[Planes, ...]], factor: int) -> Noise:
    if shot.noise_profile is not None:
        shot_noise, read = shot.noise_profile
        return Noise(shot_noise / factor**2, read / factor**2, "NoiseProfile of the DNG file")
    if len(pairs[0]) == 1:
        return estimate_single(pairs[0][0])
    return estimate([(first, second) for first, second in pairs])
