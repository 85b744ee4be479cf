"""The measurements in tests/bench, which are run by hand, fit the package."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from support.paths import ROOT

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
