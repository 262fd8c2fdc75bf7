"""Tiles cover the frame, their shares sum to one, and the seams do not show."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_models import textured
from torch import Tensor

from batman_cli.device import Device
from batman_cli.infer import Frame, Runner
from batman_cli.models import Clstm, build
from batman_cli.pack import Planes
from batman_cli.tiles import MIN_TILE, plan_tiles

CPU = Device(torch.device("cpu"), False, "test")


@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(MIN_TILE, 700), st.sampled_from([0, 16, 64])
)
def test_shares_of_all_tiles_sum_to_one(rows: int, columns: int, tile: int, halo: int) -> None:
    height, width = 16 * rows, 16 * columns
    for scale in (2.0, 1.0, 0.5):
        total = torch.zeros(1, 1, int(height * scale), int(width * scale))
        for part in plan_tiles(height, width, tile, halo, 16):
            read_h = part.rows.stop - part.rows.start
            read_w = part.columns.stop - part.columns.start
            part.add(torch.ones(1, 1, int(read_h * scale), int(read_w * scale)), total)
        assert torch.allclose(total, torch.ones_like(total), atol=1e-5)


@given(st.integers(1, 60), st.integers(MIN_TILE, 700))
def test_no_tile_is_wider_than_asked_and_all_are_aligned(units: int, tile: int) -> None:
    for part in plan_tiles(16 * units, 16, tile, 64, 16):
        span = part.rows
        assert span.last - span.first <= max(tile, 16) + 16
        assert all(v % 16 == 0 for v in (span.start, span.stop, span.first, span.last))


def shipped_like(seed: int = 0) -> Clstm:
    torch.manual_seed(seed)
    network = build("clstm", {"widths": (8, 8, 8, 8), "head": 4}).eval()
    assert isinstance(network, Clstm)
    torch.nn.init.normal_(network.head.last.weight, std=0.05)
    return network


def frames(count: int, height: int, width: int) -> list[Frame]:
    """Noise, and less of it than is said, so that nothing seems to move."""
    generator = torch.Generator().manual_seed(4)
    noise = torch.tensor([[0.01] * 4, [0.005] * 4]).numpy()
    planes: list[Planes] = [
        (0.4 + 0.05 * torch.randn((4, height, width), generator=generator)).numpy()
        for _ in range(count)
    ]
    return [Frame(p, noise) for p in planes]


def run(tile: int, burst: list[Frame]) -> list[Tensor]:
    runner = Runner(shipped_like(), CPU, tile=tile)
    return [picture for frame in burst if (picture := runner.step(frame)) is not None]


@pytest.mark.parametrize("tile", [128, 160, 256])
@pytest.mark.parametrize(("height", "width"), [(300, 410), (129, 513), (90, 640)])
def test_tiles_equal_the_whole_frame_within_a_grey_level(
    tile: int, height: int, width: int
) -> None:
    burst = frames(2, height, width)
    for whole, tiled in zip(run(0, burst), run(tile, burst), strict=True):
        assert whole.shape == tiled.shape == (3, 2 * height, 2 * width)
        assert float((whole - tiled).abs().max()) <= 1 / 255


def moving(count: int, height: int, width: int) -> list[Frame]:
    """A textured scene that moves on by 3 and 2 samples a frame."""
    generator = torch.Generator().manual_seed(1)
    scene = textured(height + 64, width + 64)[0]
    noise = torch.tensor([[0.0] * 4, [0.05**2] * 4]).numpy()
    views = [torch.roll(scene, (2 * i, 3 * i), (1, 2))[:, :height, :width] for i in range(count)]
    noises = [0.05 * torch.randn(view.shape, generator=generator) for view in views]
    return [Frame((v + n).numpy(), noise) for v, n in zip(views, noises, strict=True)]


def test_tiles_of_a_moving_scene_hardly_differ_from_the_whole_frame() -> None:
    """A tile sees less of the scene to tell its motion by."""
    burst = moving(4, 384, 512)
    for whole, tiled in zip(run(0, burst), run(160, burst), strict=True):
        difference = (whole - tiled).abs().flatten()
        assert float(difference.mean()) < 0.1 / 255
        assert float((difference > 1 / 255).float().mean()) < 0.01


def test_a_tile_larger_than_the_frame_is_the_whole_frame() -> None:
    burst = frames(2, 64, 96)
    for whole, tiled in zip(run(0, burst), run(512, burst), strict=True):
        assert torch.equal(whole, tiled)
