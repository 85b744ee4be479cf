"""Names, checks and batches: what stands between callers and the corruptions themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from timm_pushpull.corruptions import blur, colour, digital, elastic, noise, spatter, textures, weather
from timm_pushpull.corruptions.draws import Draws, Replay, Streams
from timm_pushpull.corruptions.severities import PRESET_CONSTANTS, SEVERITIES
from timm_pushpull.utils.errors import InputError, unknown

_FUNCTIONS: dict[str, Callable[[np.ndarray, Any, Draws], np.ndarray]] = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "defocus_blur": blur.defocus_blur,
    "glass_blur": blur.glass_blur,
    "motion_blur": blur.motion_blur,
    "zoom_blur": blur.zoom_blur,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "brightness": colour.brightness,
    "contrast": digital.contrast,
    "elastic_transform": elastic.elastic_transform,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.jpeg_compression,
    "speckle_noise": noise.speckle_noise,
    "gaussian_blur": blur.gaussian_blur,
    "spatter": spatter.spatter,
    "saturate": colour.saturate,
}
#: The 15 test corruptions, in the order of the paper's tables, with the names of ImageNet-C.
CORRUPTIONS = tuple(_FUNCTIONS)[:15]
#: The validation corruptions, never part of a mean corruption error.
EXTRA_CORRUPTIONS = tuple(_FUNCTIONS)[15:]
PRESETS = tuple(SEVERITIES)
#: The quality of the JPEG files in which a preset's corrupted images were published; None where they were arrays.
JPEG_QUALITY = {"imagenet-c": 85, "cifar10-c": None, "tiny-imagenet-c": 85}
#: The shortest side in pixels that a preset's constants make sense for.
SHORTEST_SIDE = {"imagenet-c": 32, "cifar10-c": 8, "tiny-imagenet-c": 32}

# Part of every stream's key: these numbers never change.
_NUMBERS = {name: number for number, name in enumerate(_FUNCTIONS)}
_VALUES_AT_ONCE = 1 << 16
_WHOLE = (int, np.integer)


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
        image: uint8 array of shape (H, W, 3), or a PIL image. Grey images, (H, W) or (H, W, 1), become RGB; images with
            an alpha channel are refused, for what lies behind them is not ours to choose.
        name: One of `CORRUPTIONS` or `EXTRA_CORRUPTIONS`.
        severity: 1 to 5.
        preset: One of `PRESETS`, the table of constants.
        seed, index: Choose the random stream; `index` is the image's position in its data set.
        frost_dir: Folder of the original frost textures; see `frost_source`.
        jpeg_quality: The corrupted image goes through a JPEG file of this quality, as the published images of
            ImageNet-C did (`JPEG_QUALITY`).
        legacy_rng: Replays the draws of the original generator from this state instead.

    Returns:
        The corrupted image, uint8 RGB of the same size; an array for an array, a PIL image for a PIL image.

    Raises:
        InputError: An unknown name or preset, a severity outside 1 to 5, an image of another dtype or shape, or with a
            side below `SHORTEST_SIDE`; a `frost_dir` without the textures.
    """
    function, constants = _lookup(name, severity, preset, frost_dir)
    check_quality(jpeg_quality)
    if isinstance(image, Image.Image):
        if image.mode not in ("RGB", "L"):
            raise InputError(f"the image has PIL mode {image.mode!r}; convert it to 'RGB' first")
        pixels = _as_rgb(np.asarray(image), preset)
    else:
        if np.ndim(image) > 3:
            raise InputError(f"the image has shape {np.shape(image)}; corrupt_batch takes several")
        pixels = _as_rgb(image, preset)
    draws = Replay(legacy_rng) if legacy_rng else _streams(seed, name, severity, [index])
    corrupted = _apply(function, pixels[None], constants, draws, jpeg_quality)[0]
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

    It runs on the calling thread and leaves Python's lock to others while it computes, so that threads can share work.

    Args:
        images: uint8 array of shape (N, H, W, 3), or (N, H, W, 1) for grey ones.
        indices: The images' positions in their data set; 0 to N - 1 if not given.

    Returns:
        uint8 array of shape (N, H, W, 3).

    Raises:
        InputError: As in `corrupt`; `indices` of another length than `images`.
    """
    function, constants = _lookup(name, severity, preset, frost_dir)
    check_quality(jpeg_quality)
    if getattr(images, "ndim", None) != 4:
        raise InputError(f"images have shape {np.shape(images)}; give a uint8 array of shape (N, H, W, 3)")
    images = _as_rgb(images, preset)
    indices = range(len(images)) if indices is None else indices
    if len(indices) != len(images):
        raise InputError(f"{len(indices)} indices for {len(images)} images; give one index per image")
    # A few images at a time, as many as the processor's cache holds with all that is computed from them.
    step = max(1, _VALUES_AT_ONCE // images[:1].size) if len(images) else 1
    parts = [images]
    for start in range(0, len(images), step):
        part = slice(start, start + step)
        draws = _streams(seed, name, severity, indices[part])
        parts.append(_apply(function, images[part], constants, draws, jpeg_quality))
    return parts[1] if len(parts) == 2 else np.concatenate(parts[1:] or [images])


def frost_source(frost_dir: Path | str | None = None) -> str:
    """Which frost textures are used, as results state it: "original", or "procedural, ...".

    The original's are looked for in `frost_dir`, in the folder that TIMM_PUSHPULL_FROST_DIR names, and in an installed
    `imagecorruptions` package. They are recognised by their MD5.

    Raises:
        InputError: The folder that was asked for lacks a texture, or holds another picture under its name.
    """
    return textures.source(frost_dir)


def check(name: str, severity: int, preset: str, frost_dir: Path | str | None = None) -> None:
    """Raise InputError for what `corrupt` would refuse, whatever the image."""
    _lookup(name, severity, preset, frost_dir)
    if name == "frost":
        textures.source(frost_dir)


def check_quality(quality: int | None) -> None:
    """Raise InputError for what is no quality of JPEG files."""
    if quality is not None and (not isinstance(quality, _WHOLE) or not 1 <= quality <= 100):
        raise InputError(f"jpeg_quality is {quality!r}; use 1 to 100, or None for no JPEG")


def check_word(what: str, number: int) -> None:
    """Raise InputError for a seed or index that is no whole number of 64 bits."""
    if not isinstance(number, _WHOLE) or not 0 <= number < 2**64:
        raise InputError(f"{what} is {number!r}; use a whole number from 0 to 2^64 - 1")


def _lookup(name: str, severity: int, preset: str, frost_dir: Path | str | None):
    if not isinstance(preset, str) or preset not in SEVERITIES:
        raise unknown("preset", preset, PRESETS)
    if not isinstance(name, str) or name not in _FUNCTIONS:
        raise unknown("corruption", name, _FUNCTIONS)
    if not isinstance(severity, _WHOLE) or not 1 <= severity <= 5:
        raise InputError(f"severity is {severity!r}; use 1 to 5")
    constants = SEVERITIES[preset][name][severity - 1]
    if name in PRESET_CONSTANTS:
        constants = (*constants, PRESET_CONSTANTS[name][preset])
    return _FUNCTIONS[name], (*constants, frost_dir) if name == "frost" else constants


def _streams(seed: int, name: str, severity: int, indices: Sequence[int]) -> Streams:
    # Of a range the ends say it all, and it is what most callers give.
    ends = (indices[0], indices[-1]) if isinstance(indices, range) else indices
    check_word("seed", seed)
    for index in ends:
        check_word("index", index)
    return Streams(seed, _NUMBERS[name], severity, np.array(indices, np.uint64))


def _apply(function, images: np.ndarray, constants, draws: Draws, jpeg_quality: int | None) -> np.ndarray:
    # Writable too: numba would compile everything once more for arrays that are not.
    if not (images.flags.c_contiguous and images.flags.writeable):
        images = np.array(images, order="C")
    corrupted = function(images, constants, draws)
    return corrupted if jpeg_quality is None else digital.jpeg_round_trip(corrupted, jpeg_quality)


def _as_rgb(images: np.ndarray, preset: str) -> np.ndarray:
    """One image or a batch as RGB."""
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        raise InputError(f"the image is {getattr(images, 'dtype', type(images).__name__)}; give uint8, 0 to 255")
    if images.ndim == 2:
        images = images[..., None]
    if images.ndim not in (3, 4) or images.shape[-1] not in (1, 3):
        hint = "; remove the alpha channel first" if images.shape[-1] == 4 else ""
        raise InputError(f"the image has shape {images.shape}; give (H, W, 3), or (H, W) for a grey one{hint}")
    height, width = images.shape[-3:-1]
    if min(height, width) < SHORTEST_SIDE[preset]:
        raise InputError(
            f"the image has {height} x {width} px; preset {preset!r} needs {SHORTEST_SIDE[preset]} px or more per side"
        )
    return np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images
