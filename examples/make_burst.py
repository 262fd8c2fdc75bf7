"""Makes examples/burst: a hand-held pan over a cup of coffee, a hundred times too dark.

The photo ships with scikit-image (`skimage.data.coffee`; Rachel Michetti, CC0). Every file is a
lossy-compressed Sony ARW as a DSC-RX100M6 writes it. Run it from the top of the checkout:

    python examples/make_burst.py
"""

import shutil
from pathlib import Path

from skimage import data

from batman_cli.settings import SimulateSettings
from batman_cli.simulate.run import simulate

HERE = Path(__file__).parent


def main() -> None:
    """Replaces examples/burst."""
    scenes = HERE / "scenes"
    settings = SimulateSettings(
        frames=20, ratio=100, iso=6400, motion="handheld", width=544, height=352
    )
    try:
        scene = simulate([data.coffee()[None]], scenes, settings)[0]
        shutil.rmtree(HERE / "burst", ignore_errors=True)
        scene.short.rename(HERE / "burst")
    finally:
        shutil.rmtree(scenes, ignore_errors=True)


if __name__ == "__main__":
    main()
