"""A dark burst out of one bright raw file of a real camera, by the noise of that very file.

How many electrons a raw unit is comes from the file's own shot noise; each shot of the burst draws
so many of them anew as a shutter `ratio` times as fast would let through, and adds the file's read
noise. Levels, white balance and colour matrix stay the camera's. The view wanders by whole cells
of the mosaic, as a hand would let it.

    python examples/darken_raw.py bright.dng -o burst/ [--ratio 300] [--shots 8] [--wander 3]
    batman enhance burst/short/0001 -o out.mp4
"""

import argparse
import datetime
from pathlib import Path

import numpy as np

from batman_cli.noise import estimate_single
from batman_cli.pack import Planes, interleave, pack
from batman_cli.raw import ShotInfo, read_mosaic
from batman_cli.simulate.camera import SRGB_TO_XYZ
from batman_cli.simulate.dng import write_dng
from batman_cli.simulate.tiff_writer import Exposure

BLACK, WHITE = 1024, 16383  # of the files that are written: there is room for noise below black
SPAN = WHITE - BLACK
DARK_ISO, BRIGHT_ISO = 1600, 100  # the camera amplifies too, or few raw units would be left
LONG_S = 1.0  # exposure time of the bright picture
FIRST = datetime.datetime(2026, 1, 1, 20)
FPS = 20
NAME = "0001"  # of the scene: the layout of DRV


def main() -> None:
    """Writes the burst into short/ and the bright picture as its long exposure into long/."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bright", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--ratio", type=float, default=300)
    parser.add_argument("--shots", type=int, default=8)
    parser.add_argument("--wander", type=int, default=3, help="samples of a plane, a shot at most")
    args = parser.parse_args()
    mosaic = read_mosaic(args.bright)
    info = mosaic.info
    planes = pack(mosaic.data, info.black, info.white)
    noise = estimate_single(planes)
    # What is burnt out has lost its colour; developed it is white, so white is what it shall be.
    red, green, blue = gains(info)
    planes = np.minimum(planes, 1 / np.array([red, green, green, blue], np.float32)[:, None, None])
    print(f"{args.bright.name}: variance {noise.shot:.2e} x level + {noise.read:.2e}")
    # The inverse of what LibRaw makes of a DNG's matrix, but for the rows' scales, which it evens.
    matrix = np.linalg.inv(np.array(SRGB_TO_XYZ) @ np.array(info.color_matrix)).tolist()
    generator = np.random.default_rng(1)
    margin = args.wander * args.shots
    height, width = (side - 2 * margin for side in planes.shape[1:])
    y = x = margin
    for number in range(args.shots):
        seen = planes[:, y : y + height, x : x + width].clip(0)
        if number == args.shots // 2:
            write(args.out / "long" / NAME / "0001.dng", seen, info, matrix, args.shots, LONG_S)
        electrons = generator.poisson(seen / noise.shot / args.ratio)
        dark = electrons * noise.shot + generator.normal(0, noise.read**0.5, seen.shape)
        dark *= DARK_ISO / BRIGHT_ISO
        path = args.out / "short" / NAME / f"{number + 1:04d}.dng"
        write(path, dark, info, matrix, number, LONG_S / args.ratio)
        y += int(generator.integers(-args.wander, args.wander + 1))
        x += int(generator.integers(-args.wander, args.wander + 1))


def gains(info: ShotInfo) -> tuple[float, float, float]:
    """White balance of red, green and blue, with green left as it is."""
    red, green, blue = info.white_balance
    return red / green, 1.0, blue / green


def write(
    path: Path,
    planes: Planes,
    info: ShotInfo,
    matrix: list[list[float]],
    number: int,
    seconds: float,
) -> None:
    """One shot (4, h, w), 0 black and 1 white, as a DNG of the same camera."""
    path.parent.mkdir(parents=True, exist_ok=True)
    units = (np.rint(planes * SPAN) + BLACK).clip(0, WHITE).astype(np.uint16)
    time = FIRST + datetime.timedelta(seconds=number / FPS)
    iso = DARK_ISO if path.parents[1].name == "short" else BRIGHT_ISO
    exposure = Exposure(iso, seconds, time, gains(info), number + 1)
    make, _, model = info.camera.partition(" ")
    write_dng(
        path,
        interleave(units),
        exposure,
        black=BLACK,
        white=WHITE,
        xyz_to_camera=matrix,
        make=make,
        model=model,
    )


if __name__ == "__main__":
    main()
