"""From an image to the input of a network.

    RGB image -> resized and cropped uint8 (`ResizeCenterCrop`) -> corrupted uint8 -> normalised float (`normalise`)

Images stay uint8 until the last step because the corruptions are defined on grey levels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from timm_pushpull.utils.errors import InputError, unknown

#: As `size`: leave images as they are.
KEEP = "keep"
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
        """The image with its shorter side at `resize`, uint8 of shape (H, W, 3)."""
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
    config = model.pretrained_cfg
    size = image_size or config["input_size"][-1]
    interpolation = config.get("interpolation") or "bilinear"
    return ResizeCenterCrop(size, int(size / (config.get("crop_pct") or 1.0)), interpolation)


def preset_geometry(preset: str, size: int | str | None = None) -> Callable[[Image.Image], np.ndarray]:
    """What a published benchmark did to an image before it was corrupted.

    `imagenet-c` resizes the shorter side to 8/7 of the size and crops the centre (256 and 224 px), `tiny-imagenet-c`
    resizes to a square (64 px), `cifar10-c` leaves images as they are unless a size is given.

    Args:
        size: Side in px; None for the published one, `keep` to leave images as they are.

    Returns:
        A function from an RGB image to uint8 of shape (H, W, 3).

    Raises:
        InputError: An unknown preset, or a size below 1.
    """
    if preset not in _PRESETS:
        raise unknown("preset", preset, _PRESETS)
    if isinstance(size, str):
        if size != KEEP:
            raise InputError(f"the size is {size!r}; use a whole number or {KEEP!r}")
        return np.asarray
    if size is not None and size < 1:
        raise InputError(f"the size is {size}; use 1 px or more, or {KEEP!r}")
    published_size, transform = _PRESETS[preset]
    size = size or published_size
    return np.asarray if size is None else transform(size)


#: The published size of each preset's images in px (None: as they are), and the transform to a given size.
_PRESETS: dict[str, tuple[int | None, Callable[[int], Callable[[Image.Image], np.ndarray]]]] = {
    "imagenet-c": (224, lambda size: ResizeCenterCrop(size, round(size * 256 / 224))),
    "cifar10-c": (None, lambda size: ResizeCenterCrop(size, size)),
    "tiny-imagenet-c": (64, ResizeSquare),
}


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
