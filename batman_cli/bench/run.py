"""Every system on every scene; one that fails is named and the rest goes on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from batman_cli.bench.data import Scene
from batman_cli.bench.gallery import picture_uri
from batman_cli.bench.measure import Measured, measure
from batman_cli.bench.scene import Ready, prepare, shown
from batman_cli.bench.store import Store
from batman_cli.bench.systems import System
from batman_cli.device import Device
from batman_cli.errors import BatmanError, ExitCode, OutputError, WeightsError
from batman_cli.progress import Reporter

SHOWN_SCENES = 12  # with pictures in the page, which would grow too large to open
DARK, REFERENCE = "as shot", "reference"


@dataclass(frozen=True)
class Failure:
    """What could not be measured, and why."""

    system: str | None  # None: the scene itself
    scene: str | None  # None: every scene
    reason: str
    exit_code: ExitCode


@dataclass(frozen=True)
class Outcome:
    """Everything that a run has made."""

    systems: Sequence[System]
    scenes: Sequence[Scene]
    results: dict[tuple[str, str], Measured] = field(default_factory=dict)  # by scene and system
    pictures: dict[str, Mapping[str, str]] = field(default_factory=dict)  # data URIs by scene
    failures: list[Failure] = field(default_factory=list)

    def of(self, system: System) -> list[tuple[Scene, Measured]]:
        """What a system left, in the order of the scenes."""
        found = ((scene, self.results.get((scene.name, system.key))) for scene in self.scenes)
        return [(scene, measured) for scene, measured in found if measured]


def bench(
    systems: Sequence[System],
    scenes: Sequence[Scene],
    store: Store,
    device: Device,
    reporter: Reporter,
) -> Outcome:
    """Measures what the store does not hold yet. Raises OutputError where it cannot be kept."""
    outcome = Outcome(systems, scenes)
    for scene in scenes:
        outcome.pictures[scene.name] = store.read_pictures(scene)
        for system in systems:
            if measured := store.read(scene, system):
                outcome.results[scene.name, system.key] = measured
    total = sum(scene.frames * len(_missing(outcome, scene)) for scene in scenes)
    if outcome.results:
        reporter.say(f"{len(outcome.results)} results are there already")
    every = -(-len(scenes) // SHOWN_SCENES)
    with reporter.frames(total) as tick:
        for number, scene in enumerate(scenes):
            work = _Work(outcome, store, device, reporter, tick, pictures=number % every == 0)
            work.measure_scene(scene)
    return outcome


def _missing(outcome: Outcome, scene: Scene) -> list[System]:
    """Systems still to be run on a scene: all but those that are done, or cannot be loaded."""
    broken = {failure.system for failure in outcome.failures if failure.scene is None}
    done = outcome.results
    return [s for s in outcome.systems if (scene.name, s.key) not in done and s.key not in broken]


@dataclass(frozen=True)
class _Work:
    """One scene at a time."""

    outcome: Outcome
    store: Store
    device: Device
    reporter: Reporter
    tick: Callable[[], None]
    pictures: bool

    def measure_scene(self, scene: Scene) -> None:
        """Runs on it what is missing."""
        missing = _missing(self.outcome, scene)
        if not missing:
            return
        try:
            with prepare(scene) as ready:
                for system in missing:
                    self._measure(system, ready)
        except OutputError:
            raise
        except Exception as error:  # of a scene that cannot be read: the others can
            self._fail(None, scene, error)

    def _keep_pictures(self, ready: Ready) -> None:
        if self.pictures and not self.outcome.pictures[ready.scene.name]:
            reference = shown(ready.reference.permute(1, 2, 0).numpy())
            uris = {DARK: picture_uri(ready.dark), REFERENCE: picture_uri(reference)}
            self.store.write_pictures(ready.scene, uris)
            self.outcome.pictures[ready.scene.name] = uris

    def _measure(self, system: System, ready: Ready) -> None:
        scene, done = ready.scene, 0

        def on_frame() -> None:
            nonlocal done
            done += 1
            self.tick()

        others = self.outcome.of(system)
        try:
            measured = measure(
                system,
                ready,
                self.device,
                pictures=self.pictures,
                like=others[0][1] if others else None,
                on_frame=on_frame,
            )
        except OutputError:
            raise
        except Exception as error:  # of one system, even if it is a fault: the others go on
            self._fail(system, None if isinstance(error, WeightsError) else scene, error)
        else:
            self._keep_pictures(ready)
            self.store.write(scene, system, measured)
            self.outcome.results[scene.name, system.key] = measured
            self._tell(system, scene, measured)
        for _ in range(scene.frames - done):
            self.tick()

    def _tell(self, system: System, scene: Scene, measured: Measured) -> None:
        psnr, ssim, ms = measured.score.psnr, measured.score.ssim, measured.cost.ms
        where = f"{scene.data}: {scene.title}: {system.label}"
        self.reporter.say(f"{where}: {psnr:.2f} dB, SSIM {ssim:.3f}, {ms:.0f} ms a frame")
        self.reporter.event(
            "result",
            {
                "data": scene.data,
                "scene": scene.name,
                "system": system.key,
                "psnr": psnr,
                "ssim": ssim,
                "ms": ms,
            },
        )

    def _fail(self, system: System | None, scene: Scene | None, error: Exception) -> None:
        known = isinstance(error, BatmanError)
        text = str(error) if known else f"{type(error).__name__}: {error}"
        code = error.exit_code if isinstance(error, BatmanError) else ExitCode.BUG
        failure = Failure(system and system.key, scene and scene.name, text, code)
        self.outcome.failures.append(failure)
        who = " on ".join(
            part for part in (system and system.label, scene and f"scene {scene.name}") if part
        )
        self.reporter.warn(f"{who} failed: {text}")
