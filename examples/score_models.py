"""Scores the shipped models on simulated bursts that they were not trained on.

Pictures become real dark ARW files, still and moving, at three light levels and with two cameras.
The fifth frame is compared with the long exposure as rawpy develops it, beside what rawpy alone
makes of the fifth shot, amplified. Of scenes that stand still, TPSNR is over frames 5 to 12; where
something moves, the same network sees the fifth shot alone as well. All over 8-bit pictures.

    python examples/score_models.py [--photos FOLDER] [--strips FOLDER] [MODEL[=CHECKPOINT] ...]
    python examples/score_models.py --long 500 [MODEL[=CHECKPOINT] ...]
"""

import argparse
import math
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import rawpy
import torch
from numpy.typing import NDArray
from skimage import data
from torch import Tensor

from batman_cli import EnhanceSettings
from batman_cli.develop import to_planes, tone_curve
from batman_cli.device import choose_device
from batman_cli.infer import Frame, Runner
from batman_cli.metrics import psnr, ssim, tpsnr
from batman_cli.noise import Noise
from batman_cli.pipeline import start
from batman_cli.plan import Plan, make_plan
from batman_cli.settings import SimulateSettings
from batman_cli.simulate.camera import CAMERAS, SPAN, expose, pixel_noise
from batman_cli.simulate.run import SimulatedScene, simulate
from batman_cli.simulate.scenes import srgb_to_linear
from batman_cli.stills import read_image, write_png
from batman_cli.weights import load_network

FIFTH = 4  # index of the frame that is compared
FRAMES = 12
LIGHT = ((60, 3200), (100, 6400), (200, 12800))  # ratio, ISO
SCENES = (("static", 0), ("handheld", 0), ("static", 1), ("pan", 1))  # motion, moving objects
NOISIER = ("canon70d", 100, 6400)  # camera, ratio, ISO
PICTURES = (data.coffee, data.astronaut, data.chelsea, data.rocket)

LONG_SIDE = 256  # pixels
LONG_SHOWN = (1, 5, 12, 50, 100, 200)  # frames of the long burst that are scored, and the last
HEADINGS = f"{'':20} {'PSNR':>6} {'SSIM':>6} {'TPSNR':>6} {'12-5':>7} {'alone':>7}"

Frames = NDArray[np.uint8]  # (..., H, W, 3)


@dataclass(frozen=True)
class Row:
    """One system on one burst."""

    name: str
    fifth: Frames
    scores: dict[str, float]  # NaN where one is not defined


