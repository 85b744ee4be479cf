"""Progress in a file: whole lines, few of them."""

from __future__ import annotations

import time

import pytest

from timm_pushpull.utils import progress


@pytest.mark.parametrize("seconds", [300, 0])
def test_a_file_gets_whole_lines_and_few(capsys, monkeypatch, seconds):
    monkeypatch.setattr(progress, "_LINE_SECONDS", seconds)
    with progress.progress_bar(50, "resnet18", "step") as bar:
        for _ in range(50):
            time.sleep(0.001)
            bar.set_postfix({"loss": "1.0"}, refresh=False)
            bar.update()
        bar.write("epoch 1")
    out, err = capsys.readouterr()
    assert out == "epoch 1\n"
    assert "\r" not in err
    if seconds:
        assert err == ""
    else:
        assert "resnet18: 20 of 50 step" in err
        assert err.endswith("loss=1.0\n")
