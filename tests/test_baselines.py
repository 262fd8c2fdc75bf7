"""The published networks: their sizes and costs, and what each makes of a burst."""

from pathlib import Path

import pytest
import torch
from test_models import BASELINES, burst, stream, tiny
from test_tiles import CPU, frames
from torch import Tensor, nn

from batman_cli.develop import bilinear_demosaic
from batman_cli.infer import infer
from batman_cli.models import ClstmPaper, Cnn3dPaper, Kpn, Sid, Smid, Vbm4d, Vbm4dConfig, build
from batman_cli.models.blocks import square
from batman_cli.models.cost import multiply_adds, parameters
from batman_cli.models.fusion import Average, merge, single
from batman_cli.models.paper_blocks import convolve_enlarged, convolve_plainly, saves_work
from batman_cli.training.losses import pictures_of

DOCUMENTATION = (Path(__file__).parents[1] / "docs" / "baselines.md").read_text()


# Their size


@pytest.mark.parametrize(
    ("kind", "millions"),
    [("sid", 7.76), ("smid", 85.6), ("kpn", 3.34), ("clstm-paper", 12.4), ("3dcnn-paper", 14.7)],
)
def test_full_size_has_the_published_number_of_parameters(kind: str, millions: float) -> None:
    with torch.device("meta"):
        network = build(kind, {})
    assert parameters(network) / 1e6 == pytest.approx(millions, rel=0.01)


@pytest.mark.parametrize(
    ("kind", "thousands"),
    [("sid", 185 / 4), ("smid", 488), ("kpn", 616), ("clstm-paper", 338), ("3dcnn-paper", 359)],
)
def test_full_size_has_the_published_cost_of_a_pixel(kind: str, thousands: float) -> None:
    """`sid` by packed sample, of which four pixels make one.

    `3dcnn-paper` computes the layers of its head at 1, 5, 3 points in time and 1: with each layer
    at one point alone it would be 318.
    """
    with torch.device("meta"):
        network = build(kind, {}).eval()
    assert multiply_adds(network, 1000, 1000) / 1e9 == pytest.approx(thousands, rel=0.02)


def test_a_layer_of_the_3d_head_at_one_point_in_time_has_the_published_cost() -> None:
    with torch.device("meta"):
        network = build("3dcnn-paper", {}).eval()
    assert isinstance(network, Cnn3dPaper)
    layers = [*network.head.layers, network.head.last]
    sizes = [layer.weight.numel() for layer in layers if isinstance(layer, nn.Conv3d)]
    more = sum(size * (n - 1) for size, n in zip(sizes, (1, 5, 3, 1), strict=True)) / 4
    assert multiply_adds(network, 1000, 1000) / 1e6 - more == pytest.approx(318e3, rel=0.01)


def test_the_cost_of_smid_after_vbm4d_is_that_of_its_network() -> None:
    plain, after = (
        multiply_adds(build("smid", {"width": 2, "input": given}).eval(), 100, 100)
        for given in ("average", "vbm4d")
    )
    assert 0 < after <= plain


def test_smid_of_width_13_fits_into_30_megabytes_in_half_precision() -> None:
    with torch.device("meta"):
        assert 2 * parameters(build("smid", {"width": 13})) <= 30e6


@pytest.mark.parametrize("kind", BASELINES)
def test_the_documentation_has_size_and_cost_as_counted(kind: str) -> None:
    with torch.device("meta"):
        network = build(kind, {}).eval()
    size, cost = parameters(network) / 1e6, multiply_adds(network, 918, 1374) / 1e9
    row = next(line for line in DOCUMENTATION.splitlines() if line.startswith(f"| `{kind}` |"))
    assert f"| {size:.2f} M | {cost:.1f} GMAC | {network.delay} |" in row
    assert f"`batman train --model {kind}`" in row


# What they do, each by its plain definition over the whole burst


@torch.no_grad()
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_sid_sees_each_frame_alone_clipped(count: int) -> None:
    network = tiny("sid")
    assert isinstance(network, Sid)
    planes, noise = burst(count)
    planes[..., :8] -= 1
    pictures = stream(network, planes, noise)
    assert len(pictures) == count
    for frame, picture in zip(planes, pictures, strict=True):
        assert torch.equal(picture, network.render(frame.clamp_min(0)))


