"""Scores the shipped models on simulated bursts that they were not trained on.

Pictures of scikit-image become real dark ARW files, still and moving, at three light levels. The
fifth frame is compared with the long exposure as rawpy develops it; beside it stands what rawpy
alone makes of the fifth shot, amplified. PSNR is over 8-bit pictures, in dB.

    python examples/score_models.py [--strips FOLDER] [MODEL[=CHECKPOINT] ...]
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import rawpy
from numpy.typing import NDArray
from skimage import data

from batman_cli import EnhanceSettings, enhance_frames
from batman_cli.settings import SimulateSettings
from batman_cli.simulate.run import simulate
from batman_cli.stills import write_png

FIFTH = 4  # index of the frame that is compared
FRAMES = 8
LIGHT = ((60, 3200), (100, 6400), (200, 12800))  # ratio, ISO
SCENES = (("static", 0), ("handheld", 0), ("static", 1), ("pan", 1))  # motion, moving objects
PICTURES = (data.coffee, data.astronaut, data.chelsea, data.rocket)

Frame = NDArray[np.uint8]


def psnr(picture: Frame, reference: Frame) -> float:
    """Peak signal-to-noise ratio of 8-bit pictures in dB."""
    error = np.mean((picture.astype(float) - reference) ** 2)
    return float(10 * np.log10(255**2 / error))


def developed(path: Path, bright: float) -> Frame:
    """What rawpy makes of a raw file, with a fixed white level."""
    with path.open("rb") as file, rawpy.imread(file) as raw:
        return raw.postprocess(
            use_camera_wb=True, no_auto_bright=True, adjust_maximum_thr=0.0, bright=bright
        )


def main() -> None:
    """A line for each burst and model, then the means."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", default=["clstm", "3dcnn"])
    parser.add_argument("--strips", type=Path, help="folder for pictures: plain, models, reference")
    args = parser.parse_args()
    totals: dict[str, list[float]] = {}
    for number, (motion, objects) in enumerate(SCENES * len(LIGHT)):
        ratio, iso = LIGHT[number // len(SCENES)]
        picture = PICTURES[(number + number // len(SCENES)) % len(PICTURES)]
        settings = SimulateSettings(
            ratio=ratio, iso=iso, frames=FRAMES, motion=motion, objects=objects, seed=1000 + number
        )
        with tempfile.TemporaryDirectory() as folder:
            scene = simulate([picture()[None]], Path(folder), settings)[0]
            reference = developed(next(scene.long.iterdir()), 1.0)
            strip = [developed(sorted(scene.short.iterdir())[FIFTH], ratio)]
            for model in args.models:
                name, _, checkpoint = model.partition("=")
                choice = EnhanceSettings(
                    model=name, weights=Path(checkpoint) if checkpoint else None
                )
                frames = list(enhance_frames(scene.short, choice))
                strip.append(((frames[FIFTH].astype(np.uint32) + 128) // 257).astype(np.uint8))
        scores = [psnr(one, reference) for one in strip]
        title = f"{picture.__name__} {motion} x{ratio} ISO {iso} objects {objects}"
        for name, score in zip(["rawpy", *args.models], scores, strict=True):
            totals.setdefault(name, []).append(score)
        print(f"{title:46}", *(f"{score:6.2f}" for score in scores), flush=True)
        if args.strips:
            args.strips.mkdir(parents=True, exist_ok=True)
            row = np.concatenate([*strip, reference], 1)
            write_png(args.strips / f"{number:02d}_{title.replace(' ', '_')}.png", row)
    for name, scores in totals.items():
        gains = np.subtract(scores, totals["rawpy"])
        mean = np.mean(scores)
        print(f"{name}: mean {mean:.2f} dB, gain {gains.mean():.2f}, least {gains.min():.2f}")


if __name__ == "__main__":
    main()
