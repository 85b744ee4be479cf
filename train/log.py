"""What a run shows while it trains: progress bar, epochs, and one of Accelerate's trackers."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from torch import Tensor, nn

from timm_pushpull.layers.push_pull_base import inhibition_strengths
from timm_pushpull.utils import provenance
from timm_pushpull.utils.errors import InputError, Interrupted, one_line, unknown
from timm_pushpull.utils.files import make_folder, read_plain, refuse_link, write_file
from timm_pushpull.utils.progress import progress_bar
from timm_pushpull.utils.provenance import shareable
from timm_pushpull.utils.text import duration
from train.run_folder import TRACKING
from train.settings import Settings

_PROJECT = "timm-pushpull"
_WORTH_TELLING = 60  # seconds


class StepSums(NamedTuple):
    """One optimizer step, over all processes.

    Attributes:
        loss, wrong: Sums over the images of the batch.
        images: Size of the batch.
        lr: The learning rate of the step.
    """

    loss: float
    wrong: float
    images: int
    lr: float


class LogWindow:
    """The sums of the last steps, kept on the device: reading them waits for it, and for the other processes.

    A window has at most `STEPS` steps, and fewer where they would take longer than about `SECONDS`. The processes agree
    on the next window's when they empty one: each proposes what suits its pace in the window before.
    """

    STEPS = 20
    SECONDS = 5.0

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self._sums = torch.zeros(self.STEPS + 1, 2, device=accelerator.device)  # the last row: stop, proposed steps
        self._batches: list[tuple[int, float]] = []
        self._size = self._proposed = 1  # the pace is not known yet
        self._since = time.perf_counter()

    def start(self) -> None:
        """Measure time from now on."""
        self._since = time.perf_counter()

    def add(self, loss: Tensor, wrong: Tensor, images: int, lr: float) -> None:
        """Note a step: the sums of this process, the size of the whole batch, and its learning rate."""
        row = len(self._batches)
        self._sums[row, 0] = loss
        self._sums[row, 1] = wrong
        self._batches.append((images, lr))

    def is_full(self) -> bool:
        return len(self._batches) >= self._size

    def reduce(self, stop: bool = False) -> tuple[list[StepSums], float, bool]:
        """Empty the window, in all processes at once.

        Args:
            stop: Whether this process is to stop.

        Returns:
            The steps since the last call, summed over all processes; the seconds they took; whether any process is to
            stop.
        """
        self._sums[-1, 0] = stop
        self._sums[-1, 1] = self._proposed
        *sums, (stops, proposed) = self.accelerator.reduce(self._sums).tolist()
        steps = [StepSums(loss, wrong, *batch) for (loss, wrong), batch in zip(sums, self._batches, strict=False)]
        now = time.perf_counter()
        seconds, self._since = now - self._since, now
        self._size = int(proposed) // self.accelerator.num_processes  # a sum of whole numbers: the same everywhere
        self._proposed = max(1, min(self.STEPS, int(self.SECONDS * len(steps) / seconds)))
        self._batches = []
        self._sums.zero_()
        return steps, seconds, stops > 0


class TrainLog:
    """The progress bar and the tracker of a run.

    Args:
        step: The optimizer steps that are done.
        total: Those of the whole run.
    """

    def __init__(self, step: int, total: int, settings: Settings, accelerator: Accelerator) -> None:
        self.epochs, self.name, self.total, self.accelerator = settings.epochs, settings.names[0], total, accelerator
        self.bar = progress_bar(total, self.name, "step", show=accelerator.is_main_process, initial=step)
        self.window = LogWindow(accelerator)
        self._windows = 0

    def __enter__(self) -> TrainLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def log_window(self, steps: list[StepSums], seconds: float, epoch: int, global_step: int) -> None:
        """Show means over a window of steps, which ends before `global_step`."""
        images = sum(step.images for step in steps)
        loss, error = sum(step.loss for step in steps) / images, sum(step.wrong for step in steps) / images
        speed = images / seconds
        shown = {"epoch": epoch + 1, "loss": f"{loss:.3f}", "train error": f"{error:.1%}", "images/s": f"{speed:.0f}"}
        self.bar.set_postfix(shown, refresh=False)
        self._windows += 1
        left = (self.total - global_step) * seconds / len(steps)
        # The first two, of one step, warm up, and the third is as long as the first suggested.
        if self._windows == 4 and left >= _WORTH_TELLING and self.accelerator.is_main_process:
            last = "step" if len(steps) == 1 else f"{len(steps)} steps"
            self.bar.write(f"{self.name}: about {duration(left)} left to train, by the last {last}")
        values = {"loss": loss, "train_error": error, "learning_rate": steps[-1].lr, "images_per_second": speed}
        self.accelerator.log(values, step=global_step)

    def log_epoch(self, row: Mapping[str, float], global_step: int) -> None:
        """Show a row of log.csv."""
        values = {name if name.startswith("alpha") else f"epoch_{name}": value for name, value in row.items()}
        self.accelerator.log(values, step=global_step)
        alpha = f", alpha {row['alpha_mean']:.2f} +- {row['alpha_std']:.2f}" if "alpha_mean" in row else ""
        if self.accelerator.is_main_process:
            self.bar.write(
                f"{self.name}: epoch {row['epoch']}/{self.epochs}, loss {row['loss']:.4f}, "
                f"train error {row['train_error']:.1%}, test error {row['test_error']:.1%}{alpha}"
            )


def check_tracker(name: str | None) -> None:
    """Raise InputError for a tracker that Accelerate does not know, or whose package is not installed."""
    if name is not None and name not in LOGGER_TYPE_TO_CLASS:
        raise unknown("tracker", name, LOGGER_TYPE_TO_CLASS)
    if name is not None and name not in [str(tracker) for tracker in get_available_trackers()]:
        raise InputError(f"tracker {name!r} is not installed; try: pip install {name}")


@contextmanager
def start_tracker(name: str | None, folder: Path, settings: Settings, accelerator: Accelerator) -> Iterator[None]:
    """Send what is logged to one of Accelerate's trackers, under the network's name.

    Those that need a folder, as TensorBoard does, get one in the run's; a resumed run continues its tracker's run.

    Raises:
        InputError: The tracker does not start.
    """
    if name is None:
        yield
        return
    accelerator.log_with = [name]
    accelerator.project_configuration.logging_dir = str(folder / TRACKING)
    arguments = {}
    if accelerator.is_main_process:
        make_folder(folder / TRACKING, within=folder)
        refuse_link(folder / TRACKING / _PROJECT)  # where TensorBoard writes
        arguments = _run_arguments(name, folder / TRACKING, settings)
    config = {
        key: shareable(value if isinstance(value, (int, float, str)) else str(value))
        for key, value in settings.recorded().items()
    }
    try:
        accelerator.init_trackers(_PROJECT, config=config, init_kwargs={name: arguments})
    except Exception as error:  # each tracker has its own: no login, no network, a damaged configuration
        raise InputError(f"tracker {name!r} does not start: {one_line(error)}") from error
    try:
        yield
    finally:
        for tracker in accelerator.trackers:
            tracker.finish()
        accelerator.trackers = []


def _run_arguments(tracker: str, folder: Path, settings: Settings) -> dict[str, str]:
    """What makes a tracker that keeps runs elsewhere name this run and find it again."""
    if tracker not in ("wandb", "trackio"):
        return {}
    id_file = folder / "id"
    if not os.path.lexists(id_file):
        write_file(id_file, uuid.uuid4().hex[:8])
    (network,), run_id = settings.models, read_plain(id_file, 64).decode(errors="replace")
    if not re.fullmatch("[0-9a-f]{8}", run_id):  # it is sent to the tracker
        raise InputError(f"{str(id_file)!r} holds no identifier of a run; remove it to begin another")
    if tracker == "wandb":
        return {"name": network, "id": run_id, "resume": "allow"}
    return {"name": f"{network}-{run_id}", "resume": "allow"}  # trackio knows runs by their names


def alpha_statistics(network: nn.Module) -> dict[str, float]:
    """Mean, standard deviation and extremes of the inhibition strengths; empty for a network without any."""
    alpha = inhibition_strengths(network)
    if alpha is None:
        return {}
    values = {"mean": alpha.mean(), "std": alpha.std(correction=0), "min": alpha.min(), "max": alpha.max()}
    return {f"alpha_{name}": value.item() for name, value in values.items()}


def print_resume(epoch: int, step: int) -> None:
    """Say on stderr where a run has stopped, counted from 0, and how to go on."""
    line = f"train.py: stopped in epoch {epoch + 1}, step {step}; resume with: {_resume_command()}"
    print(line, file=sys.stderr, flush=True)


@contextmanager
def resume_advice(accelerator: Accelerator) -> Iterator[None]:
    """Let the main process end with the way to go on where a signal ends it outside of the training loop."""
    try:
        yield
    except KeyboardInterrupt as error:
        if getattr(error, "message", None) is not None:  # the loop has said it
            raise
        message = f"stopped; resume with: {_resume_command()}" if accelerator.is_main_process else ""
        raise Interrupted(getattr(error, "signal", signal.SIGINT), message) from error


def _resume_command() -> str:
    arguments = [argument for argument in sys.argv[1:] if argument not in ("--overwrite", "--resume")]
    return provenance.command_to_run([*arguments, "--resume"])
