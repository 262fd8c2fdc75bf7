"""Scores are those that others compute, and say what they claim about moving pictures."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from conftest import photo
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from batman_cli.metrics import psnr, ssim, temporal_error, tmae, tpsnr, tssim

PAIRS = 100


def random_pairs() -> Iterator[tuple[Tensor, Tensor]]:
    """Pictures of any size from the smallest, and noisy, shifted or unrelated ones."""
    random = np.random.default_rng(0)
    for number in range(PAIRS):
        height, width = random.integers(11, 60, 2)
        reference = photo(height, width, seed=number) / 255
        unrelated = photo(height, width, seed=number + PAIRS) / 255
        noise = random.normal(0, random.uniform(0.001, 0.3), reference.shape)
        picture = (reference + noise, np.roll(reference, 1, axis=1), unrelated)[number % 3]
        yield planar(picture.clip(0, 1)), planar(reference)


def planar(picture: np.ndarray) -> Tensor:
    """(3, H, W) of (H, W, 3)."""
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))


def moving(frames: int = 5) -> Tensor:
    """A camera that pans over a photo, (T, 3, 64, 64)."""
    scene = planar(photo(64, 64 + 4 * frames) / 255)
    return torch.stack([scene[:, :, 4 * t : 4 * t + 64] for t in range(frames)])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_psnr_and_ssim_are_those_of_scikit_image(dtype: torch.dtype) -> None:
    pairs = [(a.to(dtype), b.to(dtype)) for a, b in random_pairs()]
    for picture, reference in pairs:
        a, b = (x.double().numpy() for x in (picture, reference))
        similarity = structural_similarity(
            *(a, b),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1,
            channel_axis=0,
        )
        assert ssim(picture, reference) == pytest.approx(similarity, rel=0, abs=1e-6)
        expected = peak_signal_noise_ratio(b, a, data_range=1)
        assert psnr(picture, reference) == pytest.approx(expected, rel=0, abs=1e-6)
    assert len(pairs) == PAIRS


def test_an_error_of_a_tenth_everywhere_is_20_db() -> None:
    assert psnr(torch.full((3, 4, 4), 0.6), torch.full((3, 4, 4), 0.5)) == pytest.approx(20)


def test_equal_pictures_have_no_error() -> None:
    picture = moving()[0]
    assert psnr(picture, picture) == math.inf
    assert ssim(picture, picture) == pytest.approx(1, abs=1e-12)


def test_scores_see_errors_that_float32_sums_would_lose() -> None:
    grey = torch.full((3, 600, 600), 0.5)
    other = grey.clone()
    other[0, 0, 0] += 0.001
    assert psnr(other, grey) == pytest.approx(60 + 10 * math.log10(grey.numel()), abs=0.01)


def test_scores_from_frame_to_frame_are_the_mean_over_pairs() -> None:
    pictures = moving(4)
    pairs = [(pictures[t + 1], pictures[t]) for t in range(3)]
    assert tpsnr(pictures) == pytest.approx(sum(psnr(*pair) for pair in pairs) / 3)
    assert tssim(pictures) == pytest.approx(sum(ssim(*pair) for pair in pairs) / 3)


def test_tmae_and_temporal_error_count_in_hundredths_of_white() -> None:
    brighter = 0.02 * torch.arange(5.0)[:, None, None, None].expand(5, 3, 16, 16)
    assert tmae(brighter) == pytest.approx(2)
    assert temporal_error(brighter, torch.zeros(5, 3, 16, 16)) == pytest.approx(2)


def test_a_constant_video_has_endless_tpsnr_but_loses_in_temporal_error() -> None:
    scene = moving()
    noisy = scene + 0.01 * torch.randn(scene.shape, generator=torch.Generator().manual_seed(0))
    constant = scene[:1].expand_as(scene)
    assert tpsnr(constant) == math.inf > tpsnr(noisy)
    assert tssim(constant) == pytest.approx(1)
    assert tmae(constant) == 0
    assert temporal_error(constant, scene) > 2 * temporal_error(noisy, scene) > 0


def test_an_error_that_all_frames_share_is_no_temporal_error() -> None:
    scene = moving()
    darker = scene - 0.1 * scene[:1].mean()
    assert temporal_error(darker, scene) == pytest.approx(0, abs=1e-12)
    assert psnr(darker, scene) < 40


@pytest.mark.parametrize("score", [psnr, ssim, temporal_error])
def test_other_shapes_are_refused(score: Callable[[Tensor, Tensor], float]) -> None:
    with pytest.raises(ValueError, match="reference"):
        score(torch.zeros(2, 3, 16, 16), torch.zeros(3, 16, 16))


def test_a_picture_smaller_than_the_window_is_refused() -> None:
    assert ssim(torch.zeros(3, 11, 11), torch.zeros(3, 11, 11)) == pytest.approx(1)
    with pytest.raises(ValueError, match="window"):
        ssim(torch.zeros(3, 10, 40), torch.zeros(3, 10, 40))


@pytest.mark.parametrize("score", [tpsnr, tssim, tmae, lambda p: temporal_error(p, p)])
@pytest.mark.parametrize("shape", [(1, 3, 16, 16), (3, 16, 16)], ids=str)
def test_one_picture_alone_has_no_change(
    shape: tuple[int, ...], score: Callable[[Tensor], float]
) -> None:
    with pytest.raises(ValueError, match="2 or more"):
        score(torch.zeros(shape))


@pytest.mark.gpu
def test_a_gpu_gives_the_same_scores() -> None:
    name = "cuda" if torch.cuda.is_available() else "mps"
    if name == "mps" and not torch.backends.mps.is_available():
        pytest.skip("no GPU here")
    pictures = moving().float()
    there = pictures.to(name)
    assert psnr(there[0], there[1]) == pytest.approx(psnr(pictures[0], pictures[1]), abs=1e-9)
    assert ssim(there[0], there[1]) == pytest.approx(ssim(pictures[0], pictures[1]), abs=1e-9)
    assert temporal_error(there, there.flip(0)) == pytest.approx(
        temporal_error(pictures, pictures.flip(0)), abs=1e-9
    )
