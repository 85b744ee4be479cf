"""Hashes as packed bits, and the nearest of a database by Hamming distance.

There is a kernel of our own because faiss is slower. On one core, finding the 200 nearest of 50,000 hashes of 64 bits
for 10,000 queries takes the published loop (a full argsort per query) 20 s or more, `faiss.knn_hamming` (1.15, with the
same order of ties) 0.8 to 0.9 s, and the kernel 0.2 to 0.35 s (`python tests/bench/bench_retrieval.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from timm_pushpull.utils.errors import InputError

TOP = 200

_CHUNK = 1 << 18  # ranks that a thread holds in memory


def pack(outputs: Tensor | np.ndarray) -> np.ndarray:
    """The hashes of network outputs: a bit is 1 where the output is >= 0. (In the paper, the sign of 0 is 0.)

    Args:
        outputs: Shape (N, bits), any floating dtype and device; bits a multiple of 8.

    Returns:
        uint8 of shape (N, bits / 8), in the order of `numpy.packbits`.

    Raises:
        InputError: Another shape, or outputs that are NaN.
    """
    outputs = torch.as_tensor(outputs).detach()
    if outputs.ndim != 2 or outputs.shape[1] == 0 or outputs.shape[1] % 8:
        raise InputError(f"outputs have shape {tuple(outputs.shape)}; give (N, bits) with a multiple of 8 as bits")
    if outputs.isnan().any():
        raise InputError("outputs are NaN, which has no sign; use a network with finite outputs")
    return np.packbits((outputs >= 0).cpu().numpy(), axis=1)


def hamming_ranking(queries: np.ndarray, database: np.ndarray, k: int = TOP) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest hashes of the database for every query, nearest first, ties in the order of the database.

    Args:
        queries: Packed hashes, uint8 of shape (N, bytes), as `pack` gives them.
        database: Packed hashes to rank, uint8 of shape (M, bytes).
        k: Number of ranks; the whole database is ranked if it has fewer.

    Returns:
        Indices into the database, int64, and distances in bits, int32, each of shape (N, min(k, M)).

    Raises:
        InputError: Hashes that are not packed or differ in length, an empty database, or k below 1.
    """
    queries, database, k = check_codes(queries, database, k)
    indices = np.empty((len(queries), k), np.int64)
    distances = np.empty((len(queries), k), np.int32)

    def store(rows: slice, *ranking: np.ndarray) -> None:
        indices[rows], distances[rows] = ranking

    rank_in_chunks(store, queries, database, k)
    return indices, distances


def rank_in_chunks(
    use: Callable[[slice, np.ndarray, np.ndarray], None], queries: np.ndarray, database: np.ndarray, k: int
) -> None:
    """Rank a few queries at a time, on as many threads as torch uses.

    Args:
        use: Called with the queries of a chunk as a slice, their indices and their distances.
        queries, database, k: From `check_codes`.
    """
    queries, database = _words(queries), np.ascontiguousarray(_words(database).T)
    step = max(1, _CHUNK // k)

    def one(start: int) -> None:
        rows = slice(start, min(start + step, len(queries)))
        shape = (rows.stop - rows.start, k)
        indices, distances = np.empty(shape, np.int64), np.empty(shape, np.int32)
        rank(queries[rows], database, indices, distances)
        use(rows, indices, distances)

    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        for _ in threads.map(one, range(0, len(queries), step)):  # re-raises the exceptions of the threads
            pass


def check_codes(queries: np.ndarray, database: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Queries, database and k limited to the size of the database; raises InputError as `hamming_ranking`."""
    queries, database = np.asarray(queries), np.asarray(database)
    for name, codes in (("queries", queries), ("database", database)):
        if codes.dtype != np.uint8 or codes.ndim != 2 or codes.shape[1] == 0:
            raise InputError(f"{name} are {codes.dtype} of shape {codes.shape}; give packed hashes: pack(outputs)")
    if queries.shape[1] != database.shape[1]:
        widths = f"queries have {8 * queries.shape[1]} bits, the database {8 * database.shape[1]}"
        raise InputError(f"{widths}; hash both with the same network")
    if len(database) == 0:
        raise InputError("the database is empty; give at least one hash to rank")
    if k < 1:
        raise InputError(f"k is {k}; give at least 1")
    return queries, database, min(k, len(database))


def _words(codes: np.ndarray) -> np.ndarray:
    """Codes as uint64, padded with zeros, which do not change a distance."""
    return np.ascontiguousarray(np.pad(codes, ((0, 0), (0, -codes.shape[1] % 8)))).view(np.uint64)


def _rank_in_numpy(queries: np.ndarray, database: np.ndarray, indices: np.ndarray, distances: np.ndarray) -> None:
    """The kernel in NumPy, five times slower, for a Python version without numba."""
    stored = np.min_scalar_type(64 * len(database))  # NumPy sorts integers of 16 bits by counting
    for query, places, near in zip(queries, indices, distances, strict=True):
        far = np.bitwise_count(database ^ query[:, None]).sum(axis=0, dtype=stored)
        places[:] = far.argsort(kind="stable")[: len(places)]
        near[:] = far[places]


try:
    from timm_pushpull.benchmark.hashing._kernel import rank
except ImportError:
    rank = _rank_in_numpy
