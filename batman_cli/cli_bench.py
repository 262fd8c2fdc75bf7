"""`batman bench`: its options to a call, an exit code."""

from pathlib import Path
from typing import Annotated

import typer

from batman_cli.ending import ending
from batman_cli.options import Debug, Json, Quiet
from batman_cli.settings import DeviceChoice

SIMULATED = "simulated"


def bench(
    data: Annotated[
        str,
        typer.Option(help="Folder of the DRV dataset or of photos; or bursts made on the spot."),
    ] = SIMULATED,
    models: Annotated[
        str,
        typer.Option(help="all, or names with commas between; NAME=CHECKPOINT for your own."),
    ] = "all",
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the report.")] = Path(
        "report"
    ),
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer, smaller bursts: a minute or two.")
    ] = False,
    device: Annotated[DeviceChoice, typer.Option(help="Where the networks run.")] = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what is in the folder.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the report in the folder.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Compare all systems on the same bursts: both tables of the paper, and a page to look at."""
    with ending(quiet=quiet, json=json, debug=debug) as reporter:
        from batman_cli.bench.command import BenchCommand, run_bench

        folder = None if data == SIMULATED else Path(data)
        command = BenchCommand(folder, models, output, quick, device, overwrite, resume)
        code = run_bench(command, reporter)
    raise typer.Exit(code)
