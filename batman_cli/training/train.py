"""The loop behind the shipped checkpoints: L1 after development, on bursts drawn afresh.

Example: python -m batman_cli.training.train clstm clstm.safetensors PHOTOS CLIPS --minutes 60
"""

import argparse
import copy
import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from batman_cli.develop import develop, develop_unclipped
from batman_cli.models import build
from batman_cli.training.bursts import Burst, draw_burst
from batman_cli.training.library import load_library
from batman_cli.weights import Net, load_network, save

SIZE = 192  # pixels, side of a training burst
VALIDATION_FRAMES = 8
WARM_UP = 60  # steps
AVERAGE = 0.998  # share of the averaged weights that a step keeps
CLIP_GRADIENT = 1.0  # norm
VALIDATION_BURSTS = 24
VALIDATION_SEED = 7
REPORT_EVERY, SAVE_EVERY = 25, 150  # steps
FIFTH = 4  # index of the frame that SMID's protocol scores

log = logging.getLogger(__name__)


def train(
    kind: str,
    out: Path,
    folders: Sequence[Path],
    *,
    minutes: float,
    frames: int,
    batch: int,
    rate: float,
    seed: int,
    start: Path | None,
) -> None:
    """Train a network for some time and leave its averaged weights at `out`.

    frames, batch: of a training burst, bursts of a step; rate: highest learning rate.
    start: a checkpoint whose weights are taken over where name and shape agree, so that one
    kind of network can begin from the other's encoder.
    """
    library = load_library(folders)
    log.info("%d training, %d validation clips", len(library.training), len(library.validation))
    network = build(kind, {})
    if start is not None:
        log.info("%d tensors taken over from %s", _take_over(network, start), start)
    average = copy.deepcopy(network).eval()
    optimiser = torch.optim.AdamW(network.parameters(), rate, weight_decay=1e-4)
    generator = torch.Generator().manual_seed(seed)
    held_out = torch.Generator().manual_seed(VALIDATION_SEED)
    validation = [
        draw_burst(library.validation, VALIDATION_FRAMES, SIZE, held_out)
        for _ in range(VALIDATION_BURSTS)
    ]
    began, step, losses = time.monotonic(), 0, list[float]()
    while (share := (time.monotonic() - began) / (60 * minutes)) < 1:
        falling = 0.5 * (1 + math.cos(math.pi * share))
        for group in optimiser.param_groups:
            group["lr"] = rate * min((step + 1) / WARM_UP, 0.02 + 0.98 * falling)
        bursts = [draw_burst(library.training, frames, SIZE, generator) for _ in range(batch)]
        losses.append(_train_step(network, optimiser, bursts))
        step += 1
        keep = min(AVERAGE, step / (step + 10))
        with torch.no_grad():
            for mean, value in zip(average.parameters(), network.parameters(), strict=True):
                mean.lerp_(value, 1 - keep)
        if step % REPORT_EVERY == 0:
            recent = sum(losses[-REPORT_EVERY:]) / REPORT_EVERY
            log.info("%.1f min, step %d, loss %.4f", share * minutes, step, recent)
        if step % SAVE_EVERY == 0:
            _report_and_save(average, validation, out, kind, minutes * share, step)
    _report_and_save(average, validation, out, kind, minutes, step)


def _train_step(network: Net, optimiser: torch.optim.Optimizer, bursts: Sequence[Burst]) -> float:
    """One step of the optimiser; gives the loss. A step with NaN or infinity changes nothing."""
    batch = Burst(*(torch.stack(parts) for parts in zip(*bursts, strict=True)))
    pictures = run(network, batch.planes, batch.noise)
    loss = torch.stack(
        [
            (develop_unclipped(rgb, batch.matrix) - develop_unclipped(clean, batch.matrix))
            .abs()
            .mean()
            for rgb, clean in zip(pictures, batch.clean.unbind(1), strict=True)
        ]
    ).mean()
    optimiser.zero_grad()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP_GRADIENT)
    if torch.isfinite(norm):
        optimiser.step()
    return loss.item()


def run(network: Net, planes: Tensor, noise: Tensor) -> list[Tensor]:
    """Pictures (B, 3, 2h, 2w) of all frames of bursts (B, T, 4, h, w) with noise (B, 2, 4)."""
    pictures, state = list[Tensor](), None
    for frame in planes.unbind(1):
        rgb, state = network.step(frame, noise, state)
        if rgb is not None:
            pictures.append(rgb)
    return pictures + (network.flush(state) if state else [])


@torch.no_grad()
def _report_and_save(
    network: Net, validation: Sequence[Burst], out: Path, kind: str, minutes: float, step: int
) -> None:
    fifth: list[float] = []
    last: list[float] = []
    for burst in validation:
        pictures = run(network, burst.planes[None], burst.noise[None])
        scores = [
            _psnr(develop(rgb[0], burst.matrix), develop(clean, burst.matrix))
            for rgb, clean in zip(pictures, burst.clean, strict=True)
        ]
        fifth.append(scores[FIFTH])
        last.append(scores[-1])
    scores = {"fifth_db": sum(fifth) / len(fifth), "last_db": sum(last) / len(last)}
    log.info("validation: fifth frame %.2f dB, last %.2f dB", *scores.values())
    save(out, network, kind, {"minutes": round(minutes, 1), "steps": step, "validation": scores})


def _psnr(picture: Tensor, reference: Tensor) -> float:
    return -10 * math.log10(float((picture - reference).square().mean()))


def _take_over(network: Net, start: Path) -> int:
    """Copies what fits from another checkpoint; gives the number of tensors copied."""
    own, given = network.state_dict(), load_network(None, file=start).state_dict()
    shared = {k: v for k, v in given.items() if k in own and v.shape == own[k].shape}
    network.load_state_dict(own | shared)
    return len(shared)


def main() -> None:
    """Command line of the loop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["clstm", "3dcnn"])
    parser.add_argument("out", type=Path)
    parser.add_argument("data", type=Path, nargs="+", help="folders of photos and clips")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--frames", type=int, default=8, help="of a training burst")
    parser.add_argument("--batch", type=int, default=4, help="bursts of a step")
    parser.add_argument("--rate", type=float, default=4e-4, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--start", type=Path, help="checkpoint to begin from")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(args.threads)
    train(
        args.kind,
        args.out,
        args.data,
        minutes=args.minutes,
        frames=args.frames,
        batch=args.batch,
        rate=args.rate,
        seed=args.seed,
        start=args.start,
    )


if __name__ == "__main__":
    main()
