"""Where the run that tests publish goes, what it holds, and a second one."""

from __future__ import annotations

import shutil
from pathlib import Path

REPO = "me/resnet18_cifar_pushpull.photos"
FILES = {"model.safetensors", "config.json", "README.md", "results.json", "recipe.yaml"}


def tagged(run: Path, folder: Path, tag: str) -> Path:
    """A copy of a run under another tag."""
    shutil.copytree(run, folder)
    for name, written in (("config.json", '"tag": "{}"'), ("README.md", "pushpull.{}")):
        path = folder / name
        path.write_text(path.read_text().replace(written.format("photos"), written.format(tag)))
    return folder
