"""A trained network as others use it: checkpoint, entry in models.json, model card."""

import contextlib
import json
import re
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any

from batman_cli.errors import OutputError, UsageError
from batman_cli.models import Net
from batman_cli.output import check_target, exclusive, new_part, put_in_place, reason
from batman_cli.shipped import sha256
from batman_cli.training.card import TrainingFacts, card_text, listed_facts
from batman_cli.weights import save

LISTING = "models.json"
_NAME = re.compile(r"\w[\w.-]*")


def export(network: Net, name: str, folder: Path, facts: TrainingFacts, *, overwrite: bool) -> Path:
    """Writes <name>.safetensors, <name>.md and the entry <name> of models.json; gives the first.

    The folder is made if need be; other entries of its models.json stay as they are. Nothing
    changes before all is written beside, so a full disk leaves the folder as it was.

    Raises UsageError for a name that is no file name; OutputError if the checkpoint or the card
    exists already (without `overwrite`), models.json is not readable, or nothing can be written.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"name '{name}'", "is no plain file name", "use letters and digits")
    with _telling(folder):
        folder.mkdir(parents=True, exist_ok=True)
    checkpoint, card = folder / f"{name}.safetensors", folder / f"{name}.md"
    listing = check_target(folder / LISTING, overwrite=True)
    with _telling(folder), exclusive(listing):
        for target in (checkpoint, card):
            check_target(target, overwrite=overwrite)
        part = new_part(listing)
        part.mkdir()
        try:
            _write(part, network, name, facts, _entries(listing))
            # The listing last: it never names what is not there.
            for target in (checkpoint, card):
                put_in_place(part / target.name, target, overwrite=overwrite)
            put_in_place(part / LISTING, listing, overwrite=True)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return checkpoint


def _write(
    folder: Path, network: Net, name: str, facts: TrainingFacts, entries: dict[str, Any]
) -> None:
    """The three files; entries: what models.json holds already."""
    checkpoint, card = folder / f"{name}.safetensors", folder / f"{name}.md"
    kind, listed = facts.settings.model, listed_facts(network, facts, card.name)
    save(checkpoint, network, kind, listed)
    digest = sha256(checkpoint)
    entry = {
        "file": checkpoint.name,
        "sha256": digest,
        "kind": kind,
        "config": network.config.as_dict(),
        "facts": listed,
    }
    size = checkpoint.stat().st_size
    text = card_text(name, network, facts, size=size, sha256=digest)
    card.write_text(text, encoding="utf-8", errors="backslashreplace")
    models = json.dumps({"models": {**entries, name: entry}}, indent=2)
    (folder / LISTING).write_text(models + "\n", encoding="utf-8")


def _entries(listing: Path) -> dict[str, Any]:
    """The entries of models.json by name, none where it does not exist. Raises OutputError."""
    if not listing.exists():
        return {}
    try:
        return dict(json.loads(listing.read_text(encoding="utf-8"))["models"])
    except (ValueError, KeyError, TypeError) as error:
        fix = "Move it away, or name another folder."
        raise OutputError(str(listing), "is not a list of models", fix) from error


@contextlib.contextmanager
def _telling(folder: Path) -> Generator[None]:
    """A block whose OSError becomes an OutputError about the folder."""
    try:
        yield
    except OSError as error:
        fix = "Free some space on that disk, or name another folder."
        raise OutputError(f"cannot write {folder}", reason(error), fix) from error
