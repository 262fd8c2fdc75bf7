"""One step of training: bursts to gradients, on all cores and in all processes, to new weights."""

import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from batman_cli.device import Device
from batman_cli.models import Net
from batman_cli.settings import TrainSettings
from batman_cli.training.bursts import Filming, Stock, Window, draw, seed_of, shoot, stacked
from batman_cli.training.drv_windows import below
from batman_cli.training.losses import Objective, gradients
from batman_cli.training.ranks import Ranks
from batman_cli.training.signals import SIGNALS
from batman_cli.training.state import Run

LONGEST_WARM_UP = 0.1  # share of the run
LEAST_RATE = 0.02  # share of the highest rate that a cosine ends at
LENGTH = -1  # in the seed: what follows from a step's number, not from a burst's
EASY_STEPS = 10  # the average of the weights starts young: step n keeps n / (n + EASY_STEPS)

Drawn = Filming | Window


@dataclass(frozen=True)
class Crew:
    """Who computes: threads of this process, each on a part of its bursts, and other processes.

    Several threads inside every convolution wait for each other all the time; on a machine that
    does other things too that costs up to two thirds of the speed (examples/time_training.py).
    """

    pool: ThreadPoolExecutor
    threads: int
    device: Device
    ranks: Ranks


class Stepped(NamedTuple):
    """What a step did: all but `making` is equal in all processes."""

    loss: float
    norm: float  # of the gradient, before it was clipped
    rate: float
    share: float  # of the run that was over when it began, 0..1
    ended_by: int | None  # the signal that some process got
    making: float  # seconds that the slowest thread spent on making bursts, or on asking a GPU to


def draws(
    stock: Stock, settings: TrainSettings, first: int, ranks: Ranks, *, delay: int
) -> Iterator[list[Drawn]]:
    """For each step from `first` on, what this process has to compute of it.

    delay: of the network, see `length_of`. With a consistency term there is a second take of each
    burst, after all first ones.
    """
    own = settings.batch // ranks.world
    takes = (0, 1) if settings.consistency else (0,)
    for step in range(first, settings.steps):
        frames = length_of(settings, step, delay)
        numbers = range(
            step * settings.batch + ranks.rank * own, step * settings.batch + (ranks.rank + 1) * own
        )
        yield [
            draw(
                stock,
                number,
                seed=settings.seed,
                frames=frames,
                size=settings.size,
                take=take,
            )
            for take in takes
            for number in numbers
        ]


def length_of(settings: TrainSettings, step: int, delay: int) -> int:
    """Frames of the bursts of a step: the graded ones, and any number before them.

    A network that is `delay` frames late needs as many before, or it has no picture to be graded.
    """
    shortest = settings.graded + delay
    if shortest >= settings.frames:
        return settings.frames
    generator = torch.Generator().manual_seed(seed_of(settings.seed, step, LENGTH))
    return shortest + below(settings.frames - shortest + 1, generator)


def take_step(
    run: Run,
    drawn: Sequence[Drawn],
    settings: TrainSettings,
    crew: Crew,
    *,
    share: float,
    signal: int | None,
) -> Stepped:
    """One step. Where loss or gradient is not finite, weights and average stay as they are.

    share: of the run that is over. signal: the one by which this process was asked to end.
    """
    parts = _parts(drawn, crew.threads, takes=2 if settings.consistency else 1)
    objective = Objective(
        settings.loss,
        settings.consistency,
        settings.temporal,
        settings.truncate,
        settings.graded,
        share,
    )
    statistics = [values.clone() for values in run.network.buffers()]
    jobs = [crew.pool.submit(_compute, run.network, part, objective, crew.device) for part in parts]
    found = [job.result() for job in jobs]
    weights = [len(part) / len(drawn) / crew.ranks.world for part in parts]
    flat = _flat(found, weights, crew, share=share, signal=signal)
    crew.ranks.sum(flat)
    share_statistics(run.network, crew.ranks)
    told = 2 + len(SIGNALS)
    loss, share, *asked = flat[-told:].tolist()
    gradient = flat[:-told]
    ended_by = next((n for n, votes in zip(SIGNALS, asked, strict=True) if votes), None)
    norm = float(gradient.norm())
    rate = rate_at(settings, run.position.step, share)
    run.position.step += 1
    if math.isfinite(norm) and math.isfinite(loss):
        run.position.skipped_in_a_row = 0
        gradient *= min(1.0, settings.clip_gradient / (norm + 1e-12))
        _apply(run, gradient, rate, settings.average)
    else:
        for values, before in zip(run.network.buffers(), statistics, strict=True):
            values.copy_(before)  # of batch normalisation, which has seen what is left out
        run.position.skipped += 1
        run.position.skipped_in_a_row += 1
    making = max(result.making for result in found)
    return Stepped(loss, norm, rate, share, ended_by, making)


