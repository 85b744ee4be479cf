"""The nearest of a database by Hamming distance, compiled by numba."""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import intrinsic

from timm_pushpull.utils.jit import jit_cached

_BLOCK = 256  # distances computed at a time, in vector registers where the processor counts bits there


@intrinsic
def _ones(typing_context, word):
    """Number of bits of a word that are 1."""

    def generate(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


@jit_cached
def rank(queries, database, indices, distances):  # noqa: C901 - compiled whole; calls would copy the limits
    """Fill in the k nearest of the database for every query, ties in the order of the database.

    The database is read once, in order. As soon as k are found, only hashes nearer than the k-th of them matter, so
    most blocks are skipped once their distances are known. A counting sort orders the candidates.

    Args:
        queries: uint64 of shape (N, words).
        database: uint64 of shape (words, M).
        indices: Filled in, int64 of shape (N, k), k at most M.
        distances: Filled in, int32 of shape (N, k).
    """
    (words, size), k = database.shape, indices.shape[1]
    found, found_distances = np.empty(size, np.int64), np.empty(size, np.int32)
    counts = np.empty(64 * words + 1, np.int64)  # of what was found, per distance
    distance_block = np.empty(_BLOCK, np.uint64)
    for query in range(len(queries)):
        counts[:] = 0
        n = nearer = 0
        limit = 64 * words + 1  # the distance of the k-th so far; `nearer` are found below it
        for start in range(0, size, _BLOCK):
            block = distance_block[: min(_BLOCK, size - start)]
            block[:] = 0
            for word in range(words):
                code, codes = queries[query, word], database[word][start : start + _BLOCK]
                for i in range(len(block)):
                    block[i] += _ones(code ^ codes[i])
            nearest = block[0]
            for i in range(len(block)):
                nearest = min(nearest, block[i])
            if nearest >= limit:
                continue
            for i in range(len(block)):
                distance = np.int64(block[i])
                if distance >= limit:
                    continue
                found[n], found_distances[n] = start + i, distance
                counts[distance] += 1
                n, nearer = n + 1, nearer + 1
                while nearer >= k:
                    limit -= 1
                    nearer -= counts[limit]
            if limit == 0:
                break
        places = counts.cumsum() - counts
        for i in range(n):
            distance = found_distances[i]
            place = places[distance]
            if place < k:
                indices[query, place], distances[query, place] = found[i], distance
                places[distance] += 1
