"""A corruption as a transform, for torchvision, timm and `datasets`."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from timm_pushpull.corruptions.engine import check, check_quality, corrupt
from timm_pushpull.utils.errors import InputError


@dataclass(frozen=True)
class Corruption:
    """One corruption at one severity, as a callable.

        >>> transforms.Compose([Resize(256), CenterCrop(224), Corruption("fog", 3), ToTensor(), Normalize(mean, std)])
        >>> dataset = dataset.map(Corruption("fog", 3).on("image"), batched=True, with_indices=True)

    Called with an image alone, as transforms are, it draws the image's random stream from its pixels: a picture comes
    out the same in every epoch, order, worker and process. With an index, the pixels are those of `corrupt`.

    Args:
        name, severity, preset, seed, frost_dir, jpeg_quality: As in `corrupt`.

    Raises:
        InputError: As in `corrupt`.
    """

    name: str
    severity: int
    preset: str = "imagenet-c"
    seed: int = 0
    frost_dir: str | None = None
    jpeg_quality: int | None = None

    def __post_init__(self) -> None:
        check(self.name, self.severity, self.preset, self.frost_dir)
        check_quality(self.jpeg_quality)

    def __call__(
        self, image: np.ndarray | Image.Image | Tensor, index: int | None = None
    ) -> np.ndarray | Image.Image | Tensor:
        """The corrupted image, of the kind that was given.

        Args:
            image: uint8 array (H, W, 3), PIL image, or uint8 tensor (3, H, W).
            index: The image's position in its data set.
        """
        if isinstance(image, Tensor):
            if image.ndim != 3 or image.dtype != torch.uint8:
                raise InputError(f"the tensor is {image.dtype} of shape {tuple(image.shape)}; give uint8 (3, H, W)")
            corrupted = self(image.permute(1, 2, 0).cpu().numpy(), index)
            return torch.from_numpy(corrupted).permute(2, 0, 1).to(image.device)
        if index is None:
            pixels = np.ascontiguousarray(np.asarray(image))
            index = int.from_bytes(hashlib.blake2b(pixels, digest_size=8).digest(), "little")
        return corrupt(
            image,
            self.name,
            self.severity,
            self.preset,
            seed=self.seed,
            index=index,
            frost_dir=self.frost_dir,
            jpeg_quality=self.jpeg_quality,
        )

    def on(self, column: str) -> Callable[[dict[str, Any], int | Sequence[int]], dict[str, Any]]:
        """A function for `datasets.Dataset.map(..., with_indices=True)`, batched or not, that corrupts a column."""
        return functools.partial(_corrupt_column, self, column)


def _corrupt_column(corruption: Corruption, column: str, examples: dict[str, Any], indices: int | Sequence[int]):
    images = examples[column]
    if isinstance(indices, int):
        return {column: corruption(images, indices)}
    return {column: [corruption(image, index) for image, index in zip(images, indices, strict=True)]}
