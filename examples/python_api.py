"""Three ways to use batman from Python, on the example burst (or one given as an argument).

python examples/python_api.py [BURST]
"""

import sys
from pathlib import Path

import numpy as np

from batman_cli import EnhanceSettings, enhance, enhance_frames, load_network, open_burst

HERE = Path(__file__).parent


def main(burst_folder: Path) -> None:
    """Look at the burst, walk through its frames, write a video."""
    burst = open_burst(burst_folder)
    print(f"{len(burst.shots)} shots of a {burst.shots[0].camera}, {burst.fps} frames/s")

    network = load_network("clstm")
    print(f"{sum(p.numel() for p in network.parameters())} parameters")

    # Frame by frame: nothing but the current frame and the network's state is in memory.
    for number, frame in enumerate(enhance_frames(burst_folder, EnhanceSettings(stop=3))):
        print(f"frame {number}: {frame.shape} {frame.dtype}, mean {np.mean(frame) / 65535:.3f}")

    # To a file, with a callback after each frame.
    settings = EnhanceSettings(model="clstm", stop=3, overwrite=True)
    result = enhance(
        burst_folder,
        "python_api.mp4",
        settings,
        on_frame=lambda done, total: print(f"{done}/{total}"),
    )
    print(f"{result.output}: {result.frames} frames in {result.seconds:.1f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "burst")
