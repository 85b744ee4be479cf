"""The training images: how each is augmented, cropped and flipped on its way to the network.

All random choices of an epoch are drawn at once, keyed by (seed, epoch), one row per image. So they depend neither on
the number of processes or workers nor on where a run was resumed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from timm_pushpull.data import ImageSet
from timm_pushpull.data.augment import POLICIES, Policy, prime
from timm_pushpull.data.images import read_batches
from timm_pushpull.data.preprocessing import ResizeCenterCrop
from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.hardware import upload
from train.augment import Erasing, Mixing, RandomResizedCrop, TimmPolicy, color_jitter
from train.batches import AUGMENTATION, draws
from train.signals import ignore_signals

_IN_MEMORY = 4 * 2**30  # bytes of decoded images that a process keeps


def fits_into_memory(size: float) -> bool:
    """Whether a process keeps decoded images of so many bytes."""
    return size <= _IN_MEMORY


class TrainingImages(Dataset):
    """Batches of images, cropped at random and mirrored, by default as in the paper: a square out of the resized image.

    Decoded once where they fit into memory. Those that also have one size stay in one tensor, on the device, and are
    cropped a batch at a time; larger sets are decoded in workers. A policy augments each image before its crop (after a
    random resized one), and colour jitter each crop, in workers as well; PRIME, mixing and erasing work on batches, on
    the device.

    Args:
        padding: Zeros on every side before the crop, px.
        hflip, vflip: Probability of a horizontal, and of a vertical flip.
        augmentation: One of `timm_pushpull.data.augment.AUGMENTATIONS`, if any.
        data: The kind of data that it is made for, imagenet or cifar.
        resized_crop: Takes the place of resize, padding and crop.
        timm_policy: Augments each crop.
        color_jitter: Strength of the colour jitter, if any.
        erasing, mixing: What is done with every batch, if anything.
    """

    def __init__(
        self,
        images: ImageSet,
        geometry: ResizeCenterCrop,
        padding: int,
        hflip: float,
        seed: int,
        device: torch.device,
        augmentation: str | None = None,
        data: str = "imagenet",
        *,
        vflip: float = 0.0,
        resized_crop: RandomResizedCrop | None = None,
        timm_policy: TimmPolicy | None = None,
        color_jitter: float | None = None,
        erasing: Erasing | None = None,
        mixing: Mixing | None = None,
    ) -> None:
        self.images, self.geometry, self.padding, self.seed = images, geometry, padding, seed
        self.hflip, self.vflip = hflip, vflip
        self.device = device
        self.policy = Policy(augmentation, data) if augmentation in POLICIES else None
        self.prime_preset = data if augmentation == "prime" else None
        self.resized_crop, self.timm_policy, self.color_jitter = resized_crop, timm_policy, color_jitter
        self.erasing, self.mixing = erasing, mixing
        self.group = 2 if mixing else 1  # images that a process's share keeps together
        augments = bool(self.policy or timm_policy or color_jitter)
        self.in_memory = fits_into_memory(len(images) * self._image_bytes())
        # On a CPU loader processes take cores from the steps; there Pillow resizes in threads, between two steps.
        self.uses_workers = not self.in_memory or augments or (bool(resized_crop) and device.type != "cpu")
        threads = 1 if self.uses_workers else torch.get_num_threads()
        self.threads = ThreadPoolExecutor(threads) if threads > 1 else None
        self.decoded: list[np.ndarray] | None = None
        self.pixels: Tensor | None = None
        if self.in_memory:
            decoded = [image for batch, _ in read_batches(images, self._ready, 1024) for image in batch]
            if not (augments or resized_crop) and len({image.shape for image in decoded}) == 1:
                self.pixels = torch.from_numpy(np.stack(decoded)).to(device)
                self.labels = torch.from_numpy(images.labels[images.indices]).to(device)
            else:
                self.decoded = decoded

    def _image_bytes(self) -> float:
        """About how much memory a decoded image takes."""
        if not self.resized_crop:
            return self.geometry.resize**2 * 3 * 4 / 3  # photographs are about that much longer than wide
        some = self.images.indices[:: -(-len(self.images) // 32)]
        return float(np.mean([3 * math.prod(self.images.read(row).size) for row in some]))

    def _ready(self, image: Image.Image) -> np.ndarray:
        """As much of the way to the network as does not depend on draws."""
        if self.resized_crop:
            return np.asarray(image)
        resized = self.geometry.resized(image)
        return resized if self.policy else self._pad(resized)

    def _pad(self, image: np.ndarray) -> np.ndarray:
        edge = (self.padding, self.padding)
        return np.pad(image, (edge, edge, (0, 0)))

    def set_epoch(self, epoch: int) -> None:
        """Draw every image's crop, mirroring and key of its augmentation for an epoch, counted from 0."""
        rng = draws(self.seed, epoch, AUGMENTATION)
        self.epoch = epoch
        self.draws, self.keys = rng.random((len(self.images), 3)), rng.integers(2**63 - 1, size=len(self.images))
        self.mirrored = self.draws[:, 2] < self.hflip
        self.upside_down = rng.random(len(self.images)) < self.vflip

    def __len__(self) -> int:
        return len(self.images)

    def batches(
        self, order: Sequence[np.ndarray], workers: int, first: int = 0, parts: int = 1
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of the images at these positions, in order.

        Args:
            order: One array of positions per batch or part of one.
            workers: Decoding processes, where the images are not in memory.
            first: Number of the first batch in the epoch; those that are mixed are drawn by it.
            parts: How many entries of `order` are parts of one batch.

        Yields:
            (images, targets) on the device: pixel values of shape (N, size, size, 3), uint8 or, after PRIME, mixing or
            erasing, float32; and classes, int64 of shape (N,), or, where images are mixed, probabilities of shape
            (N, classes).

        Raises:
            InputError: An image that is decoded on the way cannot be read.
        """
        for index, (positions, (images, targets)) in enumerate(zip(order, self._cropped(order, workers), strict=True)):
            keys = self.keys[positions]
            if self.prime_preset:
                images = images.permute(0, 3, 1, 2).float() / 255
                images = prime(images, preset=self.prime_preset, keys=torch.from_numpy(keys))
                images = 255 * images.permute(0, 2, 3, 1).contiguous()
            if self.mixing:
                images, targets = self.mixing(images, targets, self.epoch, first + index // parts)
            if self.erasing:
                images = self.erasing(images, keys)
            yield images, targets

    def _cropped(self, order: Sequence[np.ndarray], workers: int) -> Iterator[tuple[Tensor, Tensor]]:
        if self.pixels is not None:
            yield from self._crops(self.pixels, order)
            return
        loader = DataLoader(
            self,
            batch_sampler=order,  # type: ignore[arg-type]  # arrays instead of lists: __getitems__ takes them
            collate_fn=_as_is,
            pin_memory=self.device.type == "cuda",
            num_workers=workers if self.uses_workers else 0,
            # Not the global one: its state is set by the step, for dropout, before the first batch is asked for.
            generator=torch.Generator(),
            worker_init_fn=ignore_signals,
        )
        copies = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        for batch in loader:
            if isinstance(batch, InputError):
                raise batch
            if copies is None:
                yield batch[0].to(self.device), batch[1].to(self.device)
                continue
            with torch.cuda.stream(copies):  # beside the steps before, which the device is still working on
                pixels, labels = (tensor.to(self.device, non_blocking=True) for tensor in batch)
            steps = torch.cuda.current_stream(self.device)
            steps.wait_stream(copies)
            pixels.record_stream(steps)  # or their memory would be given to the next copy
            labels.record_stream(steps)
            yield pixels, labels

    def _crops(self, images: Tensor, order: Sequence[np.ndarray]) -> Iterator[tuple[Tensor, Tensor]]:
        """Crops of images of one size, uint8 of shape (N, H, W, 3) on the device, without a loop over them."""
        size, (height, width) = self.geometry.size, images.shape[1:3]
        down, right, _ = self.draws.T
        top, left = (down * (height - size + 1)).astype(np.int64), (right * (width - size + 1)).astype(np.int64)
        inside = np.arange(size)
        lines = np.where(self.upside_down[:, None], inside[::-1], inside)
        places = np.where(self.mirrored[:, None], inside[::-1], inside)
        positions = np.concatenate(order) if len(order) else np.empty(0, np.int64)
        arrays = (top[:, None] + lines, left[:, None] + places, positions)
        rows, columns, every = (upload(torch.from_numpy(array), self.device) for array in arrays)
        for chosen in every.split([len(batch) for batch in order]):
            crops = images[chosen[:, None, None], rows[chosen][:, :, None], columns[chosen][:, None, :]]
            yield crops, self.labels[chosen]

    def _drawn(self, position: int) -> tuple[Any, ...] | None:
        """The crop of an image in memory. Drawn before threads share the work: for draws they would have to wait."""
        if not self.resized_crop or self.decoded is None:
            return None
        height, width = self.decoded[position].shape[:2]
        return self.resized_crop.draw((width, height), int(self.keys[position]))

    def _image(self, position: int, row: int, drawn: tuple[Any, ...] | None) -> np.ndarray:
        """What the network gets of an image before its batch is worked on, uint8 of shape (size, size, 3)."""
        key, decoded = int(self.keys[position]), self.decoded[position] if self.decoded is not None else None
        down, right, _ = self.draws[position]
        if self.resized_crop and decoded is not None and drawn:
            crop = self.resized_crop.cut(Image.fromarray(decoded), *drawn)
        elif self.resized_crop:
            crop = self.resized_crop.read(self.images, row, key)
        else:
            image = decoded if decoded is not None else self._ready(self.images.read(row))
            if self.policy:
                image = self._pad(self.policy(image, key))
            size = self.geometry.size
            top, left = (int(u * (side - size + 1)) for u, side in zip((down, right), image.shape[:2], strict=True))
            crop = image[top : top + size, left : left + size]
        if self.mirrored[position]:
            crop = np.ascontiguousarray(crop[:, ::-1])
        if self.upside_down[position]:
            crop = np.ascontiguousarray(crop[::-1])
        if self.resized_crop and self.policy:
            crop = self.policy(crop, key)
        if self.timm_policy:
            crop = self.timm_policy(crop, key)
        return color_jitter(crop, self.color_jitter, key) if self.color_jitter else crop

    def __getitems__(self, positions: np.ndarray) -> tuple[Tensor, Tensor] | InputError:
        """One batch for the loader. An error is returned, not raised: a worker's exception would not be one line."""
        rows, size = self.images.indices[positions], self.geometry.size
        batch = np.empty((len(positions), size, size, 3), np.uint8)
        make = self.threads.map if self.threads else map
        try:
            drawn = [self._drawn(position) for position in positions]
            for output, image in zip(batch, make(self._image, positions, rows, drawn), strict=True):
                output[:] = image
        except InputError as error:
            return error
        return torch.from_numpy(batch), torch.from_numpy(self.images.labels[rows])


def _as_is(batch: object) -> object:
    return batch
