"""Options that several commands share, and how their values are read."""

from collections.abc import Callable
from fractions import Fraction
from typing import Annotated, TypeVar

import typer

from batman_cli.errors import UsageError

T = TypeVar("T")

FPS_DENOMINATOR = 1001  # that of the NTSC rates, the largest in use

Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Only warnings and errors.")]
Json = Annotated[bool, typer.Option("--json", help="JSON lines on standard output.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing output.")]
Debug = Annotated[bool, typer.Option("--debug", help="Tracebacks of errors.")]


def auto(text: str, parse: Callable[[str], T], option: str) -> T | None:
    """None for "auto", else the parsed value. Raises UsageError."""
    return None if text == "auto" else number(text, parse, option)


def number(text: str, parse: Callable[[str], T], option: str) -> T:
    """The parsed value. Raises UsageError."""
    try:
        return parse(text)
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"{option} {text}", "it is not a number of the kind wanted") from None


def parse_fps(text: str) -> Fraction:
    """Frames/s of "25", "30000/1001", or "29.97002997", which means the same. Raises ValueError."""
    return Fraction(text).limit_denominator(FPS_DENOMINATOR)


def parse_size(text: str) -> tuple[int | None, int | None]:
    """Width and height of WIDTHxHEIGHT, None for an empty text. Raises UsageError."""
    if not text:
        return None, None
    width, x, height = text.lower().partition("x")
    if not (x and width.isdecimal() and height.isdecimal()):
        raise UsageError(f"--size {text} is not WIDTHxHEIGHT", fix="for example --size 640x448")
    return int(width), int(height)
