"""Around a run: trackers, and advice when memory runs out."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

from run_folder import TRACKING
from settings import Settings
from timm_pushpull.utils.errors import InputError, one_line, unknown
from timm_pushpull.utils.files import make_folder, write_file
from timm_pushpull.utils.hardware import choose_device


def check_gpus(device: str) -> None:
    """Raise InputError where Accelerate was told to start processes for several GPUs and there is none.

    Its launcher says nothing, and the processes would train on the CPU. It leaves ACCELERATE_USE_CPU to those that it
    starts otherwise.
    """
    for_gpus = "ACCELERATE_MIXED_PRECISION" in os.environ and "ACCELERATE_USE_CPU" not in os.environ
    if for_gpus and device == "auto" and choose_device().type == "cpu":
        raise InputError(
            "Accelerate was told to use several GPUs, but this machine has none; leave out --multi_gpu, use "
            "--config_file train/clusters/cpu.yaml, or add --device cpu"
        )


def check_tracker(name: str | None) -> None:
    """Raise InputError for a tracker that Accelerate does not know, or whose package is not installed."""
    if name is not None and name not in LOGGER_TYPE_TO_CLASS:
        raise unknown("tracker", name, LOGGER_TYPE_TO_CLASS)
    if name is not None and name not in [str(tracker) for tracker in get_available_trackers()]:
        raise InputError(f"tracker {name!r} is not installed; try: pip install {name}")


@contextmanager
def start_trackers(name: str | None, folder: Path, settings: Settings, accelerator: Accelerator) -> Iterator[None]:
    """Send what is logged to one of Accelerate's trackers, under the network's name.

    Those that need a folder, as TensorBoard does, get one in the run's; a resumed run goes on in the tracker's run.

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
        make_folder(folder / TRACKING)
        arguments = _run_in(name, folder / TRACKING, settings)
    config = {
        key: value if isinstance(value, (int, float, str)) else str(value) for key, value in settings.recorded().items()
    }
    try:
        accelerator.init_trackers("timm-pushpull", config=config, init_kwargs={name: arguments})
    except Exception as error:  # each tracker has its own: no login, no network, a damaged configuration
        raise InputError(f"tracker {name!r} does not start: {one_line(error)}") from error
    try:
        yield
    finally:
        for tracker in accelerator.trackers:
            tracker.finish()
        accelerator.trackers = []


def _run_in(tracker: str, folder: Path, settings: Settings) -> dict[str, str]:
    """What makes a tracker that keeps runs elsewhere call this one by its name, and find it again."""
    if tracker not in ("wandb", "trackio"):
        return {}
    known = folder / "id"
    if not known.exists():
        write_file(known, uuid.uuid4().hex[:8])
    (network,), identity = settings.models, known.read_text(encoding="utf-8")
    if tracker == "wandb":
        return {"name": network, "id": identity, "resume": "allow"}
    return {"name": f"{network}-{identity}", "resume": "allow"}  # trackio knows runs by their names


@contextmanager
def memory_advice(settings: Settings) -> Iterator[None]:
    """Turn "out of memory", of the GPU or of the machine, into one line with the way out."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)):
            raise
        raise InputError(
            f"out of memory with batch_size {settings.batch_size} in {settings.accumulation} parts; use --accumulation "
            f"{2 * settings.accumulation} for the same steps in less memory, or a smaller --batch-size or --image-size"
        ) from error
