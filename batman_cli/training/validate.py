"""How good a network is by now: fixed bursts of pictures that it is not trained on."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from batman_cli.develop import bilinear_demosaic, develop, registered
from batman_cli.metrics import psnr, ssim, tpsnr
from batman_cli.models import Net
from batman_cli.training.bursts import Stock, draw, shoot
from batman_cli.training.losses import pictures_of
from batman_cli.training.step import Crew

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


def validate(network: Net, stock: Stock, bursts: int, size: int, crew: Crew) -> Validation:
    """Scores over `bursts` bursts of FRAMES x size x size pixels, shared by all processes.

    The sources take turns, so that each is looked at if there are bursts enough.
    """
    own = range(crew.ranks.rank, bursts, crew.ranks.world)
    jobs = [crew.pool.submit(_judge, network, stock, i, size, crew) for i in own]
    judged = [job.result() for job in jobs]
    still = [one.tpsnr for one in judged if not math.isnan(one.tpsnr)]
    figures = [sum(x.psnr for x in judged), sum(x.ssim for x in judged), sum(still), len(still)]
    sums = crew.ranks.sum(torch.tensor(figures, device=crew.device.torch_device)).tolist()
    strips = [one.strip for one in judged[:STRIPS]] if crew.ranks.first else []
    return Validation(sums[0] / bursts, sums[1] / bursts, sums[2] / max(1, sums[3]), strips)


@torch.no_grad()
def _judge(network: Net, stock: Stock, number: int, size: int, crew: Crew) -> _Judged:
    source = stock.sources[number % len(stock.sources)]
    still = number % STILL_EVERY == 0
    drawn = draw(stock, number, seed=SEED, frames=FRAMES, size=size, source=source, still=still)
    burst = shoot(drawn, torch.device("cpu"))
    device = crew.device.torch_device
    planes, noise = burst.planes[None].to(device), burst.noise[None].to(device)
    rgb, _ = pictures_of(network, planes, noise, bf16=crew.device.bf16)
    pictures = develop(registered(torch.cat(rgb).cpu(), burst.bin), burst.matrix)
    references = burst.reference.clamp(0, 1)
    plain = registered(bilinear_demosaic(burst.planes[FIFTH][None]), burst.bin)[0]
    return _Judged(
        min(psnr(pictures[FIFTH], references[FIFTH]), PERFECT),
        ssim(pictures[FIFTH], references[FIFTH]),
        min(tpsnr(pictures), PERFECT) if still else math.nan,
        Strip(develop(plain, burst.matrix), pictures[FIFTH], references[FIFTH]),
    )
