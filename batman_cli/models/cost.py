"""What a network costs: counted, not measured, so the same on any machine."""

import copy

import torch
from torch.utils.flop_counter import FlopCounterMode

from batman_cli.models import Runnable, Smid

STEPS = 4  # multiples along a side of the frame that is counted


def parameters(network: Runnable) -> int:
    """Numbers that training sets."""
    return sum(values.numel() for values in network.parameters())


@torch.no_grad()
def multiply_adds(network: Runnable, height: int, width: int) -> float:
    """Multiply-adds of all convolutions for one frame of height x width pixels.

    Counted for a frame in the midst of a burst, of a size that needs no padding, and scaled by the
    pixels. On torch's "meta" device, which knows shapes alone, so that nothing is computed.
    """
    shape_only = copy.deepcopy(network).to("meta")
    side = STEPS * network.config.multiple
    planes = torch.empty((1, 4, side, side), device="meta")
    noise = torch.empty((1, 2, 4), device="meta")
    if isinstance(shape_only, Smid):
        shape_only.video = None  # V-BM4D looks at values, and has no convolutions
        shape_only.delay = 0
    state = None
    for _ in range(shape_only.delay):
        _, state = shape_only.step(planes, noise, state)
    with FlopCounterMode(display=False) as counter:
        shape_only.step(planes, noise, state)
    pixels = (2 * side) ** 2
    return counter.get_total_flops() / 2 / pixels * height * width  # an operation each
