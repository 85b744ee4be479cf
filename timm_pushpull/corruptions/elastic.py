"""Elastic transform: uint8 NHWC in, uint8 NHWC out."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from timm_pushpull.corruptions.draws import Draws
from timm_pushpull.corruptions.filters import gaussian_weights, mirrored, weigh_row
from timm_pushpull.utils.jit import jit_cached, jit_exact

_DENSE = 32  # taps from which on a filter is quicker as a product with a matrix


def elastic_transform(
    images: np.ndarray, constants: tuple[float, float, float, tuple[int, int]], draws: Draws
) -> np.ndarray:
    """Moves three corners at random, then every pixel along a smooth random field.

    Strength, smoothness and jitter are parts of the image's shorter side. `constants` ends with the side that the
    preset is made for and what it counts as: 244 where 224 was meant, in the table for ImageNet.
    """
    strength, smoothness, jitter, (side, counted) = constants
    height, width = images.shape[1:3]
    unit = counted * min(height, width) / side
    corners = _corners(height, width)
    moves = unit * jitter
    shifts = (-moves + 2 * moves * draws.uniform(6)).reshape(-1, 3, 2).astype(np.float32)
    inverses = np.stack([_inverse_affine(corners, corners + shift) for shift in shifts])
    fields = [
        _smooth(-1 + 2 * draws.uniform(height * width).reshape(-1, height, width), unit * smoothness)
        * (unit * strength)
        for _ in range(2)
    ]
    return _warp(images, inverses, *(field.astype(np.float32) for field in fields))


def _corners(height: int, width: int) -> np.ndarray:
    """Three points about the middle, (x, y), float32, in the order of the original."""
    middle = np.array([width, height], np.float32) // 2
    reach = min(height, width) // 3
    return np.array([middle + reach, [middle[0] + reach, middle[1] - reach], middle - reach], np.float32)


def _inverse_affine(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The affine map from target to source points, float64 (2, 3): of the forward map, inverted as OpenCV does."""
    points = np.concatenate([source, np.ones((3, 1))], axis=1).astype(np.float64)
    (a, b, c), (d, e, f) = np.linalg.solve(points, target.astype(np.float64)).T
    scale = 1 / (a * e - b * d)
    a, b, d, e = e * scale, -b * scale, -d * scale, a * scale
    return np.array([[a, b, -a * c - b * f], [d, e, -d * c - e * f]])


def _smooth(fields: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian filter with borders mirrored, float64 (N, H, W)."""
    weights = gaussian_weights(sigma, 3.0)
    if len(weights) == 1:
        return fields
    if len(weights) < _DENSE:
        return _filter(fields, weights)
    rows, columns = (_matrix(fields.shape[axis], sigma) for axis in (1, 2))
    return rows @ fields @ columns.T


@lru_cache(maxsize=8)
def _matrix(size: int, sigma: float) -> np.ndarray:
    """The filter as a matrix, float64 (size, size)."""
    weights = gaussian_weights(sigma, 3.0)
    matrix = np.zeros((size, size))
    for offset in range(1 - len(weights), len(weights)):
        mirrored = (np.arange(size) + offset) % (2 * size)
        np.add.at(matrix, (np.arange(size), np.minimum(mirrored, 2 * size - 1 - mirrored)), weights[abs(offset)])
    return matrix


@jit_exact
def _reflected(position, size):
    """A position mirrored into 0 to size - 1 at the border, where the outer pixel is repeated."""
    if 0 <= position < size:  # nearly always; divisions are slow
        return position
    position %= 2 * size
    return min(position, 2 * size - 1 - position)


@jit_cached
def _filter(fields, weights):
    height, width = fields.shape[1:]
    output, reach = np.empty_like(fields), weights.size - 1
    padded = np.empty(width + 2 * reach)
    inside = padded[reach : reach + width]
    for n in range(len(fields)):
        for y in range(height):
            centre = fields[n, y]
            for x in range(width):
                inside[x] = centre[x] * weights[0]
            for k in range(reach, 0, -1):
                above, below = fields[n, _reflected(y - k, height)], fields[n, _reflected(y + k, height)]
                for x in range(width):
                    inside[x] += (above[x] + below[x]) * weights[k]
            for i in range(reach):
                padded[reach - 1 - i] = inside[_reflected(-1 - i, width)]
                padded[reach + width + i] = inside[_reflected(width + i, width)]
            weigh_row(padded, weights, 1, output[n, y])
    return output


@jit_exact
def _affine(image, inverse, warped):
    """OpenCV's warpAffine, bilinear. (Before version 5 it rounded positions to 1/32 pixel.)"""
    height, width = image.shape[:2]
    for y in range(height):
        for x in range(width):
            at_x = inverse[0, 0] * x + inverse[0, 1] * y + inverse[0, 2]
            at_y = inverse[1, 0] * x + inverse[1, 1] * y + inverse[1, 2]
            left, top = math.floor(at_x), math.floor(at_y)
            along, down = np.float32(at_x - left), np.float32(at_y - top)
            near_x, far_x = mirrored(left, width), mirrored(left + 1, width)
            near_y, far_y = mirrored(top, height), mirrored(top + 1, height)
            for channel in range(3):
                upper, lower = image[near_y, near_x, channel], image[far_y, near_x, channel]
                upper += along * (image[near_y, far_x, channel] - upper)
                lower += along * (image[far_y, far_x, channel] - lower)
                warped[y, x, channel] = upper + down * (lower - upper)


@jit_cached
def _warp(images, inverses, shifts_x, shifts_y):
    height, width = images.shape[1:3]
    output = np.empty_like(images)
    image, warped = np.empty((height, width, 3), np.float32), np.empty((height, width, 3), np.float32)
    for n in range(len(images)):
        for y in range(height):
            for x in range(width):
                for channel in range(3):
                    image[y, x, channel] = np.float32(images[n, y, x, channel]) / np.float32(255)
        _affine(image, inverses[n], warped)
        for y in range(height):
            for x in range(width):
                at_x, at_y = x + np.float64(shifts_x[n, y, x]), y + np.float64(shifts_y[n, y, x])
                down, along = at_y - math.floor(at_y), at_x - math.floor(at_x)
                top, bottom = _reflected(math.floor(at_y), height), _reflected(math.floor(at_y) + 1, height)
                left, right = _reflected(math.floor(at_x), width), _reflected(math.floor(at_x) + 1, width)
                for channel in range(3):
                    upper = warped[top, left, channel] * (1 - down) * (1 - along)
                    upper += warped[top, right, channel] * (1 - down) * along
                    lower = warped[bottom, left, channel] * down * (1 - along)
                    lower += warped[bottom, right, channel] * down * along
                    value = np.float32(upper + lower)
                    output[n, y, x, channel] = np.int32(min(max(value, np.float32(0)), np.float32(1)) * np.float32(255))
    return output
