"""What a network is trained for: pictures that look like the reference once they are developed."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from batman_cli.develop import develop_unclipped, registered
from batman_cli.models import Net
from batman_cli.models.state import State
from batman_cli.settings import LossKind
from batman_cli.training.bursts import Burst

# Frames before the graded ones that the whole network sees, so that its memory is not empty.
PRIMING = 2


@dataclass(frozen=True)
class Objective:
    """Which errors count, and how much."""

    kind: LossKind  # mean absolute or mean squared error of the developed pictures
    consistency: float  # weight of the difference between two takes of a burst (SMID, 2.4 of it)
    temporal: float  # weight of the error of the change from frame to frame
    truncate: int | None  # frames that gradients run back through; None: the whole burst
    graded: int  # frames of a burst that are trained on, the last ones


def gradients(
    network: Net, burst: Burst, objective: Objective, *, bf16: bool = False
) -> tuple[list[Tensor], float]:
    """Gradients of the loss for every parameter, and the loss, over bursts (B, T, ...).

    With a consistency term the second half of B holds other takes of the first half. The state
    is carried through the whole burst; gradients end every `truncate` frames, and with them the
    memory that they need.
    """
    parameters = [p for p in network.parameters() if p.requires_grad]
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
        pairs = [picture.chunk(2) for picture in pictures]
        loss = loss + objective.consistency * sum(error(a - b).mean() for a, b in pairs)
    if objective.temporal:
        errors = [p - r for p, r in zip(pictures, references, strict=True)]
        if before is not None:
            errors.insert(0, before[0] - before[1])
        changes = [error(b - a).mean() for a, b in pairwise(errors)]
        loss = loss + objective.temporal * sum(changes)
    return loss


@torch.no_grad()
def absorbed(network: Net, planes: Tensor, noise: Tensor) -> State | None:
    """The state after the frames (B, T, 4, h, w) before the graded ones, T from 0 on.

    All but the last PRIMING pass the front end alone.
    """
    state: State | None = None
    count = planes.shape[1]
    for number, frame in enumerate(planes.unbind(1)):
        if number < count - PRIMING:
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
    # The cache of weights in half precision is one for all threads, whose order is not fixed.
    cached = planes.device.type != "cpu"
    with torch.autocast(planes.device.type, torch.bfloat16, enabled=bf16, cache_enabled=cached):
        for frame in planes.unbind(1):
            rgb, state = network.step(frame, noise, state)
            state = State(state.seen, tuple(tensor.float() for tensor in state.tensors))
            if rgb is not None:
                pictures.append(rgb.float())
        assert state is not None
        if flush:
            pictures += [rgb.float() for rgb in network.flush(state)]
    return pictures, state
