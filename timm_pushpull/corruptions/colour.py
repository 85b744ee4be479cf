"""Brightness and saturation in HSV space: uint8 (N, H, W, 3) in and out. They draw no random numbers.

The operations and their order are those of scikit-image's HSV conversion. Another order would change single values by
one grey level, because the result is truncated. The loop has conditional expressions instead of branches, so that LLVM
can vectorise it.
"""

from __future__ import annotations

import numpy as np

from timm_pushpull.corruptions.draws import Draws
from timm_pushpull.utils.jit import jit_cached, jit_exact


def brightness(images: np.ndarray, shift: float, draws: Draws) -> np.ndarray:
    """Adds `shift` to V in HSV space."""
    return _change_hsv(images, 1.0, 0.0, shift)


def saturate(images: np.ndarray, constants: tuple[float, float], draws: Draws) -> np.ndarray:
    """Multiplies S in HSV space by the first constant and adds the second."""
    return _change_hsv(images, constants[0], constants[1], 0.0)


@jit_exact
def _change_pixels(values, factor, addend, shift):
    """Change L pixels.

    Args:
        values: float64 (6, L): RGB in [0, 1] in the first three rows; the result, 0 to 255, goes to the last three.
    """
    reds, greens, blues, out_reds, out_greens, out_blues = (
        values[0],
        values[1],
        values[2],
        values[3],
        values[4],
        values[5],
    )
    for i in range(reds.size):
        red, green, blue = reds[i], greens[i], blues[i]
        value, smallest = max(max(red, green), blue), min(min(red, green), blue)
        delta = value - smallest
        grey = delta == 0.0
        saturation = 0.0 if grey else delta / value
        # If two channels share the maximum, the later one decides, as in scikit-image.
        hue = (
            (red - green) / delta + 4.0
            if blue == value
            else ((blue - red) / delta + 2.0 if green == value else (green - blue) / delta)
        )
        hue = hue / 6.0
        hue = 0.0 if grey else (hue + 1.0 if hue < 0.0 else hue)

        saturation, value = saturation * factor + addend, value + shift
        saturation = 1.0 if saturation > 1.0 else saturation
        value = 1.0 if value > 1.0 else value
        sector = np.floor(hue * 6)
        fraction = hue * 6 - sector
        p = value * (1 - saturation)
        q = value * (1 - fraction * saturation)
        t = value * (1 - (1 - fraction) * saturation)
        sector = 0.0 if sector == 6.0 else sector
        out_red = value if sector == 0.0 or sector == 5.0 else (q if sector == 1.0 else (t if sector == 4.0 else p))
        out_green = value if sector == 1.0 or sector == 2.0 else (t if sector == 0.0 else (q if sector == 3.0 else p))
        out_blue = value if sector == 3.0 or sector == 4.0 else (t if sector == 2.0 else (q if sector == 5.0 else p))
        out_reds[i], out_greens[i], out_blues[i] = out_red * 255, out_green * 255, out_blue * 255


@jit_cached
def _change_hsv(images, factor, addend, shift):
    output = np.empty_like(images)
    values = np.empty((6, 256))
    before, after, table = images.reshape(-1), output.reshape(-1), np.arange(256) / 255.0
    for start in range(0, before.size // 3, 256):
        length = min(256, before.size // 3 - start)
        line, result = before[3 * start :], after[3 * start :]
        for i in range(length):
            values[0, i], values[1, i], values[2, i] = (
                table[line[3 * i]],
                table[line[3 * i + 1]],
                table[line[3 * i + 2]],
            )
        _change_pixels(values, factor, addend, shift)
        for i in range(length):
            result[3 * i], result[3 * i + 1], result[3 * i + 2] = values[3, i], values[4, i], values[5, i]
    return output
