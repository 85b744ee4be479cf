"""Time of mAP@200 over hashes, beside the published loop and faiss, in the same run.

    taskset -c 0,1 python tests/bench/bench_retrieval.py                  # 10,000 queries, 50,000 images: two minutes
    taskset -c 0,1 python tests/bench/bench_retrieval.py --loop-queries 1000   # the loop's time is scaled

Hashes are those of ten classes, some of the wrong class and some bits flipped, as a network's are. Both start from the
signs of outputs: ours packs them, the loop multiplies them. The loop leaves ties, of which there are many, in no
particular order; the precisions are compared with those of the same loop with a stable sort, which has them in the
database's order as ours does. faiss ranks only. Ends with exit code 1 beyond 3 s, below 50 times the loop's speed, or
with a precision that is off by 1e-6.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from timm_pushpull import cli
from timm_pushpull.benchmark.hashing import BITS, TOP, average_precision, hash_targets, pack


def published_loop(
    queries: np.ndarray,
    database: np.ndarray,
    query_labels: np.ndarray,
    database_labels: np.ndarray,
    k: int = TOP,
    sort: str = "quicksort",
) -> np.ndarray:
    """Average precision per query as in the published code, from its description: signs as float32 instead of packed
    bits, one query at a time, its distances to the whole database sorted in full."""
    precisions = []
    for query, label in zip(queries, query_labels, strict=True):
        distances = 0.5 * (database.shape[1] - database @ query)
        order = np.argsort(distances, kind=sort)
        relevant = (database_labels == label)[order][:k]
        ranks = np.flatnonzero(relevant) + 1
        precisions.append(np.mean(np.arange(1, len(ranks) + 1) / ranks) if len(ranks) else 0.0)
    return np.array(precisions)


def hashes(count: int, options: argparse.Namespace, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Signs, float32 of shape (count, bits), and labels."""
    labels = rng.integers(10, size=count)
    seen = np.where(rng.random(count) < options.wrong, rng.integers(10, size=count), labels)
    flips = rng.random((count, options.bits)) < options.flip
    return np.where(flips, -1, 1).astype(np.float32) * hash_targets(10, options.bits).numpy()[seen], labels


def timed(work: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def fastest(work: Callable[[], np.ndarray], rounds: int) -> tuple[float, np.ndarray]:
    return min((timed(work) for _ in range(rounds)), key=lambda result: result[0])


def main() -> int:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--queries", type=int, default=10_000, help="number of queries (default: %(default)s)")
    parser.add_argument(
        "--database", type=int, default=50_000, help="number of hashes that are ranked (default: %(default)s)"
    )
    parser.add_argument("--bits", type=int, default=BITS, help="bits of a hash (default: %(default)s)")
    parser.add_argument("--k", type=int, default=TOP, help="ranks that count for mAP (default: %(default)s)")
    parser.add_argument(
        "--wrong", type=float, default=0.1, help="probability of a hash of any class (default: %(default)s)"
    )
    parser.add_argument(
        "--flip", type=float, default=0.02, help="probability that a bit is flipped (default: %(default)s)"
    )
    parser.add_argument(
        "--loop-queries",
        type=int,
        default=10_000,
        help="queries of the published loop; its time is scaled (default: %(default)s)",
    )
    parser.add_argument(
        "--rounds", type=int, default=5, help="of ours and of faiss; the fastest counts (default: %(default)s)"
    )
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    (queries, query_labels), (database, database_labels) = (
        hashes(count, options, rng) for count in (options.queries, options.database)
    )
    some = slice(min(options.loop_queries, options.queries))
    loop_arguments = queries[some], database, query_labels[some], database_labels, options.k

    def ours() -> np.ndarray:
        return average_precision(pack(queries), pack(database), query_labels, database_labels, options.k)

    ours()  # compiles
    seconds, precisions = fastest(ours, options.rounds)
    loop_seconds, loop_precisions = timed(lambda: published_loop(*loop_arguments))
    loop_seconds *= len(queries) / len(loop_precisions)
    stable = published_loop(*loop_arguments, sort="stable")
    difference = np.abs(precisions[some] - stable).max()

    scaled = f", scaled from {len(stable)}" if len(stable) < len(queries) else ""
    print(f"{len(queries)} queries, {len(database)} hashes of {options.bits} bits, k {options.k}")
    print(f"ours             {seconds:9.3f} s   mAP {precisions.mean():.6f}, {torch.get_num_threads()} threads")
    print(f"published loop   {loop_seconds:9.3f} s   {loop_seconds / seconds:.0f} times ours{scaled}")
    report_faiss(pack(queries), pack(database), options.k, loop_seconds, options.rounds)
    print(f"largest difference of a precision to the loop's with a stable sort: {difference:.1e}")
    ties = abs((precisions[some] - loop_precisions).mean())
    print(f"difference of the mAP to the loop's, by the order of ties: {ties:.1e}")
    return int(seconds > 3 or loop_seconds / seconds < 50 or difference > 1e-6)


def report_faiss(queries: np.ndarray, database: np.ndarray, k: int, loop_seconds: float, rounds: int) -> None:
    try:
        import faiss
    except ImportError:
        return print("faiss            not installed")
    faiss.omp_set_num_threads(torch.get_num_threads())
    for variant in ("mc", "hc"):
        seconds, _ = fastest(lambda variant=variant: faiss.knn_hamming(queries, database, k, variant)[1], rounds)
        print(f"faiss ({variant})       {seconds:9.3f} s   the loop takes {loop_seconds / seconds:.0f} times that")


if __name__ == "__main__":
    sys.exit(main())
