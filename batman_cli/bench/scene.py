"""A scene made ready: how its burst is processed, and what its pictures are compared with."""

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from batman_cli.amplify import Ratio, amplify
from batman_cli.bench.data import Scene
from batman_cli.develop import bilinear_demosaic, develop, registered, tone_curve
from batman_cli.errors import BadInput
from batman_cli.pipeline import QUARTER_TURNS
from batman_cli.plan import Plan, make_plan, smallest_bin
from batman_cli.raw import read_info
from batman_cli.settings import EnhanceSettings
from batman_cli.training.drv_scene import SceneFiles, ratio_between, read_reference

WIDEST = 1374  # pixels; at this width DRV was measured in print
FIFTH = 4  # index of the frame that is compared with the long exposure


@dataclass(frozen=True)
class Ready:
    """A scene that systems can be run on."""

    scene: Scene
    plan: Plan
    reference: Tensor  # (3, H, W) float64, developed long exposure in 0..1, of the fifth frame
    views: Tensor | None  # (T, 3, H, W) float32, the same of every frame of a moving scene
    dark: NDArray[np.uint8]  # (H, W, 3), the fifth shot developed as it is

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the pictures."""
        return self.reference.shape[2], self.reference.shape[1]


@contextmanager
def prepare(scene: Scene) -> Generator[Ready]:
    """A block in which the files of a scene exist.

    The ratio is that of the long exposure to the shots, however large, and white balance and
    matrix are those of the long exposure, for they are those of the reference. Raises BadInput.
    """
    with tempfile.TemporaryDirectory(prefix="batman-bench-") as folder:
        files = scene.files(Path(folder))
        if scene.frames <= FIFTH:
            what = f"scene {scene.name} has {scene.frames} shots"
            raise BadInput(what, "the fifth is the one that is compared")
        plan = _plan(files, scene.frames)
        turns = QUARTER_TURNS[plan.burst.orientation]
        views = None
        if not scene.still and scene.views:
            views = tone_curve(scene.views())
        yield Ready(scene, plan, _reference(files, plan, turns), views, _dark(plan, turns))


def _plan(files: SceneFiles, frames: int) -> Plan:
    long = read_info(files.long)
    settings = EnhanceSettings(bin=smallest_bin(long.width, WIDEST), stop=frames)
    plan = make_plan(files.shots[0].parent, settings)
    first = replace(plan.first, white_balance=long.white_balance, color_matrix=long.color_matrix)
    ratio = Ratio(ratio_between(plan.metered, long), "of the long exposure")
    return replace(plan, first=first, ratio=ratio)


def _reference(files: SceneFiles, plan: Plan, turns: int) -> Tensor:
    linear = read_reference(files, plan.bin, plan.height, plan.width)
    upright = np.ascontiguousarray(np.rot90(linear, turns).transpose(2, 0, 1))
    return tone_curve(torch.from_numpy(upright.astype(np.float64) / 65535))


def _dark(plan: Plan, turns: int) -> NDArray[np.uint8]:
    shot = plan.burst.shots[FIFTH]
    planes = amplify(plan.planes_of(shot), 1.0, plan.first.white_balance)
    rgb = registered(bilinear_demosaic(torch.from_numpy(planes)[None])[0], torch.tensor(plan.bin))
    return shown(np.rot90(_picture(develop(rgb, torch.tensor(plan.first.color_matrix))), turns))


def _picture(developed: Tensor) -> NDArray[np.float32]:
    return developed.permute(1, 2, 0).numpy()


def shown(picture: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A developed picture of any shape in 0..1, in 8 bits."""
    return np.rint(np.ascontiguousarray(picture) * 255).astype(np.uint8)
