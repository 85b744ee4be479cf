"""Noise corruptions: uint8 NHWC in, uint8 NHWC out, each value on its own.

Input and output are bytes, so a noise is 256 laws, one for each byte that goes in. They are tabulated, and a value
costs one random word and one look-up (Walker's alias method, right to 2^-24). To replay the original generator's draws,
its own arithmetic is used instead: floats become bytes by truncation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np

from timm_pushpull.corruptions.draws import CHUNK, Draws, Replay, fill_words
from timm_pushpull.utils.jit import jit_cached, jit_exact

_LEVELS = np.arange(256)


def gaussian_noise(images: np.ndarray, sigma: float, draws: Draws) -> np.ndarray:
    if isinstance(draws, Replay):
        return to_bytes(images / 255.0 + draws.rng.normal(size=images.shape, scale=sigma))
    return _noisy(images, gaussian_laws, sigma, draws)


def shot_noise(images: np.ndarray, photons: float, draws: Draws) -> np.ndarray:
    if isinstance(draws, Replay):
        return to_bytes(draws.rng.poisson(images / 255.0 * photons) / float(photons))
    return _noisy(images, shot_laws, photons, draws)


def impulse_noise(images: np.ndarray, amount: float, draws: Draws) -> np.ndarray:
    """Salt and pepper in equal parts, per value: the channels of a pixel are hit independently."""
    if isinstance(draws, Replay):
        hit = draws.rng.random_sample(images.shape) < amount
        salt = draws.rng.random_sample(images.shape) < 0.5
        return np.where(hit, np.where(salt, np.uint8(255), np.uint8(0)), images)
    return _noisy(images, impulse_laws, amount, draws)


def speckle_noise(images: np.ndarray, sigma: float, draws: Draws) -> np.ndarray:
    if isinstance(draws, Replay):
        values = images / 255.0
        return to_bytes(values + values * draws.rng.normal(size=images.shape, scale=sigma))
    return _noisy(images, speckle_laws, sigma, draws)


def to_bytes(values: np.ndarray) -> np.ndarray:
    """Float intensities, 0 to 1, to uint8: clipped, and truncated rather than rounded, as the original does."""
    return (np.clip(values, 0, 1) * 255).astype(np.uint8)


# --- The laws: the probability of every byte that comes out, for every byte that goes in; float64 (256, 256) ---


def gaussian_laws(sigma: float) -> np.ndarray:
    return _laws_of_normal(np.full(256, 255 * sigma))


def speckle_laws(sigma: float) -> np.ndarray:
    return _laws_of_normal(_LEVELS * sigma)


def shot_laws(photons: float) -> np.ndarray:
    laws = np.zeros((256, 256))
    counts = np.arange(int(photons + 12 * math.sqrt(photons)) + 20)
    levels = to_bytes(counts / float(photons))
    log_factorials = np.array([math.lgamma(count + 1) for count in counts])
    for level in _LEVELS[1:]:
        mean = level / 255.0 * photons
        np.add.at(laws[level], levels, np.exp(counts * math.log(mean) - mean - log_factorials))
    laws[0, 0] = 1
    return laws / laws.sum(axis=1, keepdims=True)


def impulse_laws(amount: float) -> np.ndarray:
    laws = (1 - amount) * np.eye(256)
    laws[:, [0, 255]] += amount / 2
    return laws


def _laws_of_normal(deviations: np.ndarray) -> np.ndarray:
    """Of a byte plus normal noise of that byte's deviation in grey levels, truncated."""
    borders = _LEVELS[1:] - _LEVELS[:, None]  # a level begins where the sum reaches it
    scaled = borders / np.maximum(deviations, 1e-9)[:, None]
    below = np.vectorize(math.erfc)(-scaled / math.sqrt(2)) / 2
    return np.diff(np.pad(below, ((0, 0), (1, 1)), constant_values=(0, 1)), axis=1)


# --- Drawing from them ---


def _noisy(images: np.ndarray, laws: Callable[[float], np.ndarray], constant: float, draws: Draws) -> np.ndarray:
    return _draw_bytes(images, _table(laws, constant), draws.seed, draws.purpose(), draws.indices)


@cache
def _table(laws: Callable[[float], np.ndarray], constant: float) -> np.ndarray:
    """Walker's table, uint32 (256, 256): a threshold in the upper 24 bits, and the byte beyond it in the lower 8."""
    return _alias_table(laws(constant))


@jit_cached
def _alias_table(laws):
    table = np.empty((256, 256), np.uint32)
    small, large = np.empty(256, np.int64), np.empty(256, np.int64)
    for level in range(256):
        share = laws[level] * 256
        smalls = larges = 0
        for i in range(256):
            if share[i] < 1:
                small[smalls] = i
                smalls += 1
            else:
                large[larges] = i
                larges += 1
            table[level, i] = np.uint32(0xFFFFFF00) | np.uint32(i)
        while smalls and larges:
            smalls -= 1
            poor, rich = small[smalls], large[larges - 1]
            table[level, poor] = np.uint32(min(round(share[poor] * 0x1000000), 0xFFFFFF)) << np.uint32(8) | np.uint32(
                rich
            )
            share[rich] -= 1 - share[poor]
            if share[rich] < 1:
                larges -= 1
                small[smalls] = rich
                smalls += 1
    return table


@jit_exact
def _draw_row(values, table, words, output):
    for i in range(output.size):
        word = words[i]
        column = word >> np.uint32(24)
        entry = table[values[i], column]
        output[i] = column if (word & np.uint32(0xFFFFFF)) < entry >> np.uint32(8) else entry & np.uint32(0xFF)


@jit_cached
def _draw_bytes(images, table, seed, purpose, indices):
    output, words = np.empty_like(images), np.empty(CHUNK, np.uint32)
    size = images[0].size
    before, after = images.reshape(-1), output.reshape(-1)
    for n in range(indices.size):
        for chunk in range((size + CHUNK - 1) // CHUNK):
            fill_words(seed, purpose, indices[n], chunk, words)
            start, stop = n * size + chunk * CHUNK, n * size + min((chunk + 1) * CHUNK, size)
            _draw_row(before[start:stop], table, words, after[start:stop])
    return output
