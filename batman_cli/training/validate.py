"""How good a network is by now: fixed bursts of pictures that it is not trained on."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from batman_cli.develop import develop, plain_demosaic
from batman_cli.metrics import psnr, ssim, tpsnr
from batman_cli.training.bursts import draw, shoot
from batman_cli.training.losses import run
from batman_cli.training.sources import Source
from batman_cli.training.step import Crew
from batman_cli.weights import Net

SEED = 7  # of the bursts: the same for every run, so that runs can be compared
FRAMES = 8
FIFTH = 4  # index of the frame that SMID's protocol scores
STILL_EVERY = 3  # one burst in so many stands still: TPSNR is defined for those alone
STRIPS = 3
PERFECT = 60.0  # dB; a burst burnt out to white can be met exactly, which no mean survives


class Strip(NamedTuple):
    """The fifth frame of a burst, developed: (3, H, W) in 0..1 each."""

    before: Tensor  # amplified and demosaiced, and nothing more
    after: Tensor
    reference: Tensor


class Validation(NamedTuple):
    """Means over all bursts: PSNR and SSIM of the fifth frame, TPSNR of bursts that stand still."""

    psnr: float  # dB
    ssim: float
    tpsnr: float  # dB
    strips: list[Strip]  # of the first few bursts; in the first process alone


class _Judged(NamedTuple):
    psnr: float
    ssim: float
    tpsnr: float  # NaN where something moves
    strip: Strip


def validate(
    network: Net, sources: Sequence[Source], bursts: int, size: int, crew: Crew
) -> Validation:
    """Scores over `bursts` bursts of FRAMES x size x size pixels, shared by all processes."""
    own = range(crew.ranks.rank, bursts, crew.ranks.world)
    jobs = [crew.pool.submit(_judge, network, sources, i, size, crew) for i in own]
    judged = [job.result() for job in jobs]
    still = [one.tpsnr for one in judged if not math.isnan(one.tpsnr)]
    figures = [sum(x.psnr for x in judged), sum(x.ssim for x in judged), sum(still), len(still)]
    sums = crew.ranks.sum(torch.tensor(figures, device=crew.device.torch_device)).tolist()
    strips = [one.strip for one in judged[:STRIPS]] if crew.ranks.first else []
    return Validation(sums[0] / bursts, sums[1] / bursts, sums[2] / max(1, sums[3]), strips)


@torch.no_grad()
def _judge(network: Net, sources: Sequence[Source], number: int, size: int, crew: Crew) -> _Judged:
    still = number % STILL_EVERY == 0
    drawn = draw(sources, number, seed=SEED, frames=FRAMES, size=size, still=still)
    burst = shoot(drawn, torch.device("cpu"))
    device = crew.device.torch_device
    with torch.autocast(device.type, torch.bfloat16, enabled=crew.device.bf16):
        rgb, _ = run(network, burst.planes[None].to(device), burst.noise[None].to(device))
    pictures = develop(torch.cat(rgb).float().cpu(), burst.matrix)
    references = burst.reference.clamp(0, 1)
    plain = develop(plain_demosaic(burst.planes[FIFTH][None])[0], burst.matrix)
    return _Judged(
        min(psnr(pictures[FIFTH], references[FIFTH]), PERFECT),
        ssim(pictures[FIFTH], references[FIFTH]),
        min(tpsnr(pictures), PERFECT) if still else math.nan,
        Strip(plain, pictures[FIFTH], references[FIFTH]),
    )