def bursts() -> Iterator[SimulateSettings]:
    """What is scored: each light level with each motion, then a noisier camera."""
    for number in range(len(LIGHT) * len(SCENES)):
        ratio, iso = LIGHT[number // len(SCENES)]
        motion, objects = SCENES[number % len(SCENES)]
        yield SimulateSettings(
            ratio=ratio, iso=iso, motion=motion, objects=objects, frames=FRAMES, seed=5000 + number
        )
    camera, ratio, iso = NOISIER
    for number, (motion, objects) in enumerate((("static", 0), ("handheld", 1)), 5012):
        yield SimulateSettings(
            camera, iso, ratio, FRAMES, motion=motion, objects=objects, seed=number
        )


def developed(path: Path, bright: float) -> Frames:
    """What rawpy makes of a raw file, with a fixed white level."""
    with path.open("rb") as file, rawpy.imread(file) as raw:
        return raw.postprocess(
            use_camera_wb=True, no_auto_bright=True, adjust_maximum_thr=0.0, bright=bright
        )


def enhanced(folder: Path, model: str) -> tuple[Frames, Frames]:
    """All frames of a burst in 8 bits, and the fifth as the network sees it alone.

    model: a shipped one, or MODEL=CHECKPOINT.
    """
    settings = settings_of(model)
    plan = make_plan(folder, settings)
    fifth = plan.burst.sequence[FIFTH : FIFTH + 1]
    alone = replace(
        plan, burst=replace(plan.burst, shots=plan.burst.shots[FIFTH:][:1], sequence=fifth)
    )
    return eight_bits(plan, settings), eight_bits(alone, settings)[0]


def settings_of(model: str) -> EnhanceSettings:
    """Choices for a shipped model, or for MODEL=CHECKPOINT."""
    name, _, checkpoint = model.partition("=")
    return EnhanceSettings(model=name, weights=Path(checkpoint) if checkpoint else None)


def eight_bits(plan: Plan, settings: EnhanceSettings) -> Frames:
    """The finished pictures of a plan, (T, H, W, 3) uint8."""
    frames = start(plan, settings).pictures()
    return np.stack([((frame.astype(np.uint32) + 128) // 257).astype(np.uint8) for frame in frames])


def tensor(frames: Frames) -> Tensor:
    """(..., 3, H, W) in 0..1."""
    return torch.from_numpy(frames).movedim(-1, -3).double() / 255


def score(scene: SimulatedScene, asked: SimulateSettings, models: list[str]) -> list[Row]:
    """A row for rawpy and for each model."""
    reference = developed(next(scene.long.iterdir()), 1.0)
    plain = developed(sorted(scene.short.iterdir())[FIFTH], asked.ratio)
    still = asked.motion == "static" and not asked.objects
    rows = [row("rawpy", plain[None].repeat(FRAMES, 0), plain, reference, still=still)]
    for model in models:
        rows.append(row(model, *enhanced(scene.short, model), reference, still=still))
    return rows


def row(name: str, frames: Frames, alone: Frames, reference: Frames, *, still: bool) -> Row:
    """The scores of one system on one burst."""
    shown, wanted = tensor(frames), tensor(reference)
    fifth = psnr(shown[FIFTH], wanted)
    return Row(
        name,
        frames[FIFTH],
        {
            "psnr": fifth,
            "ssim": ssim(shown[FIFTH], wanted),
            "tpsnr": tpsnr(shown[FIFTH:]) if still and name != "rawpy" else math.nan,
            "last": psnr(shown[-1], wanted) - fifth if still else math.nan,
            "alone": math.nan if still else fifth - psnr(tensor(alone), wanted),
        },
    )


def score_all(models: list[str], photos: Path | None, strips: Path | None) -> None:
    """A line for each burst, then the means."""
    pictures = (
        [read_image(path) for path in sorted(photos.iterdir())]
        if photos
        else [picture() for picture in PICTURES]
    )
    totals: dict[str, list[dict[str, float]]] = {}
    for number, asked in enumerate(bursts()):
        picture = pictures[(3 * number + number // len(SCENES)) % len(pictures)]
        with tempfile.TemporaryDirectory() as folder:
            scene = simulate([picture[None]], Path(folder), asked)[0]
            rows = score(scene, asked, models)
            reference = developed(next(scene.long.iterdir()), 1.0)
        title = (
            f"{number:02d} {asked.camera} x{asked.ratio:g} {asked.motion} objects {asked.objects}"
        )
        print(f"{title:38}", *(f"{one.scores['psnr']:6.2f}" for one in rows), flush=True)
        for one in rows:
            totals.setdefault(one.name, []).append(one.scores)
        if strips:
            strips.mkdir(parents=True, exist_ok=True)
            shown = np.concatenate([*(one.fifth for one in rows), reference], 1)
            write_png(strips / f"{title.replace(' ', '_')}.png", shown)
    print(HEADINGS)
    for name, scores in totals.items():
        print(summary(name, scores))


def summary(name: str, scores: list[dict[str, float]]) -> str:
    """Means over all bursts for which a score is defined; of `alone` the least."""
    columns = {key: np.array([one[key] for one in scores]) for key in scores[0]}
    with warnings.catch_warnings(action="ignore"):  # rawpy has no TPSNR: of its noise, not of it
        means = {key: float(np.nanmean(values)) for key, values in columns.items()}
    return (
        f"{name:20} {means['psnr']:6.2f} {means['ssim']:6.3f} {means['tpsnr']:6.2f}"
        f" {means['last']:+7.2f} {float(np.nanmin(columns['alone'])):+7.2f}"
    )


@torch.no_grad()
def score_long(model: str, frames: int) -> None:
    """PSNR over a long still burst, which nothing may wear away."""
    settings = settings_of(model)
    network = load_network(settings.model, file=settings.weights)
    runner = Runner(network, choose_device("auto", "auto"))
    clean = srgb_to_linear(tensor(data.astronaut()[:LONG_SIDE, :LONG_SIDE]).float())
    ratio, iso = LIGHT[1]
    noise = CAMERAS["a7s2"].at(iso)
    amplified = Noise(*pixel_noise(noise)).amplified(ratio, (1.0, 1.0, 1.0))
    generator = torch.Generator().manual_seed(1)
    wanted = tone_curve(clean)
    for number in range(1, frames + network.delay + 1):
        seen = to_planes(clean[None]) / ratio * SPAN
        planes = expose(seen, noise, generator)[0] * (ratio / SPAN)
        rgb = runner.step(Frame(planes.numpy(), amplified))
        shown = number - network.delay
        if rgb is not None and (shown in LONG_SHOWN or shown == frames):
            picture = tone_curve(rgb.clamp(0, 1)).clamp(0, 1)
            print(f"{model}: frame {shown}, {psnr(picture, wanted):.3f} dB", flush=True)


def main() -> None:
    """The scores that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=["clstm", "3dcnn"])
    parser.add_argument("--photos", type=Path, help="folder of photos, instead of scikit-image's")
    parser.add_argument("--strips", type=Path, help="folder for pictures: plain, models, reference")
    parser.add_argument("--long", type=int, help="frames of a still burst to follow instead")
    args = parser.parse_args()
    if args.long:
        for model in args.models:
            score_long(model, args.long)
    else:
        score_all(args.models, args.photos, args.strips)


if __name__ == "__main__":
    main()
