"""What `pip install timm-pushpull` brings: built from the source distribution, small, without weights, and working."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from support.paths import ROOT

SMOKE = """
import sys
import timm
import timm_pushpull

assert timm_pushpull.__file__.startswith(sys.argv[1]), timm_pushpull.__file__
import torch
from timm_pushpull.corruptions import corrupt
import numpy as np

assert len(timm.list_models("*pushpull*")) >= 9
model = timm.create_model("resnet18_cifar_pushpull", num_classes=10).eval()
assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 10)
assert corrupt(np.zeros((32, 32, 3), np.uint8), "fog", 3).shape == (32, 32, 3)
from timm_pushpull.benchmark.paper import load

assert load("table1")
try:
    timm.create_model("resnet50_pushpull.none", pretrained=True)
except timm_pushpull.InputError as error:
    print(error)
from timm_pushpull import cli

cli.main(["--help"])
"""

#: Tests that read files from outside the package, and quick ones of the core.
SUBSET = (
    "tests/project/test_dependencies.py",
    "tests/project/test_imports.py",
    "tests/hub/test_card.py",
    "tests/hub/test_paper_page.py",
    "tests/hub/test_release.py::test_registry_releases_and_cards_are_the_same_list",
    "tests/hub/test_space.py",
    "tests/train/test_study.py::test_bad_plans_end_with_one_line",
    "tests/layers/test_push_pull.py",
)


def python(*arguments: str | Path, **options) -> str:
    process = subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, **options)
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the source distribution, and the wheel that is built from it."""
    for needed in ("build", "hatchling", "hatch_fancy_pypi_readme"):
        pytest.importorskip(needed)
    folder = tmp_path_factory.mktemp("dist")
    python("-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    return folder


def test_the_wheel_is_small_and_holds_no_weights(built):
    (wheel,) = built.glob("*.whl")
    assert wheel.stat().st_size < 1_000_000
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
    assert not [name for name in names if name.endswith((".safetensors", ".bin", ".pt", ".pth", ".pkl", ".npz"))]
    assert {name.split("/")[0].split("-")[0] for name in names} == {"timm_pushpull"}
    with zipfile.ZipFile(wheel) as file:
        (metadata,) = (file.read(name).decode() for name in names if name.endswith("/METADATA"))
        links = re.findall(r'\]\(([^)]*)\)|src="([^"]*)"', metadata)  # PyPI has none of the files that README.md links
        assert len(links) > 30
        assert all("".join(link).startswith(("https://", "#")) for link in links)
        assert any(name.endswith("licenses/LICENSE") for name in names)
        packed = {name for name in names if name.startswith("timm_pushpull/")}
        assert all(file.read(name) == (ROOT / name).read_bytes() for name in packed)
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "timm_pushpull").rglob("*") if path.is_file()}
    sources = {name for name in files if "__pycache__" not in name}
    assert sources <= packed
    assert {".csv", ".html", ".css", ".js"} <= {Path(name).suffix for name in sources}
    assert "timm_pushpull/py.typed" in sources


def test_the_source_distribution_holds_the_scripts_and_the_tests(built):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        names = {name.split("/", 1)[-1] for name in file.getnames()}
    assert {"train/train.py", "hub/publish.py", "hub/stage.py", "hub/verify.py", "tests/conftest.py"} <= names
    assert not [name for name in names if name.endswith((".safetensors", ".pyc")) or name.startswith("hub/releases")]


@pytest.mark.slow
def test_the_tests_pass_in_the_source_distribution(built, tmp_path):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    said = python("-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *SUBSET, cwd=folder, env=environment)
    assert " passed" in said
    assert "needs hub/releases" in said


def test_the_wheel_installs_and_works_outside_the_checkout(built, tmp_path):
    (wheel,) = built.glob("*.whl")
    python("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", tmp_path / "site", wheel)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    said = python("-c", SMOKE, tmp_path / "site", cwd=tmp_path, env=environment)
    assert "resnet50_pushpull.none has no published weights yet; there are " in said
    assert "resnet18_cifar_pushpull.cifar10" in said
    assert "benchmark" in said
