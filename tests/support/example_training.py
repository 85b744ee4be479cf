"""Short trainings, and what they leave behind."""

from __future__ import annotations

import csv
from pathlib import Path

import torch

from learner import Learner
from settings import Settings
from support.example_run import SMALL_ARGS
from support.paths import ROOT
from support.processes import Command, launch, options

TRAIN = str(ROOT / "train" / "train.py")
MODEL = "resnet18_cifar_pushpull"
STEPS = 600  # of a resumable training: 2 epochs of 600 images in batches of 2


def arguments(dataset: Path, output: Path, /, **changes: object) -> list[str]:
    """A short training of one network on the image folder."""
    settings = {
        "recipe": "digits",
        "model": MODEL,
        "model-args": SMALL_ARGS,
        "dataset": dataset,
        "output": output,
        "epochs": 2,
        "batch-size": 8,
        "resize": 36,
        "lr-peak": 0.05,
        "precision": "fp32",
        "benchmark-limit": 4,
        **changes,
    }
    return [TRAIN, *options(settings)]


def resumable_arguments(output: Path, **changes: object) -> list[str]:
    """A training that can be interrupted at each of its steps."""
    settings = {
        "dataset": "digits",
        "model": "resnet18_cifar_pushpull",
        "output": output,
        "limit": 600,
        "epochs": 2,
        "batch-size": 2,
        "precision": "fp32",
        "ema-decay": 0.9,
        "model-args": [*SMALL_ARGS, "drop_rate=0.3"],
        "benchmark-limit": 1,
        "save-minutes": 0,
        **changes,
    }
    return [TRAIN, *options(settings)]


def start_resumable(output: Path, processes: int, *more: str, **changes: object) -> list[Command]:
    command = [*resumable_arguments(output, **changes), *more]
    return launch(processes, *command) if processes > 1 else [Command(*command)]


def state(folder: Path, step: int = STEPS) -> dict:
    return torch.load(folder / "state" / f"step-{step:08d}.pt", weights_only=True)


def read_log(folder: Path) -> list[dict[str, float]]:
    with open(folder / "log.csv", newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def assert_same(first: object, second: object, where: str = "state") -> None:
    """Equal to the bit, but for the seconds."""
    assert type(first) is type(second), where
    if isinstance(first, dict):
        assert list(first) == list(second), where
        for name in first:
            if name != "seconds":
                assert_same(first[name], second[name], f"{where}[{name!r}]")
    elif isinstance(first, (list, tuple)):
        assert len(first) == len(second), where
        for number, pair in enumerate(zip(first, second, strict=True)):
            assert_same(*pair, f"{where}[{number}]")
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second), where
    else:
        assert first == second, where


def learner(**changes) -> Learner:
    from accelerate import Accelerator

    settings = {"models": ("test_vit",), "num_classes": 3, "accumulation": 1, "batch_size": 6, "epochs": 2}
    settings |= {"mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2), "lr_peak": 0.05, **changes}
    return Learner(Settings(**settings), images=12, accelerator=Accelerator(cpu=True))
