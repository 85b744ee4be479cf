"""Time of the benchmark over that of the bare forward passes over the same number of images.

    python tests/bench/bench_benchmark.py --dataset FOLDER_OR_HUB_ID --limit 1000

All 76 cells of preset cifar10-c, in turns with bare passes over as many random batches; prints seconds, images/s, their
ratio and the peak memory.
"""

from __future__ import annotations

import argparse
import math
import resource
import time

import timm
import torch

import timm_pushpull  # noqa: F401
from timm_pushpull import cli
from timm_pushpull.benchmark import evaluate
from timm_pushpull.corruptions import CORRUPTIONS
from timm_pushpull.data.loading import load_images
from timm_pushpull.data.preprocessing import ResizeCenterCrop
from timm_pushpull.utils.hardware import autocast, choose_device, choose_precision, describe


def main() -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--model", default="resnet18_cifar", help="name of the network (default: %(default)s)")
    parser.add_argument(
        "--dataset", default="digits", help="folder or Hub id of an image dataset, or digits (default: %(default)s)"
    )
    parser.add_argument("--split", help="split of the dataset (default: the one to test on)")
    parser.add_argument("--limit", type=int, help="number of images (default: all)")
    parser.add_argument("--batch-size", type=int, help="images per batch (default: as the benchmark chooses)")
    parser.add_argument("--workers", type=int, help="threads that corrupt (default: as the benchmark chooses)")
    measure(parser.parse_args())


def measure(
    options: argparse.Namespace, names: tuple[str, ...] = CORRUPTIONS, deadline: float = math.inf
) -> dict[str, float]:
    """Measure the cells of these corruptions and as many bare passes, and print and return their images/s.

    Args:
        deadline: By `time.perf_counter`; after it, only the corruption at hand is finished.
    """
    device = choose_device()
    precision = choose_precision("auto", device)
    batch = options.batch_size or (64 if device.type == "cpu" else 512)
    images = load_images(options.dataset, options.split).subset(options.limit)
    model = timm.create_model(options.model, num_classes=len(images.classes)).eval()
    model = model.to(device, memory_format=torch.channels_last)
    arguments = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "preset": "cifar10-c", "device": device, "progress": False}
    arguments |= {"precision": precision, "batch_size": batch, "workers": options.workers}

    def bare(passes: int) -> float:
        x = torch.randn(batch, 3, 32, 32, device=device).to(memory_format=torch.channels_last)
        start = time.perf_counter()
        with torch.inference_mode(), autocast(precision, device):
            for _ in range(passes):
                for first in range(0, len(images), batch):
                    model(x[: min(batch, len(images) - first)]).argmax(dim=1).cpu()
        return time.perf_counter() - start

    def measured(names: tuple[str, ...]) -> float:
        start = time.perf_counter()
        evaluate(model, images, ResizeCenterCrop(32, 32), corruptions=names, clean=False, **arguments)
        return time.perf_counter() - start

    evaluate(model, images.subset(64), ResizeCenterCrop(32, 32), **arguments)  # compiles
    bare(1)
    ours = bares = 0.0
    count = 0
    for name in names:
        if count and time.perf_counter() > deadline:
            break
        one, other = measured((name,)), bare(5)
        print(f"{name:>20}: {one:7.2f} s, bare {other:7.2f} s, ratio {one / other:.3f}", flush=True)
        ours, bares, count = ours + one, bares + other, count + 5 * len(images)
    print(
        f"{options.model}, {len(images):,} images x {count // len(images)}, {precision}, batches of {batch}, "
        f"{describe(device)}: "
        f"{ours:.1f} s ({count / ours:.0f} images/s), bare {bares:.1f} s ({count / bares:.0f} images/s), ratio "
        f"{ours / bares:.3f}, peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB"
    )
    return {"images": len(images), "images/s": count / ours, "bare images/s": count / bares}


if __name__ == "__main__":
    main()
