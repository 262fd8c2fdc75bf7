"""The model card of a training run: what others must know before they use its network."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from batman_cli import __version__
from batman_cli.models import Cnn3d, Cnn3dPaper, Kpn, Net, Sid, Smid
from batman_cli.models.cost import multiply_adds, parameters
from batman_cli.settings import TrainSettings
from batman_cli.simulate.camera import DARKEST_GAIN, NOISIEST_GAIN, XYZ_TO_CAMERA
from batman_cli.training.bursts import (
    BIN_SHARES,
    BLUE_GAINS,
    CODED_SHARE,
    EXPOSURES,
    OVEREXPOSURES,
    RATIOS,
    RED_GAINS,
)
from batman_cli.training.config import toml

HEIGHT, WIDTH = 918, 1374  # pixels; the working size of the DRV dataset
DRV_SCENES = "DRV scenes"  # their name among the data, for they alone are real dark bursts
SCORES = {"psnr": ("PSNR, dB", 2), "ssim": ("SSIM", 3), "tpsnr": ("TPSNR, dB", 2)}  # digits
NOT_STATED = "not stated"


@dataclass(frozen=True)
class TrainingFacts:
    """A training run as others should know it."""

    settings: TrainSettings
    steps: int  # done
    minutes: float
    hardware: str  # such as "2 CPU cores" or "one NVIDIA H200"
    started: str  # ISO date
    data: Mapping[str, int]  # how many, by plural name: "photos", "clips", "raw files", DRV_SCENES
    held_out: int  # of all these, for validation
    licence: str | None  # of the data, in the user's words
    scores_before: Mapping[str, float]  # of validation without training, by names of SCORES
    scores_after: Mapping[str, float]


def listed_facts(network: Net, facts: TrainingFacts, card: str) -> dict[str, str]:
    """What models.json says of a network; card: the name of its file."""
    settings = facts.settings
    bursts = f"{settings.batch} bursts of {_length(settings)}"
    noise = "simulated noise of Sony, Nikon and Canon sensors" if _simulated(facts) else ""
    real = f"real noise of {facts.data[DRV_SCENES]} DRV scenes" if _real(facts) else ""
    return {
        "summary": f"{_shape(network)}; {_effort(facts)}{_result(facts)}",
        "trained_on": _counts(facts),
        "training": f"{_effort(facts)}, {facts.steps} steps of {bursts} of "
        f"{settings.size} x {settings.size}",
        "cameras": f"any Bayer camera; {' and '.join(filter(None, (noise, real)))}",
        "licence": f"data: {facts.licence}" if facts.licence else NOT_STATED,
        "card": card,
    }


def card_text(name: str, network: Net, facts: TrainingFacts, *, size: int, sha256: str) -> str:
    """The card in Markdown. Of folders it has the names, never where they are.

    size: bytes of the checkpoint `name`.safetensors; sha256: its hash.
    """
    kind = facts.settings.model
    sections = [
        f"# Model card: `{name}`",
        "A network for `batman enhance`: a burst of raw frames shot in near darkness becomes a "
        "bright, steady video. This card was written by `batman train` from the facts of the run; "
        "nobody has judged the pictures for it.",
        _table(name, network, facts, size, sha256),
        "## Use",
        f"    batman enhance burst/ --model {kind} --weights {name}.safetensors",
        "## Trained on",
        _data(facts),
        "## The noise it knows",
        *_noise(facts),
        "## Scores",
        *_scores(facts),
        "## Limits",
        "\n".join(f"* {limit}" for limit in _limits(network, facts)),
        "## Settings",
        f"```toml\n{toml(_without_paths(facts.settings))}```",
    ]
    return "\n\n".join(sections) + "\n"


def _table(name: str, network: Net, facts: TrainingFacts, size: int, sha256: str) -> str:
    config = json.dumps(network.config.as_dict())
    cost = multiply_adds(network, HEIGHT, WIDTH) / 1e9
    rows = {
        "kind": f"`{facts.settings.model}`: {_shape(network)}",
        "sizes": f"`{config}`",
        "parameters": f"{parameters(network) / 1e6:.2f} M",
        f"cost of a {WIDTH} x {HEIGHT} frame": f"{cost:.1f} GMAC",
        "file": f"`{name}.safetensors`, half precision, {size / 1e6:.1f} MB",
        "SHA-256": f"`{sha256}`",
        "training": f"{_effort(facts)}, {facts.steps} steps, begun on {facts.started}, "
        f"batman-cli {__version__}",
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {what} | {is_} |" for what, is_ in rows.items())])


def _data(facts: TrainingFacts) -> str:
    start = facts.settings.start
    before = f" It began from `{start.name}`, whose own card holds too." if start else ""
    folders = ", ".join(f"`{path.name}`" for path in _without_paths(facts.settings).data)
    return (
        f"{_counts(facts)}, from {folders or 'no folder'}; {facts.held_out} of them were held out "
        f"for validation. Licence of the data: {facts.licence or NOT_STATED}.{before}"
    )


def _noise(facts: TrainingFacts) -> list[str]:
    """What of cameras and light the network has seen."""
    size, length = facts.settings.size, _length(facts.settings)
    bins = ", ".join(map(str, BIN_SHARES))
    simulated = (
        f"Bursts of {length} of {size} x {size} pixels were simulated, each anew: Poisson "
        f"shot noise at {_span((DARKEST_GAIN, NOISIEST_GAIN))} DN per electron (14 bit), read "
        "noise normal or Tukey lambda, row noise, an error of the black level of each plane, "
        f"rounding, binned by {bins}, and {CODED_SHARE:.0%} of those not binned through Sony's "
        f"lossy coding. Ratio {_span(RATIOS)}, white at {_span((EXPOSURES[0], OVEREXPOSURES[1]))} "
        f"of the range, white balance R {_span(RED_GAINS)} and B {_span(BLUE_GAINS)}, the colour "
        f"matrices of {len(XYZ_TO_CAMERA)} cameras mixed ({', '.join(XYZ_TO_CAMERA)})."
    )
    real = "The DRV scenes have the noise and the ratio of their raw files."
    known = [simulated] if _simulated(facts) else []
    known += [real] if _real(facts) else []
    return [*known, "A network sees white-balanced planes and their noise, never a camera's name."]


def _scores(facts: TrainingFacts) -> list[str]:
    """A table, and in words whether the training was of any use."""
    before, after = facts.scores_before, facts.scores_after
    if not after:
        return ["No validation was run."]
    bursts = facts.settings.validation_bursts
    lines = ["| | before training | after |", "|---|---|---|"]
    for name, (title, digits) in SCORES.items():
        numbers = [f"{x[name]:.{digits}f}" if name in x else "" for x in (before, after)]
        lines.append(f"| {title} | {numbers[0]} | {numbers[1]} |")
    useless = "**This training was of no use: PSNR did not rise.**"
    worse = "psnr" in before and "psnr" in after and not after["psnr"] > before["psnr"]
    return [
        f"Means over {bursts} bursts of the data held out. TPSNR compares frames with each other "
        "and never with a reference.",
        "\n".join(lines),
        *([useless] if worse else []),
    ]


def _limits(network: Net, facts: TrainingFacts) -> list[str]:
    ahead = f" (it looks {network.delay} frames ahead)" if network.delay else ""
    limits = [
        "Each frame is seen by itself: what differs from frame to frame flickers."
        if isinstance(network, Sid)
        else f"The first frame of a burst has nothing before it to be averaged with{ahead}."
    ]
    if _real(facts):
        limits.append("The real bursts stand still; motion was added to them.")
    else:
        limits.append("No real dark burst was used, neither in training nor for the scores.")
    if _simulated(facts):
        limits.append(f"Ratios outside {_span(RATIOS)} and noisier sensors were never seen.")
    return [
        *limits,
        "The scores are of data like those of the training; other scenes may come out worse.",
        "People and places are those of the data; nothing was checked for bias of any kind.",
    ]


def _shape(network: Net) -> str:
    if isinstance(network, Sid):
        return "each frame by itself, no delay"
    if isinstance(network, Smid) and network.config.input == "vbm4d":
        return f"each frame by itself, after V-BM4D, {network.delay} of delay"
    if isinstance(network, Smid):
        return "the average of the frames so far, no delay"
    if isinstance(network, Kpn):
        return f"window of {network.config.frames} frames, {network.delay} of delay"
    if isinstance(network, Cnn3d):
        return f"sliding, {network.delay} frames of look-ahead"
    if isinstance(network, Cnn3dPaper):
        return f"window of {2 * network.delay + 1} frames, {network.delay} of delay"
    return "recurrent, no delay"


def _length(settings: TrainSettings) -> str:
    some = settings.graded < settings.frames
    return f"up to {settings.frames} frames" if some else f"{settings.frames} frames"


def _effort(facts: TrainingFacts) -> str:
    minutes = facts.minutes
    time = f"{minutes:.2g} minutes" if minutes < 99 else f"{minutes / 60:.1f} hours"
    return f"{time} on {facts.hardware}"


def _result(facts: TrainingFacts) -> str:
    psnr = facts.scores_after.get("psnr")
    return "" if psnr is None else f"; {psnr:.2f} dB in its validation"


def _counts(facts: TrainingFacts) -> str:
    return ", ".join(
        f"{count} {name if count > 1 else name.removesuffix('s')}"
        for name, count in facts.data.items()
        if count
    )


def _real(facts: TrainingFacts) -> bool:
    return facts.data.get(DRV_SCENES, 0) > 0


def _simulated(facts: TrainingFacts) -> bool:
    return sum(facts.data.values()) > facts.data.get(DRV_SCENES, 0)


def _span(bounds: tuple[float, float]) -> str:
    return f"{bounds[0]:g} to {bounds[1]:g}"


def _without_paths(settings: TrainSettings) -> TrainSettings:
    """The settings with names in the place of paths, which are nobody else's business."""
    names = tuple(Path(path.resolve().name) for path in settings.data)
    start = Path(settings.start.name) if settings.start else None
    return replace(settings, data=names, start=start, cache=None)
