"""Time of every corruption on one thread, beside that of the package imagecorruptions-imaug, in the same run.

    pip install imagecorruptions-imaug scikit-image opencv-python-headless
    python tests/bench/bench_corruptions.py --rounds 15

A 224 px photo at severity 3 of ImageNet-C, one at a time; and 32 px images at severity 3 (ours with the constants of
CIFAR-10-C, the package has only those of ImageNet-C), ours in a batch of 256. The two take turns, medians are printed.
It ends with exit code 1 where a corruption is slower than the package's by more than 5 %, which is what such a
measurement may be off by, or the sums are not 9 and 10 times as fast.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", NUMBA_NUM_THREADS="1")

import numpy as np

from timm_pushpull import cli
from timm_pushpull.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, corrupt_batch

DATA = np.load(Path(__file__).resolve().parents[1] / "golden" / "corruptions.npz")
GOALS = {224: 9, 32: 10}


def milliseconds(function: Callable[[], object], repeat: int) -> float:
    start = time.perf_counter()
    for _ in range(repeat):
        function()
    return 1000 * (time.perf_counter() - start) / repeat


def measure(name: str, size: int, rounds: int) -> tuple[float, float]:
    """Milliseconds an image: theirs and ours."""
    import imagecorruptions

    image = DATA[f"input_{size}"]
    count, preset = (1, "imagenet-c") if size == 224 else (256, "cifar10-c")
    batch = np.repeat(image[None], count, axis=0)
    contestants = [
        (lambda: imagecorruptions.corrupt(image, corruption_name=name, severity=3), 1 if size == 224 else 10, 1, []),
        (lambda: corrupt_batch(batch, name, 3, preset), 1, count, []),
    ]
    for number in range(rounds + 2):
        # Whoever comes second finds the memory as the first has left it.
        for function, repeat, images, times in contestants if number % 2 else reversed(contestants):
            times.append(milliseconds(function, repeat) / images)
    theirs, ours = (times[2:] for *_, times in contestants)
    return statistics.median(theirs), statistics.median(ours)


def main() -> int:
    parser = cli.Parser(description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=15, help="rounds, in which the forms take turns (default: %(default)s)"
    )
    parser.add_argument(
        "--sizes",
        type=int,
        nargs="+",
        choices=(224, 32),
        default=[224, 32],
        help="sides of the images, px (default: %(default)s)",
    )
    parser.add_argument(
        "--corruptions",
        nargs="+",
        default=[*CORRUPTIONS, *EXTRA_CORRUPTIONS],
        help="names of corruptions (default: all 19)",
    )
    options = parser.parse_args()
    try:
        import cv2
        import imagecorruptions  # noqa: F401
    except ModuleNotFoundError as error:
        parser.error(f"needs {error.name}: pip install imagecorruptions-imaug scikit-image opencv-python-headless")
    cv2.setNumThreads(1)
    failed = False
    for size in options.sizes:
        print(f"\n{size} px, ms an image{'theirs':>20}{'ours':>10}{'ratio':>8}")
        sums = [0.0, 0.0]
        for name in options.corruptions:
            theirs, ours = measure(name, size, options.rounds)
            print(f"{name:>24}{theirs:18.3f}{ours:10.4f}{theirs / ours:8.1f}")
            failed |= ours > 1.05 * theirs
            if name in CORRUPTIONS:
                sums = [sums[0] + theirs, sums[1] + ours]
        if sums[1]:
            print(f"{'sum of the 15':>24}{sums[0]:18.3f}{sums[1]:10.4f}{sums[0] / sums[1]:8.1f}")
            failed |= sums[0] / sums[1] < GOALS[size]
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
