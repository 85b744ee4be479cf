"""The scripts in examples/: they run, say what they promise, and are notebooks in percent format."""

from __future__ import annotations

import runpy
import socket

import pytest
from PIL import Image

from support.paths import ROOT, needs_releases
from timm_pushpull.benchmark import Results

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run an example in an empty folder, without network and display; returns what it printed."""
    matplotlib = pytest.importorskip("matplotlib")
    monkeypatch.setattr(matplotlib, "get_backend", matplotlib.get_backend)
    matplotlib.use("agg")
    monkeypatch.chdir(tmp_path)

    def refuse(*_):
        raise OSError("no network in examples")

    monkeypatch.setattr(socket.socket, "connect", refuse)

    def run(name: str) -> str:
        runpy.run_path(str(ROOT / "examples" / name), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_measure(run, tmp_path):
    said = run("measure.py")
    results = Results.load(tmp_path / "measured.json")
    assert list(results.errors) == ["fog", "gaussian_noise"]
    assert results.clean_error < 0.5  # it has learned
    assert f"fog at severity 5: {results.errors['fog'][4]:.0%} of" in said
    assert "| mCE" in said


def test_inhibition(run, tmp_path):
    run("inhibition.py")
    with Image.open(tmp_path / "inhibition.png") as image:
        assert image.size == (750, 525)


@needs_releases
def test_finetune(run):
    said = run("finetune.py")
    clean = next(line for line in said.splitlines() if line.startswith("| clean"))
    assert float(clean.split("|")[7]) < 50
    assert "inhibition strengths from CIFAR-10" in said


@needs_releases
def test_read_card(run):
    said = run("read_card.py")
    results = Results.load(ROOT / "hub/releases/resnet18_cifar_pushpull.cifar10")
    assert f"clean error {100 * results.clean_error:.1f} %" in said
    assert f"mCE {100 * results.mce:.1f} %" in said


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_a_short_notebook(path):
    source = path.read_text(encoding="utf-8")
    assert source.startswith("# %% [markdown]\n# # ")
    assert source.count("\n# %%\n") >= 2
    code = [line for line in source.splitlines() if line and not line.startswith("#")]
    assert len(code) <= 40
    assert f"def test_{path.stem}(" in (ROOT / "tests/project/test_examples.py").read_text(encoding="utf-8")
    assert f"examples/{path.name}" in (ROOT / "docs/index.md").read_text(encoding="utf-8")
