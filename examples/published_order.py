"""Why V-BM4D stands higher here than in print: what its input loses elsewhere, taken away.

The same is taken from KPN, which it is ahead of here; KPN's weights never saw such input.

The bursts, plan and scores are those of `batman bench`; PSNR and SSIM are of the fifth frame. In
print V-BM4D got pictures of ordinary raw converters, which cut off what noise puts below black, and
one figure for the noise of bright and dark places alike.

    python examples/published_order.py [--quick] [MODEL ...]
"""

import argparse
from collections.abc import Callable
from contextlib import closing
from typing import Self

import torch
from torch import Tensor

from batman_cli.bench.data import Scene, find_scenes
from batman_cli.bench.scene import FIFTH, Ready, prepare
from batman_cli.device import choose_device
from batman_cli.metrics import psnr, ssim
from batman_cli.models import Config, Network
from batman_cli.models.state import State
from batman_cli.pipeline import Run
from batman_cli.settings import EnhanceSettings
from batman_cli.stills import to_8_bits
from batman_cli.weights import load_runnable

Given = tuple[Tensor, Tensor]  # planes (B, 4, h, w) amplified linear, and their noise (B, 2, 4)
Change = Callable[[Tensor, Tensor], Given]


def as_they_are(planes: Tensor, noise: Tensor) -> Given:
    """What every system of the bench is given."""
    return planes, noise


def cut_off(planes: Tensor, noise: Tensor) -> Given:
    """Without what noise puts below black: a raw converter's numbers have no sign."""
    return planes.clamp_min(0), noise


def one_noise(planes: Tensor, noise: Tensor) -> Given:
    """The noise of the mean level, said to be that of all levels."""
    levels = planes.mean((-2, -1)).clamp_min(0)
    even = torch.stack([torch.zeros_like(levels), noise[:, 0] * levels + noise[:, 1]], 1)
    return planes, even


def both(planes: Tensor, noise: Tensor) -> Given:
    """The two together, the noise told of the planes as they were."""
    return planes.clamp_min(0), one_noise(planes, noise)[1]


VARIANTS: tuple[tuple[str, str, Change, bool], ...] = (
    ("V-BM4D as in the bench", "vbm4d", as_they_are, False),
    ("each frame alone", "vbm4d", as_they_are, True),
    ("one noise for all levels", "vbm4d", one_noise, False),
    ("cut off at black", "vbm4d", cut_off, False),
    ("both", "vbm4d", both, False),
    ("both, each frame alone", "vbm4d", both, True),
    ("KPN as in the bench", "kpn", as_they_are, False),
    ("KPN, cut off at black", "kpn", cut_off, False),
    ("KPN, both", "kpn", both, False),
)


class Changed:
    """A network that is given something else than it should be, or one frame at a time."""

    def __init__(self, network: Network, change: Change, *, alone: bool) -> None:
        """change: of planes and noise. alone: nothing is remembered from frame to frame."""
        self._network, self._change, self._alone = network, change, alone
        self.delay = 0 if alone else network.delay

    @property
    def config(self) -> Config:
        """That of the network."""
        return self._network.config

    def step(
        self, planes: Tensor, noise: Tensor, state: State | None
    ) -> tuple[Tensor | None, State]:
        """That of the network, given what was changed."""
        planes, noise = self._change(planes, noise)
        if not self._alone:
            return self._network.step(planes, noise, state)
        picture, after = self._network.step(planes, noise, None)
        return self._network.flush(after)[0] if picture is None else picture, State(1, ())

    def flush(self, state: State) -> list[Tensor]:
        """That of the network."""
        return [] if self._alone else self._network.flush(state)

    def to(self, device: torch.device) -> Self:
        """Moves the weights."""
        self._network.to(device)
        return self


def main() -> None:
    """One row each: PSNR and SSIM, means over bursts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", default=["rawpy", "sid", "smid"])
    parser.add_argument("--quick", action="store_true", help="smaller bursts, and fewer")
    args = parser.parse_args()
    scenes = find_scenes(None, quick=args.quick)
    print(f"{'':28} {'PSNR':>6} {'SSIM':>6}")
    for label, model, change, alone in VARIANTS:
        row(label, model, scenes, change, alone=alone)
    for model in args.models:
        row(model, model, scenes, as_they_are, alone=False)


def row(label: str, model: str, scenes: list[Scene], change: Change, *, alone: bool) -> None:
    """Prints the scores of one system."""
    scores: list[tuple[float, float]] = []
    for scene in scenes:
        with prepare(scene) as ready:
            network = Changed(load_runnable(model), change, alone=alone)
            scores.append(fifth(ready, network))
    means = [sum(values) / len(values) for values in zip(*scores, strict=True)]
    print(f"{label:28} {means[0]:6.2f} {means[1]:6.3f}", flush=True)


def fifth(ready: Ready, network: Network) -> tuple[float, float]:
    """PSNR and SSIM of the fifth frame; what comes after it is left to itself."""
    device = choose_device("auto", "auto")
    with closing(Run(ready.plan, network, device, EnhanceSettings()).pictures()) as frames:
        for number, frame in enumerate(frames):
            if number == FIFTH:
                picture = torch.from_numpy(to_8_bits(frame)).permute(2, 0, 1).double() / 255
                return psnr(picture, ready.reference), ssim(picture, ready.reference)
    raise ValueError("the burst ends before its fifth frame")


if __name__ == "__main__":
    main()
