"""The paper's training step, written out: whatever train.py learns besides, its default stays this loop to the bit.

A digest of the weights would hold on one processor alone, so the loop is written down a second time, in plain torch and
numpy, and both are run on the machine of the test.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from PIL import Image

from support.example_run import SMALL_ARGS
from timm_pushpull.models.weights import create_model
from train import train
from train.command_line import parse
from train.data import load_splits, prepare_data
from train.log import TrainLog
from train.run_folder import Checkpoints, TrainState
from train.signals import StopRequest
from train.trainer import Trainer

IMAGES, BATCH, SEED = 50, 8, 1234
STEPS = 30 * 7


def draws(epoch: int, purpose: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array([SEED, 2 * epoch + purpose], np.uint64)))


def reference(pixels: np.ndarray, labels: np.ndarray, epochs: int) -> torch.nn.Module:
    """The network after `epochs` of the cifar10 recipe, whose schedule is 30 epochs long."""
    torch.manual_seed(SEED)
    network = create_model("resnet18_cifar_pushpull", num_classes=2, layers=[1] * 4, channels=[16] * 4)
    network.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.005, momentum=0.9, weight_decay=1e-5, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.2, total_steps=STEPS, div_factor=0.2 / 0.005, final_div_factor=0.005 / 1.25e-7
    )
    mean, std = (
        torch.tensor(values).view(3, 1, 1) * 255 for values in ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
    )
    padded = np.pad(pixels, ((0, 0), (4, 4), (4, 4), (0, 0)))
    for epoch in range(epochs):
        chances = draws(epoch, 1).random((IMAGES, 3))
        for batch in np.array_split(draws(epoch, 0).permutation(IMAGES), 7):
            images = []
            for position in batch:
                down, right, mirror = chances[position]
                top, left = int(down * 9), int(right * 9)
                crop = padded[position, top : top + 32, left : left + 32]
                images.append(crop[:, ::-1] if mirror < 0.5 else crop)
            x = (torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) - mean) / std
            loss = F.cross_entropy(network(x), torch.from_numpy(labels[batch]), reduction="sum") * (1 / len(batch))
            loss.backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    return network


def test_the_cifar10_recipe_is_this_loop(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], IMAGES // 2)
    pixels = rng.integers(0, 256, (IMAGES, 32, 32, 3), dtype=np.uint8)
    for split, count in (("train", IMAGES), ("test", 4)):
        for number in range(count):
            folder = tmp_path / "data" / split / "ab"[labels[number] if split == "train" else number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[number]).save(folder / f"{number:03d}.png")
    given = ["--recipe", "cifar10", "--dataset", str(tmp_path / "data"), "--batch-size", str(BATCH)]
    _, settings = parse(
        [*given, "--model", "resnet18_cifar_pushpull", "--precision", "fp32", "--model-args", *SMALL_ARGS]
    )
    accelerator = Accelerator(cpu=True)
    splits = load_splits(settings)
    settings = train.resolve(settings, *splits, accelerator)
    data = prepare_data(settings, *splits, accelerator.device)
    trainer = Trainer(settings, len(data.train), accelerator)
    assert trainer.total_steps == STEPS
    state, checkpoints = TrainState(), Checkpoints(tmp_path, {}, save_minutes=60)
    with TrainLog(0, trainer.total_steps, settings, accelerator) as log:
        for epoch in range(2):
            state = TrainState(epoch=epoch)
            train.train_epoch(trainer, data, state, log, checkpoints, StopRequest())
    expected = reference(pixels, labels, epochs=2).state_dict()
    for name, tensor in trainer.network.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
