"""Contrast, pixelate and JPEG compression: uint8 (N, H, W, 3) in and out. They draw no random numbers."""

from __future__ import annotations

import io
import math

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from timm_pushpull.corruptions.draws import Draws
from timm_pushpull.utils.jit import jit_cached, jit_exact

_BITS = 22  # fractional bits of Pillow's resampling weights


def contrast(images: np.ndarray, factor: float, draws: Draws) -> np.ndarray:
    """Scales the distance of every value to the mean of its channel."""
    return _contrast(images, factor)


def pixelate(images: np.ndarray, factor: float, draws: Draws) -> np.ndarray:
    """Resizes the image by `factor` and back with a box filter, in Pillow's fixed-point arithmetic."""
    height, width = images.shape[1:3]
    small = max(int(height * factor), 1), max(int(width * factor), 1)
    return _resample(_resample(images, *small), height, width)


def jpeg_compression(images: np.ndarray, quality: int, draws: Draws) -> np.ndarray:
    """Compresses and decompresses each image as JPEG, 4:2:0, with this quality."""
    return jpeg_round_trip(images, quality)


def jpeg_round_trip(images: np.ndarray, quality: int) -> np.ndarray:
    """Compress and decompress each image as JPEG. Pixels can differ between the JPEG libraries that Pillow uses."""
    corrupted = [_jpeg(image, quality) for image in images]
    return corrupted[0][None] if len(corrupted) == 1 else np.stack(corrupted)


def _jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    height, width = image.shape[:2]
    Image.frombuffer("RGB", (width, height), image, "raw", "RGB", 0, 1).save(buffer, "JPEG", quality=quality)
    buffer.seek(0)
    # A bytearray makes the array writable with fewer copies than np.asarray(image) needs.
    return np.frombuffer(bytearray(JpegImageFile(buffer).tobytes()), np.uint8).reshape(image.shape)


@jit_cached
def _contrast(images, factor):
    output, table = np.empty_like(images), np.empty((3, 256), np.uint8)
    pixels = images.shape[1] * images.shape[2]
    before, after = images.reshape(len(images), -1), output.reshape(len(images), -1)
    values = np.arange(256) / 255.0
    for n in range(len(images)):
        image, result = before[n], after[n]
        # Summed in numpy's order: on a constant channel, the last bit of the mean decides the grey level.
        red = green = blue = 0.0
        for i in range(pixels):
            red += values[image[3 * i]]
            green += values[image[3 * i + 1]]
            blue += values[image[3 * i + 2]]
        for channel, total in enumerate((red, green, blue)):
            mean = total / pixels
            for level in range(256):
                table[channel, level] = min(max((values[level] - mean) * factor + mean, 0.0), 1.0) * 255
        for i in range(pixels):
            for channel in range(3):
                result[3 * i + channel] = table[channel, image[3 * i + channel]]
    return output


@jit_exact
def _box_weights(size, target):
    """Pillow's box filter: first input position, number of inputs and integer weights of every output position."""
    scale = size / target
    support, spread = 0.5 * max(scale, 1.0), 1.0 / max(scale, 1.0)
    first, count = np.empty(target, np.int64), np.empty(target, np.int64)
    weights = np.zeros((target, math.ceil(support) * 2 + 1), np.int32)
    for i in range(target):
        center = (i + 0.5) * scale
        low, high = max(int(center - support + 0.5), 0), min(int(center + support + 0.5), size)
        inside = 0
        for k in range(high - low):
            if -0.5 < (k + low - center + 0.5) * spread <= 0.5:
                weights[i, k] = 1
                inside += 1
        for k in range(high - low):
            weights[i, k] = int(0.5 + weights[i, k] / inside * (1 << _BITS))
        first[i], count[i] = low, high - low
    return first, count, weights


@jit_cached
def _resample(images, height, width):
    """Resize with Pillow's box filter: first along rows, rounded to bytes, then along columns."""
    rows, columns = images.shape[1:3]
    top, tall, row_weights = _box_weights(rows, height)
    left, wide, column_weights = _box_weights(columns, width)
    output = np.empty((len(images), height, width, 3), np.uint8)
    resized_rows, sums = np.empty((rows, width * 3), np.uint8), np.empty(width * 3, np.int32)
    for n in range(len(images)):
        for y in range(rows):
            line, result = images[n, y].reshape(-1), resized_rows[y]
            for x in range(width):
                red = green = blue = np.int32(1 << (_BITS - 1))
                start = 3 * left[x]
                for k in range(wide[x]):
                    weight = column_weights[x, k]
                    red += weight * line[start + 3 * k]
                    green += weight * line[start + 3 * k + 1]
                    blue += weight * line[start + 3 * k + 2]
                result[3 * x], result[3 * x + 1], result[3 * x + 2] = red >> _BITS, green >> _BITS, blue >> _BITS
        for y in range(height):
            result = output[n, y].reshape(-1)
            sums[:] = 1 << (_BITS - 1)
            for k in range(tall[y]):
                weight, line = row_weights[y, k], resized_rows[top[y] + k]
                for i in range(sums.size):
                    sums[i] += weight * np.int32(line[i])
            for i in range(sums.size):
                result[i] = sums[i] >> np.int32(_BITS)
    return output
