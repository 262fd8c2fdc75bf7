"""Without denoising, batman develops what `rawpy.postprocess` develops."""

from pathlib import Path

import numpy as np
import pytest
import rawpy
import torch
from conftest import Scenes, samples
from numpy.typing import NDArray

from batman_cli.amplify import amplify
from batman_cli.develop import bilinear_demosaic, develop
from batman_cli.models.rawpy_pipeline import RawpyPipeline, RawpyPipelineConfig
from batman_cli.pack import pack
from batman_cli.raw import read_mosaic


def both(path: Path, ratio: float) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Difference (H, W, 3) of batman's and rawpy's picture, and where the scene is below white."""
    mosaic = read_mosaic(path)
    info = mosaic.info
    planes = amplify(pack(mosaic.data, info.black, info.white), ratio, info.white_balance)
    network = RawpyPipeline(RawpyPipelineConfig())
    rgb, state = network.step(torch.from_numpy(planes)[None], torch.zeros(1, 2, 4), None)
    assert network.flush(state) == []
    ours = develop(rgb[0], torch.tensor(info.color_matrix)).permute(1, 2, 0).double().numpy()
    with path.open("rb") as file, rawpy.imread(file) as raw:
        reference = raw.postprocess(
            demosaic_algorithm=rawpy.DemosaicAlgorithm.LINEAR,
            # The CRW states no white balance: there rawpy would guess one from the picture.
            use_camera_wb=path.suffix != ".CRW",
            no_auto_bright=True,
            adjust_maximum_thr=0.0,
            bright=ratio,
            output_bps=16,
            user_flip=0,
        )
    assert info.pattern == "RGGB" and reference.shape == ours.shape
    return ours - reference / 65535, (rgb[0] < 1).all(0).numpy()


def decibels(error: NDArray[np.float64]) -> float:
    return float(-10 * np.log10(np.mean(error**2)))


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("good/canon.CRW", 48),  # parts of it are brighter than white
        ("good/gopro_hero7.dng", 75),
        ("good/canon_x4_colorchart.dng", 75),
        ("sony/slt_a55v_dark_0.ARW", 75),
    ],
)
def test_equals_rawpy_on_real_shots(name: str, least: float) -> None:
    error, _ = both(samples(f"raw/{name}"), 1.0)
    assert decibels(error) > least


@pytest.mark.parametrize("file_format", ["arw", "arw-uncompressed", "dng"])
@pytest.mark.parametrize(("ratio", "least"), [(1.0, 75), (8.0, 60), (20.0, 55), (100.0, 45)])
def test_equals_rawpy_on_dark_shots(
    scenes: Scenes, file_format: str, ratio: float, least: float
) -> None:
    """Where the picture is not white; there, rawpy clips after its colour matrix."""
    shot = sorted(scenes[file_format].short.iterdir())[0]
    error, below_white = both(shot, ratio)
    assert decibels(error[below_white]) > least
    if ratio <= 20:  # the scene was made for 20
        assert decibels(error) > min(least, 45)


def test_each_sample_stays_in_its_place() -> None:
    planes = torch.rand((2, 4, 5, 7), generator=torch.Generator().manual_seed(0))
    rgb = bilinear_demosaic(planes)
    assert torch.equal(rgb[:, 0, 0::2, 0::2], planes[:, 0])
    assert torch.equal(rgb[:, 1, 0::2, 1::2], planes[:, 1])
    assert torch.equal(rgb[:, 1, 1::2, 0::2], planes[:, 2])
    assert torch.equal(rgb[:, 2, 1::2, 1::2], planes[:, 3])


def test_a_slope_is_interpolated_without_error() -> None:
    rows, columns = torch.arange(12.0)[:, None], torch.arange(16.0)
    slope = 0.1 + 0.01 * rows + 0.02 * columns
    planes = torch.stack([slope[::2, ::2], slope[::2, 1::2], slope[1::2, ::2], slope[1::2, 1::2]])
    inside = (..., slice(1, -1), slice(1, -1))
    rgb = bilinear_demosaic(planes[None])[0]
    assert torch.allclose(rgb[inside], slope.expand(3, -1, -1)[inside], atol=1e-6)


def test_what_is_below_black_is_black() -> None:
    planes = torch.full((1, 4, 2, 2), -0.1)
    planes[:, 0, 0, 0] = 0.3
    rgb, _ = RawpyPipeline(RawpyPipelineConfig()).step(planes, torch.zeros(1, 2, 4), None)
    assert float(rgb.min()) == 0 and float(rgb.max()) == pytest.approx(0.3)
