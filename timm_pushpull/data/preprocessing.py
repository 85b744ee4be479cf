"""From an image to the input of a network.

    RGB image -> resized and cropped uint8 (`TimmTransform`) -> corrupted uint8 -> normalised float (`normalise`)

Images stay uint8 until the last step because the corruptions are defined on pixel values of 0 to 255.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Protocol, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from timm_pushpull.corruptions.presets import get_preset
from timm_pushpull.utils.errors import InputError, one_line
from timm_pushpull.utils.hardware import upload

#: As `size`: leave images as they are.
KEEP = "keep"
_MAX_ASPECT = 16
_CROP_MODES = ("center", "squash", "border")
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")


class Geometry(Protocol):
    """How an image becomes the square that a network sees."""

    @property
    def size(self) -> int:
        """Side of the square in px."""

    def __call__(self, image: Image.Image) -> np.ndarray:
        """From an RGB image to uint8 of shape (size, size, 3)."""


@dataclass(frozen=True)
class ResizeCenterCrop:
    """Resize the shorter side, then crop the centre, with the results of torchvision's `Resize` and `CenterCrop`.

    Attributes:
        size: Side of the square crop in px.
        resize: Shorter side before the crop in px.
        interpolation: nearest, bilinear, bicubic or lanczos.

    Raises:
        InputError: An unknown interpolation, or a crop larger than the resized image.
    """

    size: int
    resize: int
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        if self.interpolation not in INTERPOLATIONS:
            raise InputError(f"interpolation is {self.interpolation!r}; use one of {', '.join(INTERPOLATIONS)}")
        if not 1 <= self.size <= self.resize:
            raise InputError(f"image size {self.size} does not fit into a resized side of {self.resize}")

    def resized(self, image: Image.Image) -> np.ndarray:
        """The image with its shorter side at `resize`, uint8 of shape (H, W, 3).

        Of an image more than `_MAX_ASPECT` times as long as wide it is the centre, because all of it would take
        gigabytes: 20000 x 1 px would become 5 million x 256.
        """
        image = crop_length(image, _MAX_ASPECT)
        shorter = min(image.size)
        if shorter != self.resize:
            # In torchvision's order of operations: others round the longer side to another px now and then.
            width, height = (int(self.resize * side / shorter) for side in image.size)
            image = image.resize((width, height), Image.Resampling[self.interpolation.upper()])
        return np.asarray(image)

    def __call__(self, image: Image.Image) -> np.ndarray:
        """The square that the network sees, uint8 of shape (size, size, 3)."""
        return center_crop(self.resized(image), self.size)


@dataclass(frozen=True)
class ResizeSquare:
    """Resize to a square, whatever the aspect ratio, bilinearly.

    Attributes:
        size: Side of the square in px.
    """

    size: int

    def __call__(self, image: Image.Image) -> np.ndarray:
        """The resized image, uint8 of shape (size, size, 3)."""
        return np.asarray(image.resize((self.size, self.size), Image.Resampling.BILINEAR))


def crop_length(image: Image.Image, aspect: int) -> Image.Image:
    """The centre of an image that is more than `aspect` times as long as wide; others as they are."""
    longest = aspect * min(image.size)
    if max(image.size) <= longest:
        return image
    left, top = (max(0, side - longest) // 2 for side in image.size)
    return image.crop((left, top, image.width - left, image.height - top))


def center_crop(image: np.ndarray, size: int) -> np.ndarray:
    """The central square of an image (H, W, 3) with at least `size` px per side, rounded as torchvision does."""
    top, left = (round((side - size) / 2) for side in image.shape[:2])
    return image[top : top + size, left : left + size]


@dataclass(frozen=True)
class TimmTransform:
    """timm's transform for evaluation, `timm.data.create_transform`, up to the pixels that it normalises.

    Attributes:
        size: Side of the square in px.
        crop_pct: Part of the resized side that is cropped.
        crop_mode: center crops the image, squash ignores its aspect ratio, border pads it with `mean`.
        interpolation: A name that timm knows, such as bicubic.
        mean: Channel means of intensities in [0, 1].
    """

    size: int
    crop_pct: float
    crop_mode: str
    interpolation: str
    mean: tuple[float, ...]

    @cached_property
    def steps(self) -> list[Callable[[Image.Image], Image.Image]]:
        """Its steps from image to image; the last one, which makes a tensor, is left out."""
        from timm.data import create_transform

        options = {"crop_pct": self.crop_pct, "crop_mode": self.crop_mode, "interpolation": self.interpolation}
        transform: Any = create_transform(self.size, mean=self.mean, use_prefetcher=True, **options)
        return transform.transforms[:-1]

    def __call__(self, image: Image.Image) -> np.ndarray:
        """The square that the network sees, uint8 of shape (size, size, 3)."""
        if self.crop_mode != "squash":  # as in `ResizeCenterCrop.resized`; padded ones would have no width left
            image = crop_length(image, _MAX_ASPECT if self.crop_mode == "center" else max(_MAX_ASPECT, self.size // 2))
        for step in self.steps:
            image = step(image)
        return np.asarray(image)


def model_geometry(model: nn.Module, image_size: int | None = None) -> TimmTransform:
    """The preprocessing of a timm model at evaluation, from its data config.

    Args:
        image_size: Another side in px; the crop fraction stays that of the data config.

    Raises:
        InputError: The model takes no squares and `image_size` is not given; a data config that timm does not know.
    """
    from timm.data import resolve_data_config

    config = resolve_data_config(pretrained_cfg=cast(dict[str, Any], model.pretrained_cfg))
    height, width = config["input_size"][-2:]
    if image_size is None and height != width:
        raise InputError(f"the model takes images of {height} x {width} px; give one --image-size")
    if (mode := config["crop_mode"]) not in _CROP_MODES:
        raise InputError(f"crop_mode is {mode!r} in the model's data config; use one of {', '.join(_CROP_MODES)}")
    size, mean = image_size or width, tuple(config["mean"])
    transform = TimmTransform(size, config["crop_pct"], mode, config["interpolation"], mean)
    try:
        transform.steps  # noqa: B018 - builds them
    except (KeyError, AssertionError, TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(f"timm has no such preprocessing as the model's data config says: {one_line(error)}") from None
    return transform


def preset_geometry(preset: str, size: int | str | None = None) -> Callable[[Image.Image], np.ndarray]:
    """How images are resized and cropped before the corruptions of a preset (`Preset.crop_mode`).

    Args:
        preset: A name in `timm_pushpull.corruptions.PRESETS`.
        size: Side of the square in px; None for the preset's; `keep` to leave images at their size.

    Returns:
        A function from an RGB PIL image to uint8 of shape (H, W, 3).

    Raises:
        InputError: An unknown preset, or a size below 1.
    """
    settings = get_preset(preset)
    if size == KEEP or (size is None and settings.keep_size):
        return np.asarray
    side = settings.image_size if size is None else size
    if isinstance(side, str):
        raise InputError(f"the size is {side!r}; use an integer or {KEEP!r}")
    if side < 1:
        raise InputError(f"the size is {side}; use 1 px or more, or {KEEP!r}")
    if settings.crop_mode == "squash":
        return ResizeSquare(side)
    return ResizeCenterCrop(side, round(side / settings.crop_pct))


def normalise(images: np.ndarray | Tensor, mean: Sequence[float], std: Sequence[float], device=None) -> Tensor:
    """Network input from images.

    Args:
        images: Grey levels, uint8 or float32 of shape (N, H, W, 3).
        mean, std: Of each channel, for intensities in [0, 1].
        device: Where the result is; default: that of `images`.

    Returns:
        float32 of shape (N, 3, H, W) in channels_last memory.
    """
    batch = torch.as_tensor(images).to(device, non_blocking=True)
    shift, scale = _grey_levels(tuple(mean), tuple(std), batch.shape[2], batch.device)
    # In rows of all channels: loops over three numbers, and over two dtypes, take ten times as long on a CPU.
    rows = batch.flatten(2).to(torch.float32, copy=True)
    return rows.sub_(shift).div_(scale).view(batch.shape).permute(0, 3, 1, 2)


@lru_cache(maxsize=8)
def _grey_levels(
    mean: tuple[float, ...], std: tuple[float, ...], width: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, as 0 to 255, for a row of an image; cached because a copy to a GPU blocks."""
    with torch.inference_mode(False):  # or they could not take part in gradients later
        shift, scale = (upload(255 * torch.tensor(values).repeat(width), device) for values in (mean, std))
    return shift, scale
