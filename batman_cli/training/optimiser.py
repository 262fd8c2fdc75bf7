"""Muon: every kernel moves by an orthogonal matrix, so along all directions alike.

Keller Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024. In equal time
it came a whole dB further here than AdamW (docs/training.md).
"""

from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
# The quintic iteration of the publication: it brings all singular values near 1, not to it.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
SMALLEST_SIDE = 8  # a matrix with fewer rows or columns has no directions to even out
REST_SHARE = 0.05  # of the learning rate, for what is no such matrix: AdamW moves it
TINY = 1e-7


class Muon(torch.optim.AdamW):
    """Muon for the kernels of convolutions, AdamW for biases, small kernels and the last layer.

    bf16: find the orthogonal matrices in half precision, as published; they are as good (a cosine
    of 0.9997 between the two), and on a CPU with AMX large ones are found five times as fast.
    """

    def __init__(
        self, network: nn.Module, rate: float, weight_decay: float, *, bf16: bool = False
    ) -> None:
        named = dict(network.named_parameters())
        kernels = [value for name, value in named.items() if is_kernel(name, value)]
        rest = [value for name, value in named.items() if not is_kernel(name, value)]
        groups = [
            {"params": kernels, "share": 1.0, "orthogonal": True},
            {"params": rest, "share": REST_SHARE, "orthogonal": False},
        ]
        super().__init__([g for g in groups if g["params"]], rate, weight_decay=weight_decay)
        self.bf16 = bf16

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Moves all parameters by their gradients; those of kernels are used up."""
        for group in self.param_groups:
            if group["orthogonal"]:
                for kernel in group["params"]:
                    self._move(kernel, group)
        return super().step(closure)

    def _move(self, kernel: Tensor, group: dict[str, Any]) -> None:
        gradient, kernel.grad = kernel.grad, None  # AdamW leaves alone what has no gradient
        if gradient is None:
            return
        state = self.state[kernel]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(kernel)
            state["step"] = torch.zeros(())  # AdamW expects it of all states that it loads
        momentum = state["momentum"].mul_(MOMENTUM).add_(gradient)
        ahead = gradient.add(momentum, alpha=MOMENTUM).flatten(1)  # Nesterov
        tall = max(1.0, ahead.shape[0] / ahead.shape[1]) ** 0.5
        kernel.mul_(1 - group["lr"] * group["weight_decay"])
        ahead = ahead.bfloat16() if self.bf16 else ahead
        kernel.add_(orthogonal(ahead).view_as(kernel), alpha=-group["lr"] * tall)


def orthogonal(matrix: Tensor) -> Tensor:
    """Nearly the orthogonal matrix that is nearest: U V^T of its singular value decomposition.

    matrix: (..., rows, columns), each by itself.
    """
    a, b, c = COEFFICIENTS
    x = matrix / (matrix.flatten(-2).norm(dim=-1)[..., None, None] + TINY)
    turned = x.shape[-2] > x.shape[-1]
    if turned:
        x = x.mT
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if turned else x


def is_kernel(name: str, value: Tensor) -> bool:
    """Whether a parameter maps many channels to many."""
    hidden = ".last." not in f".{name}"
    return hidden and value.ndim >= 4 and min(value.shape[:2]) >= SMALLEST_SIDE
