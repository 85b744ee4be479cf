"""The contact sheet of corruptions, and the command that draws it."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from conftest import assert_one_clear_line
from timm_pushpull import cli, plots
from timm_pushpull.corruptions import CORRUPTIONS, corrupt

matplotlib = pytest.importorskip("matplotlib")


@pytest.fixture
def picture(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def draw(run_inside, picture, output, *arguments):
    return run_inside(cli.main, "timm-pushpull", "plot", "corruptions", picture, "-o", output, *arguments)


def test_every_corruption_is_drawn_at_every_severity(picture):
    image = plots.read_image(picture, "cifar10-c")
    assert image.shape == (32, 32, 3)
    figure = plots.corruption_sheet(image, "cifar10-c", seed=3)
    drawn = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    expected = []
    for name in CORRUPTIONS:
        expected += [image, *(corrupt(image, name, severity, "cifar10-c", seed=3) for severity in (1, 2, 3, 4, 5))]
    np.testing.assert_array_equal(drawn, expected)
    texts = [text.get_text() for text in figure.texts]
    assert "preset cifar10-c, seed 3" in texts[0]
    assert [text for text in texts if text.replace(" ", "_") in CORRUPTIONS] == [
        name.replace("_", " ") for name in CORRUPTIONS
    ]


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_command(tmp_path, picture, run_inside, suffix):
    output = tmp_path / "new" / f"sheet.{suffix}"
    for _ in range(2 if suffix == "pdf" else 1):
        process = draw(run_inside, picture, output, "--preset", "cifar10-c")
        assert process.returncode == 0, process.stderr
    assert [path.name for path in output.parent.iterdir()] == [output.name]
    assert output.read_bytes()[:4] == {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xm"}[suffix]


def test_bad_input_is_one_line(tmp_path, picture, run_inside, monkeypatch):
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "folder.png").mkdir()
    sheet = tmp_path / "sheet.png"
    assert_one_clear_line(draw(run_inside, tmp_path / "text.png", sheet), "text.png", "no picture")
    assert_one_clear_line(draw(run_inside, tmp_path / "nowhere.png", sheet), "nowhere.png")
    assert_one_clear_line(draw(run_inside, picture, tmp_path / "sheet.gif"), "sheet.gif", ".svg")
    assert_one_clear_line(draw(run_inside, picture, tmp_path / "folder.png"), "is a folder")
    assert_one_clear_line(draw(run_inside, picture, sheet, "--preset", "cifar"), "did you mean 'cifar10-c'")
    assert_one_clear_line(draw(run_inside, picture, "/proc/nowhere/sheet.png"), "cannot write")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert_one_clear_line(draw(run_inside, picture, sheet), "pip install 'timm-pushpull[plot]'")
    assert not sheet.exists()
