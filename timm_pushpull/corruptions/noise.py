"""Noise corruptions: uint8 HWC in, uint8 HWC out, each value on its own.

`rng` is a `numpy.random.Generator`, or a `RandomState` to replay the original generator's draws: the calls below are
the original's, in its order, and mean the same to both. Floats become bytes by truncation, as in the original.
"""

from __future__ import annotations

import numpy as np

Random = np.random.Generator | np.random.RandomState


def to_bytes(image: np.ndarray) -> np.ndarray:
    """Float intensities, 0 to 1, to uint8: clipped, and truncated rather than rounded, as the original does."""
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)


def gaussian_noise(image: np.ndarray, sigma: float, rng: Random) -> np.ndarray:
    return to_bytes(image / 255.0 + rng.normal(size=image.shape, scale=sigma))


def shot_noise(image: np.ndarray, photons: float, rng: Random) -> np.ndarray:
    return to_bytes(rng.poisson(image / 255.0 * photons) / float(photons))


def impulse_noise(image: np.ndarray, amount: float, rng: Random) -> np.ndarray:
    """Salt and pepper in equal parts, per value: the channels of a pixel are hit independently."""
    hit = rng.uniform(size=image.shape) < amount
    salt = rng.uniform(size=image.shape) < 0.5
    return np.where(hit, np.where(salt, np.uint8(255), np.uint8(0)), image)
