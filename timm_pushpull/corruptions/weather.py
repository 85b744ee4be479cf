"""Snow, frost and fog: uint8 NHWC in, uint8 NHWC out."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from timm_pushpull.corruptions import textures
from timm_pushpull.corruptions.draws import Draws
from timm_pushpull.corruptions.filters import add_enlarged, blur_along_line, crop_for
from timm_pushpull.utils.jit import jit_cached, jit_exact

_RED, _BLUE = float(np.float32(0.299)), float(np.float32(0.114))


def snow(images: np.ndarray, constants: tuple[float, ...], draws: Draws) -> np.ndarray:
    """Enlarged noise above a threshold, blurred along a random line, added to a whitened image twice, half-turned."""
    mean, deviation, factor, threshold, reach, blur, weight = constants
    height, width = images.shape[1:3]
    (top, rows), (left, columns) = crop_for(height, factor), crop_for(width, factor)
    window = slice(top, top + rows), slice(left, left + columns)
    noise = mean + deviation * draws.normal_field((height, width), window)
    angles = -135 + 90 * draws.uniform(1)[:, 0]
    return _add_snow(
        images, noise, float(factor), threshold, reach, float(blur), angles, np.float32(weight), np.float32(1 - weight)
    )


def frost(images: np.ndarray, constants: tuple[float, float, float, Path | str | None], draws: Draws) -> np.ndarray:
    """A random part of a random texture, added. `constants`: weights of image and texture, its scale, its folder."""
    weight, texture_weight, scale, folder = constants
    height, width = images.shape[1:3]
    prepared = textures.frost(folder, scale, height, width)
    # The sixth texture is never chosen in the original.
    chosen = [prepared[i] for i in draws.below(np.full(len(images), 5))]
    tops = draws.below(np.array([len(texture) - height for texture in chosen]))
    lefts = draws.below(np.array([texture.shape[1] - width for texture in chosen]))
    output = np.empty_like(images)
    for image, texture, top, left, after in zip(images, chosen, tops, lefts, output, strict=True):
        _add_frost(image, texture, top, left, weight, texture_weight, after)
    return output


def fog(images: np.ndarray, constants: tuple[float, float, int], draws: Draws) -> np.ndarray:
    """Adds a plasma fractal and scales back. `constants`: strength, decay of roughness, least side of its map."""
    strength, decay, side = constants
    side = max(side, 1 << (max(images.shape[1:3]) - 1).bit_length())
    return _add_fog(images, strength, draws.uniform(side * side - 1), decay, side)


@jit_cached
def _add_snow(images, noise, factor, threshold, reach, blur, angles, weight, rest):
    height, width = images.shape[1:3]
    output, layer = np.empty_like(images), np.empty((height, width))
    flakes, blurred = np.empty((height, width), np.uint8), np.empty((height, width), np.uint8)
    for n in range(len(images)):
        layer[:] = 0
        add_enlarged(noise[n], 1, factor, layer)
        for y in range(height):
            row, line = layer[y], flakes[y]
            for x in range(width):
                value = row[x] if row[x] >= threshold else 0.0
                line[x] = np.int32(min(max(value, 0.0), 1.0) * 255)
        blur_along_line(flakes, 1, reach, blur, angles[n], blurred)
        for y in range(height):
            for x in range(width):
                snow = blurred[y, x] / 255.0
                turned = blurred[height - 1 - y, width - 1 - x] / 255.0
                red = np.float32(images[n, y, x, 0]) / np.float32(255)
                green = np.float32(images[n, y, x, 1]) / np.float32(255)
                blue = np.float32(images[n, y, x, 2]) / np.float32(255)
                # As OpenCV 5 does it, with products that are not rounded before they are added.
                grey = np.float32(np.float64(red) * _RED + np.float64(green * np.float32(0.587)))
                grey = np.float32(np.float64(blue) * _BLUE + np.float64(grey))
                white = grey * np.float32(1.5) + np.float32(0.5)
                for channel, value in enumerate((red, green, blue)):
                    whitened = weight * value + rest * max(value, white)
                    output[n, y, x, channel] = np.int32(min(whitened + snow + turned, 1.0) * 255)
    return output


@jit_cached
def _add_frost(image, texture, top, left, weight, texture_weight, output):
    size = image.shape[1] * 3
    for y in range(len(image)):
        line, result = image[y].reshape(-1), output[y].reshape(-1)
        ice = texture[top + y].reshape(-1)[3 * left : 3 * left + size]
        for i in range(size):
            result[i] = np.int32(min(weight * line[i] + texture_weight * ice[i], 255.0))


@jit_exact
def _plasma(uniform, decay, plasma):
    """A height map by the diamond-square algorithm, from 0 to 1, on a torus; its side is a power of two."""
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
    least = most = plasma[0, 0]
    for y in range(side):
        for x in range(side):
            least, most = min(least, plasma[y, x]), max(most, plasma[y, x])
    most -= least
    for y in range(side):
        row = plasma[y]
        for x in range(side):
            row[x] = (row[x] - least) / most


@jit_cached
def _add_fog(images, strength, uniform, decay, side):
    height, width = images.shape[1:3]
    output, plasma = np.empty_like(images), np.empty((side, side))
    for n in range(len(images)):
        _plasma(uniform[n], decay, plasma)
        highest = images[n].max() / 255.0
        for y in range(height):
            for x in range(width):
                mist = strength * plasma[y, x]
                for channel in range(3):
                    value = (images[n, y, x, channel] / 255.0 + mist) * highest / (highest + strength)
                    output[n, y, x, channel] = np.int32(min(value, 1.0) * 255)
    return output
