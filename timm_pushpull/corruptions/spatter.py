"""Spatter, drops of water or mud on the lens: uint8 NHWC in, uint8 NHWC out.

The drops of water are drawn by a chain of OpenCV's operations on bytes, which are written out here: Canny's edges, the
distance to them, box filters, an equalised histogram, a filter that embosses.
"""

from __future__ import annotations

import numpy as np

from timm_pushpull.corruptions.draws import Draws
from timm_pushpull.corruptions.filters import clamped, gaussian_image, gaussian_weights, mirrored
from timm_pushpull.utils.jit import jit_cached, jit_exact

_WATER = np.array([175, 238, 238], np.float32) / np.float32(255)  # pale turquoise
_MUD = np.array([63, 42, 20], np.float32) / np.float32(255)
_TRUNCATE = 4.0
_LOW, _HIGH = 50, 150  # Canny's thresholds
_TANGENT = 13573  # of 22.5 degrees, in 2^-15
_FARTHEST = np.float32(20)


def spatter(images: np.ndarray, constants: tuple[float, ...], draws: Draws) -> np.ndarray:
    """Smoothed noise above a threshold, as drops of water or mud."""
    mean, deviation, sigma, threshold, strength, is_mud = constants
    height, width = images.shape[1:3]
    noise = mean + deviation * draws.normal_field((height, width), (slice(0, height), slice(0, width)))
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
    """Canny's edges of a uint8 image, with Sobel's gradients and the sum of their absolute values."""
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
    # Ridges: 1 for weak ones, 2 for strong ones and those that hang on to them.
    ridge, found, count = np.zeros((height + 2, width + 2), np.uint8), np.empty(height * width, np.int64), 0
    for y in range(height):
        for x in range(width):
            here, gx, gy = strength[y + 1, x + 1], across[y, x], down[y, x]
            if here <= _LOW:
                continue
            steep, flat = abs(gy) << 15, abs(gx) * _TANGENT
            if steep < flat:
                top = here > strength[y + 1, x] and here >= strength[y + 1, x + 2]
            elif steep > flat + (abs(gx) << 16):
                top = here > strength[y, x + 1] and here >= strength[y + 2, x + 1]
            else:
                side = -1 if (gx ^ gy) < 0 else 1
                top = here > strength[y, x + 1 - side] and here > strength[y + 2, x + 1 + side]
            if top:
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
def _distances(edges):
    """The distance to the nearest edge, by steps of 1, 1.4 and 2.1969, at most `_FARTHEST`; float32."""
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
    return np.minimum(reach[2:-2, 2:-2], _FARTHEST)


@jit_exact
def _bordered(image):
    """An image with one pixel more on every side, mirrored about the outer ones."""
    height, width = image.shape
    bordered = np.empty((height + 2, width + 2), image.dtype)
    for y in range(height + 2):
        row, line = image[mirrored(y - 1, height)], bordered[y]
        for x in range(width):
            line[x + 1] = row[x]
        line[0], line[width + 1] = row[mirrored(-1, width)], row[mirrored(width, width)]
    return bordered


@jit_exact
def _relief(distances):
    """The embossed distances, as float32 whole numbers: smoothed, equalised, filtered, smoothed."""
    height, width = distances.shape
    levels, histogram = np.empty((height, width), np.uint8), np.zeros(256, np.int64)
    around, sums = _bordered(distances), np.empty(width + 2)
    for y in range(height):
        above, here, below = around[y], around[y + 1], around[y + 2]
        for x in range(width + 2):
            sums[x] = np.float64(above[x]) + np.float64(here[x]) + np.float64(below[x])
        for x in range(width):
            levels[y, x] = np.int32(np.float32((sums[x] + sums[x + 1] + sums[x + 2]) * (1 / 9)))
            histogram[levels[y, x]] += 1
    table = _equalising(histogram)
    equalised, embossed = np.empty((height, width), np.int32), np.empty((height, width), np.int32)
    for y in range(height):
        for x in range(width):
            equalised[y, x] = table[levels[y, x]]
    around = _bordered(equalised)
    for y in range(height):
        above, here, below = around[y], around[y + 1], around[y + 2]
        for x in range(width):
            raised = here[x + 1] + here[x + 2] + below[x + 1] + 2 * below[x + 2]
            raised -= 2 * above[x] + above[x + 1] + here[x]
            embossed[y, x] = min(max(raised, 0), 255)
    around, relief = _bordered(embossed), np.empty((height, width), np.float32)
    for y in range(height):
        above, here, below = around[y], around[y + 1], around[y + 2]
        for x in range(width + 2):
            sums[x] = above[x] + here[x] + below[x]
        for x in range(width):
            relief[y, x] = np.floor((2 * (sums[x] + sums[x + 1] + sums[x + 2]) + 9) / 18)
    return relief


@jit_exact
def _equalising(histogram):
    """The table that equalises a histogram of bytes, as OpenCV does."""
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
