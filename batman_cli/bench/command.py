"""What `batman bench` does between its options and the run."""

from dataclasses import dataclass
from pathlib import Path

from batman_cli.bench.data import find_scenes
from batman_cli.bench.report import tell, write_report
from batman_cli.bench.run import Outcome, bench
from batman_cli.bench.store import REPORTS, Store, opened
from batman_cli.bench.systems import choose
from batman_cli.device import choose_device
from batman_cli.errors import BatmanError, ExitCode, UsageError
from batman_cli.progress import Reporter
from batman_cli.settings import DeviceChoice


@dataclass(frozen=True)
class BenchCommand:
    """A call of `batman bench`."""

    data: Path | None  # None: simulated
    models: str
    folder: Path
    quick: bool
    device: DeviceChoice
    overwrite: bool
    resume: bool


def run_bench(command: BenchCommand, reporter: Reporter) -> ExitCode:
    """Measures, writes the report and shows the tables.

    Returns PARTIAL if a system or scene was left out. Raises the errors of `batman_cli.errors`, and
    an error with the first reason if nothing could be measured.
    """
    if command.resume and command.overwrite:
        raise UsageError("--resume and --overwrite", "one keeps the results, the other drops them")
    systems = choose(command.models)
    device = choose_device(command.device, "auto")
    scenes = find_scenes(command.data, quick=command.quick)
    folder = command.folder
    with opened(folder, overwrite=command.overwrite, resume=command.resume):
        reporter.say(f"{len(systems)} systems on {len(scenes)} scenes, {device.name}")
        try:
            outcome = bench(systems, scenes, Store(folder, device.name), device, reporter)
        except (KeyboardInterrupt, SystemExit):
            reporter.say(f"what is done is kept: go on with --resume -o {folder}")
            raise
        _refuse_nothing(outcome)
        rows = write_report(outcome, folder, device.name)
    tell(rows, reporter)
    for row in rows:
        if row.failed:
            reporter.warn(f"left out: {row.label}: {row.failed}")
    reporter.say(f"the report is {folder / REPORTS[0]}")
    reporter.event(
        "done", {"report": [path for name in REPORTS if (path := folder / name).exists()]}
    )
    return ExitCode.PARTIAL if outcome.failures else ExitCode.OK


def _refuse_nothing(outcome: Outcome) -> None:
    """Raises an error of the first failure if there is no result at all."""
    if not outcome.results:
        first = outcome.failures[0]
        error = BatmanError("nothing could be measured", first.reason)
        error.exit_code = first.exit_code
        raise error
