"""Times `batman train`'s steps against a loop over one batch that lies ready in memory.

The loop is the plain one: all cores inside each operation, no data to make. Both train the same
network on bursts of the same size, in turns, so that a busy machine slows both.

    python examples/time_training.py PHOTOS [MODEL ...]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from batman_cli.device import choose_device
from batman_cli.settings import TrainSettings
from batman_cli.training.bursts import Stock, shoot, stacked, stock_of
from batman_cli.training.losses import Objective, gradients
from batman_cli.training.ranks import Ranks
from batman_cli.training.sources import prepare
from batman_cli.training.state import new_run
from batman_cli.training.step import Crew, draws, take_step

ROUNDS, STEPS = 5, 3  # turns of each, and steps in a turn
CPU = torch.device("cpu")


def seconds(act: Callable[[], object]) -> float:
    """Of a step, on average over a turn."""
    began = time.perf_counter()
    for _ in range(STEPS):
        act()
    return (time.perf_counter() - began) / STEPS


def compare(model: str, stock: Stock, crew: Crew) -> str:
    """What the turns of a model came to."""
    settings = TrainSettings(model=model, graded=TrainSettings.frames)  # steps of one length
    run = new_run(
        model,
        {},
        optimiser="muon",
        rate=1e-4,
        weight_decay=0.0,
        seed=1,
        start=None,
        device=crew.device,
    )
    todo = draws(stock, settings, 0, Ranks(), delay=0)
    ready = stacked([shoot(one, CPU) for one in next(todo)])
    making = list[float]()

    def real() -> None:
        step = take_step(run, next(todo), settings, crew, share=0.5, signal=None)
        making.append(step.making)

    def plain() -> None:
        objective = Objective("l1", 0.0, 0.0, None, settings.graded)
        found, _ = gradients(run.network, ready, objective, bf16=crew.device.bf16)
        for parameter, gradient in zip(run.network.parameters(), found, strict=True):
            parameter.grad = gradient
        run.optimiser.step()

    ratios, times = list[float](), list[float]()
    for _ in range(ROUNDS):
        torch.set_num_threads(1)
        times.append(seconds(real))
        torch.set_num_threads(crew.threads)
        ratios.append(seconds(plain) / times[-1])
    step = statistics.median(times)
    return (
        f"{settings.batch / step:.2f} bursts/s, {statistics.median(ratios):.2f} of the plain "
        f"loop's speed, {statistics.median(making) / step:.1%} of the time spent on data"
    )


def main() -> None:
    """A line for each model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("models", nargs="*", default=["clstm", "3dcnn"])
    args = parser.parse_args()
    cores = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as cache, ThreadPoolExecutor(cores) as pool:
        library = prepare([args.photos], Path(cache), bin=None, drv_input="short", on_bad="skip")
        stock = stock_of(library.training)
        crew = Crew(pool, cores, choose_device("cpu", "auto"), Ranks())
        for model in args.models:
            print(f"{model}: {compare(model, stock, crew)}", flush=True)


if __name__ == "__main__":
    main()
