"""The folder of a run: what may be written where, and what --resume finds in it."""

from __future__ import annotations

import csv
import io
import json
import shutil
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

from settings import Settings, load_recipe
from timm_pushpull.benchmark.results import Results, Training
from timm_pushpull.models.weights import CONFIG, WEIGHTS
from timm_pushpull.utils import schema
from timm_pushpull.utils.errors import InputError, one_line
from timm_pushpull.utils.files import copy_files, make_folder, new_folder, sha256, write_error, write_file

# All that a run writes, and so all that --overwrite may remove. A folder with results is finished: they come last. One
# that tells of the training, as it does when the weights are there, is yet to be measured.
RECIPE, LOG, STATE, TRACKING, CARD, RESULTS = "recipe.yaml", "log.csv", "state", "tracking", "README.md", "results.json"
TRAINING, JOURNAL = "training.json", f"{RESULTS}.part"
_DEFAULTS = {entry.name: entry.default for entry in fields(Settings)}
_FILES = (RESULTS, JOURNAL, CARD, TRAINING, WEIGHTS, CONFIG, STATE, TRACKING, LOG, RECIPE)
#: What a trained network may be measured with, whatever it was trained with; the data may lie elsewhere.
_FREE = ("precision", "accumulation", "compile", "benchmark_limit", "dataset")
_AGAIN = f"remove {TRAINING} to go on from the run's last state"
#: What it takes to measure a trained network, or to go on with that, on another machine.
TRAINED = (RECIPE, LOG, WEIGHTS, CONFIG, TRAINING)


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
        self.is_trained = self.resume and (path / TRAINING).exists()
        self.results = Results.load(path) if self.resume and (path / RESULTS).exists() else None

    def check(self, settings: Settings) -> None:
        """Refuse to resume a run that had other settings, but for those that a trained network may be measured with."""
        theirs = load_recipe(self.path / RECIPE)
        for name, value in settings.recorded().items():
            if self.is_trained and name in _FREE:
                continue
            if getattr(theirs, name) != value:
                raise InputError(
                    f"the run in {str(self.path)!r} has {name} {getattr(theirs, name)!r}, not {value!r}; "
                    f"resume it with its own settings, or use another --output"
                )

    def start(self, settings: Settings, main: bool) -> None:
        """Check that a run can go on here, or, in the main process, clear the folder for a new one."""
        if self.resume:
            self.check(settings)
        elif main:
            make_folder(self.path)
            for name in _FILES:
                entry = self.path / name
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink(missing_ok=True)
            write_file(self.path / RECIPE, settings.to_yaml())

    def note_limit(self, settings: Settings) -> None:
        """Say in the recipe of a trained network on how many images it is measured."""
        recipe = load_recipe(self.path / RECIPE)
        if recipe.benchmark_limit != settings.benchmark_limit:
            write_file(self.path / RECIPE, replace(recipe, benchmark_limit=settings.benchmark_limit).to_yaml())

    def write_log(self, rows: list[dict[str, float]]) -> None:
        table = io.StringIO()
        writer = csv.DictWriter(table, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_file(self.path / LOG, table.getvalue())

    def write_training(self, weights_sha256: str, training: Training) -> None:
        content = {"weights_sha256": weights_sha256, **schema.dump(training)}
        write_file(self.path / TRAINING, json.dumps(content, indent=2) + "\n")

    def read_training(self) -> tuple[str, Training]:
        """The SHA-256 of the weights, and what results say of their training.

        Raises:
            InputError: It cannot be read, or the weights are others.
        """
        path = self.path / TRAINING
        try:
            text = path.read_text(encoding="utf-8")
            weights_sha256 = json.loads(text)["weights_sha256"]
            training = schema.load(Training, text, TRAINING, "record of a training")
            same = sha256(self.path / WEIGHTS) == weights_sha256
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{str(path)!r} is damaged ({one_line(error)}); {_AGAIN}") from error
        if not same:
            raise InputError(f"{str(self.path / WEIGHTS)!r} are not the weights that {TRAINING} is about; {_AGAIN}")
        return weights_sha256, training

    def finish(self, card: str, results: Results) -> None:
        write_file(self.path / CARD, card)
        results.save(self.path / RESULTS)
        for name in (JOURNAL, TRAINING):  # the results say it all
            (self.path / name).unlink(missing_ok=True)


def copy_trained(run: Path, target: Path) -> None:
    """Copy what it takes to measure a trained network, whole or not at all.

    With what has been measured of it; or, where the run is finished, or released, to measure it anew.

    Raises:
        InputError: The run is not trained yet, its results do not tell of a training, or `target` cannot be written.
    """
    results = Results.load(run) if (run / RESULTS).is_file() else None
    told = results and results.training  # all that training.json would hold
    needed = [name for name in TRAINED if not (told and name == TRAINING)]
    if missing := [name for name in needed if not (run / name).is_file()]:
        raise InputError(f"{str(run)!r} is not trained: it lacks {', '.join(missing)}; do that with --make")
    with new_folder(target) as folder:
        copy_files(run, folder, needed if results else (*needed, JOURNAL))
        if results:
            RunFolder(folder, resume=True, overwrite=False).write_training(results.weights_sha256, results.training)


class Checkpoints:
    """The states of a run, `state/step-00001234.pt`: the newest and, in case that one is lost, the one before it.

    Args:
        identity: What a state must have been written with to be taken up again.
    """

    def __init__(self, folder: Path, identity: Mapping[str, object], save_minutes: float) -> None:
        self.folder, self.identity = folder / STATE, dict(identity)
        self._interval, self._saved = 60 * save_minutes, time.monotonic()
        self._last: Path | None = None

    def due(self) -> bool:
        """Whether the last state is old enough for a new one."""
        return time.monotonic() - self._saved >= self._interval

    def save(self, step: int, content: Mapping[str, object]) -> None:
        """Keep the state before an optimizer step, whole or not at all, and drop all but the one before it."""
        buffer = io.BytesIO()
        torch.save({"identity": self.identity, **content}, buffer)
        make_folder(self.folder)
        path = self.folder / f"step-{step:08d}.pt"
        write_file(path, buffer.getbuffer())
        for other in self.folder.glob("step-*.pt"):
            if other not in (path, self._last):
                other.unlink(missing_ok=True)
        self._last, self._saved = path, time.monotonic()

    def load(self, take: Callable[[dict[str, Any]], None], say: Callable[[str], None]) -> bool:
        """Hand the newest state that can be read to `take`; returns whether there was any state.

        Args:
            say: Gets a line for every state that is refused.

        Raises:
            InputError: There are states, but none can be taken up.
        """
        states = sorted(self.folder.glob("step-*.pt"), reverse=True)
        for number, path in enumerate(states):
            try:
                self._load(path, take)
            except InputError as error:
                following = [f"trying the one before it, {other.name}" for other in states[number + 1 : number + 2]]
                say(f"{error}; {following[0] if following else 'there is none before it'}")
            else:
                self._last = path
                return True
        if states:
            raise InputError(f"no state in {str(self.folder)!r} can be taken up; start again with --overwrite")
        return False

    def _load(self, path: Path, take: Callable[[dict[str, Any]], None]) -> None:
        try:
            with zipfile.ZipFile(path) as file:
                if part := file.testzip():  # torch.load does not look at checksums
                    raise ValueError(f"wrong checksum of {part}")
            content = torch.load(path, map_location="cpu", weights_only=True)
            identity = content["identity"]
        except Exception as error:  # a damaged file fails in many ways
            raise InputError(f"the state {str(path)!r} is damaged ({one_line(error)})") from error
        for name, value in self.identity.items():
            # A setting that is younger than the state had what is now its default.
            if (theirs := identity.get(name, _DEFAULTS.get(name))) != value:
                raise InputError(
                    f"the state {str(path)!r} is of another run: its {name} is {_short(theirs)}, not {_short(value)}"
                )
        try:
            take(content)
        except Exception as error:
            raise InputError(f"the state {str(path)!r} does not fit ({one_line(error)})") from error


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