@torch.no_grad()
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_smid_sees_the_average_of_all_frames_so_far(count: int) -> None:
    network = tiny("smid")
    assert isinstance(network, Smid)
    planes, noise = burst(count)
    average: Average | None = None
    for frame, picture in zip(planes, stream(network, planes, noise), strict=True):
        alone = single(frame, noise)
        average = alone if average is None else merge(alone, average)[0]
        assert torch.equal(picture, network.render(average.mean))


@pytest.mark.parametrize("kind", ["sid", "kpn"])
def test_tiles_of_what_sees_hardly_farther_than_their_halo_fit_together(kind: str) -> None:
    shot = frames(1, 288, 320)[0]
    (whole,), (tiled,) = (list(infer(tiny(kind), [shot], CPU, tile=side)) for side in (0, 128))
    assert float((whole - tiled).abs().max()) < 0.02 * float(whole.std())


@torch.no_grad()
@torch.no_grad()
def test_smid_sees_the_frames_of_vbm4d_where_asked() -> None:
    """As published; late by as much as V-BM4D looks ahead."""
    network = build("smid", {"width": 2, "input": "vbm4d"})
    video = Vbm4d(Vbm4dConfig())
    planes, noise = burst(6, 32, 48)
    assert isinstance(network, Smid)
    assert network.delay == video.delay == 4
    denoised, state = list[Tensor](), None
    for frame in planes:
        clean, state = video.step_planes(frame, noise, state)
        denoised += [] if clean is None else [clean]
    assert state is not None
    denoised += video.flush_planes(state)
    pictures = stream(network, planes, noise)
    assert len(pictures) == len(planes)
    for picture, clean in zip(pictures, denoised, strict=True):
        assert torch.equal(picture, network.render(clean))


def test_smid_is_normalised_over_the_whole_picture() -> None:
    """As published: the reason that its tiles do not quite fit together."""
    network, (planes, noise) = tiny("smid"), burst(1, 32, 768)
    changed = planes.clone()
    changed[..., :16] += 0.5
    far = slice(-64, None)
    assert not torch.equal(
        stream(network, planes, noise)[0][..., far], stream(network, changed, noise)[0][..., far]
    )


def windows(planes: Tensor, before: int, after: int) -> list[Tensor]:
    """For each frame the frames around it, the ends of the burst repeated: (B, T, 4, h, w)."""
    last = len(planes) - 1
    places = [
        [min(max(t + k, 0), last) for k in range(-before, after + 1)] for t in range(last + 1)
    ]
    return [torch.stack([planes[place] for place in some], 1) for some in places]


@torch.no_grad()
@pytest.mark.parametrize("count", [1, 2, 3, 12])
def test_kpn_sums_eight_frames_around_each_under_its_kernels(count: int) -> None:
    network = tiny("kpn")
    assert isinstance(network, Kpn)
    planes, noise = burst(count)
    pictures = stream(network, planes, noise)
    assert len(pictures) == count
    for window, picture in zip(windows(planes, 4, 3), pictures, strict=True):
        estimates = network.estimates(window, noise)
        assert estimates.shape == (1, 8, 4, 32, 64)
        assert torch.allclose(picture, bilinear_demosaic(estimates.mean(1)), atol=1e-6)


@torch.no_grad()
def test_kpn_of_even_kernels_is_the_mean_over_frames_and_5_by_5() -> None:
    """With kernels that are 1 / (8 * 25) everywhere, whatever the burst."""
    network = tiny("kpn")
    assert isinstance(network, Kpn)
    nn.init.zeros_(network.last.weight)
    assert network.last.bias is not None
    nn.init.constant_(network.last.bias, 1 / 200)
    level = torch.tensor([0.5, -0.2, 0.1, 3.0])[:, None, None]
    constant = level.expand(8, 1, 4, 32, 64)
    expected = bilinear_demosaic(constant[0])
    for picture in stream(network, constant, burst(1)[1]):
        assert torch.allclose(picture, expected, atol=1e-5)
    noisy, noise = burst(8)
    mean = noisy.mean(0)[..., 10:15, 20:25].mean((-1, -2))
    estimates = network.estimates(noisy.transpose(0, 1), noise)
    assert torch.allclose(estimates.mean(1)[..., 12, 22], mean, atol=1e-5)


