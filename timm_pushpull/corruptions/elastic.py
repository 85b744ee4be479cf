"""Elastic transform: uint8 (N, H, W, 3) in and out."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from timm_pushpull.corruptions.draws import Draws
from timm_pushpull.corruptions.filters import filter_row, gaussian_weights, reflected
from timm_pushpull.utils.jit import jit_cached, jit_exact

_DENSE = 32  # from this many taps on, a matrix product is faster than a filter
_LARGE = 1024  # above this side in px, Fourier transforms are faster than a matrix product, and take less memory


def elastic_transform(images: np.ndarray, constants: tuple[float, float, float, int, int], draws: Draws) -> np.ndarray:
    """A random affine transform, given by the shifts of three points, then a smooth random displacement field.

    Args:
        constants: Strength and sigma of the displacement and the largest shift of the points, as fractions of the
            image's side; the side in px that the preset is made for; the side in px that fractions refer to there.
    """
    strength, sigma, corner_shift, image_size, elastic_size = constants
    height, width = images.shape[1:3]
    side = elastic_size * min(height, width) / image_size
    corners = _corners(height, width)
    max_shift = side * corner_shift
    shifts = (-max_shift + 2 * max_shift * draws.uniform(6)).reshape(-1, 3, 2).astype(np.float32)
    inverses = np.stack([_inverse_affine(corners, corners + shift) for shift in shifts])
    fields = [
        _smooth(-1 + 2 * draws.uniform(height * width).reshape(-1, height, width), side * sigma) * (side * strength)
        for _ in range(2)
    ]
    return _warp(images, inverses, *(field.astype(np.float32) for field in fields))


def _corners(height: int, width: int) -> np.ndarray:
    """Three points around the centre in the order of the published code, (x, y), float32 (3, 2)."""
    centre = np.array([width, height], np.float32) // 2
    offset = min(height, width) // 3
    return np.array([centre + offset, [centre[0] + offset, centre[1] - offset], centre - offset], np.float32)


def _inverse_affine(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The affine map from target to source points, float64 (2, 3): the forward map, inverted as OpenCV does."""
    points = np.concatenate([source, np.ones((3, 1))], axis=1).astype(np.float64)
    (a, b, c), (d, e, f) = np.linalg.solve(points, target.astype(np.float64)).T
    scale = 1 / (a * e - b * d)
    a, b, d, e = e * scale, -b * scale, -d * scale, a * scale
    return np.array([[a, b, -a * c - b * f], [d, e, -d * c - e * f]])


def _smooth(fields: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian filter with borders as in numpy's mode "symmetric", float64 (N, H, W)."""
    weights = gaussian_weights(sigma, 3.0)
    if len(weights) == 1:
        return fields
    if len(weights) < _DENSE:
        return _filter(fields, weights)
    if max(fields.shape[1:]) > _LARGE:
        return _filter_by_fourier(_filter_by_fourier(fields, weights, 1), weights, 2)
    rows, columns = (_matrix(fields.shape[axis], sigma) for axis in (1, 2))
    return rows @ fields @ columns.T


def _filter_by_fourier(fields: np.ndarray, weights: np.ndarray, axis: int) -> np.ndarray:
    """The filter of `_smooth` along one axis: a circular convolution with the fields and their mirror images."""
    size = fields.shape[axis]
    kernel, offsets = np.zeros(2 * size), np.arange(1 - len(weights), len(weights))
    np.add.at(kernel, offsets % (2 * size), weights[np.abs(offsets)])
    response = np.fft.rfft(kernel).real  # the kernel is symmetric
    spectrum = np.fft.rfft(np.concatenate([fields, np.flip(fields, axis)], axis), axis=axis)
    spectrum *= response[:, None] if axis == 1 else response
    return np.fft.irfft(spectrum, 2 * size, axis=axis)[:, : fields.shape[1], : fields.shape[2]]


@lru_cache(maxsize=8)
def _matrix(size: int, sigma: float) -> np.ndarray:
    """The filter of `_smooth` along one axis as a matrix, float64 (size, size)."""
    weights = gaussian_weights(sigma, 3.0)
    matrix = np.zeros((size, size))
    for offset in range(1 - len(weights), len(weights)):
        position = (np.arange(size) + offset) % (2 * size)
        np.add.at(matrix, (np.arange(size), np.minimum(position, 2 * size - 1 - position)), weights[abs(offset)])
    return matrix


@jit_exact
def _symmetric(position, size):
    """The position reflected into 0 ... size - 1 with the border pixel repeated (numpy's mode "symmetric")."""
    if 0 <= position < size:  # the common case, without a division
        return position
    position %= 2 * size
    return min(position, 2 * size - 1 - position)


@jit_cached
def _filter(fields, weights):
    height, width = fields.shape[1:]
    output, radius = np.empty_like(fields), weights.size - 1
    padded = np.empty(width + 2 * radius)
    inside = padded[radius : radius + width]
    for n in range(len(fields)):
        for y in range(height):
            centre = fields[n, y]
            for x in range(width):
                inside[x] = centre[x] * weights[0]
            for k in range(radius, 0, -1):
                above, below = fields[n, _symmetric(y - k, height)], fields[n, _symmetric(y + k, height)]
                for x in range(width):
                    inside[x] += (above[x] + below[x]) * weights[k]
            for i in range(radius):
                padded[radius - 1 - i] = inside[_symmetric(-1 - i, width)]
                padded[radius + width + i] = inside[_symmetric(width + i, width)]
            filter_row(padded, weights, 1, output[n, y])
    return output


@jit_exact
def _affine(image, inverse, warped):
    """OpenCV 5's bilinear warpAffine. (Earlier versions round positions to 1/32 px.)"""
    height, width = image.shape[:2]
    for y in range(height):
        for x in range(width):
            at_x = inverse[0, 0] * x + inverse[0, 1] * y + inverse[0, 2]
            at_y = inverse[1, 0] * x + inverse[1, 1] * y + inverse[1, 2]
            left, top = math.floor(at_x), math.floor(at_y)
            along, down = np.float32(at_x - left), np.float32(at_y - top)
            near_x, far_x = reflected(left, width), reflected(left + 1, width)
            near_y, far_y = reflected(top, height), reflected(top + 1, height)
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
                top, bottom = _symmetric(math.floor(at_y), height), _symmetric(math.floor(at_y) + 1, height)
                left, right = _symmetric(math.floor(at_x), width), _symmetric(math.floor(at_x) + 1, width)
                for channel in range(3):
                    upper = warped[top, left, channel] * (1 - down) * (1 - along)
                    upper += warped[top, right, channel] * (1 - down) * along
                    lower = warped[bottom, left, channel] * down * (1 - along)
                    lower += warped[bottom, right, channel] * down * along
                    value = np.float32(upper + lower)
                    output[n, y, x, channel] = np.int32(min(max(value, np.float32(0)), np.float32(1)) * np.float32(255))
    return output
