"""Imports go one way, torch stays out of what must start fast, and each library has one home."""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "batman_cli"

# A module may import its own layer and those above it. A name covers the package of that name.
LAYERS = (
    ("errors", ""),  # "" is batman_cli/__init__.py: the version
    ("settings", "device"),
    ("black", "tiff", "damage", "quiet", "color", "container", "rawfile", "bayer", "raw"),
    ("pack", "amplify", "noise", "hot", "clipping"),
    ("develop", "metrics", "tiles", "simulate"),
    ("timeline", "copies", "burst", "models"),
    ("ffmpeg", "codecs", "output", "video", "stills", "progress"),
    ("shipped",),
    ("weights",),
    ("infer",),
    ("sample", "plan", "ahead", "pictures", "pipeline", "training"),
    ("bench",),
    ("tell", "commands", "doctor", "options", "ending"),
    ("cli_train", "cli_bench"),
    ("cli",),
    ("__main__",),
)

# Modules that must be importable without torch, which takes seconds to load.
TORCH_FREE = (
    *("", "errors", "settings", "tiff", "raw", "pack", "amplify", "noise", "hot", "timeline"),
    *("burst", "video", "stills", "progress", "shipped", "sample", "plan", "commands", "__main__"),
    *("cli", "cli_train", "cli_bench", "options", "ending"),
    *("simulate.tiff_writer", "simulate.arw", "simulate.dng"),
)

HOMES = {
    "rawpy": {"raw"},
    "imageio_ffmpeg": {"ffmpeg"},
    "imageio": {"stills"},
    "rich": {"progress"},
    "tqdm": {"progress"},
    "typer": {"cli", "cli_train", "cli_bench", "ending", "options"},
    "safetensors": {"weights"},
    "tensorboard": {"training.events"},
}
EVERYWHERE = {"numpy", "torch"}
OPTIONAL = {"tensorboard"}  # an extra of pyproject.toml


def name_of(file: Path) -> str:
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {name_of(file): file for file in sorted(PACKAGE.rglob("*.py"))}


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def nodes(tree: ast.AST, *, at_load: bool) -> Iterator[ast.AST]:
    """Every node of a module that can run, or only those that run when it is loaded."""
    for node in ast.iter_child_nodes(tree):
        later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if is_type_checking(node) or (at_load and later):
            continue
        yield node
        yield from nodes(node, at_load=at_load)


@cache
def imported(module: str, *, at_load: bool) -> frozenset[str]:
    """Full names a module imports; `from a import b` counts as a.b where that is a module."""
    file = MODULES[module]
    names: set[str] = set()
    for node in nodes(ast.parse(file.read_text(encoding="utf-8")), at_load=at_load):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = ["batman_cli", *module.split(".")] if module else ["batman_cli"]
            base = package[: len(package) - node.level + (file.name == "__init__.py")]
            origin = ".".join([*base, *filter(None, [node.module])]) if node.level else node.module
            for alias in node.names:
                full = f"{origin}.{alias.name}"
                names.add(full if full.removeprefix("batman_cli.") in MODULES else str(origin))
    return frozenset(names)


def own(module: str, *, at_load: bool) -> set[str]:
    """The modules of the package that a module imports."""
    names = {name for name in imported(module, at_load=at_load) if ours(name)}
    return {name.removeprefix("batman_cli").removeprefix(".") for name in names}


def foreign(module: str, *, at_load: bool) -> set[str]:
    """The top-level names of libraries that a module imports."""
    tops = {n.partition(".")[0] for n in imported(module, at_load=at_load) if not ours(n)}
    return tops - sys.stdlib_module_names


def ours(name: str) -> bool:
    return name.partition(".")[0] == "batman_cli"


def layer(module: str) -> int:
    return next(
        (i for i, names in enumerate(LAYERS) if module.partition(".")[0] in names), len(LAYERS)
    )


def loaded_with(module: str) -> set[str]:
    """Every module of the package that runs when one of them is imported, packages included."""
    found: set[str] = set()
    waiting = {module}
    while waiting:
        name = waiting.pop()
        found.add(name)
        parents = {".".join(name.split(".")[:n]) for n in range(name.count(".") + 1)}
        waiting |= (own(name, at_load=True) | parents) - found
    return found


def test_the_package_is_read() -> None:
    assert "errors" in own("burst", at_load=True)
    assert "numpy" in foreign("pack", at_load=True)


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_a_place_in_the_layers(module: str) -> None:
    assert layer(module) < len(LAYERS), f"give {module} a place in LAYERS"


def test_the_layers_name_only_what_exists() -> None:
    tops = {module.partition(".")[0] for module in MODULES}
    assert {name for names in LAYERS for name in names} <= tops
    assert set(TORCH_FREE) <= set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_every_import_of_the_package_exists(module: str) -> None:
    assert own(module, at_load=False) <= set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module: str) -> None:
    upward = {name for name in own(module, at_load=False) if layer(name) > layer(module)}
    assert not upward


def test_no_imports_go_round_in_a_circle() -> None:
    graph = {module: own(module, at_load=False) - {module} for module in MODULES}
    TopologicalSorter(graph).prepare()  # raises CycleError naming the circle


@pytest.mark.parametrize("module", TORCH_FREE)
def test_torch_is_not_loaded_by(module: str) -> None:
    guilty = {name for name in loaded_with(module) if "torch" in foreign(name, at_load=True)}
    assert not guilty


@pytest.mark.parametrize("module", MODULES)
def test_every_library_has_one_home(module: str) -> None:
    strangers = {
        library
        for library in foreign(module, at_load=False) - EVERYWHERE
        if module not in HOMES.get(library, set())
    }
    assert not strangers


@pytest.mark.parametrize("module", MODULES)
def test_optional_libraries_are_loaded_only_when_used(module: str) -> None:
    assert not foreign(module, at_load=True) & OPTIONAL
