"""The folder of a run: what may be written where, and what --resume finds in it."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from settings import Settings, load_recipe
from timm_pushpull.errors import InputError, one_line
from timm_pushpull.files import make_folder, write_error, write_file
from timm_pushpull.results import Results
from timm_pushpull.weights import CONFIG, WEIGHTS

# All that a run writes, and so all that --overwrite may remove. A folder with results is finished: they come last.
RECIPE, LOG, STATE, CARD, RESULTS = "recipe.yaml", "log.csv", "state", "README.md", "results.json"
_FILES = (RESULTS, CARD, WEIGHTS, CONFIG, STATE, LOG, RECIPE)


class RunFolder:
    """A run's folder. Making one only looks; nothing is written before `start`.

    Raises:
        InputError: The folder holds a run, or anything else, and neither `resume` nor `overwrite` is given.
    """

    def __init__(self, path: Path, resume: bool, overwrite: bool) -> None:
        self.path = path
        self.resume = resume and (path / RECIPE).exists()
        try:
            content = sorted(entry.name for entry in path.iterdir()) if path.exists() else []
        except OSError as error:
            raise write_error(path, error) from error
        if content and not (self.resume or overwrite):
            what = "a run" if RECIPE in content else f"other files ({content[0]}, ...)"
            raise InputError(
                f"{str(path)!r} already holds {what}; give --resume to go on with a run, --overwrite to "
                f"replace it, or another --output"
            )
        self.results = Results.load(path) if self.resume and (path / RESULTS).exists() else None

    def check(self, settings: Settings) -> None:
        """Refuse to resume a run that had other settings."""
        theirs = load_recipe(self.path / RECIPE)
        for name, value in settings.recorded().items():
            if getattr(theirs, name) != value:
                raise InputError(
                    f"the run in {str(self.path)!r} has {name} {getattr(theirs, name)!r}, not {value!r}; "
                    f"resume it with its own settings, or use another --output"
                )

    def start(self, settings: Settings, parts: Mapping[str, Any], accelerator: Accelerator) -> list[dict[str, float]]:
        """Begin the run, or load the last state into `parts`; returns the log so far, one row per epoch."""
        state = self.path / STATE / "last.pt"
        if self.resume:
            self.check(settings)
            if state.exists():
                return self._load(state, parts, accelerator)
        elif accelerator.is_main_process:
            make_folder(self.path)
            for name in _FILES:
                entry = self.path / name
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink(missing_ok=True)
            write_file(self.path / RECIPE, settings.to_yaml())
        return []

    def save(self, parts: Mapping[str, Any], log: list[dict[str, float]]) -> None:
        """Keep the state after an epoch, and write the log."""
        buffer = io.BytesIO()
        torch.save({"log": log, **{name: part.state_dict() for name, part in parts.items()}}, buffer)
        make_folder(self.path / STATE)
        write_file(self.path / STATE / "last.pt", buffer.getvalue())
        table = io.StringIO()
        writer = csv.DictWriter(table, log[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(log)
        write_file(self.path / LOG, table.getvalue())

    def finish(self, card: str, results: Results) -> None:
        write_file(self.path / CARD, card)
        results.save(self.path / RESULTS)

    def _load(self, state: Path, parts: Mapping[str, Any], accelerator: Accelerator) -> list[dict[str, float]]:
        try:
            content = torch.load(state, map_location="cpu", weights_only=True)
            for name, part in parts.items():
                part.load_state_dict(content[name])
        except Exception as error:  # a damaged file fails in many ways
            raise InputError(
                f"the state in {str(state)!r} cannot be read ({one_line(error)}); start again with --overwrite"
            ) from error
        accelerator.print(f"resumed after epoch {len(content['log'])}")
        return content["log"]
