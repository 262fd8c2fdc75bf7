"""Times the shipped networks on a 1374 x 918 frame and counts their multiply-adds.

python examples/time_models.py
"""

import statistics
import time

import torch

from batman_cli import load_network
from batman_cli.models import Net
from batman_cli.models.cost import multiply_adds

HEIGHT, WIDTH = 480, 704  # samples of the planes' grid: 1374 x 918, padded
RUNS = 5


@torch.inference_mode()
def steps(network: Net, *, bf16: bool) -> float:
    """Median seconds of a step, after one to warm up."""
    planes = 0.3 + 0.1 * torch.randn(1, 4, HEIGHT, WIDTH)
    noise, state = torch.full((1, 2, 4), 0.01), None
    seconds: list[float] = []
    for _ in range(RUNS + 1):
        began = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            _, state = network.step(planes, noise, state)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:])


def main() -> None:
    """A line for each network."""
    for name in ("clstm", "3dcnn"):
        network = load_network(name)
        full, half = steps(network, bf16=False), steps(network, bf16=True)
        gmac = multiply_adds(network, 918, 1374) / 1e9
        print(
            f"{name}: {gmac:.1f} GMAC, fp32 {full:.2f} s, bf16 {half:.2f} s ({half / full:.1f} x)"
        )


if __name__ == "__main__":
    main()
