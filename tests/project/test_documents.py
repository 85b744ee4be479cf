"""docs/architecture.md, CONTRIBUTING.md and SECURITY.md: what they name exists, and the code they show runs."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Callable

import pytest

from support.paths import ROOT
from support.processes import run_command

ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")

SECURITY = (ROOT / "SECURITY.md").read_text(encoding="utf-8")


def block(heading: str) -> str:
    """The code of a section of CONTRIBUTING.md."""
    section = CONTRIBUTING[CONTRIBUTING.index(f"## {heading}\n") :]
    return re.search(r"```python\n(.*?)```", section, re.S)[1]


@pytest.mark.parametrize(
    "text", [ARCHITECTURE, CONTRIBUTING, SECURITY], ids=["architecture", "contributing", "security"]
)
def test_every_path_exists(text):
    named = re.findall(r"`((?:[\w.-]+/)+[\w.-]*|\w+\.(?:py|md))`", text) + re.findall(r"\]\(([\w./-]+)\)", text)
    folders = [ROOT / name for name in ("", "docs", "train", "hub", "timm_pushpull", "timm_pushpull/data/corrupted")]
    there = {
        name for name in named for folder in folders if any((folder / f"{name}{end}").exists() for end in ("", ".py"))
    }
    assert set(named) - there <= {"hub/releases"}  # not in the source distribution
    assert len(named) > 5


def test_what_security_says_of_loading_is_so():
    sources = {
        path: path.read_text(encoding="utf-8")
        for room in ("timm_pushpull", "train", "hub")
        for path in (ROOT / room).rglob("*.py")
    }
    text = "\n".join(sources.values())
    assert "trust_remote_code" not in text.replace("trust_remote_code=False", "")
    calls = [node for source in sources.values() for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    loads = [call for call in calls if ast.unparse(call.func) in ("torch.load", "_helpers.load_state_dict")]
    assert len(loads) == 2
    assert all("weights_only=True" in map(ast.unparse, call.keywords) for call in loads)
    assert text.count("np.load(") == text.count("allow_pickle=False") == 1
    assert not re.search(r"^\s*(from pickle\b|(import|from) (marshal|shelve)\b)", text, re.M)
    assert set(re.findall(r"\bpickle\.\w+", text)) == {"pickle.UnpicklingError"}  # its name, to say what is refused
    loaders = [path.name for path, source in sources.items() if re.search(r"yaml\.\w*load\(", source)]
    assert sorted(loaders) == ["paper.py", "yaml_text.py"]  # the former reads a file of this repository
    assert '"datasets>=4' in (ROOT / "pyproject.toml").read_text()


def test_the_architecture_names_every_room():
    listed = set(re.findall(r"^\| `timm_pushpull/(\w+)(?:\.py)?`", ARCHITECTURE, re.M))
    there = {path.name for path in (ROOT / "timm_pushpull").iterdir() if (path / "__init__.py").is_file()}
    assert there <= listed


@pytest.mark.parametrize("heading", ["Add a preset", "Add a family of networks", "Add a layout of corrupted sets"])
def test_each_addition_is_shown_in_fifteen_lines(heading):
    assert len([line for line in block(heading).splitlines() if line]) <= 15


USE_PRESET = """
import numpy as np
from timm_pushpull.corruptions import corrupt
from timm_pushpull.data.preprocessing import preset_geometry

image = np.full((84, 84, 3), 128, np.uint8)
assert (corrupt(image, "gaussian_noise", 1, "mini-c") != corrupt(image, "gaussian_noise", 1)).any()
assert (corrupt(image, "fog", 5, "mini-c") != image).any()
preset_geometry("mini-c")
from timm_pushpull.cli import main
main(["benchmark", "--help"])
"""
USE_LAYOUT = """
from dataclasses import fields
from timm_pushpull.data.corrupted import LAYOUTS, open_corrupted

LAYOUTS[LAYOUT.name] = LAYOUT
assert all(getattr(LAYOUT, field.name) is not None for field in fields(Layout))
for own in (TextSet, TextWriter):  # the docstrings name what a subclass has to define
    assert all(f"`{name}`" in own.__doc__ for name in own.__abstractmethods__)
import pathlib, sys
try:
    open_corrupted(pathlib.Path(sys.executable).parent)
except ValueError as error:
    print(error)
"""
USE_FAMILY = """
import timm, torch
from timm_pushpull import PushPullConv2d

model = timm.create_model("densenet121_pushpull", num_classes=3, avg_size=5).eval()
assert isinstance(model.features.conv0, PushPullConv2d)
assert model.features.conv0.avg_size == 5
assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 3)
"""


@pytest.fixture
def run_code(tmp_path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Run code as a script, in a process that spares the imports."""

    def run(code: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "script.py").write_text(code)
        return run_command(tmp_path / "script.py")

    return run


def test_the_preset_works_everywhere(run_code):
    process = run_code(block("Add a preset") + USE_PRESET)
    assert process.returncode == 0, process.stderr
    assert "mini-c" in process.stdout


def test_the_layout_is_known(run_code):
    process = run_code(block("Add a layout of corrupted sets") + USE_LAYOUT)
    assert process.returncode == 0, process.stderr
    assert "<corruption>.txt" in process.stdout


def test_the_family_is_registered(run_code, tmp_path):
    (tmp_path / "densenet_family.py").write_text(block("Add a family of networks"))
    process = run_code("import densenet_family\n" + USE_FAMILY)
    assert process.returncode == 0, process.stderr
