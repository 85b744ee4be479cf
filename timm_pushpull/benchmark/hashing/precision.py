"""Mean average precision of rankings by Hamming distance."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from timm_pushpull.benchmark.hashing.ranking import TOP, check_codes, rank_in_chunks
from timm_pushpull.utils.errors import InputError


def average_precision(
    queries: np.ndarray,
    database: np.ndarray,
    query_labels: Tensor | np.ndarray,
    database_labels: Tensor | np.ndarray,
    k: int = TOP,
) -> np.ndarray:
    """Average precision of every query: the mean of the precisions at the relevant ranks among the k nearest.

    A rank is relevant if its image has the query's label. The mean is over the relevant ranks among the k, as in the
    code of CSQ, not over all relevant images of the database; if none of the k is relevant, it is 0. The ranking is
    that of `hamming_ranking`, for a few queries at a time, so memory does not grow with their number.

    Args:
        queries: Packed hashes, uint8 of shape (N, bytes), as `pack` gives them.
        database: Packed hashes to rank, uint8 of shape (M, bytes).
        query_labels: Class of each query, shape (N,).
        database_labels: Class of each hash of the database, shape (M,).
        k: Number of ranks that count; all if the database has fewer.

    Returns:
        float64 of shape (N,), from 0 to 1.

    Raises:
        InputError: As `hamming_ranking`, or not one label per hash.
    """
    queries, database, k = check_codes(queries, database, k)
    query_labels = _labels("queries", query_labels, len(queries))
    database_labels = _labels("the database", database_labels, len(database))
    precisions, ranks = np.empty(len(queries)), np.arange(1, k + 1)

    def measure(rows: slice, indices: np.ndarray, distances: np.ndarray) -> None:
        relevant = database_labels[indices] == query_labels[rows, None]
        hits = relevant.cumsum(axis=1)
        precisions[rows] = (hits / ranks).sum(axis=1, where=relevant) / np.maximum(hits[:, -1], 1)

    rank_in_chunks(measure, queries, database, k)
    return precisions


def mean_average_precision(
    queries: np.ndarray,
    database: np.ndarray,
    query_labels: Tensor | np.ndarray,
    database_labels: Tensor | np.ndarray,
    k: int = TOP,
) -> float:
    """mAP@k, the mean of `average_precision` over the queries; the paper's error is 1 - mAP@200.

    Trained networks give many images the same hash, and ties rank in the order of the database. If that is sorted by
    class, the same few classes come first in every tie, so shuffle it with a fixed seed.

    Raises:
        InputError: As `average_precision`, or no queries.
    """
    if len(queries) == 0:
        raise InputError("there are no queries; a mean average precision needs at least one")
    return float(average_precision(queries, database, query_labels, database_labels, k).mean())


def _labels(name: str, labels: Tensor | np.ndarray, count: int) -> np.ndarray:
    labels = labels.cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if labels.shape != (count,):
        raise InputError(f"labels of {name} have shape {labels.shape}; give one for each of the {count} hashes")
    return labels
