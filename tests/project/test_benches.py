"""The measurements in tests/bench, which are run by hand, fit the package."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import time
from pathlib import Path

import pytest
import torch

from bench import bench_training, bench_unit, gpu
from support.paths import ROOT
from support.processes import run_command
from timm_pushpull.data import load_images

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


@pytest.mark.slow
def test_the_script_for_a_gpu_runs_on_a_cpu(tmp_path):
    process = run_command(GPU, "--quick", "--seconds", "3600", "--output", tmp_path / "gpu.json")
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


def test_a_part_that_fails_gives_exit_code_1_after_the_others(tmp_path, monkeypatch):
    def fails(run):
        raise ValueError("no")

    monkeypatch.setattr(gpu, "PARTS", {"one": fails, "two": lambda run: {"quick": run.quick}})
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--quick", "--output", str(tmp_path / "gpu.json")])
    with pytest.raises(SystemExit) as error:
        gpu.main()
    assert error.value.code == 1
    assert json.loads((tmp_path / "gpu.json").read_text()) == {
        "one": {"error": "ValueError: no"},
        "two": {"quick": True},
    }


def test_no_round_begins_after_the_deadline():
    def times(deadline):
        return bench_unit.in_turns({"plain": lambda: None}, torch.device("cpu"), 3, 1, deadline=deadline)

    assert len(times(time.perf_counter() - 1)["plain"]) == 1
    assert len(times(time.perf_counter() + 60)["plain"]) == 3


@pytest.mark.parametrize("size", [32, 40])
def test_the_synthetic_images_are_as_many_as_asked_for(size, tmp_path):
    bench_training.synthetic_images(tmp_path, 1010, size)
    assert len(load_images(tmp_path, "train")) == 1010
