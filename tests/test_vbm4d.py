"""V-BM4D, our re-implementation: it denoises as published, follows motion, and streams."""

from collections.abc import Iterable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from batman_cli.develop import bilinear_demosaic
from batman_cli.device import Device
from batman_cli.infer import Frame, infer
from batman_cli.metrics import psnr
from batman_cli.models import State
from batman_cli.models.anscombe import stabilised, unstabilised
from batman_cli.models.shrink import kernels
from batman_cli.models.tubes import follow, grid_of, matched_picture
from batman_cli.models.vbm4d import Vbm4d, Vbm4dConfig, searches

SIGMA = 40 / 255
WHITE_NOISE = torch.tensor([[[0.0] * 4, [SIGMA**2] * 4]])
HEIGHT, WIDTH = 48, 64
FLAT = (..., slice(12, 36), slice(8, 32))
FAST = Vbm4dConfig(frames=2, step=6, group=4, first_radius=3, group_radius=6)


def scene(height: int, width: int) -> Tensor:
    """Planes (4, height, width) of coloured patches on a slope, with a flat part on the left."""
    generator = torch.Generator().manual_seed(2)
    patches = torch.rand((1, 4, height // 8 + 1, width // 8 + 1), generator=generator)
    planes = functional.interpolate(patches, scale_factor=8)[0, :, :height, :width]
    planes = 0.3 + 0.3 * planes + 0.1 * torch.linspace(0, 1, width)
    planes[:, 8:40, 4:36] = torch.tensor([0.5, 0.45, 0.45, 0.3])[:, None, None]
    return planes


def clip(frames: int, speed: int = 0, *, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Tensor:
    """Clean planes (T, 1, 4, h, w) of a camera that pans `speed` samples a frame."""
    height, width = size
    wide = scene(height, width + abs(speed) * (frames - 1))
    views = [wide[..., abs(speed) * i : abs(speed) * i + width] for i in range(frames)]
    return torch.stack(views)[:, None]


def noisy(clean: Tensor, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return clean + SIGMA * torch.randn(clean.shape, generator=generator)


def denoised(network: Vbm4d, planes: Iterable[Tensor], noise: Tensor = WHITE_NOISE) -> Tensor:
    frames: list[Tensor] = []
    state = None
    for frame in planes:
        clean, state = network.step_planes(frame, noise, state)
        frames += [] if clean is None else [clean]
    return torch.stack(frames + (network.flush_planes(state) if state else []))


# ---- how well it denoises


def test_a_still_clip_gains_as_much_as_its_average_and_more() -> None:
    clean = clip(9)
    frames = noisy(clean)
    result = denoised(Vbm4d(Vbm4dConfig()), frames)
    before = psnr(frames, clean)
    assert before == pytest.approx(16.09, abs=0.1)  # 20 log10 (255 / 40)
    assert psnr(result, clean) > before + 8
    average = frames.mean(0, keepdim=True).expand_as(clean)
    assert psnr(result[FLAT], clean[FLAT]) > psnr(average[FLAT], clean[FLAT]) - 1.5
    assert psnr(result[4], clean[4]) > psnr(average[4], clean[4]) - 1.5


@pytest.mark.parametrize("speed", [1, 3, 6])
def test_a_pan_gains_by_its_neighbours_as_it_is_followed(speed: int) -> None:
    clean = clip(5, speed)
    frames = noisy(clean)
    config = Vbm4dConfig(frames=2)
    result = denoised(Vbm4d(config), frames)[2]
    alone = denoised(Vbm4d(config), frames[2:3])[0]
    assert psnr(result, clean[2]) > psnr(alone, clean[2]) + 1


def test_blocks_are_followed_at_the_speed_of_the_camera() -> None:
    generator = torch.Generator().manual_seed(0)
    wide = 3 * torch.randn((HEIGHT, WIDTH + 12), generator=generator)
    pictures = torch.stack([wide[:, 3 * i : 3 * i + WIDTH] for i in range(5)])
    pictures = pictures + torch.randn(pictures.shape, generator=generator)
    search = searches(Vbm4dConfig())[0]
    tubes = follow(matched_picture(pictures, search.smoothing), 2, 8, 4, search)
    start = tubes.place[:, 2, 1]
    inside = (start >= 6) & (start + 8 + 6 <= WIDTH)  # in view all the time
    assert int(inside.sum()) > 50
    expected = start[inside, None] + 3 * torch.tensor([2, 1, 0, -1, -2])
    assert torch.equal(tubes.place[inside, :, 1], expected)
    assert bool((tubes.place[inside, :, 0] == tubes.place[inside, 2:3, 0]).all())
    assert bool((tubes.back[inside] == 2).all() and (tubes.ahead[inside] == 2).all())


def test_blocks_are_followed_no_further_than_a_cut() -> None:
    first, second = scene(HEIGHT, WIDTH)[0] / SIGMA, scene(HEIGHT, WIDTH)[0].flip(0, 1) / SIGMA
    pictures = torch.stack([first, first, first, second + 5, second + 5])
    tubes = follow(pictures, 2, 8, 4, searches(Vbm4dConfig())[0])
    assert bool((tubes.back == 2).all() and (tubes.ahead == 0).all())


# ---- light and noise of a dark camera


@pytest.mark.parametrize("electrons", [0.0, 0.05, 0.3, 1.0, 4.0, 30.0])
@pytest.mark.parametrize("deviation", [0.3, 1.2, 4.0])
def test_the_inverse_of_a_mean_is_the_level_however_dark(
    electrons: float, deviation: float
) -> None:
    generator = torch.Generator().manual_seed(3)
    shot = 0.05
    noise = torch.tensor([[[shot] * 4, [(deviation * shot) ** 2] * 4]])
    counts = torch.poisson(torch.full((1, 4, 500, 500), electrons), generator=generator)
    counts = counts + deviation * torch.randn(counts.shape, generator=generator)
    mean = stabilised(counts * shot, noise).mean((2, 3), keepdim=True)
    found = unstabilised(mean, noise) / shot
    standard_error = (electrons + deviation**2) ** 0.5 / 500
    assert torch.allclose(found, torch.tensor(electrons), atol=5 * standard_error)


def test_without_shot_noise_stabilising_is_a_division() -> None:
    planes = torch.linspace(-0.5, 2, 64).view(1, 4, 4, 4)
    values = stabilised(planes, WHITE_NOISE)
    assert torch.allclose(values, planes / SIGMA, atol=1e-5)
    assert torch.allclose(unstabilised(values, WHITE_NOISE), planes, atol=1e-5)


@pytest.mark.parametrize("electrons", [0.5, 2.0])
def test_dark_planes_keep_their_mean(electrons: float) -> None:
    """Amplified a hundredfold, a sample holds a photo-electron or two, and some read noise."""
    generator = torch.Generator().manual_seed(4)
    shot, deviation = 0.1, 0.6
    noise = torch.tensor([[[shot] * 4, [(deviation * shot) ** 2] * 4]])
    light = electrons * (1 + 0.5 * torch.linspace(-1, 1, 128)).expand(5, 1, 4, 96, 128)
    counts = torch.poisson(light, generator=generator)
    frames = shot * (counts + deviation * torch.randn(light.shape, generator=generator))
    result = denoised(Vbm4d(FAST), frames, noise)
    assert float(result.mean()) == pytest.approx(shot * electrons, rel=0.02)
    dark, bright = result[..., :32].mean(), result[..., -32:].mean()
    assert float(dark) == pytest.approx(float(shot * light[..., :32].mean()), rel=0.05)
    assert float(bright) == pytest.approx(float(shot * light[..., -32:].mean()), rel=0.05)
    assert float((result - shot * light).std()) < 0.25 * float((frames - shot * light).std())


# ---- the step contract


@pytest.mark.parametrize("frames", [1, 2, 3, 6])
def test_as_many_pictures_as_frames_for_any_length(frames: int) -> None:
    network = Vbm4d(FAST)
    state, pictures = None, list[Tensor]()
    for frame in noisy(clip(frames, size=(24, 32))):
        picture, state = network.step(frame, WHITE_NOISE, state)
        assert (picture is None) == (state.seen <= network.delay)
        pictures += [] if picture is None else [picture]
    assert state is not None
    pictures += network.flush(state)
    assert len(pictures) == frames
    assert all(p.shape == (1, 3, 48, 64) and bool(torch.isfinite(p).all()) for p in pictures)


def test_pictures_are_the_demosaiced_planes() -> None:
    network, frames = Vbm4d(FAST), noisy(clip(1, size=(24, 32)))
    _, state = network.step(frames[0], WHITE_NOISE, None)
    assert torch.equal(network.flush(state)[0], bilinear_demosaic(denoised(network, frames)[0]))


def test_a_stream_knows_of_a_burst_what_a_filter_of_all_of_it_would() -> None:
    """A picture depends on four windows' frames at most, so a stream may begin there."""
    network, frames = Vbm4d(FAST), noisy(clip(14, 1, size=(24, 32)))
    whole = denoised(network, frames)
    late = denoised(network, frames[3:])
    assert torch.equal(late[8:], whole[11:])
    assert not torch.equal(late[0], whole[3])


def test_the_state_carries_everything_and_does_not_grow() -> None:
    network, frames = Vbm4d(FAST), noisy(clip(9, size=(24, 32)))
    whole = denoised(network, frames)
    state, sizes = None, set[int]()
    for index, frame in enumerate(frames):
        before = state and State(state.seen, tuple(t.clone() for t in state.tensors))
        planes, after = network.step_planes(frame, WHITE_NOISE, before)
        if state and before:  # it may be used again, when memory ran out
            pairs = zip(state.tensors, before.tensors, strict=True)
            assert all(torch.equal(a, b) for a, b in pairs)
        state = after
        assert all(t.shape[-2:] == (24, 32) for t in state.tensors)
        if planes is not None:
            assert torch.equal(planes, whole[index - network.delay])
        if state.seen >= 2 * network.delay:
            sizes.add(sum(t.numel() for t in state.tensors))
    assert len(sizes) == 1


def test_absorbed_frames_are_in_the_pictures_after_them() -> None:
    network, clean = Vbm4d(FAST), clip(9, size=(24, 32))
    frames, state = noisy(clean), None
    for frame in frames[:6]:
        state = network.absorb(frame, WHITE_NOISE, state)
    planes, _ = network.step_planes(frames[6], WHITE_NOISE, state)
    alone = denoised(network, frames[4:5])[0]
    assert planes is not None
    assert psnr(planes, clean[4]) > psnr(alone, clean[4]) + 0.5


@pytest.mark.parametrize("size", [(8, 8), (5, 30), (13, 23), (25, 9)])
def test_any_size_will_do(size: tuple[int, int]) -> None:
    clean = clip(3, size=size)
    frames = noisy(clean)
    result = denoised(Vbm4d(FAST), frames)
    assert result.shape == clean.shape
    assert psnr(result, clean) > psnr(frames, clean) + 3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_denoises_as_well() -> None:
    """Not to the bit: among blocks that are equally alike it may choose others."""
    clean = clip(5, 1)
    frames = noisy(clean)
    here = denoised(Vbm4d(FAST), frames)
    there = denoised(Vbm4d(FAST), frames.cuda(), WHITE_NOISE.cuda())
    assert there.device.type == "cuda"
    assert psnr(there.cpu(), clean) == pytest.approx(psnr(here, clean), abs=0.1)
    assert psnr(there.cpu(), here) > 45


def test_tiles_give_the_picture_of_the_whole_frame() -> None:
    network = Vbm4d(Vbm4dConfig(frames=1, group=2))
    noise = WHITE_NOISE[0].numpy()
    frames = [Frame(planes[0].numpy(), noise) for planes in noisy(clip(2, size=(24, 260)))]
    device = Device(torch.device("cpu"), False, "test")
    whole = infer(network, frames, device, tile=0)
    for picture, other in zip(whole, infer(network, frames, device, tile=130), strict=True):
        assert float((picture - other).abs().max()) < 1 / 255


def test_a_batch_is_filtered_as_its_samples_are() -> None:
    frames = noisy(clip(3, size=(24, 32)).expand(-1, 2, -1, -1, -1))
    noise = torch.cat([WHITE_NOISE, 2 * WHITE_NOISE])
    both = denoised(Vbm4d(FAST), frames, noise)
    for number in (0, 1):
        part = slice(number, number + 1)
        assert torch.allclose(both[:, part], denoised(Vbm4d(FAST), frames[:, part], noise[part]))


def test_half_precision_is_left_to_networks() -> None:
    frames = noisy(clip(1, size=(24, 32)))
    exact = denoised(Vbm4d(FAST), frames)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(denoised(Vbm4d(FAST), frames), exact)


@pytest.mark.parametrize("noise", [[0.0, 0.0], [0.1, 0.0], [0.0, 1e-12]])
def test_bursts_that_are_said_to_have_no_noise_are_no_fault(noise: list[float]) -> None:
    told = torch.tensor(noise)[None, :, None].expand(1, 2, 4)
    black = torch.zeros(3, 1, 4, 16, 24)
    black[1:, ..., 8:, 12:] = 0.5
    assert bool(torch.isfinite(denoised(Vbm4d(FAST), black, told)).all())


def test_transforms_are_orthonormal_for_every_tube_and_group() -> None:
    space, time, group, _ = kernels(8, 5, 2, 8, torch.device("cpu"))
    assert torch.allclose(space @ space.T, torch.eye(64), atol=1e-5)
    for back in range(3):
        for ahead in range(3):
            length, start = back + ahead + 1, 2 - back
            used = time[back, ahead][:length, start : start + length]
            assert torch.allclose(used @ used.T, torch.eye(length), atol=1e-6)
            assert float(time[back, ahead].square().sum()) == pytest.approx(length)
    for doublings in range(4):
        size = 2**doublings
        used = group[doublings][:size, :size]
        assert torch.allclose(used @ used.T, torch.eye(size), atol=1e-6)
        assert float(group[doublings].square().sum()) == pytest.approx(size)


@pytest.mark.parametrize("length", [8, 9, 11, 12, 31])
def test_blocks_of_the_grid_cover_a_side(length: int) -> None:
    places = grid_of(length, 8, 4, torch.device("cpu")).tolist()
    covered = {place + i for place in places for i in range(8)}
    assert covered == set(range(length))
