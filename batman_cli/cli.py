"""The command line: options to settings, a call, an exit code. Everything heavy loads on use."""

import contextlib
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, Literal

import typer

from batman_cli import __version__
from batman_cli.cli_bench import bench
from batman_cli.cli_train import train
from batman_cli.ending import ending
from batman_cli.errors import ExitCode
from batman_cli.options import Debug, Json, Overwrite, Quiet, auto, parse_fps, parse_size
from batman_cli.settings import (
    DeviceChoice,
    EnhanceSettings,
    HotPixelChoice,
    OnBadFrame,
    Order,
    PrecisionChoice,
    SimulateSettings,
    Stills,
)

DEFAULT = EnhanceSettings()
SCENE = SimulateSettings()

app = typer.Typer(
    help="Bright, steady, sharp video from bursts of raw frames shot in near darkness.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
models_app = typer.Typer(help="The shipped checkpoints.", no_args_is_help=True)
app.add_typer(models_app, name="models")
app.command()(train)
app.command()(bench)


@app.callback(invoke_without_command=True)
def options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Options of every command."""
    if version:
        typer.echo(f"batman {__version__}")
        raise typer.Exit


def _model_names() -> list[str]:
    from batman_cli.shipped import list_models

    return list(list_models())


def _system_names() -> list[str]:
    from batman_cli.shipped import UNTRAINED

    return [*_model_names(), *UNTRAINED]


@app.command()
def enhance(
    bursts: Annotated[list[Path], typer.Argument(help="Folders of raw shots, one a burst.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Video, or a folder for several.  [<burst>.mp4]"),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="3dcnn, clstm, or to compare: rawpy, vbm4d, others of `batman models list`.",
            autocompletion=_system_names,
        ),
    ] = DEFAULT.model,
    weights: Annotated[
        Path | None, typer.Option(help="A checkpoint (.safetensors) of that model.")
    ] = DEFAULT.weights,
    ratio: Annotated[str, typer.Option(help="Amplification, auto or a number.")] = "auto",
    bin: Annotated[
        str, typer.Option(help="Area average before all else: auto, 1, 2 or 4.")
    ] = "auto",
    fps: Annotated[str, typer.Option(help="Frame rate: auto, 25 or 30000/1001.")] = "auto",
    device: Annotated[DeviceChoice, typer.Option(help="Where the network runs.")] = DEFAULT.device,
    precision: Annotated[
        PrecisionChoice, typer.Option(help="auto: bf16 where it is fast.")
    ] = DEFAULT.precision,
    tile: Annotated[
        str, typer.Option(help="Side of a tile in pixels: auto, 0 for none, or a number.")
    ] = "auto",
    codec: Annotated[
        Literal["h264", "hevc10", "prores", "ffv1", "av1"],
        typer.Option(help="hevc10, prores, av1: 10 bit. ffv1: lossless."),
    ] = "h264",
    crf: Annotated[
        int | None, typer.Option(help="Quality; smaller is better and larger. h264, hevc10, av1.")
    ] = DEFAULT.crf,
    stills: Annotated[Stills | None, typer.Option(help="Also every frame as a file.")] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Plain amplified left, enhanced right.")
    ] = DEFAULT.compare,
    preview: Annotated[
        int | None, typer.Option(help="Only this frame, from 0, as a PNG; replaces the last.")
    ] = None,
    start: Annotated[int, typer.Option(help="First shot used, from 0.")] = DEFAULT.start,
    stop: Annotated[int | None, typer.Option(help="First shot not used.")] = DEFAULT.stop,
    step: Annotated[int, typer.Option(help="Use every N-th shot.")] = DEFAULT.step,
    on_bad_frame: Annotated[
        OnBadFrame, typer.Option(help="Stop, leave the shot out, or show its neighbour.")
    ] = DEFAULT.on_bad_frame,
    order: Annotated[Order, typer.Option(help="By capture time or by name.")] = DEFAULT.order,
    hot_pixels: Annotated[
        HotPixelChoice, typer.Option(help="Pixels too bright in every shot: replace or keep.")
    ] = DEFAULT.hot_pixels,
    overwrite: Overwrite = DEFAULT.overwrite,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="List every shot.")] = False,
    debug: Debug = False,
) -> None:
    """Turn bursts of dark raw shots into bright videos."""
    with ending(quiet=quiet, json=json, debug=debug) as reporter:
        from batman_cli.commands import EnhanceCommand, run_enhance

        settings = EnhanceSettings(
            model=model,
            weights=weights,
            ratio=auto(ratio, float, "--ratio"),
            bin=auto(bin, int, "--bin"),
            fps=auto(fps, parse_fps, "--fps"),
            device=device,
            precision=precision,
            tile=auto(tile, int, "--tile"),
            codec=codec,
            crf=crf,
            stills=stills,
            compare=compare,
            start=start,
            stop=stop,
            step=step,
            on_bad_frame=on_bad_frame,
            order=order,
            hot_pixels=hot_pixels,
            overwrite=overwrite,
        )
        command = EnhanceCommand(bursts, output, settings, preview, dry_run, verbose)
        code = run_enhance(command, reporter)
    raise typer.Exit(code)


@app.command()
def simulate(
    pictures: Annotated[list[Path], typer.Argument(help="Photos or video clips.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the scenes.")],
    camera: Annotated[str, typer.Option(help="Whose noise: a7s2, a7m4, d850, canon70d.")] = (
        SCENE.camera
    ),
    iso: Annotated[int, typer.Option(help="Sets the noise.")] = SCENE.iso,
    ratio: Annotated[float, typer.Option(help="How many times too dark.")] = SCENE.ratio,
    frames: Annotated[int, typer.Option(help="Shots of a burst.")] = SCENE.frames,
    fps: Annotated[str, typer.Option(help="Shots a second.")] = str(SCENE.fps),
    motion: Annotated[
        str, typer.Option(help="Of a photo: static, pan, shake, roll, zoom, handheld.")
    ] = SCENE.motion,
    objects: Annotated[int, typer.Option(help="Things that cross the scene.")] = SCENE.objects,
    hot_per_million: Annotated[
        float, typer.Option(help="Hot pixels of the sensor.")
    ] = SCENE.hot_per_million,
    size: Annotated[
        str, typer.Option(help="WIDTHxHEIGHT.", show_default="a little less, at most 768x512")
    ] = "",
    file_format: Annotated[
        Literal["arw", "arw-uncompressed", "dng"], typer.Option("--format")
    ] = SCENE.file_format,
    seed: Annotated[int, typer.Option(help="The same seed makes the same files.")] = SCENE.seed,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Make dark bursts of real camera files, with long exposures, from photos or clips."""
    with ending(quiet=quiet, json=json, debug=debug) as reporter:
        from batman_cli.commands import run_simulate

        width, height = parse_size(size)
        rate = auto(fps, parse_fps, "--fps")
        settings = SimulateSettings(
            camera=camera,
            iso=iso,
            ratio=ratio,
            frames=frames,
            fps=SCENE.fps if rate is None else rate,
            motion=motion,
            objects=objects,
            hot_per_million=hot_per_million,
            width=width,
            height=height,
            file_format=file_format,
            seed=seed,
        )
        run_simulate(pictures, output, settings, reporter)


@models_app.command("list")
def models_list(json: Json = False, debug: Debug = False) -> None:
    """Name and summary of every shipped checkpoint."""
    from batman_cli.commands import list_models_text

    with ending(quiet=False, json=json, debug=debug) as reporter:
        list_models_text(reporter, typer.echo)


@models_app.command("info")
def models_info(
    name: Annotated[str, typer.Argument(autocompletion=_model_names)],
    json: Json = False,
    debug: Debug = False,
) -> None:
    """All that is known about a checkpoint."""
    from batman_cli.commands import model_info_text

    with ending(quiet=False, json=json, debug=debug) as reporter:
        model_info_text(name, reporter, typer.echo)


@models_app.command("verify")
def models_verify(json: Json = False, debug: Debug = False) -> None:
    """Check that every shipped checkpoint is undamaged."""
    from batman_cli.commands import verify_models

    with ending(quiet=False, json=json, debug=debug) as reporter:
        verify_models(reporter, typer.echo)


@models_app.command("import")
def models_import(
    source: Annotated[Path, typer.Argument(help="State dictionary (.pt, .pth).")],
    kind: Annotated[Literal["clstm", "3dcnn"], typer.Option(help="Which network it is of.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="A .safetensors file.")],
    overwrite: Overwrite = False,
    debug: Debug = False,
) -> None:
    """Convert a PyTorch file, read without running code, to a checkpoint."""
    from batman_cli.weights import import_state

    with ending(quiet=False, json=False, debug=debug) as reporter:
        import_state(source, kind, output, overwrite=overwrite)
        reporter.say(f"{output}: use it with --model {kind} --weights {output}")


@app.command()
def doctor(json: Json = False, debug: Debug = False) -> None:
    """Check this machine: versions, devices, encoders, checkpoints, and a short run."""
    from batman_cli.doctor import examine

    with ending(quiet=False, json=json, debug=debug) as reporter:
        healthy = True
        for check in examine():
            healthy &= check.ok
            reporter.event("check", {"name": check.name, "ok": check.ok, "found": check.found})
            if not json:
                typer.echo(f"{'ok ' if check.ok else 'BAD'}  {check.name}: {check.found}")
    raise typer.Exit(ExitCode.OK if healthy else ExitCode.BUG)


def main() -> None:
    """Entry point of the `batman` command."""
    _fill_standard_streams()
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
            signal.signal(number, _end_orderly)
    app()


def _fill_standard_streams() -> None:
    """Opens what is closed of descriptors 0 to 2, or libraries would print into files."""
    with contextlib.suppress(OSError):  # no /dev/null: then nothing can be done
        while (file := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(file)


def _end_orderly(number: int, _: FrameType | None) -> None:
    """Ends by an exception, so that everything open is closed and removed on the way."""
    sys.exit(128 + number)
