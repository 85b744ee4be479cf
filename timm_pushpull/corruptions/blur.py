"""Gaussian, defocus, glass, motion and zoom blur: uint8 (N, H, W, 3) in and out. Lengths are in px."""

from __future__ import annotations

from functools import cache

import numpy as np

from timm_pushpull.corruptions.draws import Draws
from timm_pushpull.corruptions.filters import (
    add_zoomed,
    crop_for,
    gaussian_image,
    gaussian_weights,
    motion_blur_image,
    reflected,
)
from timm_pushpull.utils.jit import jit_cached, jit_exact

_TRUNCATE = 4.0  # scikit-image cuts a Gaussian at this multiple of sigma


def gaussian_blur(images: np.ndarray, sigma: float, draws: Draws) -> np.ndarray:
    """A Gaussian filter with repeated border pixels; `sigma` is in px."""
    return _gaussian(images, gaussian_weights(sigma, _TRUNCATE))


def defocus_blur(images: np.ndarray, constants: tuple[float, float], draws: Draws) -> np.ndarray:
    """Convolution with an anti-aliased disk, with reflected borders.

    Args:
        constants: Radius of the disk and sigma of its smoothing.
    """
    return _convolve(images, _disk(*constants))


def glass_blur(images: np.ndarray, constants: tuple[float, int, int], draws: Draws) -> np.ndarray:
    """Gaussian blur, then pixels are replaced by random neighbours, then the same Gaussian blur.

    The published code intends to swap pixels, but it copies one over the other, because it swaps numpy views.

    Args:
        constants: Sigma, largest shift in px, number of passes.
    """
    sigma, max_shift, passes = constants
    height, width = images.shape[1:3]
    weights = gaussian_weights(sigma, _TRUNCATE)
    steps = passes * max(height - 2 * max_shift, 0) * max(width - 2 * max_shift, 0)
    offsets = draws.offsets(max_shift, steps)
    moved = _gaussian(images, weights)
    _move_pixels(moved, max_shift, passes, offsets)
    return _gaussian(moved, weights)


def motion_blur(images: np.ndarray, constants: tuple[int, float], draws: Draws) -> np.ndarray:
    """ImageMagick's motion blur in a random direction of -45 to 45 degrees.

    Args:
        constants: Radius and sigma.
    """
    return _motion(images, *constants, -45 + 90 * draws.uniform(1)[:, 0])


def zoom_blur(images: np.ndarray, constants: tuple[float, float], draws: Draws) -> np.ndarray:
    """The mean of the image and of its zooms.

    Args:
        constants: Largest zoom factor and step between factors, which start at 1.
    """
    stop, step = constants
    return _zoom(images, np.arange(1, stop, step))


@jit_exact
def _intensities(image, values):
    """Convert bytes of shape (H, W, 3) to floats in [0, 1] of shape (H, W * 3)."""
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
def _move_pixels(images, max_shift, passes, offsets):
    height, width = images.shape[1:3]
    codes = np.arange(4 * max_shift * max_shift)
    down, right = codes // (2 * max_shift) - max_shift, codes % (2 * max_shift) - max_shift
    for n in range(len(images)):
        image, step = images[n], 0
        for _ in range(passes):
            for y in range(height - max_shift, max_shift, -1):
                for x in range(width - max_shift, max_shift, -1):
                    offset = offsets[n, step]
                    step += 1
                    other_y, other_x = y + down[offset], x + right[offset]
                    for channel in range(3):
                        image[y, x, channel] = image[other_y, other_x, channel]


@cache
def _disk(radius: float, alias: float) -> np.ndarray:
    """A quadrant of the disk, its centre first, smoothed by a Gaussian of sigma `alias`; float64.

    Computed in float32 as in the published code: rounding can change the grey level of a flat image.
    """
    half_size, taps = (8, 3) if radius <= 8 else (int(radius), 5)
    axis = np.arange(-half_size, half_size + 1)
    disk = (axis[:, None] ** 2 + axis**2 <= radius**2).astype(np.float32)
    disk /= disk.sum()
    half = taps // 2
    weights = np.exp(-0.5 * np.arange(-half, half + 1) ** 2 / alias**2)
    weights = (weights / weights.sum()).astype(np.float32)
    for _ in range(2):  # along the rows, then along the columns
        padded = np.pad(disk, ((0, 0), (half, half)), mode="reflect")
        parts = [padded[:, k : k + len(axis)] for k in range(taps)]
        disk = parts[half] * weights[half]
        for k in range(1, half + 1):
            disk = disk + (parts[half - k] + parts[half + k]) * weights[half + k]
        disk = disk.T
    quadrant = disk[half_size:, half_size:].astype(np.float64)
    used = np.flatnonzero(quadrant.any(axis=0)).max() + 1
    return quadrant[:used, :used].copy()


@jit_cached
def _convolve(images, quadrant):
    """Convolution with a kernel that is symmetric along both axes, given by one quadrant."""
    height, width = images.shape[1:3]
    radius, size = len(quadrant) - 1, width * 3
    output, sums = np.empty_like(images), np.empty(size)
    padded, pair = np.empty((height, size + 6 * radius)), np.empty(size + 6 * radius)
    for n in range(len(images)):
        for y in range(height):
            for x in range(-radius, width + radius):
                for channel in range(3):
                    value = images[n, y, reflected(x, width), channel]
                    padded[y, 3 * (x + radius) + channel] = value / 255.0
        for y in range(height):
            sums[:] = 0
            for k in range(radius + 1):
                above, below = padded[reflected(y - k, height)], padded[reflected(y + k, height)]
                factor = 0.5 if k == 0 else 1.0
                for i in range(pair.size):
                    pair[i] = (above[i] + below[i]) * factor
                for j in range(radius + 1):
                    weight = quadrant[k, j]
                    if weight == 0:
                        continue
                    left, right = pair[3 * (radius - j) :], pair[3 * (radius + j) :]
                    weight = weight * 0.5 if j == 0 else weight
                    for i in range(size):
                        sums[i] += (left[i] + right[i]) * weight
            line = output[n, y].reshape(-1)
            for i in range(size):
                line[i] = np.int32(min(sums[i], 1.0) * 255)
    return output


@jit_cached
def _motion(images, radius, sigma, angles):
    output, shape = np.empty_like(images), (images.shape[1], images.shape[2] * 3)
    for n in range(len(images)):
        motion_blur_image(images[n].reshape(shape), 3, radius, sigma, angles[n], output[n].reshape(shape))
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
            add_zoomed(values[top : top + rows, 3 * left : 3 * (left + columns)], 3, factor, total)
        count = np.float32(factors.size + 1)
        for y in range(height):
            row, before, line = total[y], values[y], output[n, y].reshape(-1)
            for i in range(size):
                line[i] = np.int32(min((before[i] + row[i]) / count, np.float32(1)) * np.float32(255))
    return output
