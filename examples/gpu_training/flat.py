"""A network's weights as one flat tensor, moved by few operations that never leave the device.

The same rules as batman_cli/training/: a gradient cut to a norm, Muon for kernels and AdamW for the
rest (or Adam for all), an average of the weights, and no step where a gradient is not finite. There
the CPU looks at each number; here nothing is looked at, so that a CUDA graph can hold a step.
"""

import copy
from collections import defaultdict
from typing import Any

import torch
from recipe import Recipe
from torch import Tensor, nn

from batman_cli.models import Net
from batman_cli.training.optimiser import MOMENTUM, REST_SHARE, is_kernel, orthogonal

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # of Adam
TINY = 1e-12


class Trained:
    """A network in training, and the average of its weights."""

    def __init__(self, kind: str, start: Net, recipe: Recipe[Any], device: torch.device) -> None:
        self.kind, self._start = kind, start
        self.network = copy.deepcopy(start).to(device).train()
        self._average = copy.deepcopy(start).to(device).eval()
        self._decay, self._clip = recipe.decay, recipe.clip

        named = list(self.network.named_parameters())
        self._parameters = [parameter for _, parameter in named]
        self._weights = _laid_out(self._parameters)
        self._averaged = _laid_out(list(self._average.parameters()))
        zeros = [torch.zeros_like(self._weights) for _ in range(4)]
        self._momentum, self._mean, self._square, self._nothing = zeros
        self._count = torch.zeros((), device=device)

        # Of kernels with the same number of rows and columns one stack is made.
        self._kernels: defaultdict[tuple[int, int], list[slice]] = defaultdict(list)
        self._rest = torch.ones_like(self._weights)  # 1 where Adam moves a weight
        end = 0
        for name, parameter in named:
            place = slice(end, end := end + parameter.numel())
            if recipe.muon and is_kernel(name, parameter):
                rows = len(parameter)
                self._kernels[rows, parameter.numel() // rows].append(place)
                self._rest[place] = 0
        # Shares of the rate: of each weight's decay, and of Adam's steps.
        rest_share = REST_SHARE if recipe.muon else 1.0
        self._shares = 1 - (1 - rest_share) * self._rest
        self._rest *= rest_share

        # Set before each step, or read after it.
        self.rate, self.keep, self.loss, self.norm = (
            torch.zeros((), device=device) for _ in range(4)
        )

    def restart(self) -> None:
        """Everything as it was before the first step, in place."""
        for mine in (self.network, self._average):
            mine.load_state_dict(self._start.state_dict())
        for moment in (self._momentum, self._mean, self._square, self._count):
            moment.zero_()

    def averaged(self) -> Net:
        """The network with averaged weights, and the batch statistics of now."""
        pairs = zip(self._average.buffers(), self.network.buffers(), strict=True)
        for mine, newest in pairs:
            mine.copy_(newest)
        return self._average

    def step(self, loss: Tensor) -> None:
        """Moves the weights down the loss by `rate`; the average keeps `keep` of itself."""
        found = torch.autograd.grad(loss, self._parameters)
        with torch.no_grad():
            gradient = torch.cat([_flat(part).float() for part in found])
            norm = gradient.norm()
            self.loss.copy_(loss)
            self.norm.copy_(norm)
            good = torch.isfinite(norm)
            cut = gradient * (self._clip / (norm + TINY)).clamp_max(1)
            self._move(torch.where(good, cut, self._nothing), self.rate * good)
            self._averaged.copy_(torch.lerp(self._weights, self._averaged, self.keep))

    def _move(self, gradient: Tensor, rate: Tensor) -> None:
        self._weights.mul_(1 - rate * self._decay * self._shares)
        self._momentum.mul_(MOMENTUM).add_(gradient)
        ahead = gradient + MOMENTUM * self._momentum  # Nesterov
        for (rows, columns), places in self._kernels.items():
            stack = torch.stack([ahead[place].view(rows, columns) for place in places])
            tall = max(1.0, rows / columns) ** 0.5
            steps = orthogonal(stack) * (rate * tall)
            for place, step in zip(places, steps, strict=True):
                self._weights[place].sub_(step.flatten())
        self._count += 1
        self._mean.lerp_(gradient, 1 - BETA1)
        self._square.lerp_(gradient.square(), 1 - BETA2)
        mean = self._mean / (1 - BETA1**self._count)
        root = (self._square / (1 - BETA2**self._count)).sqrt()
        self._weights.sub_(rate * self._rest * mean / (root + EPSILON))


def _laid_out(parameters: list[nn.Parameter]) -> Tensor:
    """One tensor of all parameters, which are views of it from now on."""
    flat = torch.cat([_flat(parameter.detach()) for parameter in parameters])
    end = 0
    for parameter in parameters:
        part = flat[end : (end := end + parameter.numel())]
        if parameter.ndim == 4:
            outputs, inputs, height, width = parameter.shape
            parameter.data = part.view(outputs, height, width, inputs).permute(0, 3, 1, 2)
        else:
            parameter.data = part.view(parameter.shape)
    return flat


def _flat(x: Tensor) -> Tensor:
    """Channels last, which is how a GPU's tensor cores take the kernels of convolutions."""
    return (x.permute(0, 2, 3, 1) if x.ndim == 4 else x).reshape(-1)
