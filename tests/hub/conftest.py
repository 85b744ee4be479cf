"""A finished run to publish."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from support.example_run import SMALL, write_run
from timm_pushpull.hub import Release


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    write_run(folder, **SMALL)
    (folder / "state").mkdir()
    (folder / "state" / "last.pt").write_text("not for others")
    return folder


@pytest.fixture
def release(finished, tmp_path) -> Release:
    shutil.copytree(finished, tmp_path / "run")
    return Release.load(tmp_path / "run")
