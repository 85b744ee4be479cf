"""Spatter, drops of water or mud on the lens: uint8 (N, H, W, 3) in and out.

The published code draws drops of water with OpenCV: Canny edges, distance transform, box blur, histogram equalisation,
an emboss filter and another box blur. They are implemented here with OpenCV's integer arithmetic.
"""

from __future__ import annotations

import numpy as np

from timm_pushpull.corruptions.draws import Draws
from timm_pushpull.corruptions.filters import clamped, gaussian_image, gaussian_weights, reflected
from timm_pushpull.utils.jit import jit_cached, jit_exact

_WATER = np.array([175, 238, 238], np.float32) / np.float32(255)  # pale turquoise
_MUD = np.array([63, 42, 20], np.float32) / np.float32(255)
_TRUNCATE = 4.0
_LOW, _HIGH = 50, 150  # thresholds of Canny's hysteresis
_TANGENT = 13573  # tan(22.5 degrees) * 2^15
_MAX_DISTANCE = np.float32(20)


def spatter(images: np.ndarray, constants: tuple[float, ...], draws: Draws) -> np.ndarray:
    """Adds drops where smoothed noise is above a threshold.

    Args:
        constants: Mean and standard deviation of the noise, sigma of its smoothing, threshold, strength of water or
            sigma of mud, 0 for water or 1 for mud.
    """
    mean, std, sigma, threshold, strength, is_mud = constants
    height, width = images.shape[1:3]
    noise = mean + std * draws.normal_field((height, width), (slice(0, height), slice(0, width)))
    weights = gaussian_weights(sigma, _TRUNCATE)
    if is_mud:
        return _add_mud(images, noise, weights, threshold, gaussian_weights(strength, _TRUNCATE))
    return _add_water(images, noise, weights, threshold, np.float32(strength))


@jit_cached
def _add_mud(images, noise, weights, threshold, smooth):
    output = np.empty_like(images)
    height, width = images.shape[1:3]
    liquid, cover = np.empty((height, width)), np.empty((height, width))
    for n in range(len(images)):
        gaussian_image(noise[n], weights, 1, liquid)
        for y in range(height):
            for x in range(width):
                liquid[y, x] = 1.0 if liquid[y, x] > threshold else 0.0
        gaussian_image(liquid, smooth, 1, cover)
        for y in range(height):
            for x in range(width):
                mud = np.float32(cover[y, x])
                mud = mud if mud >= np.float32(0.8) else np.float32(0)
                for channel in range(3):
                    value = np.float32(images[n, y, x, channel]) / np.float32(255) * (np.float32(1) - mud)
                    value += _MUD[channel] * mud
                    output[n, y, x, channel] = np.int32(min(max(value, np.float32(0)), np.float32(1)) * np.float32(255))
    return output


@jit_cached
def _add_water(images, noise, weights, threshold, strength):
    output = np.empty_like(images)
    height, width = images.shape[1:3]
    smooth, liquid = np.empty((height, width)), np.empty((height, width), np.uint8)
    for n in range(len(images)):
        gaussian_image(noise[n], weights, 1, smooth)
        for y in range(height):
            for x in range(width):
                liquid[y, x] = np.int32((smooth[y, x] if smooth[y, x] >= threshold else 0.0) * 255) & 255
        relief = _relief(_distances(_edges(liquid)))
        highest = np.float32(0)
        for y in range(height):
            for x in range(width):
                relief[y, x] *= np.float32(liquid[y, x])
                highest = max(highest, relief[y, x])
        for y in range(height):
            for x in range(width):
                drop = relief[y, x] / highest * strength if highest > 0 else np.float32(0)
                for channel in range(3):
                    value = np.float32(images[n, y, x, channel]) / np.float32(255) + drop * _WATER[channel]
                    output[n, y, x, channel] = np.int32(min(value, np.float32(1)) * np.float32(255))
    return output


@jit_exact
def _edges(image):
    """Canny edges of a uint8 image, bool (H, W), with 3x3 Sobel gradients and their L1 norm."""
    height, width = image.shape
    across, down = np.empty((height, width), np.int32), np.empty((height, width), np.int32)
    strength = np.zeros((height + 2, width + 2), np.int32)
    for y in range(height):
        above, here, below = image[clamped(y - 1, height)], image[y], image[clamped(y + 1, height)]
        for x in range(width):
            left, right = clamped(x - 1, width), clamped(x + 1, width)
            a, b, c = np.int32(above[left]), np.int32(above[x]), np.int32(above[right])
            d, f = np.int32(here[left]), np.int32(here[right])
            g, h, i = np.int32(below[left]), np.int32(below[x]), np.int32(below[right])
            across[y, x] = (c + 2 * f + i) - (a + 2 * d + g)
            down[y, x] = (g + 2 * h + i) - (a + 2 * b + c)
            strength[y + 1, x + 1] = abs(across[y, x]) + abs(down[y, x])
    # Local maxima along the gradient: 1 for weak edges, 2 for strong ones and for weak ones connected to them.
    ridge, found, count = np.zeros((height + 2, width + 2), np.uint8), np.empty(height * width, np.int64), 0
    for y in range(height):
        for x in range(width):
            here = strength[y + 1, x + 1]
            if here > _LOW and _is_local_maximum(strength, y, x, across[y, x], down[y, x]):
                ridge[y + 1, x + 1] = 1
                if here > _HIGH:
                    ridge[y + 1, x + 1] = 2
                    found[count] = y * width + x
                    count += 1
    while count:
        count -= 1
        y, x = found[count] // width + 1, found[count] % width + 1
        for row in range(y - 1, y + 2):
            for column in range(x - 1, x + 2):
                if ridge[row, column] == 1:
                    ridge[row, column] = 2
                    found[count] = (row - 1) * width + column - 1
                    count += 1
    return ridge[1:-1, 1:-1] == 2


