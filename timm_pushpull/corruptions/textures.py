"""Frost textures: the original files if they are found, otherwise procedural ones.

The original textures are not ours to distribute. They are searched in a given folder, in the folder of the environment
variable TIMM_PUSHPULL_FROST_DIR, and in an installed `imagecorruptions` package. The procedural textures have other
statistics, so results state which ones were used.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from timm_pushpull.corruptions.draws import Streams
from timm_pushpull.utils.errors import InputError

ENVIRONMENT = "TIMM_PUSHPULL_FROST_DIR"
ORIGINAL, PROCEDURAL = "original", "procedural, not comparable with published results"
#: File names in the order of the published code, and the first 8 digits of their MD5. Files 2 and 3 have the same
#: pixels; the published code never draws the sixth file.
_FILES = {
    "frost1.png": "6ead634a",
    "frost2.png": "98f0d2b1",
    "frost3.png": "b3ed8eb1",
    "frost4.jpg": "d70b9d6a",
    "frost5.jpg": "50984ae2",
}


def source(folder: Path | str | None = None) -> str:
    """`ORIGINAL` or `PROCEDURAL`; see `timm_pushpull.corruptions.frost_source`."""
    return PROCEDURAL if _folder(folder) is None else ORIGINAL


def frost(folder: Path | str | None, scale: float, height: int, width: int) -> tuple[np.ndarray, ...]:
    """Five RGB textures, uint8 (H, W, 3), each with more rows than `height` and more columns than `width`.

    They are resized by `scale`. A texture that is too small then is resized, with its aspect ratio, to just exceed the
    image.
    """
    found = _folder(folder)
    return _prepared(None if found is None else str(found), scale, height, width)


@lru_cache(maxsize=8)
def _prepared(folder: str | None, scale: float, height: int, width: int) -> tuple[np.ndarray, ...]:
    scaled = []
    for texture in _original(folder) if folder else _procedural():
        rows, columns = (round(side * scale) for side in texture.shape[:2])
        needed = max((height + 1) / rows, (width + 1) / columns)
        if needed > 1:
            rows, columns = max(height + 1, round(rows * needed)), max(width + 1, round(columns * needed))
            scaled.append(_resize(texture, rows, columns, texture.shape[0] / rows, texture.shape[1] / columns))
        else:
            scaled.append(texture if scale == 1 else _resize(texture, rows, columns, 1 / scale, 1 / scale))
    return tuple(scaled)


def _folder(requested: Path | str | None) -> Path | None:
    requested = requested or os.environ.get(ENVIRONMENT)
    if requested:
        folder = Path(requested)
        _check(folder)
        return folder
    spec = importlib.util.find_spec("imagecorruptions")
    if spec and spec.origin:
        folder = Path(spec.origin).parent / "frost"
        if _missing(str(folder)) is None:
            return folder
    return None


def _check(folder: Path) -> None:
    if wrong := _missing(str(folder)):
        raise InputError(
            f"frost textures in {str(folder)!r}: {wrong}; give the folder with frost1.png to frost5.jpg as published "
            f"with ImageNet-C, or no folder"
        )


@cache
def _missing(folder: str) -> str | None:
    """The first problem with a folder of textures, or None."""
    for name, digest in _FILES.items():
        path = Path(folder) / name
        if not path.is_file():
            return f"{name} is missing"
        found = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        if not found.startswith(digest):
            return f"{name} is a different file (MD5 {found[:8]}, not {digest})"
    return None


@cache
def _original(folder: str) -> tuple[np.ndarray, ...]:
    return tuple(np.array(Image.open(Path(folder) / name).convert("RGB")) for name in _FILES)


def _resize(texture: np.ndarray, rows: int, columns: int, row_step: float, column_step: float) -> np.ndarray:
    """Resize bilinearly in OpenCV's fixed-point arithmetic for bytes, with weights of 11 bits."""
    (top, row_weights), (left, column_weights) = (
        _linear(texture.shape[0], rows, row_step),
        _linear(texture.shape[1], columns, column_step),
    )
    pixels = texture.astype(np.int64)
    right = np.minimum(left + 1, texture.shape[1] - 1)
    lines = pixels[:, left] * column_weights[0][:, None] + pixels[:, right] * column_weights[1][:, None]
    bottom = np.minimum(top + 1, texture.shape[0] - 1)
    upper = (row_weights[0][:, None, None] * (lines[top] >> 4)) >> 16
    lower = (row_weights[1][:, None, None] * (lines[bottom] >> 4)) >> 16
    return ((upper + lower + 2) >> 2).astype(np.uint8)


def _linear(size: int, target: int, step: float) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Lower neighbours along an axis and the integer weights of both neighbours, each of shape (target,)."""
    positions = ((np.arange(target) + 0.5) * step - 0.5).astype(np.float32)
    lower = np.floor(positions).astype(np.int64)
    fraction = positions - lower
    fraction = np.where((lower < 0) | (lower >= size - 1), np.float32(0), fraction)
    weights = np.rint((1 - fraction) * 2048).astype(np.int64), np.rint(fraction * 2048).astype(np.int64)
    return np.clip(lower, 0, size - 1), weights


@cache
def _procedural() -> tuple[np.ndarray, ...]:
    """Bright veins along the ridges of smooth noise, about as bright and as rough as the original textures."""
    return tuple(_texture(number) for number in range(5))


def _texture(number: int, side: int = 768) -> np.ndarray:
    streams = Streams(number, 0, 0, np.zeros(1, np.uint64))
    window = (slice(0, side), slice(0, side))
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)) + 1 / side

    def smooth(power: float) -> np.ndarray:
        spectrum = np.fft.rfft2(streams.normal_field((side, side), window)[0])
        noise = np.fft.irfft2(spectrum / frequency**power, (side, side))
        return (noise - noise.mean()) / noise.std()

    veins = np.exp(-6 * np.abs(smooth(1.5))) + 0.5 * np.exp(-8 * np.abs(smooth(1.2)))
    cover = 1 / (1 + np.exp(-1.5 * smooth(2.0)))
    light = np.clip(0.4 + 0.4 * cover + 0.4 * veins * (0.3 + cover), 0, 1)
    return (255 * light[..., None] * np.array([0.88, 0.95, 1.0])).astype(np.uint8)  # ice is bluish