@torch.no_grad()
def test_kernels_move_what_they_say() -> None:
    """A kernel whose first row and last column is 1 takes the sample above and to the right."""
    network = tiny("kpn")
    assert isinstance(network, Kpn)
    nn.init.zeros_(network.last.weight)
    assert network.last.bias is not None
    nn.init.zeros_(network.last.bias)
    network.last.bias[4 * 25 + 4] = 1  # of the fifth frame, the centre
    planes, noise = burst(8)
    moved = network.estimates(planes.transpose(0, 1), noise).sum(1) / 8
    assert torch.allclose(moved[..., 2:, :-2], planes[4][..., :-2, 2:], atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_clstm_paper_carries_its_memory_along(count: int) -> None:
    network = tiny("clstm-paper")
    assert isinstance(network, ClstmPaper)
    planes, noise = burst(count)
    memory: tuple[Tensor, ...] | None = None
    first: Tensor | None = None
    for frame, picture in zip(planes, stream(network, planes, noise), strict=True):
        direct, memory = network.render(frame, memory)
        assert torch.equal(picture, direct)
        assert first is None or not torch.equal(picture, network.render(frame, None)[0])
        first = picture


@torch.no_grad()
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_3dcnn_paper_is_the_centre_of_convolutions_over_five_frames(count: int) -> None:
    """By definition: same-size Conv3d over the window, its ends repeated for every layer."""
    network = tiny("3dcnn-paper")
    assert isinstance(network, Cnn3dPaper)
    planes, noise = burst(count)
    pictures = stream(network, planes, noise)
    assert len(pictures) == count
    for window, picture in zip(windows(planes, 2, 2), pictures, strict=True):
        x = torch.stack([network.features(frame) for frame in window.unbind(1)], 2)
        for layer, norm in zip(network.head.layers, network.head.norms, strict=True):
            x = norm(layer(repeated(x))).relu()
        x = network.head.last(repeated(x))[:, :, 2]
        direct = square(nn.functional.pixel_shuffle(x, 2))
        assert torch.allclose(picture, direct, atol=1e-5)


def test_gradients_of_3dcnn_paper_are_finite_in_bf16() -> None:
    """Of torch's own 3D convolution some are not, on CPUs with AMX."""
    planes, noise = torch.rand(2, 5, 4, 32, 32), torch.full((2, 2, 4), 0.01)
    network = build("3dcnn-paper", {"width": 8})
    pictures, _ = pictures_of(network, planes, noise, bf16=True)
    gradients = torch.autograd.grad(torch.stack(pictures).mean(), list(network.parameters()))
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)


@pytest.mark.parametrize("factor", [2, 4, 8, 16])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (4, 2)])
def test_convolving_while_enlarging_is_convolving_what_was_enlarged(
    factor: int, shape: tuple[int, int]
) -> None:
    """Borders, the direction of kernels and odd sizes, and the gradients of both factors."""
    torch.manual_seed(1)
    x = torch.randn(2, 7, *shape, dtype=torch.double, requires_grad=True)
    kernels = torch.randn(3, 7, 5, 5, dtype=torch.double, requires_grad=True)
    found, direct = (
        enlarge(x, kernels, factor) for enlarge in (convolve_enlarged, convolve_plainly)
    )
    assert found.shape == (2, 3, factor * shape[0], factor * shape[1])
    assert torch.allclose(found, direct, atol=1e-10)
    slope = torch.randn_like(direct)
    for one, other in zip(
        torch.autograd.grad(found, (x, kernels), slope),
        torch.autograd.grad(direct, (x, kernels), slope),
        strict=True,
    ):
        assert torch.allclose(one, other, atol=1e-9)


def test_matrices_serve_where_they_save_work() -> None:
    """Of a crop of 192 pixels all that matters; of a whole picture only the coarsest features."""
    crop, picture = (48, 48), (230, 344)
    assert saves_work((64, *crop), 5, 2)
    assert saves_work((512, crop[0] // 8, crop[1] // 8), 5, 16)
    assert not saves_work((64, *picture), 5, 2)
    assert saves_work((512, picture[0] // 8, picture[1] // 8), 5, 16)


def repeated(x: Tensor) -> Tensor:
    return torch.cat([x[:, :, :1], x, x[:, :, -1:]], 2)
