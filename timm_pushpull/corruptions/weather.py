"""Snow, frost and fog: uint8 (N, H, W, 3) in and out."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from timm_pushpull.corruptions import textures
from timm_pushpull.corruptions.draws import Draws
from timm_pushpull.corruptions.filters import add_zoomed, crop_for, motion_blur_image
from timm_pushpull.utils.jit import jit_cached, jit_exact

_RED, _BLUE = float(np.float32(0.299)), float(np.float32(0.114))


def snow(images: np.ndarray, constants: tuple[float, ...], draws: Draws) -> np.ndarray:
    """Snowflakes are noise above a threshold, enlarged and motion-blurred in a random direction.

    They are added to a whitened copy of the image, once as they are and once rotated by 180 degrees.
    """
    mean, std, zoom, threshold, radius, sigma, weight = constants
    height, width = images.shape[1:3]
    (top, rows), (left, columns) = crop_for(height, zoom), crop_for(width, zoom)
    window = slice(top, top + rows), slice(left, left + columns)
    noise = mean + std * draws.normal_field((height, width), window)
    angles = -135 + 90 * draws.uniform(1)[:, 0]
    return _add_snow(
        images, noise, float(zoom), threshold, radius, float(sigma), angles, np.float32(weight), np.float32(1 - weight)
    )


def frost(images: np.ndarray, constants: tuple[float, float, float, Path | str | None], draws: Draws) -> np.ndarray:
    """Adds a random crop of a random texture.

    Args:
        constants: Weight of the image, weight of the texture, scale of the texture, folder of the textures.
    """
    weight, texture_weight, scale, folder = constants
    height, width = images.shape[1:3]
    prepared = textures.frost(folder, scale, height, width)
    # The published code has six textures but never draws the sixth.
    chosen = [prepared[i] for i in draws.below(np.full(len(images), 5))]
    tops = draws.below(np.array([texture.rows - height for texture in chosen]))
    lefts = draws.below(np.array([texture.columns - width for texture in chosen]))
    output = np.empty_like(images)
    for image, texture, top, left, after in zip(images, chosen, tops, lefts, output, strict=True):
        _add_frost(image, *texture.window(int(top), int(left), height, width), weight, texture_weight, after)
    return output


def fog(images: np.ndarray, constants: tuple[float, float, int], draws: Draws) -> np.ndarray:
    """Adds a plasma fractal and rescales to the image's maximum.

    Args:
        constants: Strength, decay of the fractal's roughness with scale, side in px that the fractal covers at least.
    """
    strength, decay, min_side = constants
    short, long = sorted(images.shape[1:3])
    # The fractal is a square. Along a much longer side it repeats, without a seam, so that it grows with the image.
    side = 1 << (max(min_side, short, min(long, max(2048, 8 * short))) - 1).bit_length()
    return _add_fog(images, strength, draws.uniform(side * side - 1), decay, side)


@jit_cached
def _add_snow(images, noise, zoom, threshold, radius, sigma, angles, weight, rest):
    height, width = images.shape[1:3]
    output, layer = np.empty_like(images), np.empty((height, width))
    flakes, blurred = np.empty((height, width), np.uint8), np.empty((height, width), np.uint8)
    for n in range(len(images)):
        layer[:] = 0
        add_zoomed(noise[n], 1, zoom, layer)
        for y in range(height):
            row, line = layer[y], flakes[y]
            for x in range(width):
                value = row[x] if row[x] >= threshold else 0.0
                line[x] = np.int32(min(max(value, 0.0), 1.0) * 255)
        motion_blur_image(flakes, 1, radius, sigma, angles[n], blurred)
        for y in range(height):
            for x in range(width):
                snow = blurred[y, x] / 255.0
                rotated = blurred[height - 1 - y, width - 1 - x] / 255.0
                red = np.float32(images[n, y, x, 0]) / np.float32(255)
                green = np.float32(images[n, y, x, 1]) / np.float32(255)
                blue = np.float32(images[n, y, x, 2]) / np.float32(255)
                # As in OpenCV 5: products are added in float64, sums are rounded to float32.
                grey = np.float32(np.float64(red) * _RED + np.float64(green * np.float32(0.587)))
                grey = np.float32(np.float64(blue) * _BLUE + np.float64(grey))
                white = grey * np.float32(1.5) + np.float32(0.5)
                for channel, value in enumerate((red, green, blue)):
                    whitened = weight * value + rest * max(value, white)
                    output[n, y, x, channel] = np.int32(min(whitened + snow + rotated, 1.0) * 255)
    return output


@jit_cached
def _add_frost(image, texture, top, left, weight, texture_weight, output):
    size = image.shape[1] * 3
    for y in range(len(image)):
        line, result = image[y].reshape(-1), output[y].reshape(-1)
        crop = texture[top + y].reshape(-1)[3 * left : 3 * left + size]
        for i in range(size):
            result[i] = np.int32(min(weight * line[i] + texture_weight * crop[i], 255.0))


@jit_exact
def _plasma(uniform, decay, plasma):
    """Fill `plasma`, whose side is a power of two, by the diamond-square algorithm with wrapped borders; 0 to 1."""
    side = len(plasma)
    step, wibble, drawn = side, 100.0, 0
    plasma[0, 0] = 0
    while step >= 2:
        half = step // 2
        low, span = -wibble, wibble - -wibble
        for y in range(0, side, step):
            for x in range(0, side, step):
                right, below = (x + step) % side, (y + step) % side
                total = (plasma[y, x] + plasma[below, x]) + (plasma[y, right] + plasma[below, right])
                plasma[y + half, x + half] = total / 4 + wibble * (low + span * uniform[drawn])
                drawn += 1
        for y in range(0, side, step):
            for x in range(0, side, step):
                above, right = (y - half) % side, (x + step) % side
                total = (plasma[y + half, x + half] + plasma[above, x + half]) + (plasma[y, x] + plasma[y, right])
                plasma[y, x + half] = total / 4 + wibble * (low + span * uniform[drawn])
                drawn += 1
        for y in range(0, side, step):
            for x in range(0, side, step):
                left, below = (x - half) % side, (y + step) % side
                total = (plasma[y + half, x + half] + plasma[y + half, left]) + (plasma[y, x] + plasma[below, x])
                plasma[y + half, x] = total / 4 + wibble * (low + span * uniform[drawn])
                drawn += 1
        step = half
        wibble /= decay
    low = high = plasma[0, 0]
    for y in range(side):
        for x in range(side):
            low, high = min(low, plasma[y, x]), max(high, plasma[y, x])
    high -= low
    for y in range(side):
        row = plasma[y]
        for x in range(side):
            row[x] = (row[x] - low) / high


@jit_cached
def _add_fog(images, strength, uniform, decay, side):
    height, width = images.shape[1:3]
    output, plasma = np.empty_like(images), np.empty((side, side))
    for n in range(len(images)):
        _plasma(uniform[n], decay, plasma)
        highest = images[n].max() / 255.0
        for y in range(height):
            for x in range(width):
                mist = strength * plasma[y & (side - 1), x & (side - 1)]
                for channel in range(3):
                    value = (images[n, y, x, channel] / 255.0 + mist) * highest / (highest + strength)
                    output[n, y, x, channel] = np.int32(min(value, 1.0) * 255)
    return output
