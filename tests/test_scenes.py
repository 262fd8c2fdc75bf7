"""Views of a moving camera, and the objects that cross them."""

import pytest
import torch
from skimage import data
from torch.nn import functional

from batman_cli.simulate.scenes import MOTIONS, add_object, camera_path, srgb_to_linear, views


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def photo(height: int = 90, width: int = 131) -> torch.Tensor:
    return torch.from_numpy(data.coffee()[:height, :width]).permute(2, 0, 1).float() / 255


def plain_views(photo: torch.Tensor, path: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """What `views` says in words: every pixel of every view looked up by itself."""
    rows, columns = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2 for n in (height, width))
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    grids: list[torch.Tensor] = []
    for shift_x, shift_y, roll, scale in path.double():
        across = scale.exp() * (roll.cos() * x - roll.sin() * y) + shift_x
        down = scale.exp() * (roll.sin() * x + roll.cos() * y) + shift_y
        grids.append(torch.stack([across / (photo.shape[2] / 2), down / (photo.shape[1] / 2)], -1))
    return functional.grid_sample(
        photo.double().expand(len(path), -1, -1, -1),
        torch.stack(grids),
        mode="bicubic",
        padding_mode="reflection",
        align_corners=False,
    ).clamp(0, 1)


@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize("far", [1, 15])  # times as far as a camera moves: beyond the photo's edge
@pytest.mark.parametrize("size", [(48, 64), (61, 75), (90, 131), (120, 150)])
def test_views_are_the_photo_seen_along_the_path(
    size: tuple[int, int], far: int, motion: str
) -> None:
    path = camera_path(motion, 5, seeded(3)) * far
    seen = views(photo(), path, *size)
    assert seen.dtype == torch.float32
    torch.testing.assert_close(seen.double(), plain_views(photo(), path, *size), atol=1e-4, rtol=0)


def test_a_still_camera_sees_the_middle_of_the_photo() -> None:
    seen = views(photo(90, 130), camera_path("static", 3, seeded(1)), 40, 60)
    torch.testing.assert_close(seen, photo(90, 130)[None, :, 25:65, 35:95].expand(3, -1, -1, -1))


@pytest.mark.parametrize("seed", range(12))
def test_an_object_is_an_ellipse_or_a_rounded_box_and_nothing_else_changes(seed: int) -> None:
    scene, texture = torch.full((7, 3, 192, 256), 0.25), torch.ones(3, 50, 70)
    before = scene.clone()
    covered = (add_object(scene, texture, seeded(seed))[:, 0] - 0.25) / 0.75
    assert torch.equal(scene, before)
    assert float(covered.min()) == 0
    assert float(covered[3].max()) == 1  # in the middle of the burst its centre is in sight
    for frame in covered:
        rows, columns = (frame > 0.5).nonzero().unbind(1)
        whole = len(rows) and rows.min() and columns.min() and rows.max() < 191
        if whole and columns.max() < 255:
            height, width = (int(side.max() - side.min()) + 1 for side in (rows, columns))
            assert 0.12 * 192 - 2 <= height <= 0.5 * 192 + 2
            assert 0.12 * 256 - 2 <= width <= 0.5 * 256 + 2
            share = float(frame.sum()) / (height * width)
            # Of |x|^p + |y|^p = 1 in its square: pi / 4 for p = 2, 0.96 for p = 6.
            assert share == pytest.approx(0.785, abs=0.05) or share == pytest.approx(0.96, abs=0.05)


def test_objects_move_and_differ_by_the_seed() -> None:
    scene, texture = torch.zeros(5, 3, 96, 96), torch.ones(3, 40, 40)
    made = [add_object(scene, texture, seeded(seed)) for seed in (1, 1, 2)]
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])
    assert not torch.equal(made[0][0], made[0][4])


def test_the_srgb_curve_is_undone() -> None:
    linear = torch.linspace(0, 1, 10_001, dtype=torch.float64)
    low, high = 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055
    curved = torch.where(linear <= 0.0031308, low, high)
    torch.testing.assert_close(srgb_to_linear(curved), linear, atol=1e-7, rtol=0)
    torch.testing.assert_close(srgb_to_linear(curved.float()), linear.float(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("motion", MOTIONS)
def test_everything_is_made_on_the_device_of_the_photo(motion: str) -> None:
    # Tensors of "meta" have a shape alone, and go together with those of no other device.
    nowhere = photo().to("meta")
    seen = views(nowhere, camera_path(motion, 5, seeded(4)), 64, 96)
    made = srgb_to_linear(add_object(seen, nowhere, seeded(5)))
    assert (made.device.type, made.shape) == ("meta", (5, 3, 64, 96))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("motion", MOTIONS)
def test_a_gpu_sees_the_same(motion: str) -> None:
    cuda, path = torch.device("cuda"), camera_path(motion, 5, seeded(4))
    here = add_object(views(photo(), path, 64, 96), photo(), seeded(5))
    there = add_object(views(photo().to(cuda), path.to(cuda), 64, 96), photo().to(cuda), seeded(5))
    assert there.device.type == "cuda"
    torch.testing.assert_close(there.cpu(), here, atol=1e-3, rtol=0)
