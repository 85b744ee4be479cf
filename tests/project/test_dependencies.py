"""Whatever is imported is declared in pyproject.toml."""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from support.paths import ROOT

#: What the benchmarks in tests/bench compare with; nobody else needs it.
COMPARED = {"cv2", "imagecorruptions"}
#: Comes with torch where it is of use; the package works without.
WITH_TORCH = {"triton"}
#: Our own modules; scripts and tests import those of their folders by their bare names.
OURS = {"timm_pushpull", "train", "hub", "tests"} | {
    part.removesuffix(".py")
    for folder in ("train", "hub", "tests")
    for path in (ROOT / folder).rglob("*.py")
    for part in path.relative_to(ROOT / folder).parts
}


def imported(folder: Path) -> dict[str, str]:
    """Top-level names of the imported packages that are not ours, and a file that imports each."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            for name in names:
                found.setdefault(name.split(".")[0], str(path.relative_to(ROOT)))
    others = {*OURS, *COMPARED, *WITH_TORCH, *sys.stdlib_module_names}
    return {name: path for name, path in found.items() if name not in others}


def declared(*extras: str) -> set[str]:
    """Normalised names of the distributions that the package or one of these extras requires."""
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lists = [project["dependencies"], *(project["optional-dependencies"][extra] for extra in extras)]
    return {normalised(re.match(r"[\w.-]+", requirement)[0]) for part in lists for requirement in part}


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


EXTRAS = ("train", "hub", "plot", "report")


@pytest.mark.parametrize(
    ("folder", "extras"),
    [
        ("timm_pushpull", EXTRAS),
        ("train", EXTRAS),
        ("hub", (*EXTRAS, "test")),  # hub/space has its own requirements.txt
        ("tests", (*EXTRAS, "test")),
    ],
)
def test_what_is_imported_is_declared(folder, extras):
    distributions, known = packages_distributions(), declared(*extras)
    missing = {
        name: path
        for name, path in imported(ROOT / folder).items()
        if not known & set(map(normalised, distributions.get(name, [name])))
    }
    assert missing == {}
