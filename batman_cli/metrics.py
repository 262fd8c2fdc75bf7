"""How good pictures are: against references, and from frame to frame.

Everything is computed in float64, on the device of the pictures where that can hold float64.
The figures from frame to frame, `tpsnr`, `tssim` and `tmae`, are those of SMID (Chen et al., Seeing
Motion in the Dark, ICCV 2019). They never see a reference: a constant grey video wins. They mean
something only beside `psnr`, or as `temporal_error`, which knows how the scene moves.
"""

import math
from collections.abc import Callable
from itertools import pairwise

from torch import Tensor

RADIUS = 5  # pixels; the window of `ssim` has 11 x 11
SIGMA = 1.5  # pixels
K1, K2 = 0.01, 0.03  # keep `ssim` finite where pictures are black or flat


def psnr(picture: Tensor, reference: Tensor) -> float:
    """Peak signal-to-noise ratio in dB: -10 log10 of the mean squared error; inf if they are equal.

    picture, reference: (..., H, W) in 0..1, of one shape. Raises ValueError otherwise.
    """
    error = float((_double(picture) - _like(picture, reference)).square().mean())
    return math.inf if error == 0 else -10 * math.log10(error)


def ssim(picture: Tensor, reference: Tensor) -> float:
    """Structural similarity, 1 for equal pictures: the mean over channels and window positions.

    Formula, window and constants of Wang et al., Image Quality Assessment: From Error Visibility to
    Structural Similarity, IEEE TIP 2004, with population variances. Windows lie inside the picture.

    picture, reference: (..., H, W) in 0..1, of one shape, sides of 11 pixels or more. Raises
    ValueError otherwise.
    """
    x, y = _double(picture), _like(picture, reference)
    if min(x.shape[-2:]) < 2 * RADIUS + 1:
        raise ValueError(f"pictures {tuple(x.shape)} are smaller than the window of 11 x 11")
    mean_x, mean_y = _window_mean(x), _window_mean(y)
    product = mean_x * mean_y
    squares = mean_x.square() + mean_y.square()
    covariance = _window_mean(x * y) - product
    variances = _window_mean(x.square() + y.square()) - squares
    c1, c2 = K1**2, K2**2
    similar = (2 * product + c1) * (2 * covariance + c2)
    return float((similar / ((squares + c1) * (variances + c2))).mean())


def tpsnr(pictures: Tensor) -> float:
    """Mean `psnr` in dB of each picture against the one before; inf if any two are equal.

    pictures: (T, 3, H, W) in 0..1, two or more. Raises ValueError otherwise.
    """
    return _mean_over_pairs(psnr, pictures)


def tssim(pictures: Tensor) -> float:
    """Mean `ssim` of each picture against the one before.

    pictures: (T, 3, H, W) in 0..1, two or more, sides of 11 pixels or more. Raises ValueError
    otherwise.
    """
    return _mean_over_pairs(ssim, pictures)


def tmae(pictures: Tensor) -> float:
    """Mean absolute difference of each picture from the one before, in hundredths of white.

    pictures: (T, 3, H, W) in 0..1, two or more. Raises ValueError otherwise.
    """
    return 100 * _mean_over_pairs(_mean_absolute_error, pictures)


def temporal_error(pictures: Tensor, references: Tensor) -> float:
    """Mean absolute error of the change from frame to frame, in hundredths of white.

    0 for pictures that change as the references do. Both flicker and standing still while the scene
    moves count as errors; an error that all frames share does not.

    pictures, references: (T, 3, H, W) in 0..1, of one shape, two or more. Raises ValueError
    otherwise.
    """
    _check_pairs(pictures)
    wanted = _like(pictures, references).diff(dim=0)
    return 100 * _mean_absolute_error(_double(pictures).diff(dim=0), wanted)


def _mean_absolute_error(picture: Tensor, reference: Tensor) -> float:
    return float((_double(picture) - _double(reference)).abs().mean())


def _mean_over_pairs(score: Callable[[Tensor, Tensor], float], pictures: Tensor) -> float:
    _check_pairs(pictures)
    scores = [score(after, before) for before, after in pairwise(pictures)]
    return sum(scores) / len(scores)


def _check_pairs(pictures: Tensor) -> None:
    if pictures.ndim != 4 or len(pictures) < 2:
        raise ValueError(
            f"pictures {tuple(pictures.shape)} are not (T, 3, H, W) with T of 2 or more"
        )


def _like(picture: Tensor, reference: Tensor) -> Tensor:
    """The reference in float64. Raises ValueError unless it has the picture's shape."""
    if picture.shape != reference.shape:
        raise ValueError(f"picture {tuple(picture.shape)}, reference {tuple(reference.shape)}")
    return _double(reference)


def _double(picture: Tensor) -> Tensor:
    """Float64, on the CPU where the device has none (Apple's GPU)."""
    return (picture.cpu() if picture.device.type == "mps" else picture).double()


def _window_mean(x: Tensor) -> Tensor:
    """Gaussian mean around each pixel whose window lies inside: (..., H, W) -> (..., H-10, W-10).

    Sums of shifted pictures: in float64 on a CPU ten times as fast as torch's convolution.
    """
    weights = [math.exp(-0.5 * (i / SIGMA) ** 2) for i in range(-RADIUS, RADIUS + 1)]
    total = sum(weights)
    for dim in (-1, -2):
        length = x.shape[dim] - 2 * RADIUS
        summed = x.narrow(dim, 0, length) * (weights[0] / total)
        for shift, weight in enumerate(weights[1:], 1):
            summed.add_(x.narrow(dim, shift, length), alpha=weight / total)
        x = summed
    return x
