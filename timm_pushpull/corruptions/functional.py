"""`corrupt` and `corrupt_batch`: names, input checks, random streams and batches around the corruptions themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from timm_pushpull.corruptions import blur, colour, digital, elastic, noise, spatter, textures, weather
from timm_pushpull.corruptions.draws import Draws, Replay, Streams
from timm_pushpull.corruptions.presets import SEVERITIES, Preset, get_preset
from timm_pushpull.utils.errors import InputError, unknown

ImageT = TypeVar("ImageT", np.ndarray, Image.Image)
CorruptionFunction = Callable[[np.ndarray, Any, Draws], np.ndarray]

_FUNCTIONS: dict[str, CorruptionFunction] = {
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
#: The 15 test corruptions, with the names of ImageNet-C and in the order of the paper's tables.
CORRUPTIONS = tuple(_FUNCTIONS)[:15]
#: The four validation corruptions of ImageNet-C. They never count towards a mean corruption error.
EXTRA_CORRUPTIONS = tuple(_FUNCTIONS)[15:]

#: The longest side in px of an image that can be corrupted, which is also that of JPEG files.
MAX_SIDE = 65_500

# Part of the key of every random stream: these numbers must never change.
_STREAM_NUMBERS = {name: number for number, name in enumerate(_FUNCTIONS)}
_BATCH_VALUES = 1 << 16  # values processed at a time, so that all intermediate arrays stay in the CPU's cache
_INTEGERS = (int, np.integer)


def corrupt(
    image: ImageT,
    name: str,
    severity: int,
    preset: str = "imagenet-c",
    *,
    seed: int = 0,
    index: int = 0,
    frost_dir: Path | str | None = None,
    jpeg_quality: int | None = None,
    legacy_rng: np.random.RandomState | None = None,
) -> ImageT:
    """Apply one corruption to one image.

        >>> import numpy as np
        >>> image = np.full((32, 32, 3), 128, np.uint8)
        >>> corrupt(image, "contrast", 3, "cifar10-c").shape
        (32, 32, 3)

    Args:
        image: uint8 array of shape (H, W, 3), or a PIL image, with `Preset.min_size` to `MAX_SIDE` px per side. Grey
            images, (H, W) or (H, W, 1), are converted to RGB. Images with an alpha channel raise an error; blend them
            with a background first.
        name: One of `CORRUPTIONS` or `EXTRA_CORRUPTIONS`.
        severity: 1 to 5.
        preset: A name in `PRESETS`.
        seed: Seed of the random streams, 0 to 2^64 - 1.
        index: Position of the image in its dataset, 0 to 2^64 - 1. Each index has a random stream of its own.
        frost_dir: Folder with the original frost textures; see `frost_source`.
        jpeg_quality: Compress and decompress the corrupted image as JPEG with this quality. The published files of
            ImageNet-C and Tiny-ImageNet-C went through JPEG files (`Preset.jpeg_quality`).
        legacy_rng: Draw from this generator in the order of the published code, instead of from `seed` and `index`.

    Returns:
        The corrupted RGB image, uint8, of the same height and width and of the same type as `image`.

    Raises:
        InputError: An unknown corruption or preset, a severity outside 1 to 5, an image of another dtype or shape or
            with a side below `Preset.min_size` or above `MAX_SIDE`, or a `frost_dir` without the textures.
    """
    settings = get_preset(preset)
    function, constants = _lookup(name, severity, settings, frost_dir)
    check_jpeg_quality(jpeg_quality)
    if isinstance(image, Image.Image):
        if image.mode not in ("RGB", "L"):
            advice = "convert it to 'RGB' first"
            if image.mode[0] in "IF":
                advice = "scale it to 8 bits first"  # Pillow would clip it
            elif image.has_transparency_data:
                advice = "blend it with a background first"
            raise InputError(f"the image has PIL mode {image.mode!r}; {advice}")
        pixels = _as_rgb(np.asarray(image), settings)
    else:
        check_image(image)
        if image.ndim > 3:
            raise InputError(f"the image has shape {np.shape(image)}; use corrupt_batch for several images")
        pixels = _as_rgb(image, settings)
    if legacy_rng is not None and not isinstance(legacy_rng, np.random.RandomState):
        raise InputError(f"legacy_rng is {legacy_rng!r}; use np.random.RandomState(SEED), or None")
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
    """Apply one corruption to a batch of images. Every image comes out exactly as from `corrupt`.

    The work runs on the calling thread and mostly without the GIL, so threads can share a dataset.

    Args:
        images: uint8 array of shape (N, H, W, 3), or (N, H, W, 1) for grey images.
        indices: Positions of the images in their dataset; by default 0 to N - 1.
        name, severity, preset, seed, frost_dir, jpeg_quality: As in `corrupt`.

    Returns:
        uint8 array of shape (N, H, W, 3).

    Raises:
        InputError: As in `corrupt`, or `indices` of another length than `images`.
    """
    settings = get_preset(preset)
    function, constants = _lookup(name, severity, settings, frost_dir)
    check_jpeg_quality(jpeg_quality)
    if not isinstance(images, np.ndarray):
        raise InputError(f"images are {type(images).__name__}; give {_array_from(images, batch=True)}")
    if images.ndim != 4:
        raise InputError(f"images have shape {images.shape}; give a uint8 array of shape (N, H, W, 3)")
    images = _as_rgb(images, settings)
    indices = range(len(images)) if indices is None else indices
    if not hasattr(indices, "__len__"):
        raise InputError(f"indices are {indices!r}; give one index per image")
    if len(indices) != len(images):
        raise InputError(f"{len(indices)} indices for {len(images)} images; give one index per image")
    step = max(1, _BATCH_VALUES // images[:1].size) if len(images) else 1
    parts = [images]
    for start in range(0, len(images), step):
        part = slice(start, start + step)
        draws = _streams(seed, name, severity, indices[part])
        parts.append(_apply(function, images[part], constants, draws, jpeg_quality))
    return parts[1] if len(parts) == 2 else np.concatenate(parts[1:] or [images])


def frost_source(frost_dir: Path | str | None = None) -> str:
    """Which frost textures are used, in the words of `results.json`: "original", or "procedural, ...".

    The original textures are searched in `frost_dir`, in the folder named by the environment variable
    TIMM_PUSHPULL_FROST_DIR, and in an installed `imagecorruptions` package. Their MD5 is checked.

    Raises:
        InputError: `frost_dir` or the folder of the environment variable lacks a texture or has a different file.
    """
    return textures.source(frost_dir)


def check_corruption(name: str, severity: int, preset: str, frost_dir: Path | str | None = None) -> None:
    """Raise the InputError that `corrupt` would raise for these arguments with any image."""
    _lookup(name, severity, get_preset(preset), frost_dir)
    if name == "frost":
        textures.source(frost_dir)


def cells_of(corruptions: Sequence[str], severities: Sequence[int]) -> list[tuple[str, int]]:
    """Every corruption at every severity, each once, in the order given.

    Raises:
        InputError: One of the two is a single value or no sequence.
    """
    for argument, given, example in (("corruptions", corruptions, "fog"), ("severities", severities, 3)):
        if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
            raise InputError(f"{argument} is {given!r}; give a sequence, such as [{example!r}]")
    found = [(name, severity) for name in dict.fromkeys(corruptions) for severity in dict.fromkeys(severities)]
    return [(name, int(severity) if isinstance(severity, _INTEGERS) else severity) for name, severity in found]


def check_jpeg_quality(quality: int | None) -> None:
    """Raise InputError unless `quality` is None or an integer from 1 to 100."""
    if quality is not None and (not isinstance(quality, _INTEGERS) or not 1 <= quality <= 100):
        raise InputError(f"jpeg_quality is {quality!r}; use 1 to 100, or None for no JPEG")


def check_uint64(argument: str, number: int) -> None:
    """Raise InputError unless `number`, the value of `argument`, is an integer of 64 bits without a sign."""
    if not isinstance(number, _INTEGERS) or not 0 <= number < 2**64:
        raise InputError(f"{argument} is {number!r}; use an integer from 0 to 2^64 - 1")


def _lookup(name: str, severity: int, preset: Preset, frost_dir: Path | str | None) -> tuple[CorruptionFunction, Any]:
    """The function of a corruption and the constants to call it with."""
    if not isinstance(name, str) or name not in _FUNCTIONS:
        raise unknown("corruption", name, _FUNCTIONS)
    if name not in preset.constants:
        raise InputError(f"preset {preset.name!r} has no constants for {name}; use {', '.join(preset.constants)}")
    if not isinstance(severity, _INTEGERS) or severity not in SEVERITIES:
        raise InputError(f"severity is {severity!r}; use 1 to 5")
    constants = preset.constants_for(name, severity)
    return _FUNCTIONS[name], (*constants, frost_dir) if name == "frost" else constants


def _streams(seed: int, name: str, severity: int, indices: Sequence[int]) -> Streams:
    check_uint64("seed", seed)
    # The ends of a range bound all of it; most callers give a range.
    for index in (indices[0], indices[-1]) if isinstance(indices, range) else indices:
        check_uint64("index", index)
    return Streams(seed, _STREAM_NUMBERS[name], severity, np.array(indices, np.uint64))


def _apply(
    function: CorruptionFunction, images: np.ndarray, constants: Any, draws: Draws, jpeg_quality: int | None
) -> np.ndarray:
    # Contiguous and writable: numba would compile everything again for other arrays.
    if not (images.flags.c_contiguous and images.flags.writeable):
        images = np.array(images, order="C")
    corrupted = function(images, constants, draws)
    return corrupted if jpeg_quality is None else digital.jpeg_round_trip(corrupted, jpeg_quality)


def check_image_size(height: int, width: int, preset: Preset) -> None:
    """Raise InputError unless a preset takes images of this size in px."""
    if min(height, width) < preset.min_size:
        raise InputError(
            f"the image has {height} x {width} px; preset {preset.name!r} needs at least {preset.min_size} px per side"
        )
    if max(height, width) > MAX_SIDE:
        raise InputError(f"the image has {height} x {width} px; resize or crop it to {MAX_SIDE:,} px per side or less")


def check_image(image: object) -> None:
    """Raise InputError unless one image is an array or a PIL image."""
    if not isinstance(image, (np.ndarray, Image.Image)):
        raise InputError(f"the image is {type(image).__name__}; give {_array_from(image)}")


def _array_from(images: object, batch: bool = False) -> str:
    """What to give in place of images that are no array, in words."""
    if hasattr(images, "permute"):  # a tensor of torch
        return f"a numpy array: images.permute({'0, 2, 3, 1' if batch else '1, 2, 0'}).cpu().numpy(), uint8"
    if batch and isinstance(images, (list, tuple)):
        return "an array: np.stack(images) if all have one size, else call corrupt for each"
    return "a uint8 array of shape (N, H, W, 3)" if batch else "a uint8 array of shape (H, W, 3), or a PIL image"


def _as_rgb(images: np.ndarray, preset: Preset) -> np.ndarray:
    """Check one image or a batch, and repeat the channel of grey ones."""
    if images.dtype != np.uint8:
        raise InputError(f"the image is {images.dtype}; give uint8, 0 to 255")
    if images.ndim == 2:
        images = images[..., None]
    if images.ndim not in (3, 4) or images.shape[-1] not in (1, 3):
        hint = "; remove the alpha channel first" if images.shape[-1] == 4 else ""
        raise InputError(f"the image has shape {images.shape}; give (H, W, 3), or (H, W) for a grey image{hint}")
    check_image_size(images.shape[-3], images.shape[-2], preset)
    return np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images
