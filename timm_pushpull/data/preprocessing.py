"""The way from a picture to a network's input.

    picture -> resized and cropped uint8 (`ResizeCenterCrop`) -> corrupted uint8 -> normalised float (`normalise`)

Images stay uint8 until the last step, because the corruptions are defined on grey levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from timm_pushpull.utils.errors import InputError

_INTERPOLATIONS = {name: Image.Resampling[name.upper()] for name in ("nearest", "bilinear", "bicubic", "lanczos")}


@dataclass(frozen=True)
class ResizeCenterCrop:
    """Resize the shorter side, then crop the centre: the last steps before corruption and normalisation.

    Attributes:
        size: Side of the square that the network sees, px.
        resize: Shorter side before the crop, px.
        interpolation: nearest, bilinear, bicubic or lanczos.
    """

    size: int
    resize: int
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        if self.interpolation not in _INTERPOLATIONS:
            raise InputError(f"interpolation is {self.interpolation!r}; use one of {', '.join(_INTERPOLATIONS)}")
        if not 1 <= self.size <= self.resize:
            raise InputError(f"image size {self.size} does not fit into a resized side of {self.resize}")

    def resized(self, picture: Image.Image) -> np.ndarray:
        """The picture with its shorter side at `resize`, uint8 (H, W, 3)."""
        scale = self.resize / min(picture.size)
        if scale != 1:
            # The longer side is truncated, as torchvision and the published recipes do.
            side = [self.resize if s == min(picture.size) else max(int(s * scale), self.resize) for s in picture.size]
            picture = picture.resize(tuple(side), _INTERPOLATIONS[self.interpolation])
        return np.asarray(picture)

    def __call__(self, picture: Image.Image) -> np.ndarray:
        """The square that the network sees, uint8 (size, size, 3)."""
        image = self.resized(picture)
        top, left = (round((side - self.size) / 2) for side in image.shape[:2])
        return image[top : top + self.size, left : left + self.size]


def model_geometry(model: nn.Module, image_size: int | None = None) -> ResizeCenterCrop:
    """The test geometry of a timm model's data config, or that of another size with the same crop fraction."""
    config = model.pretrained_cfg
    size = image_size or config["input_size"][-1]
    interpolation = config.get("interpolation") or "bilinear"
    return ResizeCenterCrop(size, int(size / (config.get("crop_pct") or 1.0)), interpolation)


def normalise(images: np.ndarray | Tensor, mean: Sequence[float], std: Sequence[float], device=None) -> Tensor:
    """Network input: uint8 (N, H, W, 3) to float32 (N, 3, H, W) in channels_last memory, normalised per channel."""
    batch = torch.as_tensor(images).to(device, non_blocking=True).permute(0, 3, 1, 2)
    shift, scale = _intensities(tuple(mean), tuple(std), batch.device)
    return (batch - shift) / scale


@lru_cache(maxsize=8)
def _intensities(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and deviation in grey levels, (3, 1, 1); kept, for copying them to a GPU waits for it."""
    return tuple(255 * torch.tensor(values, device=device).view(-1, 1, 1) for values in (mean, std))
