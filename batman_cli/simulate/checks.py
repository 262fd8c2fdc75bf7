"""What `batman simulate` can be asked for, found out before anything is written."""

import math

from batman_cli.errors import BadInput, UsageError
from batman_cli.settings import FPS_RANGE, LARGEST_SEED, MAX_RATIO_ASKED, SimulateSettings
from batman_cli.simulate.camera import CAMERAS
from batman_cli.simulate.scenes import MOTIONS

LARGEST_SIZE = (768, 512)  # pixels; default limit of width and height
MARGIN = 32  # pixels that the default size leaves around the view for the camera's motion
MOST_HOT = 1e5  # of a million pixels
HIGHEST_ISO = 10_000_000  # twice that of any camera


def check_settings(settings: SimulateSettings) -> None:
    """Raises UsageError for what no scene can be made with."""
    for value, known, option in (
        (settings.camera, tuple(CAMERAS), "--camera"),
        (settings.motion, MOTIONS, "--motion"),
    ):
        if value not in known:
            raise UsageError(f"{option} {value} is unknown", f"known are {', '.join(known)}")
    for option, value, least, most in (
        ("--frames", settings.frames, 1, math.inf),
        ("--iso", settings.iso, 1, HIGHEST_ISO),
        ("--ratio", settings.ratio, 1, MAX_RATIO_ASKED),
        ("--objects", settings.objects, 0, math.inf),
        ("--hot-per-million", settings.hot_per_million, 0, MOST_HOT),
        ("--seed", settings.seed, 0, LARGEST_SEED),
    ):
        if not least <= value <= most:
            limits = f"{least} or more" if most == math.inf else f"{least} to {most:.10g}"
            raise UsageError(f"{option} {value:.10g}", f"it is {limits}")
    if not FPS_RANGE[0] <= settings.fps <= FPS_RANGE[1]:
        raise UsageError(f"--fps {settings.fps}", "no camera shoots at that rate", "try 20")


def view_size(shape: tuple[int, ...], settings: SimulateSettings) -> tuple[int, int]:
    """Even width and height of the views of a source, (T, H, W, 3), in pixels.

    Raises UsageError for views that are larger, and BadInput for a clip that is too short.
    """
    length, full_height, full_width = shape[:3]
    width = settings.width or min(LARGEST_SIZE[0], full_width - MARGIN)
    height = settings.height or min(LARGEST_SIZE[1], full_height - MARGIN)
    width, height = width // 2 * 2, height // 2 * 2
    if not (32 <= width <= full_width and 32 <= height <= full_height):
        raise UsageError(
            f"a view of {width}x{height} does not fit",
            f"the picture has {full_width}x{full_height} pixels, a view at least 32x32",
            "choose a smaller --size or a larger picture",
        )
    if 1 < length < settings.frames:
        raise BadInput(
            f"the clip has {length} frames, not {settings.frames}",
            fix="use --frames with a smaller number, or a longer clip",
        )
    return width, height
