"""Trains networks on one large GPU, in minutes.

    python examples/gpu_training/train.py --data PHOTOS --data CLIPS --models clstm,3dcnn \
        --minutes 7 -o run/
    python examples/gpu_training/train.py --data PHOTOS --models sid --minutes 0.4 -o run/

`clstm` and `3dcnn` are trained together, on the same bursts; each published network by itself. The
bursts are made on the GPU too, all of whose work is captured in CUDA graphs. Ctrl-C ends a run
after a checkpoint; --start goes on from the checkpoints of another. docs/training.md has more.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import published
import shipped
import torch
from bursts import make
from flat import Trained
from graphs import turns
from recipe import FRAMES, Recipe
from sources import Sources
from torch import Tensor

from batman_cli.develop import develop
from batman_cli.errors import BatmanError
from batman_cli.metrics import psnr
from batman_cli.models import Net, build
from batman_cli.training.signals import Ending
from batman_cli.training.sources import prepare
from batman_cli.training.step import EASY_STEPS, LEAST_RATE
from batman_cli.training.validate import PERFECT, SEED
from batman_cli.weights import load_network, save

TOGETHER = ("clstm", "3dcnn")
CHECKS = 8  # validations, evenly over a run
TRAINING_SEED = 2


def main() -> None:
    """Data, networks, steps, checkpoints."""
    args = _arguments()
    try:
        _run(args)
    except BatmanError as error:
        raise SystemExit("\n".join(filter(None, (str(error), error.fix)))) from error


def _run(args: argparse.Namespace) -> None:
    device = torch.device(args.device)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    recipe: Recipe[Any] = published.RECIPES.get(args.models[0], shipped.RECIPE)
    batch = args.batch or recipe.batch
    training, held_out = _sources(args, device)

    def made(sources: Sources) -> Any:
        with torch.no_grad():
            return recipe.prepare(
                make(sources, batch, FRAMES, args.size, long_past=recipe.long_past)
            )

    torch.manual_seed(SEED)
    fixed = [made(held_out) for _ in range(max(1, (args.held_out or recipe.held_out) // batch))]
    torch.manual_seed(TRAINING_SEED)
    trained = [Trained(kind, _start(kind, args, recipe), recipe, device) for kind in args.models]
    over = torch.zeros((), device=device)  # share of the run

    def train(data: Any) -> None:
        for one in trained:
            one.step(recipe.loss(one.network, data, over))

    args.output.mkdir(parents=True, exist_ok=True)
    turn, how = turns(lambda: made(training), train, device)
    for one in trained:
        one.restart()
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"{', '.join(args.models)} on {name}, {how}", flush=True)
    about = {"models": args.models, "device": name, "batch": batch, "size": args.size, "how": how}
    record = _Record(args.output, about, recipe, trained, fixed)
    _steps(turn, trained, over, recipe, args, record)


def _steps(
    turn: Callable[[], None],
    trained: list[Trained],
    over: Tensor,
    recipe: Recipe[Any],
    args: argparse.Namespace,
    record: "_Record",
) -> None:
    """Steps until the time is over, or a signal comes, and a checkpoint at the end."""
    limit = 60 * args.minutes
    highest = args.rate or recipe.rate
    began, number, checked = time.monotonic(), 0, 0
    with Ending(lambda: print("ending after this step and saving", flush=True)) as ending:
        while ending.signal is None and (share := (time.monotonic() - began) / limit) < 1:
            if share >= (checked + 1) / CHECKS:
                checked += 1
                record.check(number, time.monotonic() - began)
            cosine = 0.5 * (1 + math.cos(math.pi * share))
            rate = min((number + 1) / recipe.warm_up, LEAST_RATE + (1 - LEAST_RATE) * cosine)
            over.fill_(share)
            for one in trained:
                one.rate.fill_(highest * rate)
                one.keep.fill_(min(recipe.average, number / (number + EASY_STEPS)))
            turn()
            number += 1
        record.check(number, time.monotonic() - began)
    if ending.signal is not None:
        raise SystemExit(128 + ending.signal)


class _Record:
    """Checkpoints and log.json."""

    def __init__(
        self,
        folder: Path,
        about: dict[str, Any],
        recipe: Recipe[Any],
        trained: list[Trained],
        fixed: list[Any],
    ) -> None:
        self._folder, self._about, self._recipe = folder, about, recipe
        self._trained, self._fixed = trained, fixed
        self._curve: list[dict[str, Any]] = []

    def check(self, step: int, seconds: float) -> None:
        """Scores the averaged weights and writes them. seconds: of the run so far."""
        row: dict[str, Any] = {"step": step, "seconds": round(seconds, 1)}
        for one in self._trained:
            network = one.averaged()
            score = round(_score(self._recipe, network, self._fixed), 3)
            row[one.kind] = {"psnr": score, "loss": float(one.loss), "gradient": float(one.norm)}
            facts = {
                "summary": f"{step} steps on one {self._about['device']}",
                "step": step,
                "scores": {"psnr": score},
            }
            save(self._folder / f"{one.kind}.safetensors", network, one.kind, facts)
        self._curve.append(row)
        log = {**self._about, "steps": step, "seconds": row["seconds"], "curve": self._curve}
        (self._folder / "log.json").write_text(json.dumps(log, indent=1))
        scores = ", ".join(f"{one.kind} {row[one.kind]['psnr']:.2f} dB" for one in self._trained)
        print(f"{seconds:6.0f} s, step {step}: {scores}", flush=True)


@torch.no_grad()
def _score(recipe: Recipe[Any], network: Net, fixed: list[Any]) -> float:
    """PSNR in dB, the mean over pictures of held-out bursts."""
    scores: list[float] = []
    for data in fixed:
        for picture, reference, matrix in zip(*recipe.show(network, data), strict=True):
            found = psnr(develop(picture, matrix), reference.clamp(0, 1))
            scores.append(min(found, PERFECT))
    return sum(scores) / len(scores)


def _sources(args: argparse.Namespace, device: torch.device) -> tuple[Sources, Sources]:
    """What is trained on, and what is held out, decoded and on the device."""
    library = prepare(
        args.data,
        args.cache or args.output / "cache",
        bin=None,
        drv_input="short",
        on_bad="skip",
    )
    for error in library.skipped:
        print(f"left out: {error}", flush=True)
    sizes = len(library.training), len(library.validation)
    print(f"{sizes[0]} photos and clips to train on, {sizes[1]} to validate on", flush=True)
    return Sources(library.training, FRAMES, device), Sources(library.validation, FRAMES, device)


def _start(kind: str, args: argparse.Namespace, recipe: Recipe[Any]) -> Net:
    """The network that a run begins with, on the CPU."""
    if args.start:
        return load_network(kind, file=args.start / f"{kind}.safetensors")
    return build(kind, args.network or dict(recipe.network))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, action="append", required=True)
    parser.add_argument("--models", type=_models, default="clstm,3dcnn", metavar="KIND[,KIND]")
    parser.add_argument("--minutes", type=float, required=True, help="of training")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--start", type=Path, metavar="FOLDER", help="of checkpoints to begin from")
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="of decoded data")
    parser.add_argument("--rate", type=float, help="learning rate at its highest")
    parser.add_argument("--batch", type=int, help="bursts a step")
    parser.add_argument("--size", type=int, default=192, help="pixels, side of a burst")
    parser.add_argument("--held-out", type=int, metavar="BURSTS", help="of validation")
    parser.add_argument("--network", type=json.loads, metavar="JSON", help='{"head": 32}')
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    if not args.minutes > 0:
        parser.error("--minutes must be above 0")
    if args.size < 64 or args.size % 64:
        parser.error("--size must be a multiple of 64")
    return args


def _models(text: str) -> list[str]:
    """Kinds that can be trained together."""
    kinds = text.split(",")
    if set(kinds) <= set(TOGETHER) or (len(kinds) == 1 and kinds[0] in published.RECIPES):
        return list(dict.fromkeys(kinds))
    known = ", ".join(published.RECIPES)
    raise argparse.ArgumentTypeError(f"it is clstm, 3dcnn, both, or one of {known}")


if __name__ == "__main__":
    main()
