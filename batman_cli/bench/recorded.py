"""The pictures that V-BM4D left in the DRV dataset, developed as those of every system are."""

from collections.abc import Generator

import numpy as np
import torch

from batman_cli.bench.scene import Ready
from batman_cli.develop import develop, to_uint16
from batman_cli.errors import BadInput
from batman_cli.pipeline import QUARTER_TURNS, Picture
from batman_cli.stills import read_png16


def recorded_frames(ready: Ready) -> Generator[Picture]:
    """Frames (H, W, 3) uint16 of a scene that has such pictures: linear, amplified, unbalanced.

    Raises BadInput for one that cannot be read, or has another size than the other systems' frames.
    """
    plan = ready.plan
    gains = torch.tensor(plan.first.white_balance)[:, None, None]
    matrix = torch.tensor(plan.first.color_matrix)
    for path in ready.scene.denoised[: ready.scene.frames]:
        picture = read_png16(path)
        height, width, _ = picture.shape
        if (height, width) != (plan.height, plan.width):
            why = f"is {width} x {height}, not {plan.width} x {plan.height}"
            raise BadInput(f"{path.parent.parent.name}/{path.parent.name}/{path.name}", why)
        linear = torch.from_numpy(picture / np.float32(65535)).permute(2, 0, 1)
        developed = to_uint16(develop(linear * gains, matrix))
        yield np.rot90(developed, QUARTER_TURNS[plan.burst.orientation])
