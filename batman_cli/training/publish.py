"""Puts a trained checkpoint among the shipped ones: the file, its hash and its facts.

Example: python -m batman_cli.training.publish clstm new.safetensors --summary "trained at night"
"""

import argparse
import json
from pathlib import Path

from batman_cli.shipped import sha256, weights_folder
from batman_cli.weights import load_network, save


def publish(name: str, checkpoint: Path, facts: dict[str, str]) -> Path:
    """Writes weights/<name>.safetensors and its entry in models.json; gives the file's path.

    name: also the kind of network that the checkpoint must hold.
    """
    folder = weights_folder()
    network = load_network(name, file=checkpoint)
    target = folder / f"{name}.safetensors"
    save(target, network, name, facts)
    listing = folder / "models.json"
    models = json.loads(listing.read_text())
    models["models"][name] = {
        "file": target.name,
        "sha256": sha256(target),
        "kind": name,
        "config": network.config.as_dict(),
        "facts": facts,
    }
    part = listing.with_suffix(".part")
    part.write_text(json.dumps(models, indent=2) + "\n")
    part.replace(listing)
    return target


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=["clstm", "3dcnn"])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--summary", required=True, help="one line for `batman models list`")
    parser.add_argument("--fact", action="append", default=[], help="key=value, any number")
    args = parser.parse_args()
    facts = {"summary": args.summary}
    facts.update(tuple(fact.split("=", 1)) for fact in args.fact)
    publish(args.name, args.checkpoint, facts)


if __name__ == "__main__":
    main()
