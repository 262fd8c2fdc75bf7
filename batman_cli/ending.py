"""How every command ends: errors become a message and an exit code."""

import contextlib
import logging
import traceback
from collections.abc import Generator
from typing import TYPE_CHECKING

import typer

from batman_cli.errors import BatmanError, ExitCode, Unheard

if TYPE_CHECKING:
    from batman_cli.progress import Reporter


class _Warnings(logging.Handler):
    """What the library warns of on the way, such as smaller tiles, told like everything else."""

    def __init__(self, reporter: "Reporter") -> None:
        super().__init__()
        self.reporter = reporter

    def emit(self, record: logging.LogRecord) -> None:
        self.reporter.warn(record.getMessage())


@contextlib.contextmanager
def ending(*, quiet: bool, json: bool, debug: bool) -> Generator["Reporter"]:
    """Turns errors into a message and an exit code."""
    from batman_cli.progress import Reporter

    reporter = Reporter(quiet=quiet, json=json)
    library, warnings = logging.getLogger("batman_cli"), _Warnings(reporter)
    library.addHandler(warnings)
    try:
        yield reporter
    except BatmanError as error:
        _trace(debug)
        raise typer.Exit(_told(reporter, error)) from None
    except KeyboardInterrupt:
        with contextlib.suppress(Unheard):
            reporter.warn("interrupted; nothing half-made was left")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except BrokenPipeError:
        raise typer.Exit(ExitCode.OUTPUT) from None
    except typer.Exit:
        raise
    except Exception as error:
        _trace(debug)
        what = f"{type(error).__name__}: {error}"
        fault = BatmanError("a fault in batman", what, "run again with --debug and report it")
        raise typer.Exit(_told(reporter, fault)) from None
    finally:
        library.removeHandler(warnings)


def _told(reporter: "Reporter", error: BatmanError) -> ExitCode:
    """Tells of an error; the code to end with, which is another where programs cannot be told."""
    try:
        reporter.fail(error)
    except Unheard as unheard:
        reporter.fail(unheard)  # to people alone, now that events are dropped
        return unheard.exit_code
    return error.exit_code


def _trace(debug: bool) -> None:
    if debug:
        with contextlib.suppress(OSError):  # standard error on a full disk
            traceback.print_exc()
