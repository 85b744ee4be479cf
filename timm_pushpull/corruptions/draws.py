"""Random numbers for corruptions: a counter-based stream per image (`Streams`), or the published draws (`Replay`).

Philox4x32-10 (Salmon et al., SC 2011) maps a key and a counter to four words of 32 bits. The key is the seed. The
counter holds the image's index, the corruption, the severity, the number of the draw and the position in it. So every
random number can be computed without the others.
"""

from __future__ import annotations

import math

import numpy as np

from timm_pushpull.utils.jit import jit_cached, jit_exact

_LANES = 256  # counters per chunk, for vector code; each gives four words
CHUNK = 4 * _LANES
_WORD = np.uint64(0xFFFFFFFF)


class Streams:
    """The random streams of a batch of images under one corruption.

    Args:
        seed: 0 to 2^64 - 1.
        corruption: Number of the corruption, 0 to 2^13 - 1.
        severity: 1 to 5.
        indices: Positions of the images in their dataset, uint64 of shape (N,).
    """

    def __init__(self, seed: int, corruption: int, severity: int, indices: np.ndarray) -> None:
        self.seed, self.indices = np.uint64(seed), indices
        self._code, self._drawn = corruption * 8 + severity, 0

    def next_draw(self) -> np.uint64:
        """The counter word of the next draw: corruption, severity and number of the draw."""
        self._drawn += 1
        return np.uint64(self._code | self._drawn << 16)

    def uniform(self, count: int) -> np.ndarray:
        """Uniform numbers in (0, 1), float64 of shape (N, count)."""
        return _uniform(self.seed, self.next_draw(), self.indices, count)

    def normal_field(self, shape: tuple[int, int], window: tuple[slice, slice]) -> np.ndarray:
        """Standard normal numbers for a window of a field of `shape`, float64 of shape (N, *window).

        Only `Replay` draws the whole field.
        """
        height, width = (part.stop - part.start for part in window)
        return _normal(self.seed, self.next_draw(), self.indices, height * width).reshape(-1, height, width)

    def below(self, bounds: np.ndarray) -> np.ndarray:
        """One integer from 0 to bound - 1 per image, int64 of shape (N,)."""
        return (self.uniform(1)[:, 0] * bounds).astype(np.int64)

    def offsets(self, limit: int, count: int) -> np.ndarray:
        """Pairs (x, y) from -limit to limit - 1, coded as `x + limit + 2 * limit * (y + limit)`; int32 (N, count)."""
        return _below(self.seed, self.next_draw(), self.indices, count, np.uint64((2 * limit) ** 2))


class Replay:
    """The draws of the published code for one image, in its order, from a `RandomState`."""

    def __init__(self, rng: np.random.RandomState) -> None:
        self.rng = rng

    def uniform(self, count: int) -> np.ndarray:
        return self.rng.random_sample((1, count))

    def normal_field(self, shape: tuple[int, int], window: tuple[slice, slice]) -> np.ndarray:
        return self.rng.normal(size=shape)[None, window[0], window[1]]

    def below(self, bounds: np.ndarray) -> np.ndarray:
        return np.array([self.rng.randint(bound) for bound in bounds])

    def offsets(self, limit: int, count: int) -> np.ndarray:
        pairs = self.rng.randint(-limit, limit, size=(count, 2)) + limit
        return (pairs[:, 0] + 2 * limit * pairs[:, 1]).astype(np.int32)[None]


Draws = Streams | Replay


@jit_exact
def fill_words(seed, draw, index, chunk, words):
    """Fill `words`, uint32 of shape (CHUNK,), with one chunk of a draw of an image."""
    key0, key1 = seed & _WORD, seed >> np.uint64(32)
    index0, index1 = index & _WORD, index >> np.uint64(32)
    a, b, c, d = words[:_LANES], words[_LANES : 2 * _LANES], words[2 * _LANES : 3 * _LANES], words[3 * _LANES :]
    for lane in range(_LANES):
        c0, c1, c2, c3 = np.uint64(chunk * _LANES + lane), draw, index0, index1
        k0, k1 = key0, key1
        for _ in range(10):
            left, right = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
            c0, c1 = (right >> np.uint64(32)) ^ c1 ^ k0, right & _WORD
            c2, c3 = (left >> np.uint64(32)) ^ c3 ^ k1, left & _WORD
            k0, k1 = (k0 + np.uint64(0x9E3779B9)) & _WORD, (k1 + np.uint64(0xBB67AE85)) & _WORD
        a[lane], b[lane], c[lane], d[lane] = c0, c1, c2, c3


@jit_exact
def random_words(seed, draw, index, count):
    """The first words of a draw of an image, uint32: `count`, rounded up to whole chunks."""
    words = np.empty((count + CHUNK - 1) // CHUNK * CHUNK, np.uint32)
    for chunk in range(words.size // CHUNK):
        fill_words(seed, draw, index, chunk, words[chunk * CHUNK : (chunk + 1) * CHUNK])
    return words


@jit_exact
def to_unit_interval(word):
    """Map a word to (0, 1)."""
    return (np.float64(word) + 0.5) * 2.0**-32


@jit_cached
def _uniform(seed, draw, indices, count):
    numbers = np.empty((indices.size, count))
    for n in range(indices.size):
        words, row = random_words(seed, draw, indices[n], count), numbers[n]
        for i in range(count):
            row[i] = to_unit_interval(words[i])
    return numbers


@jit_cached
def _normal(seed, draw, indices, count):
    """Pairs of normal numbers by the Box-Muller transform."""
    numbers, half = np.empty((indices.size, count)), (count + 1) // 2
    for n in range(indices.size):
        words, row = random_words(seed, draw, indices[n], 2 * half), numbers[n]
        for i in range(half):
            radius, angle = (
                math.sqrt(-2.0 * math.log(to_unit_interval(words[i]))),
                2.0 * math.pi * to_unit_interval(words[half + i]),
            )
            row[i] = radius * math.cos(angle)
            if half + i < count:
                row[half + i] = radius * math.sin(angle)
    return numbers


@jit_cached
def _below(seed, draw, indices, count, bound):
    numbers = np.empty((indices.size, count), np.int32)
    for n in range(indices.size):
        words, row = random_words(seed, draw, indices[n], count), numbers[n]
        for i in range(count):
            row[i] = (np.uint64(words[i]) * bound) >> np.uint64(32)
    return numbers
