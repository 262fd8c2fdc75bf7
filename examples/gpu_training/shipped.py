"""`clstm` and `3dcnn`: one front end for both, and pictures of frames 4 and 5 of each burst.

What is trained is what is used: the pictures are those of the networks' own `step`
(tests/test_gpu_training.py). But the frames go through the trunk side by side, and gradients run
through the graded frames alone.
"""

from typing import NamedTuple

import torch
from bursts import Batch
from recipe import Recipe, Shown
from torch import Tensor

from batman_cli.develop import develop_unclipped
from batman_cli.models import Clstm, Cnn3d, Net
from batman_cli.models.blocks import View, view_of
from batman_cli.models.cnn3d import FEATURES_HELD
from batman_cli.models.fusion import Average, merge, single
from batman_cli.models.grid import shrunk, warped

FIRST, LAST = 2, 5  # frames that the networks see; those before are for the front end alone
GRADED = 2  # of these, the last ones, whose pictures are trained on
AHEAD = 2  # frames that `3dcnn` waits for
LATE_SHARE, LATEST = 0.3, 5  # bursts that begin at frame 1 to LATEST: networks must begin well too
ENDING_SHARE = 0.1  # bursts with no frame to come, and as many with one: they must end well


class Views(NamedTuple):
    """What a trunk sees, of one frame of all bursts after the other."""

    early: View  # (2 B, ...) of frames 2 and 3
    late: View  # (2 B, ...) of the graded ones, 4 and 5


class Prepared(NamedTuple):
    """A batch behind the front end."""

    past: Views  # of averages over the frames so far
    ahead: Views  # and those to come
    flows: Tensor  # (4, B, 2, h/2, w/2) from each frame to the one before, on the quarter grid
    begin: Tensor  # (B,) frame that a burst begins with
    reference: Tensor  # (2 B, 3, H, W) of the graded frames
    matrix: Tensor  # (2 B, 3, 3)


@torch.no_grad()
def prepare(batch: Batch) -> Prepared:
    """A batch behind the front end, some of its bursts shorter at either end."""
    device, count = batch.planes.device, len(batch.planes)
    draw = torch.rand(count, device=device)
    begin = (1 + (draw / LATE_SHARE * LATEST).long()) * (draw < LATE_SHARE)
    draw = torch.rand(count, device=device)
    coming = (draw >= ENDING_SHARE).long() + (draw >= 2 * ENDING_SHARE).long()
    return fused(batch, begin, coming)


def fused(batch: Batch, begin: Tensor, coming: Tensor) -> Prepared:
    """Bursts that begin with frame `begin`, and have `coming` frames after each, at most AHEAD.

    begin, coming: (B,) whole numbers. A burst that begins with 0 has the past that its batch says.
    """
    singles = [single(planes, batch.noise) for planes in batch.planes.unbind(1)]
    first = singles[0]
    average = Average(first.mean, first.variance / batch.past[:, None, None, None])
    averages, flows = [average], [torch.zeros_like(first.mean[:, :2])]
    for t in range(1, LAST + 1):
        merged, flow = merge(singles[t], averages[-1])
        averages.append(_chosen(begin >= t, singles[t], merged))
        flows.append(flow)

    seen = range(FIRST, LAST + 1)
    now = ahead = _joined([averages[t] for t in seen])
    for later in range(1, AHEAD + 1):
        merged, _ = merge(ahead, _joined([singles[t + later] for t in seen]))
        ahead = _chosen(coming.repeat(len(seen)) >= later, merged, ahead)
    graded = range(LAST + 1 - GRADED, LAST + 1)
    return Prepared(
        _views(now),
        _views(ahead),
        torch.stack([shrunk(flows[t]) / 2 for t in seen]),
        begin,
        torch.cat([batch.reference[:, t] for t in graded]),
        batch.matrix.repeat(GRADED, 1, 1),
    )


def show(network: Net, data: Prepared) -> Shown:
    """Pictures of the graded frames."""
    bf16 = data.reference.is_cuda
    with torch.autocast(data.reference.device.type, torch.bfloat16, enabled=bf16):
        if isinstance(network, Clstm):
            pictures = _recurrent(network, data)
        else:
            assert isinstance(network, Cnn3d)
            pictures = _windowed(network, data)
    return Shown(pictures.float(), data.reference, data.matrix)


def loss(network: Net, data: Prepared, share: Tensor) -> Tensor:
    """Mean absolute error of developed pictures; `share`, of the run, does not matter."""
    shown = show(network, data)
    return (develop_unclipped(shown.pictures, shown.matrix) - shown.reference).abs().mean()


RECIPE = Recipe(
    prepare,
    show,
    loss,
    batch=32,
    rate=0.01,
    decay=1e-4,
    muon=True,
    clip=0.3,
    average=0.999,
    warm_up=60,
    held_out=96,
)


def _recurrent(network: Clstm, data: Prepared) -> Tensor:
    """(2 B, 3, H, W): `Clstm.step` from frame 2 on."""
    rows, columns = data.flows.shape[-2:]
    count = len(data.begin)
    memory = back = data.flows.new_zeros(count, network.config.memory, rows, columns)
    refined: list[Tensor] = []
    for number, features in enumerate(_features(network, data.past)):
        if number:
            # The first frame of a burst remembers nothing.
            new = (data.begin >= FIRST + number)[:, None, None, None]
            flow = data.flows[number]
            memory, back = (
                warped(x.float(), flow, sharp=False).masked_fill(new, 0) for x in (memory, back)
            )
        graded = FIRST + number > LAST - GRADED
        with torch.set_grad_enabled(graded and torch.is_grad_enabled()):
            result, memory, back = network.cell(features, memory, back)
        refined.append(result)
    return network.head(torch.cat(refined[-GRADED:]), data.past.late)


def _windowed(network: Cnn3d, data: Prepared) -> Tensor:
    """(2 B, 3, H, W): `Cnn3d.step` from frame 2 on."""
    held: list[Tensor] = []
    joined: list[Tensor] = []
    for number, features in enumerate(_features(network, data.ahead)):
        new = (data.begin >= FIRST + number)[:, None, None, None]
        flow = data.flows[number]
        # The first frame of a burst stands for those before it.
        moved = [warped(x.float(), flow, sharp=False).to(x.dtype) for x in held]
        before = [torch.where(new, features, x) for x in moved] or [features] * FEATURES_HELD
        if FIRST + number > LAST - GRADED:
            joined.append(network.window([*before, features]))
        held = [*before[1:], features]
    return network.head(torch.cat(joined), data.ahead.late)


def _features(network: Clstm | Cnn3d, views: Views) -> list[Tensor]:
    """Features (B, C, h/2, w/2) of frames 2 to 5, those of the graded ones with gradients."""
    with torch.no_grad():
        early = network.trunk(views.early).chunk(LAST + 1 - FIRST - GRADED)
    return [*early, *network.trunk(views.late).chunk(GRADED)]


def _views(averages: Average) -> Views:
    """Of averages (4 B, 4, h, w), frame by frame."""
    view = view_of(averages)
    late = len(view.root) // (LAST + 1 - FIRST) * GRADED
    return Views(View(*(x[:-late] for x in view)), View(*(x[-late:] for x in view)))


def _chosen(mask: Tensor, one: Average, other: Average) -> Average:
    """`one` where the mask (B,) is true, else `other`."""
    pairs = zip(one, other, strict=True)
    return Average(*(torch.where(mask[:, None, None, None], a, b) for a, b in pairs))


def _joined(averages: list[Average]) -> Average:
    """Side by side in the batch."""
    return Average(*(torch.cat(parts) for parts in zip(*averages, strict=True)))