@jit_exact
def _is_local_maximum(strength, y, x, gx, gy):
    """Whether a pixel's gradient is the largest along its direction; `strength` is padded by one pixel."""
    here, steep, flat = strength[y + 1, x + 1], abs(gy) << 15, abs(gx) * _TANGENT
    if steep < flat:
        return here > strength[y + 1, x] and here >= strength[y + 1, x + 2]
    if steep > flat + (abs(gx) << 16):
        return here > strength[y, x + 1] and here >= strength[y + 2, x + 1]
    side = -1 if (gx ^ gy) < 0 else 1
    return here > strength[y, x + 1 - side] and here > strength[y + 2, x + 1 + side]


@jit_exact
def _distances(edges):
    """OpenCV's 5x5 chamfer distance to the nearest edge, at most `_MAX_DISTANCE`; float32."""
    height, width = edges.shape
    straight, diagonal, knight = np.float32(1), np.float32(1.4), np.float32(2.1969)
    reach = np.full((height + 4, width + 4), np.float32(1e6))
    for y in range(2, height + 2):
        for x in range(2, width + 2):
            if edges[y - 2, x - 2]:
                reach[y, x] = 0
                continue
            near = min(reach[y - 2, x - 1], reach[y - 2, x + 1], reach[y - 1, x - 2], reach[y - 1, x + 2]) + knight
            near = min(near, min(reach[y - 1, x - 1], reach[y - 1, x + 1]) + diagonal)
            reach[y, x] = min(near, min(reach[y - 1, x], reach[y, x - 1]) + straight)
    for y in range(height + 1, 1, -1):
        for x in range(width + 1, 1, -1):
            near = min(reach[y + 2, x - 1], reach[y + 2, x + 1], reach[y + 1, x - 2], reach[y + 1, x + 2]) + knight
            near = min(near, min(reach[y + 1, x - 1], reach[y + 1, x + 1]) + diagonal)
            near = min(near, min(reach[y + 1, x], reach[y, x + 1]) + straight)
            reach[y, x] = min(reach[y, x], near)
    return np.minimum(reach[2:-2, 2:-2], _MAX_DISTANCE)


@jit_exact
def _padded(image):
    """The image, padded by one reflected pixel on every side."""
    height, width = image.shape
    padded = np.empty((height + 2, width + 2), image.dtype)
    for y in range(height + 2):
        row, line = image[reflected(y - 1, height)], padded[y]
        for x in range(width):
            line[x + 1] = row[x]
        line[0], line[width + 1] = row[reflected(-1, width)], row[reflected(width, width)]
    return padded


@jit_exact
def _relief(distances):
    """Blur, equalise, emboss and blur the distances; whole numbers as float32."""
    height, width = distances.shape
    levels, histogram = np.empty((height, width), np.uint8), np.zeros(256, np.int64)
    around, sums = _padded(distances), np.empty(width + 2)
    for y in range(height):
        above, here, below = around[y], around[y + 1], around[y + 2]
        for x in range(width + 2):
            sums[x] = np.float64(above[x]) + np.float64(here[x]) + np.float64(below[x])
        for x in range(width):
            levels[y, x] = np.int32(np.float32((sums[x] + sums[x + 1] + sums[x + 2]) * (1 / 9)))
            histogram[levels[y, x]] += 1
    table = _equalisation_table(histogram)
    equalised, embossed = np.empty((height, width), np.int32), np.empty((height, width), np.int32)
    for y in range(height):
        for x in range(width):
            equalised[y, x] = table[levels[y, x]]
    around = _padded(equalised)
    for y in range(height):
        above, here, below = around[y], around[y + 1], around[y + 2]
        for x in range(width):
            raised = here[x + 1] + here[x + 2] + below[x + 1] + 2 * below[x + 2]
            raised -= 2 * above[x] + above[x + 1] + here[x]
            embossed[y, x] = min(max(raised, 0), 255)
    around, relief = _padded(embossed), np.empty((height, width), np.float32)
    for y in range(height):
        above, here, below = around[y], around[y + 1], around[y + 2]
        for x in range(width + 2):
            sums[x] = above[x] + here[x] + below[x]
        for x in range(width):
            relief[y, x] = np.floor((2 * (sums[x] + sums[x + 1] + sums[x + 2]) + 9) / 18)
    return relief


@jit_exact
def _equalisation_table(histogram):
    """OpenCV's look-up table that equalises a histogram of bytes."""
    table, first, total = np.zeros(256, np.uint8), 0, histogram.sum()
    while histogram[first] == 0:
        first += 1
    if histogram[first] == total:
        table[first] = first
        return table
    scale, below = np.float32(255) / np.float32(total - histogram[first]), 0
    for level in range(first + 1, 256):
        below += histogram[level]
        table[level] = round(np.float32(below) * scale)
    return table
