"""One system on one scene: its scores, what it costs, and pictures to look at."""

import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from batman_cli.bench.clock import Watched
from batman_cli.bench.gallery import Clip, picture_uri
from batman_cli.bench.recorded import recorded_frames
from batman_cli.bench.scene import FIFTH, WIDEST, Ready
from batman_cli.bench.scores import Score, Scores
from batman_cli.bench.systems import System
from batman_cli.device import Device
from batman_cli.models import Runnable
from batman_cli.models.cost import multiply_adds, parameters
from batman_cli.pipeline import Run
from batman_cli.settings import EnhanceSettings
from batman_cli.stills import to_8_bits
from batman_cli.weights import load_runnable

COST_HEIGHT = 918  # pixels; with WIDEST the frame that DRV was measured at in print


@dataclass(frozen=True)
class Cost:
    """What a system takes."""

    ms: float  # of the network for a frame of this scene; NaN for pictures made by others
    memory_mib: float | None  # at most while it worked; None where the system does not tell
    gmac: float | None  # for a frame of 1374 x 918; None for what has no weights
    parameters: int
    delay: int  # frames


@dataclass(frozen=True)
class Measured:
    """All that one system left of one scene."""

    score: Score
    cost: Cost
    size: tuple[int, int]  # width, height of its pictures
    picture: str | None  # data URIs: the fifth frame
    clip: str | None  # and the first ones


def measure(
    system: System,
    ready: Ready,
    device: Device,
    *,
    pictures: bool,
    like: Measured | None,
    on_frame: Callable[[], None],
) -> Measured:
    """Runs a system over a scene as `enhance` would.

    pictures: also make those for the page. like: another result of the same system, so that its
    operations need not be counted again. Raises WeightsError where its checkpoint is missing, and
    whatever the run raises.
    """
    network = load_runnable(system.name, file=system.weights)
    gmac = like.cost.gmac if like else _gmac(network)
    watched, scores, clip, fifth = Watched(network), Scores(ready), Clip(), None
    recorded = system.name == "vbm4d" and bool(ready.scene.denoised)
    run = Run(ready.plan, watched, device, EnhanceSettings(model=system.name))
    count = 0
    with closing(recorded_frames(ready) if recorded else run.pictures()) as frames:
        for frame in frames:
            picture = to_8_bits(frame)
            scores.add(picture)
            if pictures:
                clip.add(picture)
                fifth = picture_uri(picture) if count == FIFTH else fifth
            count += 1
            on_frame()
    return Measured(
        scores.score(),
        Cost(
            ms=math.nan if recorded else 1000 * watched.seconds / count,
            memory_mib=None if watched.memory_bytes is None else watched.memory_bytes / 2**20,
            gmac=gmac,
            parameters=parameters(network),
            delay=network.delay,
        ),
        ready.size,
        fifth,
        clip.uri() if pictures else None,
    )


def _gmac(network: Runnable) -> float | None:
    """None without weights: then convolutions are not what it spends its time on."""
    if not parameters(network):
        return None
    return multiply_adds(network, COST_HEIGHT, WIDEST) / 1e9
