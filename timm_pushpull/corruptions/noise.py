"""Gaussian, shot, impulse and speckle noise: uint8 (N, H, W, 3) in and out, each value independent of the others.

Input and output are bytes, so a noise is a 256 x 256 table of transition probabilities: the probability of each output
byte for each input byte. Sampling from it takes one random word and one look-up per value (Walker's alias method, with
probabilities rounded to 2^-24). `Replay` uses the float arithmetic of the published code instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np

from timm_pushpull.corruptions.draws import CHUNK, Draws, Replay, Streams, fill_words
from timm_pushpull.utils.jit import jit_cached, jit_exact

_LEVELS = np.arange(256)


def gaussian_noise(images: np.ndarray, sigma: float, draws: Draws) -> np.ndarray:
    """Adds normal noise; `sigma` is its standard deviation for intensities in [0, 1]."""
    if isinstance(draws, Replay):
        return to_bytes(images / 255.0 + draws.rng.normal(size=images.shape, scale=sigma))
    return _sample(images, gaussian_transitions, sigma, draws)


def shot_noise(images: np.ndarray, photons: float, draws: Draws) -> np.ndarray:
    """Poisson noise; `photons` is the mean count at intensity 1."""
    if isinstance(draws, Replay):
        return to_bytes(draws.rng.poisson(images / 255.0 * photons) / float(photons))
    return _sample(images, shot_transitions, photons, draws)


def impulse_noise(images: np.ndarray, amount: float, draws: Draws) -> np.ndarray:
    """Replaces a fraction `amount` of the values, not pixels, by 0 or 255 with equal probability."""
    if isinstance(draws, Replay):
        hit = draws.rng.random_sample(images.shape) < amount
        salt = draws.rng.random_sample(images.shape) < 0.5
        return np.where(hit, np.where(salt, np.uint8(255), np.uint8(0)), images)
    return _sample(images, impulse_transitions, amount, draws)


def speckle_noise(images: np.ndarray, sigma: float, draws: Draws) -> np.ndarray:
    """Adds normal noise with a standard deviation of `sigma` times the value."""
    if isinstance(draws, Replay):
        values = images / 255.0
        return to_bytes(values + values * draws.rng.normal(size=images.shape, scale=sigma))
    return _sample(images, speckle_transitions, sigma, draws)


def to_bytes(values: np.ndarray) -> np.ndarray:
    """Clip float intensities to [0, 1] and convert them to uint8. The published code truncates, it does not round."""
    return (np.clip(values, 0, 1) * 255).astype(np.uint8)


# --- Transition probabilities: float64 (input byte, output byte) = (256, 256), rows sum to 1 ---


def gaussian_transitions(sigma: float) -> np.ndarray:
    return _normal_transitions(np.full(256, 255 * sigma))


def speckle_transitions(sigma: float) -> np.ndarray:
    return _normal_transitions(_LEVELS * sigma)


def shot_transitions(photons: float) -> np.ndarray:
    probabilities = np.zeros((256, 256))
    counts = np.arange(int(photons + 12 * math.sqrt(photons)) + 20)
    levels = to_bytes(counts / float(photons))
    log_factorials = np.array([math.lgamma(count + 1) for count in counts])
    for level in _LEVELS[1:]:
        mean = level / 255.0 * photons
        np.add.at(probabilities[level], levels, np.exp(counts * math.log(mean) - mean - log_factorials))
    probabilities[0, 0] = 1
    return probabilities / probabilities.sum(axis=1, keepdims=True)


def impulse_transitions(amount: float) -> np.ndarray:
    probabilities = (1 - amount) * np.eye(256)
    probabilities[:, [0, 255]] += amount / 2
    return probabilities


def _normal_transitions(deviations: np.ndarray) -> np.ndarray:
    """Normal noise with a standard deviation in grey levels per input byte, shape (256,); the sum is truncated."""
    borders = _LEVELS[1:] - _LEVELS[:, None]  # truncation: a level starts at its own value
    scaled = borders / np.maximum(deviations, 1e-9)[:, None]
    below = np.vectorize(math.erfc)(-scaled / math.sqrt(2)) / 2
    return np.diff(np.pad(below, ((0, 0), (1, 1)), constant_values=(0, 1)), axis=1)


# --- Sampling ---


def _sample(
    images: np.ndarray, transitions: Callable[[float], np.ndarray], constant: float, draws: Streams
) -> np.ndarray:
    return _draw_bytes(images, _table(transitions, constant), draws.seed, draws.next_draw(), draws.indices)


@cache
def _table(transitions: Callable[[float], np.ndarray], constant: float) -> np.ndarray:
    """Alias table, uint32 (256, 256): the threshold in the upper 24 bits, the alias byte in the lower 8."""
    return _alias_table(transitions(constant))


@jit_cached
def _alias_table(probabilities):
    table = np.empty((256, 256), np.uint32)
    small, large = np.empty(256, np.int64), np.empty(256, np.int64)
    for level in range(256):
        share = probabilities[level] * 256
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
def _draw_bytes(images, table, seed, draw, indices):
    output, words = np.empty_like(images), np.empty(CHUNK, np.uint32)
    size = images[0].size
    before, after = images.reshape(-1), output.reshape(-1)
    for n in range(indices.size):
        for chunk in range((size + CHUNK - 1) // CHUNK):
            fill_words(seed, draw, indices[n], chunk, words)
            start, stop = n * size + chunk * CHUNK, n * size + min((chunk + 1) * CHUNK, size)
            _draw_row(before[start:stop], table, words, after[start:stop])
    return output
