"""The step contract: streaming equals the whole burst, any length works, nothing leaks."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from batman_cli.errors import WeightsError
from batman_cli.models import Clstm, Cnn3d, Net, State, build
from batman_cli.models.align import find_flow
from batman_cli.models.blocks import activate, signed_sqrt, square, view_of
from batman_cli.models.fusion import Average, merge, single
from batman_cli.models.grid import box_inside, enlarged, mean_green, shrunk, warped
from batman_cli.models.wiener import wiener
from batman_cli.weights import load_network, save

TINY = {"widths": (8, 8, 8, 8), "head": 4}
KINDS = ("clstm", "3dcnn")
BASELINES: dict[str, dict[str, Any]] = {
    "sid": {"width": 4},
    "smid": {"width": 2},
    "kpn": {"width": 4},
    "clstm-paper": {"width": 4, "fused": 2},
    "3dcnn-paper": {"width": 4, "fused": 2, "head": 4},
}
ALL = (*KINDS, *BASELINES)


def tiny(kind: str, seed: int = 0) -> Net:
    """A small network in which every part has an effect: last layers do not stay at zero."""
    torch.manual_seed(seed)
    network = build(kind, BASELINES.get(kind, TINY)).eval()
    if isinstance(network, Clstm | Cnn3d):
        torch.nn.init.normal_(network.head.last.weight, std=0.05)
    for name, values in network.named_buffers():  # what training learns of the features
        if name.endswith("mean"):
            torch.nn.init.normal_(values, std=0.1)
    return network


def burst(frames: int, height: int = 32, width: int = 64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    planes = 0.3 + 0.1 * torch.randn((frames, 1, 4, height, width), generator=generator)
    return planes, torch.tensor([[[0.01] * 4, [0.01] * 4]])


@torch.no_grad()
def stream(network: Net, planes: Tensor, noise: Tensor) -> list[Tensor]:
    pictures, state = [], None
    for frame in planes:
        picture, state = network.step(frame, noise, state)
        if picture is not None:
            pictures.append(picture)
    return pictures + (network.flush(state) if state else [])


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("frames", [1, 2, 3, 5, 12])
def test_as_many_pictures_as_frames_for_any_length(kind: str, frames: int) -> None:
    pictures = stream(tiny(kind), *burst(frames))
    assert len(pictures) == frames
    assert all(p.shape == (1, 3, 64, 128) and bool(torch.isfinite(p).all()) for p in pictures)


def sliding(ahead: int) -> Cnn3d:
    """A small network in which all frames of the window have an effect on the picture."""
    torch.manual_seed(ahead)
    network = build("3dcnn", TINY | {"ahead": ahead}).eval()
    assert isinstance(network, Cnn3d)
    for name, values in network.named_parameters():
        if name.startswith(("window", "head.last")):
            torch.nn.init.normal_(values, std=0.1)
    return network


@torch.no_grad()
@pytest.mark.parametrize("ahead", [1, 2, 3])
@pytest.mark.parametrize("frames", [1, 2, 3, 5, 12])
def test_stream_equals_a_3d_convolution_over_the_whole_burst(frames: int, ahead: int) -> None:
    """By definition: averages of past and coming frames, their features, one Conv3d over all."""
    network = sliding(ahead)
    planes, noise = burst(frames)
    planes = 0.3 + 0.2 * (planes - 0.3)  # far less noise than is said: nothing seems to move
    alone = [single(frame, noise) for frame in planes]
    past, flows = [alone[0]], [torch.zeros(1, 2, 32, 64)]
    for frame in alone[1:]:
        average, flow = merge(frame, past[-1])
        past.append(average)
        flows.append(flow)
    assert not any(flow.any() for flow in flows), "this scene stands still"
    views = []
    for centre, average in enumerate(past):
        for later in alone[centre + 1 : centre + 1 + ahead]:
            average, _ = merge(average, later)
        views.append(view_of(average))
    features = [network.trunk(view) for view in views]
    plain = nn.Conv3d(8, 8, 3, padding=(0, 1, 1))
    plain.load_state_dict(network.window.over_time.state_dict())
    joined = plain(torch.stack([features[0]] * 2 + features, 2))
    pictures = stream(network, planes, noise)
    assert len(pictures) == frames
    for centre, picture in enumerate(pictures):
        correction = network.window.refine(activate(joined[:, :, centre]))
        direct = network.head(features[centre] + correction, views[centre])
        assert torch.allclose(picture, direct, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("kind", ALL)
def test_kernels_of_a_checkpoint_lie_with_channels_last_and_mean_the_same(
    kind: str, tmp_path: Path
) -> None:
    trained = tiny(kind)
    for values in trained.parameters():
        values.data = values.data.half().float()
    save(tmp_path / "mine.safetensors", trained, kind, {})
    network = load_network(kind, file=tmp_path / "mine.safetensors")
    kernels = [value for value in network.parameters() if value.ndim == 4]
    assert all(value.is_contiguous(memory_format=torch.channels_last) for value in kernels)
    planes, noise = burst(5)
    pairs = zip(stream(network, planes, noise), stream(trained, planes, noise), strict=True)
    for found, wanted in pairs:
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", ALL)
def test_state_carries_everything(kind: str) -> None:
    network = tiny(kind)
    planes, noise = burst(6)
    whole = stream(network, planes, noise)
    state = None
    for frame in planes[:3]:
        _, state = network.step(frame, noise, state)
    assert state is not None
    copied = State(state.seen, tuple(t.clone() for t in state.tensors))
    for index in range(3, 6):
        picture, copied = network.step(planes[index], noise, copied)
        assert picture is not None
        assert torch.equal(picture, whole[index - network.delay])


@pytest.mark.parametrize("kind", ALL)
def test_state_size_does_not_grow(kind: str) -> None:
    network = tiny(kind)
    planes, noise = burst(10)
    sizes, state = set(), None
    with torch.no_grad():
        for frame in planes:
            _, state = network.step(frame, noise, state)
            if state.seen > network.delay + 2:
                sizes.add(sum(t.numel() for t in state.tensors))
    assert len(sizes) == 1


@torch.no_grad()
@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("absorbed", [2, 3, 5])
def test_frames_that_are_only_absorbed_are_in_the_average(kind: str, absorbed: int) -> None:
    """Of fresh networks, whose memory adds nothing, the next pictures are the same."""
    network = tiny(kind, 1)
    planes, noise = burst(8)
    stepped, state = stream(network, planes, noise), None
    for frame in planes[:absorbed]:
        state = network.absorb(frame, noise, state)
    for index in range(absorbed, 8):
        picture, state = network.step(planes[index], noise, state)
        if index < network.delay:
            assert picture is None
            continue
        assert picture is not None
        assert torch.allclose(picture, stepped[index - network.delay], atol=1e-6)


@torch.no_grad()
def test_what_is_moved_is_the_same_for_streams_of_a_moving_scene() -> None:
    """By definition, with motion: features of two pictures before are moved along twice."""
    network = sliding(2)
    clean, noise = textured(64, 96), burst(1)[1]
    views = [torch.roll(clean, (2 * i, -3 * i), (2, 3)) for i in range(5)]
    planes = torch.stack([next(noisy(view, 1, i, 0.02)) for i, view in enumerate(views)])
    alone = [single(frame, noise) for frame in planes]
    past, flows = [alone[0]], [torch.zeros(1, 2, 64, 96)]
    for frame in alone[1:]:
        average, flow = merge(frame, past[-1])
        past.append(average)
        flows.append(flow)
    assert all(flow.any() for flow in flows[1:])
    seen = []
    for centre in range(3):
        average = merge(merge(past[centre], alone[centre + 1])[0], alone[centre + 2])[0]
        seen.append(view_of(average))
    features = [network.trunk(view) for view in seen]

    def along(features: Tensor, frame: int) -> Tensor:
        return warped(features, shrunk(flows[frame]) / 2, sharp=False)

    frames = [along(along(features[0], 1), 2), along(features[1], 2), features[2]]
    direct = network.head(network.window(frames), seen[2])
    assert torch.allclose(stream(network, planes, noise)[2], direct, atol=1e-5)


@pytest.mark.parametrize("kind", ALL)
def test_bursts_of_a_batch_do_not_mix(kind: str) -> None:
    network = tiny(kind)
    planes, noise = burst(4)
    other = torch.rand(planes.shape, generator=torch.Generator().manual_seed(9))
    pair = stream(network, torch.cat([planes, other], 1), noise.repeat(2, 1, 1))
    for both, alone in zip(pair, stream(network, planes, noise), strict=True):
        assert torch.allclose(both[:1], alone, atol=1e-5)


def test_memory_of_the_cell_stays_bounded() -> None:
    network = tiny("clstm")
    planes, noise = burst(200, 32, 32)
    state = None
    with torch.no_grad():
        for frame in planes:
            _, state = network.step(10 * frame, noise, state)
    assert state is not None
    assert float(state.tensors[2].abs().max()) <= 1


def averaged(frames: Iterable[Tensor], read: float = 0.01) -> Average:
    """Frames with normal noise of one variance, merged one by one."""
    noise = torch.tensor([[[0.0] * 4, [read] * 4]])
    total: Average | None = None
    with torch.no_grad():
        for frame in frames:
            alone = single(frame, noise)
            total = alone if total is None else merge(alone, total)[0]
    assert total is not None
    return total


def noisy(clean: Tensor, frames: int, seed: int, sd: float = 0.1) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(frames):
        yield clean + sd * torch.randn(clean.shape, generator=generator)


def test_static_scene_averages_as_one_over_n() -> None:
    clean = torch.full((1, 4, 64, 64), 0.5)
    average = averaged(noisy(clean, 12, 2))
    assert float(average.variance.mean()) < 0.0015  # 0.00083 would be ideal, 0.01 is one frame
    assert float((average.mean - clean).square().mean()) < 0.0015


def test_a_static_scene_averages_at_the_border_too() -> None:
    """A mean over fewer samples is noisier, and that is no change."""
    torch.manual_seed(1)
    noise, level = torch.tensor([[0.0], [1e-4]]).repeat(16, 1, 4), 0.2
    average = single(level + 0.01 * torch.randn(16, 4, 32, 48), noise)
    for _ in range(19):
        average, _ = merge(single(level + 0.01 * torch.randn(16, 4, 32, 48), noise), average)
    variance = (average.mean - level).square().mean((0, 1)) / 1e-4
    rows, columns = variance[:, 4:-4].mean(1), variance[4:-4].mean(0)
    for edge in (rows[0], rows[1], rows[-1], columns[0], columns[-1]):
        assert float(edge) < 1.25 * float(variance[4:-4, 4:-4].mean())


@pytest.mark.parametrize("shape", [(1, 1), (3, 9), (5, 5), (16, 11)])
def test_means_of_what_is_inside(shape: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *shape)
    mean, count = box_inside(x, 2)
    expected = functional.avg_pool2d(x, 5, 1, 2, count_include_pad=False)
    torch.testing.assert_close(mean, expected, rtol=1e-5, atol=1e-6)
    ones = functional.avg_pool2d(torch.ones(1, 1, *shape), 5, 1, 2) * 25
    torch.testing.assert_close(count, ones[0, 0])


def test_a_cut_starts_the_average_anew() -> None:
    levels = (0.2, 0.2, 0.2, 0.8)
    clean = [torch.full((1, 4, 64, 64), level) for level in levels]
    average = averaged(next(noisy(view, 1, seed)) for seed, view in enumerate(clean))
    assert abs(float(average.mean.mean()) - 0.8) < 0.01


def test_a_change_of_colour_alone_starts_the_average_anew() -> None:
    """Red and green of equal brightness: the mean of the planes stays the same."""
    red, green = torch.tensor([0.7, 0.1, 0.1, 0.1]), torch.tensor([0.1, 0.4, 0.4, 0.1])
    views = [colour[:, None, None].expand(1, 4, 64, 64) for colour in (red, red, red, green)]
    average = averaged(next(noisy(view, 1, seed)) for seed, view in enumerate(views))
    assert torch.allclose(average.mean.mean((0, 2, 3)), green, atol=0.01)


@pytest.mark.parametrize("shift", [(1, 0), (-3, 2), (0, 5), (8, -6)])
def test_a_scene_that_moves_averages_too(shift: tuple[int, int]) -> None:
    """Each frame lies `shift` samples farther than the one before."""
    clean = textured(160, 192)
    views = [torch.roll(clean, (i * shift[1], i * shift[0]), (2, 3)) for i in range(8)]
    average = averaged(next(noisy(view, 1, seed)) for seed, view in enumerate(views))
    inner = (..., slice(48, -48), slice(48, -48))
    error = (average.mean - views[-1])[inner].square().mean()
    assert float(error) < 0.01 / 4, "one frame has 0.01; eight still ones have an eighth"


@pytest.mark.parametrize("shift", [(2, 1), (-7, 4)])
def test_flow_says_where_the_anchor_lies_in_the_other(shift: tuple[int, int]) -> None:
    clean = textured(128, 160)
    moved = torch.roll(clean, (shift[1], shift[0]), (2, 3))
    first, second = next(noisy(moved, 1, 1, 0.05)), next(noisy(clean, 1, 2, 0.05))
    flow = find_flow(
        first, torch.full_like(clean, 0.05**2), second, torch.full_like(clean, 0.05**2)
    )
    inner = flow[0, :, 32:-32, 32:-32].flatten(1)
    assert torch.allclose(inner.median(1).values, -torch.tensor(shift).float(), atol=0.1)


def test_a_still_scene_is_hardly_ever_resampled() -> None:
    """In strong noise too: what seems to move is not enough to tell from noise."""
    clean, moved = textured(128, 160), 0.0
    for seed in range(8):
        first, second = next(noisy(clean, 1, seed, 0.3)), next(noisy(clean, 1, 99 + seed, 0.3))
        variance = torch.full_like(clean, 0.3**2)
        moved += float((find_flow(first, variance, second, variance) != 0).float().mean()) / 8
    assert moved < 0.01


def test_the_border_of_a_still_scene_is_not_resampled_either() -> None:
    """What seems to explain a window that the border cuts is held to its fewer samples."""
    clean, moved = textured(128, 160), torch.zeros(128, 160)
    for seed in range(16):
        first, second = next(noisy(clean, 1, seed, 1.0)), next(noisy(clean, 1, 99 + seed, 1.0))
        variance = torch.ones_like(clean)
        moved += (find_flow(first, variance, second, variance) != 0).any(1)[0].float() / 16
    border = torch.cat([moved[:8].flatten(), moved[-8:].flatten(), moved[:, :8].flatten()])
    assert float(border.mean()) < 0.01


def textured(height: int, width: int) -> Tensor:
    """A grey scene with detail of several sizes, (1, 4, height, width) in about 0.1..0.9."""
    generator = torch.Generator().manual_seed(5)
    layers = [torch.randn((1, 1, height // n, width // n), generator=generator) for n in (4, 8, 16)]
    big = [functional.interpolate(x, (height, width), mode="bicubic") for x in layers]
    return (0.5 + 0.1 * torch.stack(big).sum(0)).clamp(0.05, 1).expand(1, 4, -1, -1)


def test_frames_of_other_noise_have_the_weight_of_least_variance() -> None:
    """Plane by plane: the second frame has a third, the same, and thrice the noise."""
    first = torch.tensor([[[0.0] * 4, [0.03, 0.01, 0.01, 0.01]]])
    second = torch.tensor([[[0.0] * 4, [0.01, 0.01, 0.01, 0.03]]])
    low, high = torch.full((1, 4, 32, 64), 0.50), torch.full((1, 4, 32, 64), 0.51)
    average, _ = merge(single(high, second), single(low, first))
    weights = (average.mean.mean((0, 2, 3)) - 0.50) / 0.01
    assert torch.allclose(weights, torch.tensor([0.75, 0.5, 0.5, 0.25]), atol=0.01)


def test_what_is_bright_is_not_darkened_by_its_noise() -> None:
    noise = torch.tensor([[[0.3] * 4, [0.1] * 4]])
    frame = next(noisy(torch.ones(1, 4, 64, 64), 1, 3, 0.4**0.5))
    assert abs(float(single(frame, noise).mean.mean()) - 1) < 0.01
    lamp = single(torch.full((1, 4, 32, 32), 300.0), noise)
    assert float(lamp.mean.max()) < 5


@pytest.mark.parametrize("level", [0.01, 0.1, 0.5])
def test_denoised_planes_keep_level_and_colour_and_lose_noise(level: float) -> None:
    """In noise twenty times as strong as the signal no veil and no tint is left."""
    colours = level * torch.tensor([1.0, 0.5, 0.5, 0.2])[:, None, None]
    noisy_planes = next(noisy(colours.expand(1, 4, 256, 256), 1, 6, 0.2))
    clean = wiener(noisy_planes, torch.full_like(noisy_planes, 0.04))
    assert torch.allclose(clean.mean((0, 2, 3)), noisy_planes.mean((0, 2, 3)), atol=1e-4)
    assert float((clean - colours).square().mean()) < 0.04 / 100


def test_denoised_planes_are_the_planes_where_there_is_no_noise() -> None:
    planes = textured(96, 128).clone()
    planes[:, 0] *= 1.7
    assert torch.allclose(wiener(planes, torch.full_like(planes, 1e-12)), planes, atol=1e-4)


def test_square_undoes_the_signed_root() -> None:
    x = torch.linspace(-0.5, 2, 101)
    assert torch.allclose(square(signed_sqrt(x)), x, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_untrained_picture_is_the_denoised_average(kind: str) -> None:
    planes, noise = burst(1)
    base = view_of(single(planes[0], noise)).base
    expected = square(enlarged(mean_green(base)))
    (picture,) = stream(build(kind, TINY).eval(), planes, noise)
    assert torch.allclose(picture, expected, atol=1e-6)
    assert float(picture.std()) < 0.2 * float(planes.std())


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_in_half_precision_only_what_the_network_adds_is_rounded(kind: str) -> None:
    network = build(kind, TINY).eval()
    slope = torch.linspace(0.01, 1, 64).expand(1, 1, 4, 32, 64)
    noise = burst(1)[1] / 100
    (whole,) = stream(network, slope, noise)
    with torch.autocast("cpu", torch.bfloat16):
        (half,) = stream(network, slope, noise)
    assert half.dtype == torch.float32
    assert torch.allclose(half, whole, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("noise", [[0.0, 0.0], [0.1, 0.0], [0.0, 1e-12]])
def test_bursts_that_are_said_to_have_no_noise_are_no_fault(kind: str, noise: list[float]) -> None:
    black = torch.zeros(4, 1, 4, 32, 64)
    black[1:, ..., 20:, 30:] = 0.5  # and what comes into view
    told = torch.tensor(noise)[None, :, None].expand(1, 2, 4)
    assert all(bool(torch.isfinite(p).all()) for p in stream(tiny(kind), black, told))


@pytest.mark.parametrize("variance", [1e-4, 1e-6, 1e-8])
def test_edges_of_one_direction_give_a_finite_flow(variance: float) -> None:
    """Without noise: the equations of the flow are singular but for the prior."""
    rows, columns = torch.arange(64.0)[:, None], torch.arange(96.0)
    edge = (rows + columns > 70).float().expand(1, 4, -1, -1)
    told = torch.full_like(edge, variance)
    flow = find_flow(torch.roll(edge, (1, 1), (2, 3)), told, edge, told)
    assert bool(torch.isfinite(flow).all())


def test_stays_linear_and_free_of_normalisation_over_the_frame() -> None:
    """A bright corner must not change the far end: no statistics over the whole frame."""
    network = tiny("clstm")
    planes, noise = burst(1, 32, 768)
    changed = planes.clone()
    changed[..., :16] += 1
    near, far = slice(0, 64), slice(-256, None)
    before, after = stream(network, planes, noise)[0], stream(network, changed, noise)[0]
    assert not torch.equal(before[..., near], after[..., near])
    assert torch.equal(before[..., far], after[..., far])


def test_unknown_kind_and_setting_are_refused() -> None:
    with pytest.raises(WeightsError, match="unknown network"):
        build("resnet", {})
    with pytest.raises(WeightsError, match="unknown setting"):
        build("clstm", {"depth": 3})


def test_padding_mode_of_the_grid_is_kept() -> None:
    """Odd multiples of 32 work: every scale of the encoder divides without a rest."""
    for side in (32, 96, 160):
        picture = stream(tiny("3dcnn"), *burst(3, side, side))[0]
        assert picture.shape[-1] == 2 * side
        assert functional.avg_pool2d(picture, 2).shape[-1] == side
