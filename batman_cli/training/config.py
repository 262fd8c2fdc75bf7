"""Training settings as a TOML file, and back."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from batman_cli.errors import UsageError
from batman_cli.output import reason
from batman_cli.settings import TrainSettings

_TYPES = get_type_hints(TrainSettings)
_IN_WORDS: dict[object, str] = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path",
    tuple[Path, ...]: "a list of paths",
    Mapping[str, Any]: "a table",
}


def read_config(path: Path) -> dict[str, Any]:
    """The values of a TOML file, each checked to be a setting of its kind. Raises UsageError."""
    try:
        values = tomllib.loads(path.read_bytes().decode(errors="surrogateescape"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read", reason(error)) from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not a TOML file", str(error)) from error
    return checked(values, str(path))


def checked(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The values in the types that TrainSettings has. Raises UsageError naming the source."""
    if unknown := [name for name in values if name not in _TYPES]:
        known = ", ".join(field.name for field in fields(TrainSettings))
        raise UsageError(f"{source} has no setting '{unknown[0]}'", f"known are {known}")
    return {name: _typed(name, value, source) for name, value in values.items()}


def plain(settings: TrainSettings) -> dict[str, Any]:
    """The settings as JSON and TOML can hold them; what is None is left out."""
    values = {name: value for name, value in asdict(settings).items() if value is not None}
    return {
        name: [str(path) for path in value]
        if name == "data"
        else str(value)
        if isinstance(value, Path)
        else value
        for name, value in values.items()
    }


def toml(settings: TrainSettings) -> str:
    """The settings as the text of a TOML file; JSON's texts, numbers and lists are TOML's too."""
    values = plain(settings)
    network = values.pop("network")
    lines = [f"{name} = {_text(value)}" for name, value in values.items()]
    if network:  # a table goes on to the end of the file
        lines += ["", "[network]", *(f"{name} = {_text(value)}" for name, value in network.items())]
    return "".join(f"{line}\n" for line in lines)


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _typed(name: str, value: object, source: str) -> object:
    """The value in the setting's type, of which None is no part: it is a line left out."""
    (kind,) = [kind for kind in _alternatives(_TYPES[name]) if kind is not NoneType]
    if get_origin(kind) is Literal and value in get_args(kind):
        return value
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind in (int, str) and type(value) is kind:
        return value
    if kind is Path and isinstance(value, str):
        return Path(value)
    if get_origin(kind) is Mapping and isinstance(value, dict):
        return value
    if get_origin(kind) is tuple and isinstance(value, list):
        return tuple(Path(str(item)) for item in value)
    wanted = " or ".join(get_args(kind)) if get_origin(kind) is Literal else _IN_WORDS[kind]
    raise UsageError(f"{source}: {name} = {value!r}", f"it takes {wanted}")


def _alternatives(kind: object) -> tuple[object, ...]:
    """The types of a union, or the one type."""
    return (kind,) if get_origin(kind) in (Literal, tuple, Mapping, None) else get_args(kind)
