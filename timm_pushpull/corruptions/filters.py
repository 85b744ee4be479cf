"""Gaussian filters, motion blur and zoom, which several corruptions use.

Sums are computed in the order of SciPy, OpenCV and ImageMagick, which the published code calls. The results are
truncated to bytes, so another order would make flat areas of an image one grey level darker.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from timm_pushpull.utils.jit import jit_exact


@cache
def gaussian_weights(sigma: float, truncate: float) -> np.ndarray:
    """Half of a normalised Gaussian kernel, its centre first, cut at `truncate * sigma` as in SciPy; float64."""
    radius = int(truncate * sigma + 0.5) if sigma > 1e-15 else 0
    if radius == 0:
        return np.ones(1)
    weights = np.exp(-0.5 / (sigma * sigma) * np.arange(-radius, radius + 1) ** 2)
    return (weights / weights.sum())[radius:].copy()


@jit_exact
def clamped(position, size):
    """The position clipped to 0 ... size - 1."""
    return min(max(position, 0), size - 1)


@jit_exact
def reflected(position, size):
    """The position reflected into 0 ... size - 1 without repeating the border pixel (numpy's mode "reflect")."""
    if 0 <= position < size:  # the common case, without a division
        return position
    if size == 1:
        return 0
    position = abs(position) % (2 * size - 2)
    return min(position, 2 * size - 2 - position)


@jit_exact
def filter_row(row, weights, step, output):
    """Convolve a row with a symmetric kernel. Neighbours are `step` apart; the row is padded by `radius * step`."""
    radius = weights.size - 1
    middle = row[radius * step :]
    for i in range(output.size):
        output[i] = middle[i] * weights[0]
    for k in range(radius, 0, -1):
        left, right, weight = row[(radius - k) * step :], row[(radius + k) * step :], weights[k]
        for i in range(output.size):
            output[i] += (left[i] + right[i]) * weight


@jit_exact
def pad_row(row, radius, channels):
    """Repeat the border pixels of a row over its padding of `radius` pixels."""
    size = row.size
    for i in range(radius * channels):
        row[i] = row[radius * channels + i % channels]
        row[size - 1 - i] = row[size - 1 - radius * channels - i % channels]


@jit_exact
def gaussian_image(image, weights, channels, output):
    """A Gaussian filter along columns, then rows, with border pixels repeated; float64 of shape (H, W * channels)."""
    height, size = image.shape
    radius = weights.size - 1
    padded = np.empty(size + 2 * radius * channels)
    inside = padded[radius * channels : radius * channels + size]
    for y in range(height):
        centre = image[y]
        for i in range(size):
            inside[i] = centre[i] * weights[0]
        for k in range(radius, 0, -1):
            above, below, weight = image[clamped(y - k, height)], image[clamped(y + k, height)], weights[k]
            for i in range(size):
                inside[i] += (above[i] + below[i]) * weight
        pad_row(padded, radius, channels)
        filter_row(padded, weights, channels, output[y])


@jit_exact
def motion_blur_taps(radius, sigma, angle):
    """The taps of ImageMagick's motion blur: half a Gaussian along a line of `2 * radius + 1` steps.

    Args:
        angle: In degrees.

    Returns:
        (rows, columns, weights): Offsets in px, int64, and weights, float64. Steps on the same pixel are one tap.
    """
    count = 2 * radius + 1
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
def motion_blur_image(image, channels, radius, sigma, angle, output):
    """ImageMagick's motion blur of a uint8 image of shape (H, W * channels), with border pixels repeated.

    ImageMagick uses 16 bits per value: bytes are multiplied by 257, the sum is rounded, divided by 257 and truncated.
    """
    height, size = image.shape
    rows, columns, weights = motion_blur_taps(radius, sigma, angle)
    margin = 2 * radius + 1
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
    """The central part of an axis that covers the axis when zoomed by a factor: (start, length)."""
    length = math.ceil(size / factor)
    return (size - length) // 2, length


@jit_exact
def zoomed_positions(size, length, factor, like):
    """Source positions along an axis when `length` pixels are zoomed by a factor and cropped to `size`.

    Returns:
        (lower, fraction): The lower neighbour, int64, and the weight of the upper one, in the dtype of `like`, both of
        shape (size,).
    """
    zoomed = round(length * factor)
    step = (length - 1) / (zoomed - 1) if zoomed > 1 else 0.0
    lower, fraction = np.empty(size, np.int64), np.empty(size, like.dtype)
    for i in range(size):
        position = (i + (zoomed - size) // 2) * step
        lower[i] = min(int(position), max(length - 2, 0))
        fraction[i] = position - lower[i]
    return lower, fraction


@jit_exact
def add_zoomed(image, channels, factor, total):
    """Add an image, zoomed bilinearly with aligned corners (SciPy's zoom) and cropped at the centre, to `total`.

    Args:
        image: Floats of shape (H, W * channels), cropped by `crop_for`.
        total: Floats of shape (H', W' * channels).
    """
    rows, columns = image.shape[0], image.shape[1] // channels
    lines, line_fraction = zoomed_positions(total.shape[0], rows, factor, image)
    pixels, pixel_fraction = zoomed_positions(total.shape[1] // channels, columns, factor, image)
    source, fraction = np.empty(total.shape[1], np.uint64), np.empty(total.shape[1], image.dtype)
    for i in range(source.size):
        source[i], fraction[i] = pixels[i // channels] * channels + i % channels, pixel_fraction[i // channels]
    # One pixel more than needed: its weight is 0, but it is read where a side is a single pixel.
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
