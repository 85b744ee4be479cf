"""The common corruptions of ImageNet-C and CIFAR-10-C (Hendrycks and Dietterich, ICLR 2019), made on the fly.

    >>> corrupted = corrupt(image, "gaussian_noise", severity=3, preset="cifar10-c", seed=0, index=17)

The result depends on (seed, name, severity, index) and the image alone: not on batch size, order, worker or process
count, because every image has a random stream of its own (counter-based, Philox). With `legacy_rng` the original
generator's draws are replayed instead; that is how fidelity to the published benchmark is tested.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from timm_pushpull.corruptions import blur, colour, digital, elastic, noise, spatter, textures, weather
from timm_pushpull.corruptions.draws import Draws, Replay, Streams
from timm_pushpull.corruptions.severities import PRESET_CONSTANTS, SEVERITIES
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
_FUNCTION_NUMBER = {name: number for number, name in enumerate(CORRUPTIONS + EXTRA_CORRUPTIONS)}
_PIXELS_AT_ONCE = 1 << 16
#: The quality of the JPEG files in which a preset's corrupted images were published; None where they were arrays.
JPEG_QUALITY = {"imagenet-c": 85, "cifar10-c": None, "tiny-imagenet-c": 85}

_FUNCTIONS = {
    function.__name__: function
    for function in (
        noise.gaussian_noise,
        noise.shot_noise,
        noise.impulse_noise,
        noise.speckle_noise,
        blur.defocus_blur,
        blur.glass_blur,
        blur.motion_blur,
        blur.zoom_blur,
        blur.gaussian_blur,
        weather.snow,
        weather.frost,
        weather.fog,
        elastic.elastic_transform,
        colour.brightness,
        colour.saturate,
        spatter.spatter,
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
    function, constant = _lookup(name, severity, preset, frost_dir)
    if isinstance(image, Image.Image):
        if image.mode not in ("RGB", "L"):
            raise InputError(f"the image has PIL mode {image.mode!r}; convert it to 'RGB' first")
        pixels = _as_rgb(np.asarray(image))
    else:
        pixels = _as_rgb(image)
    draws = Replay(legacy_rng) if legacy_rng else random_streams(seed, name, severity, [index])
    corrupted = _apply(function, pixels[None], constant, draws, jpeg_quality)[0]
    return Image.fromarray(corrupted) if isinstance(image, Image.Image) else corrupted


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
    function, constant = _lookup(name, severity, preset, frost_dir)
    if getattr(images, "ndim", None) != 4:
        raise InputError(f"images have shape {np.shape(images)}; give a uint8 array of shape (N, H, W, 3)")
    indices = range(len(images)) if indices is None else indices
    if len(indices) != len(images):
        raise InputError(f"{len(indices)} indices for {len(images)} images; give one index per image")
    corrupted = np.empty((*images.shape[:3], 3), np.uint8)
    # A few images at a time, as many as the processor's cache holds with all that is computed from them.
    step = max(1, _PIXELS_AT_ONCE // max(1, images[:1].size))
    for start in range(0, len(images), step):
        part = slice(start, start + step)
        draws = random_streams(seed, name, severity, indices[part])
        corrupted[part] = _apply(function, _as_rgb(images[part]), constant, draws, jpeg_quality)
    return corrupted


def random_streams(seed: int, name: str, severity: int, indices: Sequence[int]) -> Streams:
    """The random streams of images under one corruption, one for each index.

    Raises:
        InputError: A seed or index that is negative or does not fit into 64 bits.
    """
    for what, number in (("seed", seed), ("index", min(indices, default=0)), ("index", max(indices, default=0))):
        if not 0 <= number < 2**64:
            raise InputError(f"{what} is {number}; use a whole number from 0 to 2^64 - 1")
    return Streams(seed, _FUNCTION_NUMBER[name], severity, np.array(indices, np.uint64))


def frost_source(frost_dir: Path | str | None = None) -> str:
    """Which frost textures are used, as results state it: "original" or "procedural"."""
    return textures.source(frost_dir)


def check(name: str, severity: int, preset: str) -> None:
    """Raise InputError for an unknown corruption or preset, or a severity outside 1 to 5."""
    _lookup(name, severity, preset)


def _lookup(name: str, severity: int, preset: str, frost_dir: Path | str | None = None):
    if preset not in SEVERITIES:
        raise unknown("preset", preset, PRESETS)
    if name in CORRUPTIONS + EXTRA_CORRUPTIONS and name not in _FUNCTIONS:
        raise InputError(f"corruption {name!r} is not available in this version; available: {', '.join(AVAILABLE)}")
    if name not in _FUNCTIONS:
        raise unknown("corruption", name, _FUNCTIONS)
    if severity not in (1, 2, 3, 4, 5):
        raise InputError(f"severity is {severity!r}; use 1 to 5")
    constant = SEVERITIES[preset][name][int(severity) - 1]
    if name in PRESET_CONSTANTS:
        constant = (*constant, PRESET_CONSTANTS[name][preset])
    return _FUNCTIONS[name], (*constant, frost_dir) if name == "frost" else constant


def _apply(function, images: np.ndarray, constant, draws: Draws, jpeg_quality: int | None) -> np.ndarray:
    # Writable too: numba would compile everything once more for arrays that are not.
    corrupted = function(np.require(images, requirements=["C", "W"]), constant, draws)
    return corrupted if jpeg_quality is None else digital.jpeg_round_trip(corrupted, jpeg_quality)


def _as_rgb(images: np.ndarray) -> np.ndarray:
    """One image or a batch as RGB."""
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        raise InputError(f"the image is {getattr(images, 'dtype', type(images).__name__)}; give uint8, 0 to 255")
    if images.ndim == 2:
        images = images[..., None]
    if images.ndim not in (3, 4) or images.shape[-1] not in (1, 3) or 0 in images.shape[-3:]:
        raise InputError(f"the image has shape {images.shape}; give (H, W, 3), or (H, W) for a grey one")
    return np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images
