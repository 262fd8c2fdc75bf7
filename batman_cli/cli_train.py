"""`batman train`: its options to settings, a call, an exit code."""

from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer

from batman_cli.ending import ending
from batman_cli.options import Debug, Json, Quiet
from batman_cli.settings import (
    DeviceChoice,
    DrvInput,
    LossKind,
    OnBadData,
    PrecisionChoice,
    TrainSettings,
)

DEFAULT = TrainSettings()
FOLDER = Path("training")


def _default(name: str) -> str:
    """What the help shows; the options themselves are None where they are not given."""
    value = getattr(DEFAULT, name)
    return "auto" if value is None else str(value)


def train(
    data: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of photos, clips, raw files, or the DRV dataset. Several mix.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the run.")] = FOLDER,
    config: Annotated[
        Path | None, typer.Option(help="TOML file of settings; options given here win.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in the folder.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run in the folder.")
    ] = False,
    export: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the best network, models.json and card; with -o alone, of a past run.",
            show_default="<run>/export",
        ),
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help="For the card: licence of the data.", show_default=False)
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="3dcnn, clstm or a published one.", show_default=_default("model")),
    ] = None,
    start: Annotated[
        Path | None, typer.Option(help="Checkpoint to begin from.", show_default="fresh weights")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="At most.", show_default=_default("steps"))
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(help="At most; the learning rate then follows the clock.", show_default="-"),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(help="Bursts a step, over all processes.", show_default=_default("batch")),
    ] = None,
    frames: Annotated[
        int | None, typer.Option(help="Of a burst, at most.", show_default=_default("frames"))
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Pixels, side of a crop.", show_default=_default("size"))
    ] = None,
    rate: Annotated[
        float | None, typer.Option(help="Highest learning rate.", show_default=_default("rate"))
    ] = None,
    loss: Annotated[
        LossKind | None,
        typer.Option(help="Of developed pictures.", show_default=_default("loss")),
    ] = None,
    bin: Annotated[
        int | None,
        typer.Option(help="Area average of raw data: 1, 2 or 4.", show_default=_default("bin")),
    ] = None,
    drv_input: Annotated[
        DrvInput | None,
        typer.Option(help="DRV's raw shots, or its V-BM4D.", show_default=_default("drv_input")),
    ] = None,
    on_bad_data: Annotated[
        OnBadData | None,
        typer.Option(help="Of unreadable data.", show_default=_default("on_bad_data")),
    ] = None,
    validate_every: Annotated[
        int | None, typer.Option(help="So many steps.", show_default=_default("validate_every"))
    ] = None,
    save_every: Annotated[
        int | None, typer.Option(help="So many steps.", show_default=_default("save_every"))
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of decoded data.", show_default="<run>/cache")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="The same draws the same bursts.", show_default=_default("seed")),
    ] = None,
    device: Annotated[
        DeviceChoice | None,
        typer.Option(help="What trains.", show_default=_default("device")),
    ] = None,
    precision: Annotated[
        PrecisionChoice | None,
        typer.Option(help="auto: bf16 where it is fast.", show_default=_default("precision")),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Cores to use, at most.", show_default=_default("threads"))
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train a network on dark bursts made from photos, clips or raw files, or on real ones.

    Published networks (--model sid, smid, kpn, clstm-paper, 3dcnn-paper) are trained as published
    where nothing else is chosen: the defaults shown here are those of clstm and 3dcnn.

    Finer settings (loss terms, schedule, patience and more) have no option but a line in the
    TOML file of --config: every run leaves its own as train.toml, docs/training.md names them all.
    """
    options = locals()
    names = [field.name for field in fields(TrainSettings) if field.name in options]
    given = {name: options[name] for name in names if options[name] not in (None, [])}
    with ending(quiet=quiet, json=json, debug=debug) as reporter:
        from batman_cli.training.command import TrainCommand, run_train

        command = TrainCommand(output, config, given, resume, overwrite, export, licence)
        code = run_train(command, reporter)
    raise typer.Exit(code)
