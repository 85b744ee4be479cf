"""`Corruption`, one corruption at one severity as a transform for torchvision, timm and `datasets`."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from timm_pushpull.corruptions.functional import (
    check_corruption,
    check_image,
    check_jpeg_quality,
    check_uint64,
    corrupt,
)
from timm_pushpull.utils.errors import InputError


@dataclass(frozen=True)
class Corruption:
    """One corruption at one severity, as a callable.

        >>> from PIL import Image
        >>> from torchvision.transforms import CenterCrop, Compose, ToTensor
        >>> transform = Compose([CenterCrop(224), Corruption("contrast", 3), ToTensor()])
        >>> transform(Image.new("RGB", (256, 256))).shape
        torch.Size([3, 224, 224])

    With `datasets`: `dataset.map(Corruption("fog", 3).on("image"), batched=True, with_indices=True)`; for a streaming
    dataset without `with_indices`, because its indices start again in every worker and process.

    A call without an index, as in a `Compose`, derives the random stream from a hash of the pixels: the same image is
    corrupted in the same way in every epoch, order, worker and process. A call with an index returns the pixels of
    `corrupt`.

    Args:
        name, severity, preset, seed, frost_dir, jpeg_quality: As in `corrupt`.

    Raises:
        InputError: As in `corrupt`.
    """

    name: str
    severity: int
    preset: str = "imagenet-c"
    seed: int = 0
    frost_dir: Path | str | None = None
    jpeg_quality: int | None = None

    def __post_init__(self) -> None:
        check_corruption(self.name, self.severity, self.preset, self.frost_dir)
        check_jpeg_quality(self.jpeg_quality)
        check_uint64("seed", self.seed)

    def __call__(self, image: Any, *others: Any, index: int | None = None) -> Any:
        """Corrupt one image.

        Args:
            image: uint8 array of shape (H, W, 3), PIL image, or uint8 tensor of shape (3, H, W).
            others: What comes with the image in a `Compose` of torchvision's transforms v2, such as its label.
            index: Position of the image in its dataset.

        Returns:
            The corrupted image, of the same type; a tensor is on the same device. With `others`, a tuple of the image
            and them, as they were.
        """
        corrupted = self._corrupt(image, index)
        return (corrupted, *others) if others else corrupted

    def _corrupt(self, image: Any, index: int | None) -> Any:
        if isinstance(image, Tensor):
            if image.ndim != 3 or image.dtype != torch.uint8:
                raise InputError(f"the tensor is {image.dtype} of shape {tuple(image.shape)}; give uint8 (3, H, W)")
            corrupted = torch.from_numpy(self._corrupt(image.permute(1, 2, 0).cpu().numpy(), index))
            return corrupted.permute(2, 0, 1).to(image.device).as_subclass(type(image))
        check_image(image)
        if index is None:
            pixels = np.ascontiguousarray(np.asarray(image))
            index = int.from_bytes(hashlib.blake2b(pixels.data, digest_size=8).digest(), "little")
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

    def on(self, column: str) -> Callable[..., dict[str, Any]]:
        """A function that corrupts a column, for `map` of `datasets`, batched or not.

        With `with_indices=True` images come out as from `corrupt`; without, as from a call without an index.

        Raises:
            InputError: When it runs: with indices in one of several workers of a `DataLoader`, where those of a
                streaming dataset repeat, and the random draws with them.
        """
        return functools.partial(_corrupt_column, self, column)


def _corrupt_column(
    corruption: Corruption, column: str, examples: dict[str, Any], indices: int | Sequence[int] | None = None
) -> dict[str, Any]:
    images = examples[column]
    # Only the `map` of a streaming dataset runs in a worker.
    worker = None if indices is None else get_worker_info()
    if worker is not None and worker.num_workers > 1:
        raise InputError(
            "the indices of a streaming dataset start again in each of its workers, so random draws would repeat; "
            "leave with_indices out of map, and the draws depend on the pixels"
        )
    if indices is None:
        several = isinstance(images, (list, tuple)) or getattr(images, "ndim", 3) == 4
        return {column: [corruption(image) for image in images] if several else corruption(images)}
    if isinstance(indices, int):
        return {column: corruption(images, index=indices)}
    return {column: [corruption(image, index=index) for image, index in zip(images, indices, strict=True)]}
