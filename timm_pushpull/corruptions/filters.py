"""Loops that several corruptions share: Gaussian filters, blurring along a line, enlarging. Compiled by numba.

Sums run in the order of the original's libraries where a result is truncated to bytes: with other rounding, flat parts
of an image would come out a grey level darker.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from timm_pushpull.utils.jit import jit_exact


@cache
def gaussian_weights(sigma: float, truncate: float) -> np.ndarray:
    """Half of a normalised Gaussian kernel, its centre first, cut at `truncate` deviations as SciPy does; float64."""
    reach = int(truncate * sigma + 0.5) if sigma > 1e-15 else 0
    if reach == 0:
        return np.ones(1)
    weights = np.exp(-0.5 / (sigma * sigma) * np.arange(-reach, reach + 1) ** 2)
    return (weights / weights.sum())[reach:].copy()


@jit_exact
def clamped(position, size):
    """The nearest position within 0 to size - 1."""
    return min(max(position, 0), size - 1)


@jit_exact
def mirrored(position, size):
    """A position mirrored into 0 to size - 1 about the outer pixels, which are not repeated."""
    if 0 <= position < size:  # nearly always; divisions are slow
        return position
    if size == 1:
        return 0
    position = abs(position) % (2 * size - 2)
    return min(position, 2 * size - 2 - position)


@jit_exact
def weigh_row(row, weights, step, output):
    """The symmetric sum around every number of a row, `step` apart; the row has `reach * step` more at either end."""
    reach = weights.size - 1
    middle = row[reach * step :]
    for i in range(output.size):
        output[i] = middle[i] * weights[0]
    for k in range(reach, 0, -1):
        left, right, weight = row[(reach - k) * step :], row[(reach + k) * step :], weights[k]
        for i in range(output.size):
            output[i] += (left[i] + right[i]) * weight


@jit_exact
def pad_row(row, reach, channels):
    """Repeat the outer pixels of a row, which lies `reach` pixels from either end."""
    size = row.size
    for i in range(reach * channels):
        row[i] = row[reach * channels + i % channels]
        row[size - 1 - i] = row[size - 1 - reach * channels - i % channels]


@jit_exact
def gaussian_image(image, weights, channels, output):
    """A Gaussian filter along columns, then rows, with outer pixels repeated; float64 of shape (H, W * channels)."""
    height, size = image.shape
    reach = weights.size - 1
    padded = np.empty(size + 2 * reach * channels)
    inside = padded[reach * channels : reach * channels + size]
    for y in range(height):
        centre = image[y]
        for i in range(size):
            inside[i] = centre[i] * weights[0]
        for k in range(reach, 0, -1):
            above, below, weight = image[clamped(y - k, height)], image[clamped(y + k, height)], weights[k]
            for i in range(size):
                inside[i] += (above[i] + below[i]) * weight
        pad_row(padded, reach, channels)
        weigh_row(padded, weights, channels, output[y])


@jit_exact
def line_taps(reach, sigma, angle):
    """Taps of ImageMagick's motion blur: a Gaussian's half along a line of `2 * reach + 1` steps; degrees.

    Returns:
        (rows, columns, weights): offsets, int64, and weights, float64, steps on the same pixel taken together.
    """
    count = 2 * reach + 1
    rows, columns, weights = np.zeros(count, np.int64), np.zeros(count, np.int64), np.zeros(count)
    across, along = count * math.sin(math.radians(angle)), count * math.cos(math.radians(angle))
    length = math.hypot(across, along)
    total, taps = 0.0, 0
    for i in range(count):
        weight = math.exp(-i * i / (2 * sigma * sigma)) / (math.sqrt(2 * math.pi) * sigma)
        row, column = math.ceil(i * across / length - 0.5), math.ceil(i * along / length - 0.5)
        if taps == 0 or row != rows[taps - 1] or column != columns[taps - 1]:
            rows[taps], columns[taps] = row, column
            taps += 1
        weights[taps - 1] += weight
        total += weight
    return rows[:taps], columns[:taps], weights[:taps] / total


@jit_exact
def blur_along_line(image, channels, reach, sigma, angle, output):
    """ImageMagick's motion blur of a uint8 image of shape (H, W * channels), with outer pixels repeated.

    It works on 16 bits: a byte is multiplied by 257, the sum rounded, then divided by 257 and truncated.
    """
    height, size = image.shape
    rows, columns, weights = line_taps(reach, sigma, angle)
    margin = 2 * reach + 1
    padded = np.empty((height, size + 2 * margin * channels))
    for y in range(height):
        inside, line = padded[y, margin * channels : margin * channels + size], image[y]
        for i in range(size):
            inside[i] = line[i]
        pad_row(padded[y], margin, channels)
    sums = np.empty(size)
    for y in range(height):
        sums[:] = 0
        for k in range(weights.size):
            line, weight = padded[clamped(y + rows[k], height)], weights[k]
            part = line[(margin + columns[k]) * channels :]
            for i in range(size):
                sums[i] += weight * part[i]
        result = output[y]
        for i in range(size):
            result[i] = np.int32(sums[i] * 257 + 0.5) // np.int32(257)


@jit_exact
def crop_for(size, factor):
    """The middle part of an axis that, enlarged by a factor, covers the axis: (start, length)."""
    length = math.ceil(size / factor)
    return (size - length) // 2, length


@jit_exact
def enlarged_positions(size, length, factor, like):
    """Where the pixels of an axis come from when `length` of them are enlarged by a factor and trimmed to `size`.

    Returns:
        (lower neighbour, int64; fraction towards the upper one, of the type of `like`), both of shape (size,).
    """
    enlarged = round(length * factor)
    step = (length - 1) / (enlarged - 1) if enlarged > 1 else 0.0
    lower, fraction = np.empty(size, np.int64), np.empty(size, like.dtype)
    for i in range(size):
        position = (i + (enlarged - size) // 2) * step
        lower[i] = min(int(position), max(length - 2, 0))
        fraction[i] = position - lower[i]
    return lower, fraction


@jit_exact
def add_enlarged(image, channels, factor, total):
    """Add to `total` the middle of an image enlarged by a factor, bilinearly, corners on corners (SciPy's zoom).

    image: floats of shape (H, W * channels), already cropped. total: (H', W' * channels).
    """
    rows, columns = image.shape[0], image.shape[1] // channels
    lines, line_fraction = enlarged_positions(total.shape[0], rows, factor, image)
    pixels, pixel_fraction = enlarged_positions(total.shape[1] // channels, columns, factor, image)
    source, fraction = np.empty(total.shape[1], np.uint64), np.empty(total.shape[1], image.dtype)
    for i in range(source.size):
        source[i], fraction[i] = pixels[i // channels] * channels + i % channels, pixel_fraction[i // channels]
    # One more pixel, never weighed, where a side is a single pixel.
    line = np.zeros((columns + 1) * channels, image.dtype)
    left, right = line, line[channels:]
    for y in range(total.shape[0]):
        upper, lower, weight = image[lines[y]], image[min(lines[y] + 1, rows - 1)], line_fraction[y]
        for i in range(columns * channels):
            line[i] = upper[i] + weight * (lower[i] - upper[i])
        result = total[y]
        for i in range(result.size):
            start = left[source[i]]
            result[i] += start + fraction[i] * (right[source[i]] - start)
