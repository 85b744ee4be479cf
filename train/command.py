"""A training as a command, for what starts several."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def training(recipe: str, model: str, output: Path, settings: Mapping[str, Any]) -> list[str]:
    """The command that trains a network in a folder, or goes on with it, with settings beyond the recipe's."""
    script = Path(__file__).resolve().parent / "train.py"
    command = [sys.executable, "-m", "accelerate.commands.launch", str(script), "--recipe", recipe, "--model", model]
    return [*command, "--output", str(output), "--resume", *_flags(settings)]


def _flags(settings: Mapping[str, Any]) -> list[str]:
    """Settings as the command line of train.py takes them."""
    given = []
    for name, value in settings.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            given.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, Mapping):
            given += [f"--{flag}", *(f"{key}={json.dumps(part)}" for key, part in value.items())]
        else:
            given += [f"--{flag}", str(value)]
    return given
