"""The folder of a run: what may be written where, what --resume finds in it, and the files of its checkpoints."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch

from timm_pushpull.benchmark.results import Results, Training
from timm_pushpull.hub.contents import check_files, present
from timm_pushpull.models.weights import CONFIG, WEIGHTS
from timm_pushpull.utils import schema
from timm_pushpull.utils.errors import InputError, one_line
from timm_pushpull.utils.files import (
    copy_files,
    is_temporary,
    make_folder,
    new_folder,
    read_plain,
    refuse_link,
    remove,
    sha256,
    write_error,
    write_file,
)
from timm_pushpull.utils.json_text import CHECKSUM, check_checksum, parse_object, with_checksum
from timm_pushpull.utils.locks import only_process
from train.settings import Settings, load_recipe
from train.settings import renamed as renamed_setting

RECIPE, LOG, STATE, TRACKING, CARD, RESULTS = "recipe.yaml", "log.csv", "state", "tracking", "README.md", "results.json"
#: What there is to say of a training whose network is yet to be measured, and what has been measured of it so far.
TRAINING, BENCHMARK_LOG = "training.json", f"{RESULTS}.part"
#: All that a run writes, and so all that --overwrite may remove. A folder with results is finished: they come last.
_FILES = (RESULTS, BENCHMARK_LOG, CARD, TRAINING, WEIGHTS, CONFIG, STATE, TRACKING, LOG, RECIPE)
#: Settings that a trained network may be measured with, whatever it was trained with.
_FREE_WHEN_TRAINED = ("precision", "grad_accum_steps", "torchcompile", "benchmark_limit", "dataset")
_RESUME_TRAINING = f"remove {TRAINING} to resume from the run's last checkpoint"
_DEFAULTS = {
    entry.name: entry.default if entry.default_factory is MISSING else entry.default_factory()
    for entry in fields(Settings)
}
#: Keys in the checkpoints of older versions, and today's.
_RENAMED = {"position": "train_state", "learner": "trainer", "schedule": "scheduler", "average": "model_ema"}


class RunFolder:
    """A run's folder. Making one only looks; nothing is written before `start`.

    Raises:
        InputError: The folder holds a run, and neither `resume` nor `overwrite` is given, or other files and no run.
    """

    def __init__(self, path: Path, resume: bool, overwrite: bool) -> None:
        self.path, self._asked = path, (resume, overwrite)
        self.resume = resume and (path / RECIPE).exists()
        try:
            names = sorted(entry.name for entry in path.iterdir()) if path.exists() else []
        except OSError as error:
            raise write_error(path, error) from error
        content = [name for name in names if not is_temporary(name)]
        if content and RECIPE not in content:  # README.md or config.json may be the user's own
            raise InputError(
                f"{str(path)!r} already holds other files ({content[0]}, ...) and no run; use another --output"
            )
        if content and not (self.resume or overwrite):
            raise InputError(
                f"{str(path)!r} already holds a run; give --resume to go on with it, --overwrite to replace it, or "
                f"another --output"
            )
        self.is_trained = self.resume and (path / TRAINING).exists()
        self.results = Results.load(path) if self.resume and (path / RESULTS).exists() else None

    @property
    def has_checkpoints(self) -> bool:
        """Whether there is something to resume from."""
        return self.resume and any((self.path / STATE).glob("step-*.pt"))

    def check_unchanged(self) -> None:
        """Look once more, when no other process can be at work here any more.

        Raises:
            InputError: Another process has begun, trained or finished a run here since this object was made.
        """
        now = RunFolder(self.path, *self._asked)
        if now._stage() != self._stage():
            raise InputError(
                f"another process has worked on {str(self.path)!r} while this one was starting; run the same command "
                f"again"
            )

    def _stage(self) -> tuple[bool, ...]:
        """How far the run is, as far as it decides what is left to do."""
        return self.resume, self.has_checkpoints, self.is_trained, self.results is not None

    def check(self, settings: Settings) -> None:
        """Raise InputError where the run had other settings; some are free for one that is only to be measured."""
        theirs = load_recipe(self.path / RECIPE)
        for name, value in settings.recorded().items():
            if self.is_trained and name in _FREE_WHEN_TRAINED:
                continue
            if getattr(theirs, name) != value:
                raise InputError(
                    f"the run in {str(self.path)!r} has {name} {getattr(theirs, name)!r}, not {value!r}; "
                    f"resume it with its own settings, or use another --output"
                )

    def start(self, settings: Settings) -> None:
        """Clear the folder for a new run, whose settings are then what marks it as one that can be resumed."""
        make_folder(self.path)
        for name in set(_FILES) - {RECIPE}:  # the mark of a run is replaced as a whole
            remove(self.path / name, within=self.path)
        write_file(self.path / RECIPE, settings.to_yaml())

    def remove_temporary(self) -> None:
        """Remove what killed processes have not completed; no other process may be at work here."""
        named = [path for path in self.path.glob(".*.tmp") if is_temporary(path.name)]
        for path in (*named, *(self.path / STATE).glob(".step-*.tmp")):
            remove(path, within=self.path)

    def write_benchmark_limit(self, settings: Settings) -> None:
        """Update the recipe of a trained network with the number of images it is measured on."""
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
        """Write what results will say of the training; it marks the run as trained."""
        content = with_checksum({"weights_sha256": weights_sha256, **schema.dump(training)})
        write_file(self.path / TRAINING, json.dumps(content, indent=2) + "\n")

    def read_training(self) -> tuple[str, Training]:
        """The SHA-256 of the weights, and what results say of their training.

        Raises:
            InputError: It cannot be read, or the weights are others.
        """
        path = self.path / TRAINING
        try:
            content = parse_object(read_plain(path, 1 << 20))
            # Older versions wrote no checksum; a name that nobody wrote may be that of a damaged one.
            if CHECKSUM in content or not set(content) <= {"weights_sha256", *map(schema.key, fields(Training))}:
                content = check_checksum(content)
            weights_sha256 = content["weights_sha256"]
            training = schema.check(Training, content, TRAINING, "record of a training")
            same = sha256(self.path / WEIGHTS) == weights_sha256
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{str(path)!r} is damaged ({one_line(error)}); {_RESUME_TRAINING}") from error
        if not same:
            raise InputError(
                f"{str(self.path / WEIGHTS)!r} are not the weights that {TRAINING} is about; {_RESUME_TRAINING}"
            )
        return weights_sha256, training

    def write_results(self, card: str, results: Results) -> None:
        """Write the card and, last, the results: they mark the run as finished."""
        write_file(self.path / CARD, card)
        results.save(self.path / RESULTS)
        for name in (BENCHMARK_LOG, TRAINING):  # the results hold all of it
            remove(self.path / name, within=self.path)

    def remove_checkpoints(self) -> None:
        """Remove the checkpoints of a finished run, which nothing can be resumed from any more."""
        remove(self.path / STATE, within=self.path)


def copy_trained(run: Path, target: Path) -> None:
    """Copy what it takes to measure a finished or released network anew, whole or not at all.

    Raises:
        InputError: The run is not finished, its results do not tell of a training, one of its files is a symbolic link
            or damaged, or `target` exists, cannot be written, or is another process's.
    """
    needed = (RECIPE, LOG, WEIGHTS, CONFIG)
    held = present(run, (*needed, RESULTS))
    check_files(run, held)
    if missing := [name for name in (*needed, RESULTS) if name not in held]:
        raise InputError(f"{str(run)!r} is no finished run: it lacks {', '.join(missing)}")
    results = Results.load(run)
    if not results.training:
        raise InputError(f"{str(run / RESULTS)!r} does not tell of a training; give a run of train.py")
    with only_process(target):
        if os.path.lexists(target):
            raise InputError(f"{str(target)!r} exists, and what it holds would be lost; remove it, or choose another")
        with new_folder(target) as folder:
            copy_files(run, folder, needed)
            RunFolder(folder, resume=True, overwrite=False).write_training(results.weights_sha256, results.training)


@dataclass
class TrainState:
    """Where a run stands, apart from the weights.

    Attributes:
        epoch, step: The next ones, from 0; `step` counts within the epoch.
        loss, wrong: Sums over the epoch's images so far, of all processes.
        lr: Learning rate of the last step.
        log: One row per finished epoch.
        seconds: Time spent on training so far; not in the log, which does not depend on the machine.
        initial_weights: What the run started from, as `InitialWeights`; None for weights drawn at random.
    """

    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    wrong: int = 0
    log: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0
    lr: float = math.nan
    initial_weights: dict[str, Any] | None = None


class _DamagedError(InputError):
    """A checkpoint that is no loss to overwrite."""


class Checkpoints:
    """The checkpoints of a run, `state/step-00001234.pt`: the newest and, in case that one is damaged, the one before.

    Args:
        identity: Settings and data that a checkpoint must have been written with to be loaded again.
        save_minutes: Time from one checkpoint to the next.

    Raises:
        InputError: The folder of the checkpoints is a symbolic link.
    """

    def __init__(self, folder: Path, identity: Mapping[str, object], save_minutes: float) -> None:
        self.run, self.folder, self.identity = folder, folder / STATE, dict(identity)
        refuse_link(self.folder)
        self._interval, self._saved = 60 * save_minutes, time.monotonic()
        self._last: Path | None = None

    def due(self) -> bool:
        """Whether the last checkpoint is old enough for a new one."""
        return time.monotonic() - self._saved >= self._interval

    def save(self, step: int, content: Mapping[str, object]) -> None:
        """Write the checkpoint before an optimizer step, whole or not at all; remove all but this and the last one."""
        buffer = io.BytesIO()
        torch.save({"identity": self.identity, **content}, buffer)
        make_folder(self.folder, within=self.run)
        path = self.folder / f"step-{step:08d}.pt"
        write_file(path, buffer.getbuffer(), within=self.run)  # type: ignore[arg-type]  # spares a copy
        for other in self.folder.glob("step-*.pt"):
            if other not in (path, self._last):
                remove(other, within=self.run)
        self._last, self._saved = path, time.monotonic()

    def load(self, restore: Callable[[dict[str, Any]], None], say: Callable[[str], None]) -> bool:
        """Hand the newest checkpoint that is good to `restore`; returns whether there was any checkpoint.

        Args:
            say: Gets a line for every checkpoint that is refused.

        Raises:
            InputError: There are checkpoints, but none is good.
        """
        paths = sorted(self.folder.glob("step-*.pt"), reverse=True)
        damaged = True
        for number, path in enumerate(paths):
            try:
                self._load(path, restore)
            except InputError as error:
                damaged = damaged and isinstance(error, _DamagedError)
                older = paths[number + 1 : number + 2]
                say(f"{error}; {f'trying the one before it, {older[0].name}' if older else 'there is none before it'}")
            else:
                self._last = path
                return True
        if paths:
            other = "resume with the settings of that run, or use another --output"
            advice = "start again with --overwrite" if damaged else other
            raise InputError(f"no checkpoint in {str(self.folder)!r} can be loaded; {advice}")
        return False

    def _load(self, path: Path, restore: Callable[[dict[str, Any]], None]) -> None:
        try:
            with zipfile.ZipFile(path) as file:
                if part := file.testzip():  # torch.load does not look at checksums
                    raise ValueError(f"wrong checksum of {part}")
            content = renamed(torch.load(path, map_location="cpu", weights_only=True))
            identity = dict(renamed_setting(*item) for item in content["identity"].items())
        except Exception as error:  # a damaged file fails in many ways
            raise _DamagedError(f"the checkpoint {str(path)!r} is damaged ({one_line(error)})") from error
        for name, value in self.identity.items():
            # A setting that is younger than the checkpoint had what is now its default.
            if (theirs := identity.get(name, _DEFAULTS.get(name))) != value:
                raise InputError(
                    f"the checkpoint {str(path)!r} is of another run: its {name} is {_short(theirs)}, not "
                    f"{_short(value)}"
                )
        try:
            restore(content)
        except Exception as error:
            raise InputError(f"the checkpoint {str(path)!r} does not fit ({one_line(error)})") from error


def renamed(content: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint with today's keys, also one of an older version."""
    content = {_RENAMED.get(name, name): value for name, value in content.items()}
    if "trainer" in content:
        content["trainer"] = {_RENAMED.get(name, name): value for name, value in content["trainer"].items()}
    return content


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
