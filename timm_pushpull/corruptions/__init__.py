"""The common corruptions of ImageNet-C and CIFAR-10-C (Hendrycks and Dietterich, ICLR 2019), made on the fly.

    >>> corrupted = corrupt(image, "gaussian_noise", severity=3, preset="cifar10-c", seed=0, index=17)

The result depends on (seed, name, severity, index) and the image alone: not on batch size, order, worker or process
count, because every image has a random stream of its own (counter-based, Philox). With `legacy_rng` the original
generator's draws are replayed instead; that is how fidelity to the published benchmark is tested.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from timm_pushpull.corruptions import digital, noise
from timm_pushpull.corruptions.severities import SEVERITIES
from timm_pushpull.errors import InputError, unknown

#: The 15 test corruptions, in the order of the paper's tables, with the names of ImageNet-C.
CORRUPTIONS = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
)
#: The validation corruptions, never part of a mean corruption error.
EXTRA_CORRUPTIONS = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
PRESETS = tuple(SEVERITIES)
#: The quality of the JPEG files in which a preset's corrupted images were published; None where they were arrays.
JPEG_QUALITY = {"imagenet-c": 85, "cifar10-c": None, "tiny-imagenet-c": 85}

_FUNCTIONS = {
    function.__name__: function
    for function in (
        noise.gaussian_noise,
        noise.shot_noise,
        noise.impulse_noise,
        digital.brightness,
        digital.contrast,
        digital.pixelate,
        digital.jpeg_compression,
    )
}
#: Those of `CORRUPTIONS` that this version can make.
AVAILABLE = tuple(name for name in CORRUPTIONS if name in _FUNCTIONS)


def corrupt(
    image: np.ndarray | Image.Image,
    name: str,
    severity: int,
    preset: str = "imagenet-c",
    *,
    seed: int = 0,
    index: int = 0,
    frost_dir: Path | str | None = None,
    jpeg_quality: int | None = None,
    legacy_rng: np.random.RandomState | None = None,
) -> np.ndarray | Image.Image:
    """One image under one corruption.

    Args:
        image: uint8 array of shape (H, W, 3), or a PIL image. Grey images, (H, W) or (H, W, 1), become RGB.
        name: One of `AVAILABLE`.
        severity: 1 to 5.
        preset: One of `PRESETS`, the table of constants.
        seed, index: Choose the random stream; `index` is the image's position in its data set.
        legacy_rng: Replays the draws of the original generator from this state instead.

    Returns:
        The corrupted image, uint8 RGB of the same size; an array for an array, a PIL image for a PIL image.

    Raises:
        InputError: An unknown name or preset, a severity outside 1 to 5, an image of another dtype or shape.
    """
    function, constant = _lookup(name, severity, preset)
    if isinstance(image, Image.Image):
        if image.mode not in ("RGB", "L"):
            raise InputError(f"the image has PIL mode {image.mode!r}; convert it to 'RGB' first")
        array = corrupt(np.asarray(image), name, severity, preset, seed=seed, index=index, legacy_rng=legacy_rng)
        return Image.fromarray(array)
    rng = legacy_rng or random_stream(seed, name, severity, index)
    return function(_as_rgb(image), constant, rng)


def corrupt_batch(
    images: np.ndarray,
    name: str,
    severity: int,
    preset: str = "imagenet-c",
    *,
    seed: int = 0,
    indices: Sequence[int] | None = None,
    frost_dir: Path | str | None = None,
    jpeg_quality: int | None = None,
) -> np.ndarray:
    """A batch of images under one corruption, each exactly as `corrupt` makes it.

    Args:
        images: uint8 array of shape (N, H, W, 3).
        indices: The images' positions in their data set; 0 to N - 1 if not given.

    Returns:
        uint8 array of shape (N, H, W, 3).

    Raises:
        InputError: As in `corrupt`; `indices` of another length than `images`.
    """
    _lookup(name, severity, preset)
    if getattr(images, "ndim", None) != 4:
        raise InputError(f"images have shape {np.shape(images)}; give a uint8 array of shape (N, H, W, 3)")
    indices = range(len(images)) if indices is None else indices
    if len(indices) != len(images):
        raise InputError(f"{len(indices)} indices for {len(images)} images; give one index per image")
    corrupted = np.empty((*images.shape[:3], 3), np.uint8)
    for image, index, output in zip(images, indices, corrupted, strict=True):
        output[:] = corrupt(image, name, severity, preset, seed=seed, index=int(index))
    return corrupted


def random_stream(seed: int, name: str, severity: int, index: int) -> np.random.Generator:
    """The random stream of one image under one corruption: Philox keyed by seed, corruption and severity, its counter
    starting at the image's index times 2^128, which no image can use up.

    Raises:
        InputError: A seed or index that is negative or does not fit into 64 bits.
    """
    if not (0 <= seed < 2**64 and 0 <= index < 2**64):
        raise InputError(f"seed is {seed} and index is {index}; both are whole numbers from 0 to 2^64 - 1")
    key = np.array([seed, zlib.crc32(name.encode()) * 8 + severity], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=np.array([0, 0, index, 0], dtype=np.uint64)))


def frost_source(frost_dir: Path | str | None = None) -> str:
    """Which frost textures are used, as results state it: "original" or "procedural"."""
    return "original"


def check(name: str, severity: int, preset: str) -> None:
    """Raise InputError for an unknown corruption or preset, or a severity outside 1 to 5."""
    _lookup(name, severity, preset)


def _lookup(name: str, severity: int, preset: str):
    if preset not in SEVERITIES:
        raise unknown("preset", preset, PRESETS)
    if name in CORRUPTIONS + EXTRA_CORRUPTIONS and name not in _FUNCTIONS:
        raise InputError(f"corruption {name!r} is not available in this version; available: {', '.join(AVAILABLE)}")
    if name not in _FUNCTIONS:
        raise unknown("corruption", name, _FUNCTIONS)
    if severity not in (1, 2, 3, 4, 5):
        raise InputError(f"severity is {severity!r}; use 1 to 5")
    return _FUNCTIONS[name], SEVERITIES[preset][name][int(severity) - 1]


def _as_rgb(image: np.ndarray) -> np.ndarray:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        raise InputError(f"the image is {getattr(image, 'dtype', type(image).__name__)}; give uint8, 0 to 255")
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3) or 0 in image.shape:
        raise InputError(f"the image has shape {image.shape}; give (H, W, 3), or (H, W) for a grey one")
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
