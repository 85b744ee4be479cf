"""What PRIME costs: its time over that of a ResNet-50 training step on the same batch, turn by turn in one process.

    python tests/bench/bench_prime.py                                        # 16 images of 224 px
    python tests/bench/bench_prime.py --device cuda --batch-size 128
    python tests/bench/bench_prime.py --model resnet18_cifar --preset cifar --image-size 32 --batch-size 64

The step is forward, backward and SGD, channels_last, in the precision that train.py would choose. Every round has draws
of its own, for PRIME's cost depends on them; the ratio of the summed times says what an epoch costs more.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import timm
import torch
import torch.nn.functional as F

import timm_pushpull  # noqa: F401  (registers the CIFAR networks)
from timm_pushpull import cli
from timm_pushpull.data.augment import PRIME_PRESETS, prime
from timm_pushpull.utils.hardware import PRECISIONS, autocast, choose_device, choose_precision, describe


def main() -> None:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--model", default="resnet50", help="name of the network (default: %(default)s)")
    parser.add_argument(
        "--preset", default="imagenet", choices=PRIME_PRESETS, help="constants of PRIME (default: %(default)s)"
    )
    parser.add_argument("--image-size", type=int, default=224, help="side of the images, px (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=16, help="images per batch (default: %(default)s)")
    parser.add_argument(
        "--precision",
        default="auto",
        choices=PRECISIONS,
        help="auto takes bf16 where the device has it (default: %(default)s)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=7, help="rounds, in which the forms take turns (default: %(default)s)"
    )
    options = parser.parse_args()
    device = choose_device(options.device)
    precision = choose_precision(options.precision, device)
    model = timm.create_model(options.model).to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=device.type in ("cpu", "cuda"))
    images = torch.rand(options.batch_size, 3, options.image_size, options.image_size, device=device)
    labels = torch.randint(0, 10, (options.batch_size,), device=device)
    x = images.to(memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(0)

    def step() -> None:
        with autocast(precision, device):
            logits = model(x)
        F.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    def augment() -> None:
        prime(images, generator, options.preset)

    def seconds(work: Callable[[], None]) -> float:
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    for _ in range(3):  # warm up: kernels, and PRIME's tables
        seconds(augment)
    seconds(step)
    rounds = [(seconds(step), seconds(augment)) for _ in range(options.rounds)]
    for name, times in zip(("step", "PRIME"), zip(*rounds, strict=True), strict=True):
        print(f"{name:6} {1000 * statistics.median(times):9.1f} ms, fastest {1000 * min(times):9.1f} ms")
    ratio = sum(augmented for _, augmented in rounds) / sum(plain for plain, _ in rounds)
    shares = sorted(augmented / plain for plain, augmented in rounds)
    print(
        f"PRIME takes {ratio:.1%} of a step, {shares[0]:.1%} to {shares[-1]:.1%} by round ({options.model}, "
        f"{precision}, {options.batch_size} images of {options.image_size} px, {describe(device)})"
    )


if __name__ == "__main__":
    main()