def rate_at(settings: TrainSettings, step: int, share: float) -> float:
    """Learning rate: rises over the first steps, then falls along a cosine or stays.

    share: of the run that is over. It has risen after a tenth of a run, however short.
    """
    risen = (step + 1) / settings.warm_up if settings.warm_up else 1.0
    warm = min(1.0, max(risen, share / LONGEST_WARM_UP))
    if settings.schedule == "constant":
        return settings.highest_rate * warm
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
    return settings.highest_rate * min(warm, LEAST_RATE + (1 - LEAST_RATE) * cosine)


class _Found(NamedTuple):
    gradients: list[Tensor]
    loss: float
    making: float


def _compute(network: Net, drawn: Sequence[Drawn], objective: Objective, device: Device) -> _Found:
    """Gradients over some bursts, in a thread of its own."""
    began = time.perf_counter()
    # Noise is drawn where the network runs; random numbers of Apple's GPUs lack distributions.
    maker = device.torch_device if device.torch_device.type == "cuda" else torch.device("cpu")
    burst = stacked([shoot(one, maker) for one in drawn])
    burst = type(burst)(*(field.to(device.torch_device) for field in burst))
    making = time.perf_counter() - began
    found, loss = gradients(network, burst, objective, bf16=device.bf16)
    return _Found(found, loss, making)


def _parts(drawn: Sequence[Drawn], threads: int, *, takes: int) -> list[list[Drawn]]:
    """The bursts in as many groups as there are threads; all takes of a burst in one group."""
    count = len(drawn) // takes
    edges = [count * i // threads for i in range(threads + 1)]
    parts = [
        [drawn[take * count + i] for take in range(takes) for i in range(first, stop)]
        for first, stop in pairwise(edges)
    ]
    return [part for part in parts if part]


def _flat(
    found: Sequence[_Found],
    weights: Sequence[float],
    crew: Crew,
    *,
    share: float,
    signal: int | None,
) -> Tensor:
    """One vector to be added up over all processes: the gradient, then loss, share and signals."""
    vectors = [
        weight * torch.cat([gradient.flatten() for gradient in result.gradients])
        for result, weight in zip(found, weights, strict=True)
    ]
    loss = sum(weight * result.loss for result, weight in zip(found, weights, strict=True))
    told = [loss, share if crew.ranks.first else 0.0, *(float(signal == n) for n in SIGNALS)]
    return torch.cat([torch.stack(vectors).sum(0), vectors[0].new_tensor(told)])


@torch.no_grad()
def share_statistics(network: Net, ranks: Ranks) -> None:
    """Means and variances of batch normalisation, over the bursts of all processes."""
    statistics = [values for values in network.buffers() if values.is_floating_point()]
    if ranks.world == 1 or not statistics:
        return
    means = ranks.sum(torch.cat([values.flatten() for values in statistics])) / ranks.world
    sizes = [values.numel() for values in statistics]
    for values, mean in zip(statistics, means.split(sizes), strict=True):
        values.copy_(mean.view_as(values))


@torch.no_grad()
def _apply(run: Run, gradient: Tensor, rate: float, average: float) -> None:
    """Moves the weights along the gradient, and their average after them."""
    parameters = list(run.network.parameters())
    sizes = [parameter.numel() for parameter in parameters]
    for parameter, part in zip(parameters, gradient.split(sizes), strict=True):
        parameter.grad = part.view_as(parameter)
    for group in run.optimiser.param_groups:
        group["lr"] = rate * group.get("share", 1.0)
    run.optimiser.step()
    keep = min(average, run.position.step / (run.position.step + EASY_STEPS))
    for means, values in (
        (run.average.parameters(), parameters),
        (run.average.buffers(), run.network.buffers()),
    ):
        for mean, value in zip(means, values, strict=True):
            mean.lerp_(value, 1 - keep)
