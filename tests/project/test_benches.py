"""The measurements in tests/bench, which are run by hand, fit the package."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

from bench import gpu
from support.paths import ROOT
from support.processes import run_command

GPU = ROOT / "tests" / "bench" / "gpu.py"
BENCHES = sorted((ROOT / "tests" / "bench").glob("bench_*.py"))


@pytest.mark.parametrize("path", BENCHES, ids=lambda path: path.stem)
def test_a_bench_can_be_imported(path: Path, monkeypatch):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, path.stem, module)  # dataclasses look their module up
    spec.loader.exec_module(module)


@pytest.mark.parametrize("path", [*BENCHES, GPU], ids=lambda path: path.stem)
def test_its_help_says_every_default(path: Path):
    process = run_command(path, "--help", COLUMNS="100")
    assert process.returncode == 0, process.stderr
    assert f"python tests/bench/{path.name}" in process.stdout
    options = process.stdout.partition("options:")[2].split("\n  -")[1:]
    values = [text for text in options if re.search(r" [A-Z{]", text.split("  ")[0])]
    assert [text for text in values if not re.search(r"\(default: |\(required\)", " ".join(text.split()))] == []


def test_the_script_for_a_gpu_runs_on_a_cpu(tmp_path):
    process = run_command(GPU, "--quick", "--output", tmp_path / "gpu.json")
    assert process.returncode == 0, process.stderr
    results = json.loads((tmp_path / "gpu.json").read_text())
    assert len(results) == 8
    assert not [part for part in results.values() if "error" in part], results
    assert results["golden cases"]["float64, channels_last"]["error"] < 1e-10
    assert results["counts on CPU and GPU"]["different images"] == 0
    assert set(results["unit and peak memory"]["resnet50"]["infer"]) == {"plain", "published", "ours"}
    assert results["benchmark"]["images"] == results["counts on CPU and GPU"]["images"] == 4
    labels = {"plain, compiled", "plain", "published", "published, compiled", "ours", "ours, compiled"}
    assert set(results["compiled stem"]["train step"]) == labels


def test_the_digits_it_takes_are_enough():
    assert len(gpu.digits(quick=False)) == 1000
