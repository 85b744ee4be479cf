"""How much of the bare training step's speed the training loop keeps.

The loop as train.py runs it - order, crops, mirroring, schedule, sums, log, progress - against nothing but forward,
backward and optimizer step on one synthetic batch, in turns in one process.

python tests/bench/bench_training.py                  # resnet18_cifar, batches of 64, 6 rounds of 40 steps each
python tests/bench/bench_training.py --model resnet18 --image-size 160   # JPEG files, random resized crops, one worker
python tests/bench/bench_training.py --model resnet18 --image-size 160 --in-memory   # decoded once, as Imagenette is
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for the package `train` of this checkout

from PIL import Image

import train.training_images
from timm_pushpull import cli
from timm_pushpull.utils import hardware
from train.data import load_splits, prepare_data
from train.launch import start_accelerator
from train.log import TrainLog
from train.run_folder import Checkpoints, TrainState
from train.settings import Settings
from train.signals import StopRequest
from train.train import resolve, train_epoch
from train.trainer import Trainer


def main() -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--model", default="resnet18_cifar", help="name of the network (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=64, help="images per batch (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=40, help="steps of a round (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=6, help="rounds, in which the forms take turns (default: %(default)s)"
    )
    parser.add_argument(
        "--image-size",
        type=int,
        default=32,
        help="px; above 32, JPEG files are decoded in workers (default: %(default)s)",
    )
    parser.add_argument("--workers", type=int, default=1, help="decoding processes (default: %(default)s)")
    parser.add_argument("--in-memory", action="store_true", help="larger images are decoded once, before the training")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        measure(options, Path(folder))


def synthetic_images(folder: Path, count: int, size: int) -> None:
    """Noise as PNG files; larger images as JPEG files of 1.4 times the size, smooth as photographs are.

    Training images beyond the first 1,000 are links to those, which take as long to decode.
    """
    rng = np.random.default_rng(0)
    for split, images in (("train", count), ("test", 10)):
        for number in range(images):
            file = folder / split / f"class-{number % 10}" / f"{number}.{'jpg' if size > 32 else 'png'}"
            file.parent.mkdir(parents=True, exist_ok=True)
            if number >= 1000:
                file.hardlink_to(folder / split / file.parent.name / f"{number % 1000}{file.suffix}")
                continue
            side = size // 8 if size > 32 else 32
            image = Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
            if size > 32:
                image = image.resize((int(1.4 * size), int(1.4 * size)), Image.Resampling.BICUBIC)
            image.save(file, **({"quality": 90} if size > 32 else {"compress_level": 0}))


def measure(options: argparse.Namespace, folder: Path, deadline: float = math.inf) -> dict[str, float]:
    """Measure the loop and the bare step, and print and return their images/s.

    Args:
        deadline: By `time.perf_counter`; after it, only the round at hand is finished.
    """
    size = options.image_size
    synthetic_images(folder, options.batch_size * options.steps, size)
    settings = Settings(
        models=(options.model,),
        dataset=str(folder),
        epochs=2 * options.rounds,
        batch_size=options.batch_size,
        img_size=size,
        **({"scale": (0.35, 1.0), "workers": options.workers, "num_classes": 10} if size > 32 else {"crop_padding": 4}),
    )
    accelerator = start_accelerator("auto", settings.precision)
    splits = load_splits(settings)
    settings = resolve(settings, *splits, accelerator)
    # Without memory as a dataset that is too large, so that decoding counts.
    kept = 0 if size > 32 and not options.in_memory else train.training_images._IN_MEMORY
    with patch.object(train.training_images, "_IN_MEMORY", kept):
        data = prepare_data(settings, *splits, accelerator.device)
    trainer = Trainer(settings, len(data.train), accelerator)
    state = TrainState()
    log = TrainLog(0, trainer.total_steps, settings, accelerator)
    checkpoints = Checkpoints(folder, {}, save_minutes=60)
    device = accelerator.device

    other = Trainer(settings, len(data.train), accelerator)
    x = torch.randn(options.batch_size, 3, size, size, device=device).to(memory_format=torch.channels_last)
    y = torch.randint(0, 10, (options.batch_size,), device=device)

    def bare() -> None:
        other.model.train()
        for _ in range(options.steps):
            loss = F.cross_entropy(other.model(x), y)
            accelerator.backward(loss)
            other.optimizer.step()
            other.optimizer.zero_grad()

    def loop() -> None:
        train_epoch(trainer, data, state, log, checkpoints, StopRequest())
        state.epoch, state.step = state.epoch + 1, 0

    def seconds(work) -> float:
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    seconds(bare), seconds(loop)  # warm up
    pairs = [(seconds(bare), seconds(loop))]
    while len(pairs) < options.rounds and time.perf_counter() < deadline:
        pairs.append((seconds(bare), seconds(loop)))
    images = options.batch_size * options.steps
    speeds = {}
    for name, times in zip(("bare step", "train.py"), zip(*pairs, strict=True), strict=True):
        speeds[name] = images / statistics.median(times)
        print(f"{name:10} {speeds[name]:8.1f} images/s")
    share = statistics.median(plain / whole for plain, whole in pairs)
    print(f"train.py keeps {share:.1%} ({options.model}, {settings.precision}, {hardware.describe(device)})")
    return {**speeds, "share": share}


if __name__ == "__main__":
    main()
