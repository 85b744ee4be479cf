"""The measurements in tests/bench, which are run by hand, fit the package."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from support.paths import ROOT
from support.processes import run_command

GPU = ROOT / "tests" / "bench" / "gpu.py"
BENCHES = sorted((ROOT / "tests" / "bench").glob("bench_*.py"))
#: What they compare with; the tests do not need it.
COMPARED = ("cv2", "imagecorruptions")


@pytest.mark.parametrize("path", BENCHES, ids=lambda path: path.stem)
def test_a_bench_can_be_imported(path: Path, monkeypatch):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, path.stem, module)  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        if error.name not in COMPARED:
            raise
        pytest.skip(f"needs {error.name}")


def test_the_script_for_a_gpu_runs_on_a_cpu(tmp_path):
    process = run_command(GPU, "--quick", "--output", tmp_path / "gpu.json")
    assert process.returncode == 0, process.stderr
    results = json.loads((tmp_path / "gpu.json").read_text())
    assert len(results) == 8
    assert not [part for part in results.values() if "error" in part], results
    assert results["golden cases"]["float64, channels_last"]["error"] < 1e-10
    assert results["counts on CPU and GPU"]["different images"] == 0
    assert set(results["unit and peak memory"]["resnet50"]["infer"]) == {"plain", "published", "ours"}
