"""Which room of the package may import which, and what importing the package loads."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from support.paths import ROOT

PACKAGE = "timm_pushpull"
#: Libraries that models do not need; only the commands and functions that use them import them.
HEAVY = ("accelerate", "datasets", "jinja2", "matplotlib", "pandas", "plotly", "pyarrow", "rich", "transformers")
HEAVY += ("timm_pushpull.layers.backends.cpu", "timm_pushpull.layers.backends.cuda")
#: The rooms that each room may import ("": the package itself); docs/architecture.md explains the order.
ALLOWED = {
    "utils": set(),
    "layers": {"utils"},
    "corruptions": {"utils"},
    "metrics": {"corruptions", "utils"},
    "data": {"corruptions", "utils"},
    "models": {"layers", "utils"},
    "benchmark": {"corruptions", "data", "metrics", "models", "utils"},
    "figures": {"benchmark", "corruptions", "data", "layers", "metrics", "models", "utils"},
    "hub": {"benchmark", "corruptions", "data", "figures", "layers", "metrics", "models", "utils"},
    "cli": {"", "benchmark", "corruptions", "data", "figures", "hub", "layers", "metrics", "models", "utils"},
}
#: Single modules that import more than their room may, and why.
EXCEPTIONS = {
    # A saved config.json holds how images are resized and cropped.
    (f"{PACKAGE}.models.weights", f"{PACKAGE}.data.preprocessing"),
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in (ROOT / PACKAGE).rglob("*.py")}


def imports(tree: ast.AST, *, when_loaded: bool = False) -> Iterator[str]:
    """The modules of the package that a source imports; `when_loaded` leaves out those inside functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno} imports relatively"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif when_loaded and (
            isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        ):
            continue
        else:
            yield from imports(node, when_loaded=when_loaded)
            continue
        for name in names:
            if name.split(".")[0] == PACKAGE:
                yield name if name in MODULES else name.rpartition(".")[0]


def room(module: str) -> str:
    return (*module.split("."), "")[1]


@pytest.mark.parametrize("name", sorted(ALLOWED))
def test_a_room_imports_only_the_rooms_below_it(name):
    outside = {
        (module, imported)
        for module, path in MODULES.items()
        if room(module) == name
        for imported in imports(ast.parse(path.read_text(encoding="utf-8")))
        if room(imported) not in ALLOWED[name] | {name}
    }
    assert outside - EXCEPTIONS == set()


def test_every_room_is_known_and_every_exception_is_needed():
    folders = {path.parent.name for path in (ROOT / PACKAGE).glob("*/__init__.py")}
    assert folders | {path.stem for path in (ROOT / PACKAGE).glob("[!_]*.py")} == set(ALLOWED)
    for module, imported in EXCEPTIONS:
        assert imported in imports(ast.parse(MODULES[module].read_text(encoding="utf-8")))


def test_no_module_imports_itself_by_way_of_others():
    graph = {
        module: set(imports(ast.parse(path.read_text(encoding="utf-8")), when_loaded=True))
        for module, path in MODULES.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"import cycle: {' <- '.join(error.args[1])}")


def test_importing_the_package_loads_only_what_models_need():
    code = f"import sys, timm_pushpull; print([name for name in {HEAVY!r} if name in sys.modules])"
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert process.stdout.strip() == "[]", process.stdout + process.stderr


def test_no_two_modules_share_a_name():
    """A module is found by its name in one guess. timm filters its tests by the names of the families of models."""
    names = [path.name for path in MODULES.values() if path.name != "__init__.py"]
    twice = {name for name in names if names.count(name) > 1}
    families = {path.name for path in (ROOT / PACKAGE / "models" / "rivals").glob("*.py")}
    assert twice <= families
