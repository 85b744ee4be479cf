"""Training batches: who is in them, and how each image is augmented, cropped and mirrored.

All random choices of an epoch are drawn at once, keyed by (seed, epoch), one row per image. So they depend neither on
the number of processes or workers nor on where a run was resumed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from timm_pushpull.data.augment import POLICIES, Policy, prime
from timm_pushpull.data.images import ImageSet, read_batches
from timm_pushpull.data.preprocessing import ResizeCenterCrop
from timm_pushpull.utils.errors import InputError

_ORDER, _AUGMENTATION = 0, 1
_IN_MEMORY = 4 * 2**30  # bytes of decoded images that a process keeps


def _draws(seed: int, epoch: int, purpose: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array([seed, 2 * epoch + purpose], dtype=np.uint64)))


def epoch_order(count: int, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """Positions of the images in every batch of an epoch: each image once, in batches that differ by at most one image
    (so that the last one is never too small for batch norm)."""
    order = _draws(seed, epoch, _ORDER).permutation(count)
    return np.array_split(order, steps_per_epoch(count, batch_size))


def steps_per_epoch(count: int, batch_size: int) -> int:
    return -(-count // batch_size)


def shares(batches: Sequence[np.ndarray], rank: int, processes: int, parts: int) -> list[np.ndarray]:
    """One process's images of every batch, each share in `parts` whose gradients are added up; in order."""
    return [part for batch in batches for part in np.array_split(batch[rank::processes], parts)]


class TrainingImages(Dataset):
    """Batches of images with random crop and mirroring.

    Decoded once where they fit into memory. Those that also have one size stay in one tensor, on the device, and are
    cropped a batch at a time; larger sets are decoded in workers. A policy augments each picture before its crop, in
    workers as well; PRIME each batch after it, on the device.

    Args:
        augmentation: One of `timm_pushpull.data.augment.AUGMENTATIONS`, if any.
        data: The kind of data that it is made for, imagenet or cifar.
    """

    def __init__(
        self,
        images: ImageSet,
        geometry: ResizeCenterCrop,
        padding: int,
        flip: bool,
        seed: int,
        device: torch.device,
        augmentation: str | None = None,
        data: str = "imagenet",
    ) -> None:
        self.images, self.geometry, self.padding, self.flip, self.seed = images, geometry, padding, flip, seed
        self.device = device
        self.policy = Policy(augmentation, data) if augmentation in POLICIES else None
        self.prime_preset = data if augmentation == "prime" else None
        # 4/3: photographs are about that much longer than wide.
        self.in_memory = len(images) * geometry.resize**2 * 3 * 4 / 3 <= _IN_MEMORY
        self.decoded, self.pixels = None, None
        if self.in_memory:
            ready = geometry.resized if self.policy else self._padded
            self.decoded = [image for batch, _ in read_batches(images, ready, 1024) for image in batch]
            if not self.policy and len({image.shape for image in self.decoded}) == 1:
                self.pixels = torch.from_numpy(np.stack(self.decoded)).to(device)
                self.labels = torch.from_numpy(images.labels[images.indices]).to(device)
                self.decoded = None

    def _padded(self, picture: Image.Image) -> np.ndarray:
        return self._pad(self.geometry.resized(picture))

    def _pad(self, image: np.ndarray) -> np.ndarray:
        edge = (self.padding, self.padding)
        return np.pad(image, (edge, edge, (0, 0)))

    def set_epoch(self, epoch: int) -> None:
        """Draw every image's crop, mirroring and key of its augmentation for an epoch, counted from 0."""
        rng = _draws(self.seed, epoch, _AUGMENTATION)
        self.draws, self.keys = rng.random((len(self.images), 3)), rng.integers(2**63 - 1, size=len(self.images))

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, order: Sequence[np.ndarray], workers: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of these positions, in order.

        Yields:
            (images, labels) on the device: grey levels of shape (N, size, size, 3), uint8 or, after PRIME, float32; and
            int64 of shape (N,).

        Raises:
            InputError: An image that is decoded on the way cannot be read.
        """
        if self.prime_preset is None:
            yield from self._cropped(order, workers)
            return
        for positions, (crops, labels) in zip(order, self._cropped(order, workers), strict=True):
            images = crops.permute(0, 3, 1, 2).float() / 255
            images = prime(images, preset=self.prime_preset, keys=torch.from_numpy(self.keys[positions]))
            yield 255 * images.permute(0, 2, 3, 1).contiguous(), labels

    def _cropped(self, order: Sequence[np.ndarray], workers: int) -> Iterator[tuple[Tensor, Tensor]]:
        if self.pixels is not None:
            yield from self._crops(order)
            return
        loader = DataLoader(
            self,
            batch_sampler=order,
            collate_fn=_as_is,
            pin_memory=self.device.type == "cuda",
            num_workers=0 if self.in_memory and not self.policy else workers,
            # Not the global one: its state is set by the step, for dropout, before the first batch is asked for.
            generator=torch.Generator(),
        )
        for batch in loader:
            if isinstance(batch, InputError):
                raise batch
            yield tuple(tensor.to(self.device, non_blocking=True) for tensor in batch)

    def _crops(self, order: Sequence[np.ndarray]) -> Iterator[tuple[Tensor, Tensor]]:
        size, (height, width) = self.geometry.size, self.pixels.shape[1:3]
        down, right, mirror = self.draws.T
        top, left = (down * (height - size + 1)).astype(np.int64), (right * (width - size + 1)).astype(np.int64)
        inside = np.arange(size)
        mirrored = (self.flip & (mirror < 0.5))[:, None]
        rows = torch.from_numpy(top[:, None] + inside).to(self.device)
        columns = torch.from_numpy(left[:, None] + np.where(mirrored, inside[::-1], inside)).to(self.device)
        every = torch.from_numpy(np.concatenate(order) if len(order) else np.empty(0, np.int64)).to(self.device)
        for chosen in every.split([len(positions) for positions in order]):
            crops = self.pixels[chosen[:, None, None], rows[chosen][:, :, None], columns[chosen][:, None, :]]
            yield crops, self.labels[chosen]

    def _source(self, position: int, row: int) -> np.ndarray:
        """What an image's crop is taken from, uint8 of shape (H, W, 3)."""
        if not self.policy:
            return self.decoded[position] if self.in_memory else self._padded(self.images.read(row))
        image = self.decoded[position] if self.in_memory else self.geometry.resized(self.images.read(row))
        return self._pad(self.policy(image, int(self.keys[position])))

    def __getitems__(self, positions: np.ndarray) -> tuple[Tensor, Tensor] | InputError:
        """One batch for the loader; or the error of a worker, which would lose its one line on the way as an
        exception."""
        try:
            rows = self.images.indices[positions]
            sources = [self._source(position, row) for position, row in zip(positions, rows, strict=True)]
        except InputError as error:
            return error
        size = self.geometry.size
        batch = np.empty((len(positions), size, size, 3), np.uint8)
        for output, image, (down, right, mirror) in zip(batch, sources, self.draws[positions], strict=True):
            top, left = (int(u * (side - size + 1)) for u, side in zip((down, right), image.shape[:2], strict=True))
            crop = image[top : top + size, left : left + size]
            output[:] = crop[:, ::-1] if self.flip and mirror < 0.5 else crop
        return torch.from_numpy(batch), torch.from_numpy(self.images.labels[rows])


def _as_is(batch: object) -> object:
    return batch
