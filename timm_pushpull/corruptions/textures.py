"""Frost textures: the original files if they are found, otherwise procedural ones.

The original textures are not ours to distribute. They are searched in a given folder, in the folder of the environment
variable TIMM_PUSHPULL_FROST_DIR, and in an installed `imagecorruptions` package. The procedural textures have other
statistics, so results state which ones were used.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import stat
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from timm_pushpull.corruptions.draws import Streams
from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.jit import jit_cached

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


@dataclass(frozen=True)
class Texture:
    """A texture, enlarged where an image needs that, of which only the part that is used is ever computed.

    Attributes:
        pixels: uint8 (H, W, 3).
        rows, columns: Its size in px, which differs from that of `pixels` where it is enlarged.
    """

    pixels: np.ndarray
    rows: int
    columns: int

    def window(self, top: int, left: int, height: int, width: int) -> tuple[np.ndarray, int, int]:
        """An array with a part of the texture, and the place of that part in it: (pixels, top, left)."""
        rows, columns = self.pixels.shape[:2]
        if (self.rows, self.columns) == (rows, columns):
            return self.pixels, top, left
        return _resize(self.pixels, rows / self.rows, columns / self.columns, top, left, height, width), 0, 0


def frost(folder: Path | str | None, scale: float, height: int, width: int) -> tuple[Texture, ...]:
    """Five textures, each with more rows than `height` and more columns than `width`.

    They are resized by `scale`. A texture that is too small then is resized, with its aspect ratio, to just exceed the
    image.
    """
    found = _folder(folder)
    originals = _procedural() if found is None else _original(os.path.abspath(found), _stamps(found))
    return tuple(_enough(texture, scale, height, width) for texture in originals)


def _enough(texture: _Original, scale: float, height: int, width: int) -> Texture:
    rows, columns = (round(side * scale) for side in texture.pixels.shape[:2])
    needed = max((height + 1) / rows, (width + 1) / columns)
    if needed > 1:
        rows, columns = max(height + 1, round(rows * needed)), max(width + 1, round(columns * needed))
        return Texture(texture.pixels, rows, columns)
    return Texture(_reduced(texture, scale), rows, columns)


@dataclass(frozen=True, eq=False)
class _Original:
    """A texture as it was found, uint8 (H, W, 3); hashed by identity."""

    pixels: np.ndarray


@lru_cache(maxsize=5 * 8)  # the five textures of some presets
def _reduced(texture: _Original, scale: float) -> np.ndarray:
    rows, columns = (round(side * scale) for side in texture.pixels.shape[:2])
    return texture.pixels if scale == 1 else _resize(texture.pixels, 1 / scale, 1 / scale, 0, 0, rows, columns)


def _folder(requested: Path | str | None) -> Path | None:
    requested = requested or os.environ.get(ENVIRONMENT)
    if requested:
        folder = Path(requested)
        _check(folder)
        return folder
    spec = importlib.util.find_spec("imagecorruptions")
    if spec and spec.origin:
        folder = Path(spec.origin).parent / "frost"
        if _problem(folder) is None:
            return folder
    return None


def _check(folder: Path) -> None:
    if wrong := _problem(folder):
        raise InputError(
            f"frost textures in {str(folder)!r}: {wrong}; give the folder with frost1.png to frost5.jpg as published "
            f"with ImageNet-C, or no folder"
        )


def _problem(folder: Path) -> str | None:
    """The first problem with a folder of textures, or None."""
    for (name, digest), stamp in zip(_FILES.items(), _stamps(folder), strict=True):
        if stamp is None:
            return f"{name} is missing"
        found = _md5(os.path.abspath(folder / name), stamp)
        if not found.startswith(digest):
            return f"{name} is a different file (MD5 {found[:8]}, not {digest})"
    return None


#: What changes when a file is replaced: inode, time of change in ns, size.
_Stamp = tuple[int, int, int]


def _stamps(folder: Path) -> tuple[_Stamp | None, ...]:
    """The stamps of the textures, part of the key of whatever is kept of them; None where there is no file."""
    found: list[_Stamp | None] = []
    for name in _FILES:
        try:
            status = os.stat(folder / name)
        except OSError:
            found.append(None)
        else:
            stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
            found.append(stamp if stat.S_ISREG(status.st_mode) else None)
    return tuple(found)


@lru_cache(maxsize=4 * len(_FILES))
def _md5(path: str, stamp: _Stamp) -> str:
    return hashlib.md5(Path(path).read_bytes(), usedforsecurity=False).hexdigest()


@lru_cache(maxsize=4)
def _original(folder: str, stamps: tuple[_Stamp | None, ...]) -> tuple[_Original, ...]:
    return tuple(_Original(np.array(Image.open(Path(folder) / name).convert("RGB"))) for name in _FILES)


def _resize(
    texture: np.ndarray, row_step: float, column_step: float, top: int, left: int, height: int, width: int
) -> np.ndarray:
    """A part of a bilinearly resized texture, uint8 (height, width, 3), in OpenCV's fixed-point arithmetic for bytes.

    Args:
        row_step, column_step: Distance of the rows and columns of the result in those of the texture.
        top, left: Of the part, in the resized texture.
    """
    output = np.empty((height, width, 3), np.uint8)
    rows = _linear(texture.shape[0], top, height, row_step)
    _interpolate(texture, *rows, *_linear(texture.shape[1], left, width, column_step), output)
    return output


def _linear(size: int, start: int, count: int, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Lower neighbours along an axis, (count,), and the integer weights of both neighbours, (2, count), of 11 bits."""
    positions = ((np.arange(start, start + count) + 0.5) * step - 0.5).astype(np.float32)
    lower = np.floor(positions).astype(np.int64)
    fraction = positions - lower
    fraction = np.where((lower < 0) | (lower >= size - 1), np.float32(0), fraction)
    return np.clip(lower, 0, size - 1), np.rint(np.stack([1 - fraction, fraction]) * 2048).astype(np.int64)


@jit_cached
def _interpolate(texture, tops, row_weights, lefts, column_weights, output):
    rows, columns = texture.shape[:2]
    for y in range(output.shape[0]):
        upper, lower = texture[tops[y]], texture[min(tops[y] + 1, rows - 1)]
        for x in range(output.shape[1]):
            left, right = lefts[x], min(lefts[x] + 1, columns - 1)
            for channel in range(3):
                above = upper[left, channel] * column_weights[0, x] + upper[right, channel] * column_weights[1, x]
                below = lower[left, channel] * column_weights[0, x] + lower[right, channel] * column_weights[1, x]
                above = (row_weights[0, y] * (above >> 4)) >> 16
                below = (row_weights[1, y] * (below >> 4)) >> 16
                output[y, x, channel] = (above + below + 2) >> 2


@cache
def _procedural() -> tuple[_Original, ...]:
    """Bright veins along the ridges of smooth noise, about as bright and as rough as the original textures."""
    return tuple(_Original(_texture(number)) for number in range(5))


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
