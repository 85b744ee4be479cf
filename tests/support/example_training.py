"""Short trainings for tests: command lines, runs in processes of their own, and what they leave behind."""

from __future__ import annotations

import csv
from pathlib import Path

import torch

from support.example_run import SMALL_ARGS
from support.paths import ROOT
from support.processes import Command, launch, options

TRAIN = str(ROOT / "train" / "train.py")
MODEL = "resnet18_cifar_pushpull"
RUN_FILES = {"model.safetensors", "config.json", "results.json", "README.md", "log.csv", "recipe.yaml"}
#: Optimizer steps of `digits_arguments`: 2 epochs of 600 images in batches of 2.
STEPS = 600


def folder_arguments(dataset: Path, output: Path, /, **changes: object) -> list[str]:
    """A short training of one network on an image folder."""
    settings = {
        "recipe": "digits",
        "model": MODEL,
        "model-args": SMALL_ARGS,
        "dataset": dataset,
        "output": output,
        "epochs": 2,
        "batch-size": 8,
        "resize": 36,
        "lr": 0.05,
        "precision": "fp32",
        "benchmark-limit": 4,
        **changes,
    }
    return [TRAIN, *options(settings)]


def digits_arguments(output: Path, **changes: object) -> list[str]:
    """A training of many steps with dropout and a moving average, which saves checkpoints often and keeps them."""
    settings = {
        "dataset": "digits",
        "model": MODEL,
        "output": output,
        "limit": 600,
        "epochs": 2,
        "batch-size": 2,
        "precision": "fp32",
        "model-ema-decay": 0.99,  # reached after the last step: until then the average warms up
        "model-args": [*SMALL_ARGS, "drop_rate=0.3"],
        "benchmark-limit": 1,
        "save-minutes": 0,
        **changes,
    }
    return [TRAIN, *options(settings), "--keep-checkpoints"]


def start(output: Path, processes: int, *more: str, **changes: object) -> list[Command]:
    """Start the training of `digits_arguments` in one or several processes."""
    command = [*digits_arguments(output, **changes), *more]
    return launch(processes, *command) if processes > 1 else [Command(*command)]


def read_log(folder: Path) -> list[dict[str, float]]:
    with open(folder / "log.csv", newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def read_checkpoint(folder: Path, step: int = STEPS) -> dict:
    return torch.load(folder / "state" / f"step-{step:08d}.pt", weights_only=True)


def assert_same(first: object, second: object, where: str = "checkpoint") -> None:
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


def small_trainer(**changes: object):
    """A `Trainer` of two epochs of two steps."""
    from accelerate import Accelerator

    from train.settings import Settings
    from train.trainer import Trainer

    settings = {"models": ("test_vit",), "num_classes": 3, "grad_accum_steps": 1, "batch_size": 6, "epochs": 2}
    settings |= {"mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2), "lr": 0.05, **changes}
    return Trainer(Settings(**settings), images=12, accelerator=Accelerator(cpu=True))
