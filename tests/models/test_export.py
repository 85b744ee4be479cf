"""The recipes of docs/export.md that take minutes or other languages: AOTInductor, C++, 8-bit integers, JavaScript."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch

import timm_pushpull  # noqa: F401
from support.paths import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
PAGE = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")


def code(heading: str, language: str) -> str:
    section = PAGE[PAGE.index(f"## {heading}\n") :]
    return re.search(rf"```{language}\n(.*?)```", section, re.S)[1]


@pytest.fixture
def scope(tmp_path, monkeypatch) -> Iterator[dict]:
    """The names that the page's first block leaves, with a small network."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    small = {"layers": [1, 1, 1, 1], "channels": [16, 16, 16, 16]}
    model = timm.create_model("resnet18_cifar_pushpull", num_classes=10, **small).eval()
    with torch._inductor.config.patch(freezing=False):  # the page sets it
        yield {"torch": torch, "model": model, "images": torch.randn(2, 3, 32, 32)}


@needs_compiler
def test_aotinductor_and_cpp(scope, tmp_path):
    with torch.no_grad():
        exec(code("AOTInductor", "python"), scope)
        images = torch.randn(5, 3, 32, 32)
        torch.testing.assert_close(scope["compiled"](images), scope["model"](images), rtol=1e-4, atol=1e-4)
        (tmp_path / "main.cpp").write_text(code("AOTInductor", "cpp"))
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        subprocess.run(["bash", "-ec", code("AOTInductor", "bash")], check=True, env={**os.environ, "PATH": path})
        printed = subprocess.run(["./classify"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
        numbers = torch.tensor([float(number) for number in printed.splitlines()[0].split()])
        torch.testing.assert_close(numbers, scope["model"](torch.zeros(1, 3, 32, 32))[0], rtol=1e-3, atol=1e-3)


@needs_compiler
def test_8_bit_integers(scope):
    pytest.importorskip("torchao")
    with torch.no_grad():
        exec(code("8-bit integers", "python"), scope)
        run, images = torch._inductor.aoti_load_package("int8.pt2"), scope["images"]
        logits = scope["model"](images)
        assert 0 < (run(images) - logits).abs().max() < 0.1 * logits.abs().max()


@pytest.mark.skipif(shutil.which("npm") is None, reason="needs Node.js with npm")
def test_onnxruntime_web(scope, tmp_path):
    pytest.importorskip("onnxscript")
    install = ["npm", "install", "--no-audit", "--no-fund", "onnxruntime-web@1.30.0"]
    if subprocess.run(install, cwd=tmp_path).returncode:
        pytest.skip("needs the npm registry")
    with torch.no_grad():
        exec(code("ONNX", "python"), scope)
        (tmp_path / "main.mjs").write_text(code("ONNX", "js") + "console.log(logits.dims.join(), logits.data.join());")
        printed = subprocess.run(["node", "main.mjs"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
        shape, numbers = printed.split()
        assert shape == "1,10"
        found = torch.tensor([float(number) for number in numbers.split(",")])
        torch.testing.assert_close(found, scope["model"](torch.zeros(1, 3, 32, 32))[0], rtol=1e-4, atol=1e-4)
