"""Between two readings of its sums the training loop never waits for the device."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

import train.training_images
from support.example_run import SMALL_ARGS
from timm_pushpull.data.augment import primitives
from train import train as loop
from train.batches import epoch_order
from train.command_line import parse
from train.data import load_splits, prepare_data
from train.launch import start_accelerator
from train.log import LogWindow
from train.trainer import Trainer

#: Flags beside the recipe's.
_EMA = ["--clip-grad", "1", "--model-ema-decay", "0.9"]
_MIXED = ["--mixup", "0.2", "--bce-loss"]
#: Operations whose result, or its shape, Python has to know.
_READING = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "unique", "_unique2", "masked_select")
_METHODS = ("item", "tolist", "numpy", "cpu")


class _Counter(TorchDispatchMode):
    """Counts the operations that would wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def counted(self, name: str) -> Callable:
        """A method of tensors that is counted, because torch does not dispatch it on the CPU."""
        original = getattr(torch.Tensor, name)

        def method(tensor, *arguments):
            self.found[name] += 1
            return original(tensor, *arguments)

        return method

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name().removeprefix("aten::").split(".")[0]
        if name in _READING:
            self.found[name] += 1
        if name == "_to_copy" and kwargs.get("device", args[0].device) != args[0].device and not _uploads():
            self.found["copy to a device"] += 1
        if name == "index" and any(part is not None and part.dtype == torch.bool for part in args[1]):
            self.found["index by a mask"] += 1
        return func(*args, **(kwargs or {}))


def _uploads() -> bool:
    """Whether `upload` is being called, which on a GPU does not wait."""
    return any(frame.name == "upload" for frame in traceback.extract_stack())


@contextmanager
def synchronisations(monkeypatch) -> Iterator[Counter[str]]:
    with monkeypatch.context() as patch, _Counter() as counter:
        for name in _METHODS:
            patch.setattr(torch.Tensor, name, counter.counted(name))
        yield counter.found


def start(folder: Path, device: str, *more: str) -> tuple[Trainer, Iterator, list[np.ndarray]]:
    """A small training of the cifar10 recipe: its trainer, its batches and who is in them."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        for split in ("train", "test") if number < 4 else ("train",):
            file = folder / split / "ab"[number % 2] / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(file)
    given = ["--recipe", "cifar10", "--dataset", str(folder), "--batch-size", "8", "--precision", "fp32"]
    _, settings = parse([*given, "--model", "resnet18_cifar_pushpull", "--model-args", *SMALL_ARGS, *more])
    accelerator = start_accelerator(device, settings.precision)
    splits = load_splits(settings)
    settings = loop.resolve(settings, *splits, accelerator)
    data = prepare_data(settings, *splits, accelerator.device)
    trainer = Trainer(settings, len(data.train), accelerator)
    trainer.model.train()
    data.train.set_epoch(0)
    order = epoch_order(len(data.train), settings.batch_size, settings.seed, 0)
    return trainer, data.train.batches(order, 0), order


def test_operations_that_wait_are_counted(monkeypatch):
    x = torch.arange(3.0)
    with synchronisations(monkeypatch) as found:
        bool(x[0] > 1), float(x[1]), x[x > 1], x.tolist(), x.cpu(), torch.nonzero(x)
    assert set(found) == {"_local_scalar_dense", "index by a mask", "tolist", "cpu", "nonzero"}


def test_prime_waits_for_none_of_its_copies(monkeypatch):
    """Its primitives on the meta device, which stands for a GPU: other devices are none on this machine."""
    images, device = torch.rand(2, 3, 11, 11, device="meta"), torch.device("meta")
    with synchronisations(monkeypatch) as found:
        noise = [torch.empty(2, cut, cut, device=device) for cut in (3, 4)]
        primitives.diffeomorphism(images, (3, 4), torch.ones(2), noise)
        primitives.smooth_colour(images, torch.ones(2), torch.empty(2, 3, 7, device=device), 7)
        primitives.random_filter(images, torch.empty(2, 3, 3, device=device))
    assert not found
    with synchronisations(monkeypatch) as found:
        torch.ones(2).to(device)
    assert found == {"copy to a device": 1}


# Not with mixing: on the CPU alone, torch's one_hot reads the labels.
@pytest.mark.parametrize("more", [[], _EMA])
def test_a_window_of_steps_reads_nothing(tmp_path, monkeypatch, more):
    trainer, batches, order = start(tmp_path, "cpu", *more)
    window = LogWindow(trainer.accelerator)
    trainer.train_step(0, batches, len(order[0]))  # what is made at the first step
    with synchronisations(monkeypatch) as found:
        for step, batch in enumerate(order[1:], start=1):
            lr = trainer.next_lr
            window.add(*trainer.train_step(step, batches, len(batch)), len(batch), lr)
    assert not found
    with synchronisations(monkeypatch) as found:
        window.reduce()
    assert found == {"tolist": 1}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("where", ["resident", "loaded"])
@pytest.mark.parametrize("more", [[], _EMA, [*_MIXED, "--reprob", "0.5"], ["--augmentation", "prime"]])
def test_a_window_of_steps_does_not_wait_for_the_gpu(tmp_path, monkeypatch, where, more):
    if where == "loaded":
        monkeypatch.setattr(train.training_images, "_IN_MEMORY", 0)
    trainer, batches, order = start(tmp_path, "cuda", *more)
    window = LogWindow(trainer.accelerator)
    for step in range(2):  # cuDNN tries its algorithms, Triton compiles, constants are copied
        trainer.train_step(step, batches, len(order[step]))
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step, batch in enumerate(order[2:], start=2):
            window.add(*trainer.train_step(step, batches, len(batch)), len(batch), trainer.next_lr)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(window.reduce()[0]) == len(order) - 2
