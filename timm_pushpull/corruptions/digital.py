"""Digital corruptions: uint8 HWC in, uint8 HWC out. None of these draws random numbers; `rng` is ignored."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from timm_pushpull.corruptions.noise import Random, to_bytes


def brightness(image: np.ndarray, shift: float, rng: Random) -> np.ndarray:
    """Adds `shift` to V in HSV space.

    The arithmetic is that of the original's HSV library, operation by operation: reordering it moves single values
    by a grey level, because the result is truncated.
    """
    rgb = image / 255.0
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    value = rgb.max(axis=-1)
    delta = np.ptp(rgb, axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        saturation = np.where(delta == 0, 0.0, delta / value)
        # Where two channels share the maximum, the later one in this order decides.
        hue = (green - blue) / delta
        hue = np.where(green == value, 2.0 + (blue - red) / delta, hue)
        hue = np.where(blue == value, 4.0 + (red - green) / delta, hue)
    hue = np.where(delta == 0, 0.0, (hue / 6.0) % 1.0)

    value = np.clip(value + shift, 0, 1)
    sector = np.floor(hue * 6)
    fraction = hue * 6 - sector
    p = value * (1 - saturation)
    q = value * (1 - fraction * saturation)
    t = value * (1 - (1 - fraction) * saturation)
    sectors = [(value, t, p), (q, value, p), (p, value, t), (p, q, value), (t, p, value), (value, p, q)]
    chosen = (sector % 6).astype(np.intp)
    return to_bytes(np.stack([np.choose(chosen, channel) for channel in zip(*sectors, strict=True)], axis=-1))


def contrast(image: np.ndarray, factor: float, rng: Random) -> np.ndarray:
    """Scales the distance of every value to its channel's mean."""
    rgb = image / 255.0
    mean = np.mean(rgb, axis=(0, 1), keepdims=True)
    return to_bytes((rgb - mean) * factor + mean)


def pixelate(image: np.ndarray, factor: float, rng: Random) -> np.ndarray:
    """Box-averages the image to `factor` of its sides and back, with PIL's box filter both ways."""
    height, width = image.shape[:2]
    small = (max(int(width * factor), 1), max(int(height * factor), 1))
    reduced = Image.fromarray(image).resize(small, Image.Resampling.BOX)
    return np.asarray(reduced.resize((width, height), Image.Resampling.BOX))


def jpeg_compression(image: np.ndarray, quality: int, rng: Random) -> np.ndarray:
    """A JPEG round trip; its grey levels depend on the JPEG library behind PIL."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))
