"""The step contract: streaming equals the whole burst, any length works, nothing leaks."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from batman_cli.errors import WeightsError
from batman_cli.models import Clstm, Cnn3d, State, build
from batman_cli.models.blocks import activate
from batman_cli.models.fusion import Fused, Fusion, signed_sqrt, square

TINY = {"widths": (8, 8, 8, 8), "head": 4}
KINDS = ("clstm", "3dcnn")


def tiny(kind: str, seed: int = 0) -> Clstm | Cnn3d:
    """A small network whose last layer is not zero, so that every part has an effect."""
    torch.manual_seed(seed)
    network = build(kind, TINY).eval()
    torch.nn.init.normal_(network.head.last.weight, std=0.05)
    return network


def burst(frames: int, height: int = 32, width: int = 48) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    planes = 0.3 + 0.1 * torch.randn((frames, 1, 4, height, width), generator=generator)
    return planes, torch.tensor([[[0.01] * 4, [0.01] * 4]])


@torch.no_grad()
def stream(network: Clstm | Cnn3d, planes: Tensor, noise: Tensor) -> list[Tensor]:
    pictures, state = [], None
    for frame in planes:
        picture, state = network.step(frame, noise, state)
        if picture is not None:
            pictures.append(picture)
    return pictures + (network.flush(state) if state else [])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frames", [1, 2, 3, 5, 12])
def test_as_many_pictures_as_frames_for_any_length(kind: str, frames: int) -> None:
    pictures = stream(tiny(kind), *burst(frames))
    assert len(pictures) == frames
    assert all(p.shape == (1, 3, 64, 96) and bool(torch.isfinite(p).all()) for p in pictures)


def sliding(radius: int) -> Cnn3d:
    """A small network in which all frames of the window have an effect on the picture."""
    torch.manual_seed(radius)
    network = build("3dcnn", TINY | {"radius": radius}).eval()
    assert isinstance(network, Cnn3d)
    for name, values in network.named_parameters():
        if name.startswith(("window", "head.last")):
            torch.nn.init.normal_(values, std=0.1)
    return network


def encoded(network: Cnn3d, planes: Tensor, noise: Tensor) -> tuple[list[Fused], list[Tensor]]:
    """The fused frames of a burst and their features."""
    mean = variance = None
    fused: list[Fused] = []
    for frame in planes:
        fused.append(network.fusion(frame, noise, mean, variance))
        mean, variance, _ = fused[-1]
    return fused, [network.trunk(step) for step in fused]


@torch.no_grad()
@pytest.mark.parametrize("radius", [1, 2, 3])
@pytest.mark.parametrize("frames", [1, 2, 3, 5, 12])
def test_stream_equals_3d_convolutions_over_the_whole_burst(frames: int, radius: int) -> None:
    """By definition: both ends of the burst replicated, then one Conv3d after the other."""
    network = sliding(radius)
    planes, noise = burst(frames)
    fused, features = encoded(network, planes, noise)
    correction = torch.stack([features[0]] * radius + features + [features[-1]] * radius, 2)
    for index, layer in enumerate(network.window.layers):
        plain = nn.Conv3d(8, 8, 3, padding=(0, 1, 1))
        plain.load_state_dict(layer.state_dict())
        correction = plain(activate(correction) if index else correction)
    pictures = stream(network, planes, noise)
    assert len(pictures) == frames
    for centre, picture in enumerate(pictures):
        mean, variance, _ = fused[centre]
        direct = network.head(features[centre] + correction[:, :, centre], mean, variance)
        assert torch.allclose(picture, direct, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 2, 3, 5, 12])
def test_sliding_window_equals_direct_evaluation_of_each_window(frames: int) -> None:
    """To the last bit, and so wherever in the burst a window lies."""
    network = sliding(2)
    planes, noise = burst(frames)
    fused, features = encoded(network, planes, noise)
    first, last = network.window.layers
    for centre, picture in enumerate(stream(network, planes, noise)):
        window = [features[min(max(centre + i, 0), frames - 1)] for i in range(-2, 3)]
        inner = [activate(first(torch.cat(window[i : i + 3], 1))) for i in range(3)]
        refined = features[centre] + last(torch.cat(inner, 1))
        direct = network.head(refined, fused[centre].mean, fused[centre].variance)
        assert torch.equal(picture, direct)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
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


@pytest.mark.parametrize("kind", KINDS)
def test_state_size_does_not_grow(kind: str) -> None:
    network = tiny(kind)
    planes, noise = burst(10)
    sizes, state = set(), None
    with torch.no_grad():
        for frame in planes:
            _, state = network.step(frame, noise, state)
            sizes.add(sum(t.numel() for t in state.tensors))
    assert len(sizes) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_bursts_of_a_batch_do_not_mix(kind: str) -> None:
    network = tiny(kind)
    planes, noise = burst(4)
    other = torch.rand(planes.shape, generator=torch.Generator().manual_seed(9))
    pair = stream(network, torch.cat([planes, other], 1), noise.repeat(2, 1, 1))
    for both, alone in zip(pair, stream(network, planes, noise), strict=True):
        assert torch.allclose(both[:1], alone, atol=1e-5)


def test_memory_of_the_cell_stays_bounded() -> None:
    network = tiny("clstm")
    planes, noise = burst(200, 16, 16)
    state = None
    with torch.no_grad():
        for frame in planes:
            _, state = network.step(10 * frame, noise, state)
    assert state is not None
    assert float(state.tensors[2].abs().max()) <= 1


def test_static_scene_averages_as_one_over_n() -> None:
    generator = torch.Generator().manual_seed(2)
    fusion, mean, variance = Fusion(), None, None
    noise = torch.tensor([[[0.0] * 4, [0.01] * 4]])
    with torch.no_grad():
        for _ in range(12):
            frame = 0.5 + 0.1 * torch.randn((1, 4, 64, 64), generator=generator)
            step = fusion(frame, noise, mean, variance)
            mean, variance = step.mean, step.variance
    assert mean is not None and variance is not None
    assert float(variance.mean()) < 0.0015  # 0.00083 would be ideal, 0.01 is one frame
    assert float((mean - 0.5).square().mean()) < 0.0015


def test_a_cut_starts_the_average_anew() -> None:
    generator = torch.Generator().manual_seed(3)
    fusion, mean, variance = Fusion(), None, None
    noise = torch.tensor([[[0.0] * 4, [0.01] * 4]])
    with torch.no_grad():
        for level in (0.2, 0.2, 0.2, 0.8):
            frame = level + 0.1 * torch.randn((1, 4, 64, 64), generator=generator)
            step = fusion(frame, noise, mean, variance)
            mean, variance = step.mean, step.variance
    assert mean is not None
    assert abs(float(mean.mean()) - 0.8) < 0.01


def test_average_trusts_each_plane_by_its_own_noise() -> None:
    noise = torch.tensor([[[0.0] * 4, [0.04, 0.01, 0.01, 0.03]]])
    frame = torch.full((1, 4, 16, 16), 0.5)
    first = Fusion()(frame, noise, None, None)
    assert torch.allclose(first.variance[0, :, 0, 0], noise[0, 1])


def test_square_undoes_the_signed_root() -> None:
    x = torch.linspace(-0.5, 2, 101)
    assert torch.allclose(square(signed_sqrt(x)), x, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_untrained_picture_is_the_smoothed_demosaic(kind: str) -> None:
    network = build(kind, TINY).eval()
    gray = torch.full((3, 1, 4, 32, 32), 0.4)
    pictures = stream(network, gray, burst(1)[1])
    assert torch.allclose(pictures[-1], torch.full((1, 3, 64, 64), 0.4), atol=1e-4)


def test_stays_linear_and_free_of_normalisation_over_the_frame() -> None:
    """A bright corner must not change the far end: no statistics over the whole frame."""
    network = tiny("clstm")
    planes, noise = burst(1, 32, 512)
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
    """Odd multiples of 16 work: every scale of the encoder divides without a rest."""
    for side in (16, 48, 80):
        picture = stream(tiny("3dcnn"), *burst(3, side, side))[0]
        assert picture.shape[-1] == 2 * side
        assert functional.avg_pool2d(picture, 2).shape[-1] == side


def test_a_change_of_colour_alone_starts_the_average_anew() -> None:
    """Red and green of equal brightness: the mean of the planes stays the same."""
    generator = torch.Generator().manual_seed(4)
    fusion, mean, variance = Fusion(), None, None
    noise = torch.tensor([[[0.0] * 4, [0.01] * 4]])
    red, green = torch.tensor([0.7, 0.1, 0.1, 0.1]), torch.tensor([0.1, 0.4, 0.4, 0.1])
    with torch.no_grad():
        for colour in (red, red, red, green):
            frame = colour[:, None, None] + 0.1 * torch.randn((1, 4, 64, 64), generator=generator)
            step = fusion(frame, noise, mean, variance)
            mean, variance = step.mean, step.variance
    assert mean is not None
    assert torch.allclose(mean.mean((0, 2, 3)), green, atol=0.01)
