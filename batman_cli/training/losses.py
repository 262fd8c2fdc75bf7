"""What a network is trained for: pictures that look like the reference once they are developed."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from batman_cli.develop import bilinear_demosaic, develop_unclipped, registered
from batman_cli.models import Kpn, Net
from batman_cli.models.state import State
from batman_cli.settings import LossKind
from batman_cli.training.bursts import Burst

# Of the loss of kernel prediction networks (Mildenhall et al., CVPR 2018).
BORDER = 8  # pixels of a picture that do not count
EACH_WEIGHT = 100.0  # of every frame's own estimate, at the beginning
EACH_FALL = 1e-4  # what is left of that weight at the end: in print after 46 000 steps of any run


@dataclass(frozen=True)
class Objective:
    """Which errors count, and how much."""

    kind: LossKind  # mean absolute or mean squared error of developed pictures, or `kpn_loss`
    consistency: float  # weight of the difference between two takes of a burst (SMID, 2.4 of it)
    temporal: float  # weight of the error of the change from frame to frame
    truncate: int | None  # frames that gradients run back through; None: the whole burst
    graded: int  # frames of a burst that are trained on, the last ones
    share: float = 0.0  # of the run that is over: what anneals does so with it


def gradients(
    network: Net, burst: Burst, objective: Objective, *, bf16: bool = False
) -> tuple[list[Tensor], float]:
    """Gradients of the loss for every parameter, and the loss, over bursts (B, T, ...).

    With a consistency term the second half of B holds other takes of the first half. The state
    is carried through the whole burst; gradients end every `truncate` frames, and with them the
    memory that they need.
    """
    parameters = [p for p in network.parameters() if p.requires_grad]
    if objective.kind == "kpn":
        assert isinstance(network, Kpn)
        loss = kpn_loss(network, burst, objective.share, bf16=bf16)
        return list(torch.autograd.grad(loss, parameters)), loss.item()
    total = [torch.zeros_like(p) for p in parameters]
    frames = burst.planes.shape[1]
    # A network that is late has no picture to be graded without as many frames before.
    lead = frames - objective.graded if frames >= objective.graded + network.delay else 0
    state = absorbed(network, burst.planes[:, :lead], burst.noise)
    frames -= lead
    length = objective.truncate or frames
    loss, shown = 0.0, max(0, lead - network.delay)
    before: tuple[Tensor, Tensor] | None = None
    for start in range(0, frames, length):
        planes = burst.planes[:, lead + start : lead + start + length]
        # With frames before the graded ones, those that are held back count as a step's own.
        last = start + length >= frames and not lead
        pictures, state = pictures_of(network, planes, burst.noise, state, flush=last, bf16=bf16)
        if pictures:
            references = burst.reference[:, shown : shown + len(pictures)]
            developed = [
                develop_unclipped(registered(picture, burst.bin), burst.matrix)
                for picture in pictures
            ]
            part = picture_loss(developed, references.unbind(1), objective, before) / frames
            found = torch.autograd.grad(part, parameters, materialize_grads=True)
            for sum_, gradient in zip(total, found, strict=True):
                sum_ += gradient
            loss += part.item()
            before = (developed[-1].detach(), references[:, -1])
            shown += len(pictures)
        state = State(state.seen, tuple(tensor.detach() for tensor in state.tensors))
    return total, loss


def picture_loss(
    pictures: Sequence[Tensor],
    references: Sequence[Tensor],
    objective: Objective,
    before: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Sum over frames of the loss of developed pictures (B, 3, H, W) each.

    before: picture and reference of the frame before the first, where there was one.
    """
    error = torch.abs if objective.kind == "l1" else torch.square
    loss = torch.stack(
        [error(p - r).mean() for p, r in zip(pictures, references, strict=True)]
    ).sum()
    if objective.consistency:
        # SMID adds up the errors of both takes, of which this loss is the mean: so half the weight.
        pairs = [picture.chunk(2) for picture in pictures]
        loss = loss + objective.consistency / 2 * sum(error(a - b).mean() for a, b in pairs)
    if objective.temporal:
        errors = [p - r for p, r in zip(pictures, references, strict=True)]
        if before is not None:
            errors.insert(0, before[0] - before[1])
        changes = [error(b - a).mean() for a, b in pairwise(errors)]
        loss = loss + objective.temporal * sum(changes)
    return loss


def kpn_loss(network: Kpn, burst: Burst, share: float, *, bf16: bool = False) -> Tensor:
    """Loss of the frame in the middle of bursts, by all their frames; see `kpn_error`.

    Early on each frame's own estimate counts a hundredfold, so that the kernels learn to align it.
    share: of the run that is over; short runs must come to the end of this too.
    """
    last = burst.planes.shape[1] - 1
    centre = (last + 1) // 2
    first = centre + network.delay + 1 - network.config.frames
    places = [min(max(first + i, 0), last) for i in range(network.config.frames)]
    with _autocast(burst.planes, bf16=bf16):
        estimates = network.estimates(burst.planes[:, places], burst.noise).float()

    def error(planes: Tensor) -> Tensor:
        rgb = registered(bilinear_demosaic(planes), burst.bin)
        return kpn_error(develop_unclipped(rgb, burst.matrix), burst.reference[:, centre])

    each = torch.stack([error(estimate) for estimate in estimates.unbind(1)]).sum()
    return error(estimates.mean(1)) + EACH_WEIGHT * EACH_FALL**share * each


def kpn_error(picture: Tensor, reference: Tensor) -> Tensor:
    """Mean squared error, and mean absolute error of the slopes along rows and columns."""
    inner = slice(BORDER, -BORDER)
    error = (picture - reference)[..., inner, inner]
    slopes = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return error.square().mean() + slopes


@torch.no_grad()
def absorbed(network: Net, planes: Tensor, noise: Tensor) -> State | None:
    """The state after the frames (B, T, 4, h, w) before the graded ones, T from 0 on.

    All but the last few that the network needs whole are only absorbed.
    """
    state: State | None = None
    count = planes.shape[1]
    for number, frame in enumerate(planes.unbind(1)):
        if number < count - network.priming:
            state = network.absorb(frame, noise, state)
        else:
            _, state = network.step(frame, noise, state)
    return state


def pictures_of(
    network: Net,
    planes: Tensor,
    noise: Tensor,
    state: State | None = None,
    *,
    flush: bool = True,
    bf16: bool = False,
) -> tuple[list[Tensor], State]:
    """Pictures (B, 3, 2h, 2w) of bursts (B, T, 4, h, w) with noise (B, 2, 4), and the state after.

    T is 1 or more. flush: also pictures of the frames that the network still holds back.
    bf16: convolve in half precision, as `infer` does; what comes out is float32 all the same.
    """
    pictures = list[Tensor]()
    with _autocast(planes, bf16=bf16):
        for frame in planes.unbind(1):
            rgb, state = network.step(frame, noise, state)
            state = State(state.seen, tuple(tensor.float() for tensor in state.tensors))
            if rgb is not None:
                pictures.append(rgb.float())
        assert state is not None
        if flush:
            pictures += [rgb.float() for rgb in network.flush(state)]
    return pictures, state


def _autocast(planes: Tensor, *, bf16: bool) -> torch.autocast:
    """A block in which convolutions are in half precision, if asked."""
    # The cache of weights in half precision is one for all threads, whose order is not fixed.
    device = planes.device.type
    return torch.autocast(device, torch.bfloat16, enabled=bf16, cache_enabled=device != "cpu")
