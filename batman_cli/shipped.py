"""The shipped checkpoints and what models.json says about them; needs no torch."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batman_cli.errors import WeightsError

UNTRAINED = ("rawpy", "vbm4d")  # systems in which nothing is learned: there is nothing to load


@dataclass(frozen=True)
class ListedModel:
    """One entry of models.json."""

    name: str
    file: Path
    sha256: str
    kind: str
    facts: dict[str, Any]  # what it was trained on, for how long, its scores, licence, cameras


def weights_folder() -> Path:
    """Where the shipped checkpoints are: in the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    for folder in (package / "weights", package.parent / "weights"):
        if (folder / "models.json").is_file():
            return folder
    raise WeightsError(
        "the shipped checkpoints are missing", f"no models.json near {package}", "install again"
    )


def list_models() -> dict[str, ListedModel]:
    """Shipped checkpoints by name."""
    folder = weights_folder()
    entries = json.loads((folder / "models.json").read_text())["models"]
    return {
        name: ListedModel(
            name, folder / entry["file"], entry["sha256"], entry["kind"], entry["facts"]
        )
        for name, entry in entries.items()
    }


def listed_name(name: str) -> str:
    """The name under which a model is listed.

    A narrower build of a network is listed with its width, such as "smid-w13" for "smid".
    """
    models = list_models()
    narrower = [other for other in models if other.startswith(f"{name}-w")]
    return narrower[0] if name not in models and narrower else name


def find_listed(name: str) -> ListedModel:
    """The shipped checkpoint of a model. Raises WeightsError for an unknown one."""
    models = list_models()
    listed = listed_name(name)
    if listed not in models:
        raise WeightsError(
            f"no model '{name}'",
            f"there are {', '.join([*models, *UNTRAINED])}",
            "choose one, or give a file with --weights",
        )
    return models[listed]


def check_choice(model: str, file: Path | None) -> None:
    """Raises WeightsError for a model or checkpoint that is not there, before any shot is read."""
    if file is not None:
        if not file.is_file():
            raise WeightsError(f"no checkpoint {file}")
    elif model not in UNTRAINED:
        find_listed(model)


def verify(listed: ListedModel) -> None:
    """Raises WeightsError unless the file is the one that models.json lists."""
    if not listed.file.is_file():
        raise WeightsError(f"{listed.file.name} is missing", str(listed.file.parent))
    if sha256(listed.file) != listed.sha256:
        raise WeightsError(
            f"{listed.file.name} is damaged", "its SHA-256 is not the listed one", "install again"
        )


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
