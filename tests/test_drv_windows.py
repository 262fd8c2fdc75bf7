"""Windows of DRV scenes: planes, noise and reference belong together, wherever the window is."""

from pathlib import Path

import numpy as np
import pytest
import torch

from batman_cli.develop import to_planes, tone_curve
from batman_cli.training.drv_windows import amplified, cut_window
from batman_cli.training.sources import DrvScene

FRAMES = 5
RATIO = 10.0
CPU = torch.device("cpu")


@pytest.fixture(
    scope="module", params=[(64, 96), (40, 24)], ids=["large", "narrower than a window"]
)
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> DrvScene:
    """A scene without noise, whose colours need no matrix: its planes are its reference's."""
    height, width = request.param  # of the planes
    folder = tmp_path_factory.mktemp("scene")
    picture = torch.rand((1, 3, 2 * height, 2 * width), generator=torch.Generator().manual_seed(1))
    reference = (picture[0].permute(1, 2, 0).numpy() * 65535).astype(np.uint16)
    planes = to_planes(picture).repeat(FRAMES + 3, 1, 1, 1).numpy() / RATIO
    np.save(folder / "planes.npy", planes.astype(np.float16))
    np.save(folder / "reference.npy", reference)
    matrix = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    files = folder / "planes.npy", folder / "reference.npy"
    return DrvScene("0001", *files, RATIO, (1.0, 1.0, 1.0), (1e-3, 1e-6), matrix, 1)


def cut(scene: DrvScene, seed: int, *, still: bool = False) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    taken = torch.Generator().manual_seed(seed + 100)
    return amplified(cut_window(scene, FRAMES, 64, generator, taken, still=still), CPU)


def test_planes_lie_where_their_reference_does(scene: DrvScene) -> None:
    """Still or moving, crossed or not: a shift or a swapped colour would show everywhere."""
    height, width = np.load(scene.planes, mmap_mode="r").shape[2:]
    moved = compared = 0
    for seed in range(40):
        planes, noise, reference, *_ = cut(scene, seed)
        assert planes.shape == (FRAMES, 4, 32, 32)
        assert reference.shape == (FRAMES, 3, 64, 64)
        assert noise.shape == (2, 4)
        moved += not torch.equal(reference[0], reference[-1])
        # Mirrored places of a mosaic have other colours: only the others can be compared.
        shown = to_planes(reference)[..., :height, :width]
        same = (tone_curve(planes)[..., :height, :width] - shown).abs() < 2e-3
        compared += bool(same.all())
        if width >= 32:
            assert same.all()
    assert moved > 5
    assert compared > 20  # what crosses may come from a mirrored place


def test_a_still_window_stands_still(scene: DrvScene) -> None:
    for seed in range(5):
        planes, _, reference, *_ = cut(scene, seed, still=True)
        assert torch.equal(reference, reference[:1].expand_as(reference))
        assert torch.equal(planes, planes[:1].expand_as(planes))


def test_noise_is_that_of_the_amplified_planes(scene: DrvScene) -> None:
    _, noise, *_ = cut(scene, 0)
    assert noise[0].tolist() == pytest.approx([1e-3 * RATIO] * 4)
    assert noise[1].tolist() == pytest.approx([1e-6 * RATIO**2] * 4)


def test_the_window_shows_shots_that_follow_each_other(scene: DrvScene, tmp_path: Path) -> None:
    planes = np.load(scene.planes).copy()
    planes[:] = np.arange(len(planes))[:, None, None, None] / RATIO
    np.save(tmp_path / "planes.npy", planes)
    numbered = DrvScene(
        "0002",
        tmp_path / "planes.npy",
        scene.reference,
        RATIO,
        scene.white_balance,
        scene.noise,
        scene.matrix,
        scene.bin,
    )
    firsts = set[int]()
    for seed in range(20):
        shown = cut(numbered, seed)[0][:, 0, 0, 0].round().int().tolist()
        assert shown == list(range(shown[0], shown[0] + FRAMES))
        firsts.add(shown[0])
    assert firsts == {0, 1, 2, 3}
