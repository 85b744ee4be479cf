"""Blurs: uint8 NHWC in, uint8 NHWC out. Lengths are pixels of the image, whatever its size."""

from __future__ import annotations

from functools import cache

import numpy as np

from timm_pushpull.corruptions.draws import Draws
from timm_pushpull.corruptions.filters import (
    add_enlarged,
    blur_along_line,
    crop_for,
    gaussian_image,
    gaussian_weights,
    mirrored,
)
from timm_pushpull.utils.jit import jit_cached, jit_exact

_TRUNCATE = 4.0  # deviations at which scikit-image cuts a Gaussian


def gaussian_blur(images: np.ndarray, sigma: float, draws: Draws) -> np.ndarray:
    return _gaussian(images, gaussian_weights(sigma, _TRUNCATE))


def defocus_blur(images: np.ndarray, constants: tuple[float, float], draws: Draws) -> np.ndarray:
    """Convolution with an anti-aliased disk of the first constant's radius, image mirrored about its outer pixels."""
    return _convolve(images, _disk(*constants))


def glass_blur(images: np.ndarray, constants: tuple[float, int, int], draws: Draws) -> np.ndarray:
    """Gaussian blur, pixels moved about by up to `reach` in `rounds` passes, Gaussian blur.

    The original means to swap two pixels and copies one over the other, because its two sides are views.
    """
    sigma, reach, rounds = constants
    height, width = images.shape[1:3]
    weights = gaussian_weights(sigma, _TRUNCATE)
    steps = rounds * max(height - 2 * reach, 0) * max(width - 2 * reach, 0)
    offsets = draws.offsets(reach, steps)
    moved = _gaussian(images, weights)
    _move_pixels(moved, reach, rounds, offsets)
    return _gaussian(moved, weights)


def motion_blur(images: np.ndarray, constants: tuple[int, float], draws: Draws) -> np.ndarray:
    """Blur along a line of random angle, -45 to 45 degrees, as ImageMagick makes it."""
    return _motion(images, *constants, -45 + 90 * draws.uniform(1)[:, 0])


def zoom_blur(images: np.ndarray, constants: tuple[float, float], draws: Draws) -> np.ndarray:
    """The mean of the image and its enlargements by factors from 1 up to the first constant, the second one apart."""
    stop, step = constants
    return _zoom(images, np.arange(1, stop, step))


@jit_exact
def _intensities(image, values):
    """Bytes of shape (H, W, 3) as floats from 0 to 1, of shape (H, W * 3)."""
    for y in range(len(values)):
        row, line = values[y], image[y].reshape(-1)
        for i in range(row.size):
            row[i] = line[i] / 255.0


@jit_cached
def _gaussian(images, weights):
    output, size = np.empty_like(images), images.shape[2] * 3
    values, blurred = np.empty((images.shape[1], size)), np.empty((images.shape[1], size))
    for n in range(len(images)):
        _intensities(images[n], values)
        gaussian_image(values, weights, 3, blurred)
        for y in range(len(values)):
            row, line = blurred[y], output[n, y].reshape(-1)
            for i in range(size):
                line[i] = np.int32(min(row[i], 1.0) * 255)
    return output


@jit_cached
def _move_pixels(images, reach, rounds, offsets):
    height, width = images.shape[1:3]
    codes = np.arange(4 * reach * reach)
    down, right = codes // (2 * reach) - reach, codes % (2 * reach) - reach
    for n in range(len(images)):
        image, step = images[n], 0
        for _ in range(rounds):
            for y in range(height - reach, reach, -1):
                for x in range(width - reach, reach, -1):
                    offset = offsets[n, step]
                    step += 1
                    other_y, other_x = y + down[offset], x + right[offset]
                    for channel in range(3):
                        image[y, x, channel] = image[other_y, other_x, channel]


@cache
def _disk(radius: float, alias: float) -> np.ndarray:
    """A quarter of the disk, its centre first, smoothed by a Gaussian of deviation `alias`; float64.

    It is made in the float32 arithmetic of the original, of which a flat image's grey level can depend.
    """
    reach, side = (8, 3) if radius <= 8 else (int(radius), 5)
    axis = np.arange(-reach, reach + 1)
    disk = (axis[:, None] ** 2 + axis**2 <= radius**2).astype(np.float32)
    disk /= disk.sum()
    half = side // 2
    weights = np.exp(-0.5 * np.arange(-half, half + 1) ** 2 / alias**2)
    weights = (weights / weights.sum()).astype(np.float32)
    for _ in range(2):  # along the rows, then along the columns
        mirrored = np.pad(disk, ((0, 0), (half, half)), mode="reflect")
        parts = [mirrored[:, k : k + len(axis)] for k in range(side)]
        disk = parts[half] * weights[half]
        for k in range(1, half + 1):
            disk = disk + (parts[half - k] + parts[half + k]) * weights[half + k]
        disk = disk.T
    quarter = disk[reach:, reach:].astype(np.float64)
    used = quarter.any(axis=0).nonzero()[0].max() + 1
    return quarter[:used, :used].copy()


@jit_cached
def _convolve(images, quarter):
    """Convolution with a kernel that is symmetric about both axes."""
    height, width = images.shape[1:3]
    reach, size = len(quarter) - 1, width * 3
    output, sums = np.empty_like(images), np.empty(size)
    padded, pair = np.empty((height, size + 6 * reach)), np.empty(size + 6 * reach)
    for n in range(len(images)):
        for y in range(height):
            for x in range(-reach, width + reach):
                for channel in range(3):
                    value = images[n, y, mirrored(x, width), channel]
                    padded[y, 3 * (x + reach) + channel] = value / 255.0
        for y in range(height):
            sums[:] = 0
            for k in range(reach + 1):
                above, below = padded[mirrored(y - k, height)], padded[mirrored(y + k, height)]
                once = 0.5 if k == 0 else 1.0
                for i in range(pair.size):
                    pair[i] = (above[i] + below[i]) * once
                for j in range(reach + 1):
                    weight = quarter[k, j]
                    if weight == 0:
                        continue
                    left, right = pair[3 * (reach - j) :], pair[3 * (reach + j) :]
                    weight = weight * 0.5 if j == 0 else weight
                    for i in range(size):
                        sums[i] += (left[i] + right[i]) * weight
            line = output[n, y].reshape(-1)
            for i in range(size):
                line[i] = np.int32(min(sums[i], 1.0) * 255)
    return output


@jit_cached
def _motion(images, reach, sigma, angles):
    output, shape = np.empty_like(images), (images.shape[1], images.shape[2] * 3)
    for n in range(len(images)):
        blur_along_line(images[n].reshape(shape), 3, reach, sigma, angles[n], output[n].reshape(shape))
    return output


@jit_cached
def _zoom(images, factors):
    height, width = images.shape[1:3]
    output, size = np.empty_like(images), width * 3
    values, total = np.empty((height, size), np.float32), np.empty((height, size), np.float32)
    for n in range(len(images)):
        _intensities(images[n], values)
        total[:] = 0
        for factor in factors:
            top, rows = crop_for(height, factor)
            left, columns = crop_for(width, factor)
            add_enlarged(values[top : top + rows, 3 * left : 3 * (left + columns)], 3, factor, total)
        count = np.float32(factors.size + 1)
        for y in range(height):
            row, before, line = total[y], values[y], output[n, y].reshape(-1)
            for i in range(size):
                line[i] = np.int32(min((before[i] + row[i]) / count, np.float32(1)) * np.float32(255))
    return output
