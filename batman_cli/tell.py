"""What a run of `batman enhance` tells of its plan and of its result."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from batman_cli.burst import Burst
from batman_cli.errors import BatmanError, ExitCode
from batman_cli.plan import Plan
from batman_cli.progress import Reporter
from batman_cli.settings import EnhanceSettings

if TYPE_CHECKING:
    from batman_cli.pipeline import Result


def tell_plan(
    plan: Plan, settings: EnhanceSettings, reporter: Reporter, *, every_shot: bool
) -> None:
    """What will be done and why, before the long part; every_shot: with a line for each."""
    burst, first = plan.burst, plan.first
    for text in burst.warnings:
        reporter.warn(text)
    for shot in burst.bad:
        reporter.warn(f"{shot} ({settings.on_bad_frame})")
    camera, iso = first.camera or "unknown camera", f"{first.iso:g}" if first.iso else "unknown"
    reporter.say(f"{len(burst.shots)} shots in order of {burst.order_reason}")
    reporter.say(f"{camera}, ISO {iso}, {first.width}x{first.height} {first.pattern}")
    if plan.bin > 1:
        reporter.say(f"binned by {plan.bin} to {plan.width}x{plan.height}")
    reporter.say(f"{float(burst.fps):g} frames/s: {burst.fps_reason}")
    reporter.say(f"colours: {first.color_source}")
    reporter.say(f"ratio {plan.ratio.value:g}: {plan.ratio.reason}")
    reporter.say(
        f"noise variance {plan.noise.shot:.3g} x + {plan.noise.read:.3g}: {plan.noise.reason}"
    )
    if plan.clipping is not None:
        reporter.say("the camera cut noise off at black: what that adds to the dark is taken away")
    if count := len(plan.hot):
        pixels = "pixel is" if count == 1 else "pixels are"
        reporter.say(f"{count} hot {pixels} replaced; --hot-pixels keep leaves them")
    if every_shot:
        _tell_shots(burst, reporter)
    reporter.event(
        "plan",
        {
            "burst": burst.folder,
            "shots": len(burst.shots),
            "bad": [str(shot) for shot in burst.bad],
            "camera": first.camera,
            "width": plan.width,
            "height": plan.height,
            "bin": plan.bin,
            "fps": burst.fps,
            "ratio": plan.ratio.value,
            "noise": asdict(plan.noise),
            "hot_pixels": len(plan.hot),
            "black_clipped": plan.clipping is not None,
        },
    )


def _tell_shots(burst: Burst, reporter: Reporter) -> None:
    for number, shot in enumerate(burst.sequence):
        if isinstance(shot, BatmanError):
            reporter.say(f"{number:5}  {shot}")
        else:
            time = "" if shot.time_s is None else f"{shot.time_s:.3f} s"
            reporter.say(f"{number:5}  {shot.path.name}  {time}")


def tell_result(result: "Result", plan: Plan, reporter: Reporter) -> ExitCode:
    """What was made. Returns the exit code: PARTIAL if shots were left out or replaced."""
    for shot in result.bad[len(plan.burst.bad) :]:  # the others were told with the plan
        reporter.warn(str(shot))
    frames = "1 frame" if result.frames == 1 else f"{result.frames} frames"
    reporter.say(f"{result.output}: {frames} in {result.seconds:.1f} s")
    reporter.event(
        "done",
        {
            "output": result.output,
            "stills": result.stills,
            "frames": result.frames,
            "bad": [str(shot) for shot in result.bad],
            "seconds": round(result.seconds, 2),
        },
    )
    return ExitCode.PARTIAL if result.bad else ExitCode.OK
