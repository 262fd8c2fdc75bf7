"""The published networks, each with the frames, the loss and the rate that it was trained with."""

from dataclasses import replace

import torch
from bursts import Batch
from recipe import FRAMES, Recipe, Shown
from torch import Tensor

from batman_cli.develop import bilinear_demosaic, develop_unclipped
from batman_cli.models import ClstmPaper, Cnn3dPaper, Kpn, Net, Sid, Smid
from batman_cli.models.fusion import merge, single
from batman_cli.settings import PUBLISHED
from batman_cli.training.losses import EACH_FALL, EACH_WEIGHT, kpn_error

CENTRE = FRAMES // 2  # the frame that all are trained on, and scored by
RECURRENT = range(2, 6)  # frames that `clstm-paper` sees, and is trained on
WINDOW = range(CENTRE - 2, CENTRE + 3)  # frames of `3dcnn-paper`
CONSISTENCY: float = PUBLISHED["smid"]["consistency"]


def prepare(batch: Batch) -> Batch:
    """The batch: these networks have no front end that could be shared."""
    return batch


def show(network: Net, batch: Batch) -> Shown:
    """Pictures of the frame in the middle."""
    with _half_precision(batch):
        if isinstance(network, Kpn):
            picture = bilinear_demosaic(network.estimates(batch.planes, batch.noise).mean(1))
        else:
            picture = _pictures(network, batch)[CENTRE]
    return Shown(picture.float(), batch.reference[:, CENTRE], batch.matrix)


def loss(network: Net, batch: Batch, share: Tensor) -> Tensor:
    """As published, of developed pictures; share: (), of the run that is over."""
    if isinstance(network, Kpn):
        return _kpn_loss(network, batch, share)
    with _half_precision(batch):
        pictures = _pictures(network, batch)
    shown = {t: develop_unclipped(x.float(), batch.matrix) for t, x in pictures.items()}
    errors = [(picture - batch.reference[:, t]).abs().mean() for t, picture in shown.items()]
    total = torch.stack(errors).mean()
    if isinstance(network, Smid):
        # Two frames of a burst that stands still are two takes of one picture. In print their
        # errors are added up, here they are averaged: so half the weight.
        before, after = batch.reference[:, CENTRE - 1], batch.reference[:, CENTRE]
        still = (before == after).flatten(1).all(1)[:, None, None, None]
        total = total + CONSISTENCY / 2 * ((shown[CENTRE - 1] - shown[CENTRE]).abs() * still).mean()
    return total


_RECIPE = Recipe(
    prepare,
    show,
    loss,
    batch=8,
    rate=4e-4,
    decay=0.0,
    muon=False,
    clip=1.0,
    average=0.998,
    warm_up=100,
    held_out=64,
    long_past=0.0,  # they average nothing, or (`smid`) begin with the burst
)
RECIPES = {
    "sid": replace(_RECIPE, batch=32),
    "smid": replace(_RECIPE, batch=16, network={"width": 13}),
    "kpn": replace(_RECIPE, rate=3e-4),
    "clstm-paper": _RECIPE,
    "3dcnn-paper": _RECIPE,
}


def _pictures(network: Net, batch: Batch) -> dict[int, Tensor]:
    """Pictures (B, 3, H, W) by frame: those that are trained on."""
    planes = batch.planes
    if isinstance(network, Sid):
        return {CENTRE: network.render(planes[:, CENTRE])}
    if isinstance(network, Smid):
        pictures = network.render(torch.cat(_averages(batch))).chunk(2)
        return {CENTRE - 1: pictures[0], CENTRE: pictures[1]}
    if isinstance(network, ClstmPaper):
        return _recurrent(network, planes)
    assert isinstance(network, Cnn3dPaper)
    window = planes[:, WINDOW.start : WINDOW.stop]
    taps = network.taps(window.flatten(0, 1)).unflatten(0, window.shape[:2])
    return {CENTRE: network.head_of(taps.unbind(1))}


def _recurrent(network: ClstmPaper, planes: Tensor) -> dict[int, Tensor]:
    pictures: dict[int, Tensor] = {}
    memory: tuple[Tensor, ...] | None = None
    for t in RECURRENT:
        pictures[t], memory = network.render(planes[:, t], memory)
    return pictures


@torch.no_grad()
def _averages(batch: Batch) -> list[Tensor]:
    """Planes (B, 4, h, w) of the frame before the middle and of the middle, with all before."""
    averages = [single(batch.planes[:, 0], batch.noise)]
    for planes in batch.planes[:, 1 : CENTRE + 1].unbind(1):
        averages.append(merge(single(planes, batch.noise), averages[-1])[0])
    return [average.mean for average in averages[-2:]]


def _kpn_loss(network: Kpn, batch: Batch, share: Tensor) -> Tensor:
    """`kpn_loss` of batman_cli/training/losses.py, for a share that lies on the device."""
    with _half_precision(batch):
        estimates = network.estimates(batch.planes, batch.noise)

    def error(planes: Tensor) -> Tensor:
        picture = develop_unclipped(bilinear_demosaic(planes.float()), batch.matrix)
        return kpn_error(picture, batch.reference[:, CENTRE])

    each = torch.stack([error(estimate) for estimate in estimates.unbind(1)]).sum()
    return error(estimates.mean(1)) + EACH_WEIGHT * EACH_FALL**share * each


def _half_precision(batch: Batch) -> torch.autocast:
    kind = batch.planes.device.type
    return torch.autocast(kind, torch.bfloat16, enabled=batch.planes.is_cuda)
