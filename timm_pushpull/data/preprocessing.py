"""From an image to the input of a network.

    RGB image -> resized and cropped uint8 (`ResizeCenterCrop`) -> corrupted uint8 -> normalised float (`normalise`)

Images stay uint8 until the last step because the corruptions are defined on grey levels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from timm_pushpull.corruptions.presets import get_preset
from timm_pushpull.utils.errors import InputError

#: As `size`: leave images as they are.
KEEP = "keep"
_MAX_ASPECT = 16
_INTERPOLATIONS = {name: Image.Resampling[name.upper()] for name in ("nearest", "bilinear", "bicubic", "lanczos")}


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
        if self.interpolation not in _INTERPOLATIONS:
            raise InputError(f"interpolation is {self.interpolation!r}; use one of {', '.join(_INTERPOLATIONS)}")
        if not 1 <= self.size <= self.resize:
            raise InputError(f"image size {self.size} does not fit into a resized side of {self.resize}")

    def resized(self, image: Image.Image) -> np.ndarray:
        """The image with its shorter side at `resize`, uint8 of shape (H, W, 3).

        Of an image more than `_MAX_ASPECT` times as long as wide it is the centre, because all of it would take
        gigabytes: 20000 x 1 px would become 5 million x 256.
        """
        longest = _MAX_ASPECT * min(image.size)
        if max(image.size) > longest:
            left, top = (max(0, side - longest) // 2 for side in image.size)
            image = image.crop((left, top, image.width - left, image.height - top))
        scale = self.resize / min(image.size)
        if scale != 1:
            # The longer side is truncated, as in torchvision and the published recipes.
            side = [self.resize if s == min(image.size) else max(int(s * scale), self.resize) for s in image.size]
            image = image.resize((side[0], side[1]), _INTERPOLATIONS[self.interpolation])
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


def center_crop(image: np.ndarray, size: int) -> np.ndarray:
    """The central square of an image (H, W, 3) with at least `size` px per side, rounded as torchvision does."""
    top, left = (round((side - size) / 2) for side in image.shape[:2])
    return image[top : top + size, left : left + size]


def model_geometry(model: nn.Module, image_size: int | None = None) -> ResizeCenterCrop:
    """The test preprocessing in a timm model's data config.

    Args:
        image_size: Another side in px; the crop fraction stays that of the data config.
    """
    config = cast(dict[str, Any], model.pretrained_cfg)
    size = image_size or config["input_size"][-1]
    interpolation = config.get("interpolation") or "bilinear"
    return ResizeCenterCrop(size, int(size / (config.get("crop_pct") or 1.0)), interpolation)


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
        images: uint8 of shape (N, H, W, 3).
        mean, std: Of each channel, for intensities in [0, 1].
        device: Where the result is; default: that of `images`.

    Returns:
        float32 of shape (N, 3, H, W) in channels_last memory.
    """
    batch = torch.as_tensor(images).to(device, non_blocking=True).permute(0, 3, 1, 2)
    shift, scale = _grey_levels(tuple(mean), tuple(std), batch.device)
    return (batch - shift) / scale


@lru_cache(maxsize=8)
def _grey_levels(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation in grey levels, (3, 1, 1); cached because a copy to a GPU blocks."""
    shift, scale = (255 * torch.tensor(values, device=device).view(-1, 1, 1) for values in (mean, std))
    return shift, scale
