"""Where a benchmark's pixels come from: images that are corrupted on the fly, or precomputed corruptions on disk."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from timm_pushpull.benchmark.evaluation import CLEAN
from timm_pushpull.benchmark.pairing import pair
from timm_pushpull.benchmark.tasks import Cell
from timm_pushpull.corruptions import check_corruption, corrupt_batch, frost_source, get_preset
from timm_pushpull.corruptions.functional import check_image_size, check_jpeg_quality, check_uint64
from timm_pushpull.corruptions.presets import choose_jpeg_quality, preset_of_size
from timm_pushpull.data.corrupted import CorruptedSet
from timm_pushpull.data.images import ImageSet, balanced_subset, read_batches
from timm_pushpull.data.preprocessing import Geometry, ResizeCenterCrop, center_crop
from timm_pushpull.utils.errors import InputError

#: A batch on its way to the model: its cell, the images' positions in the source, int64 (N,), their pixels, uint8
#: (N, H, W, 3), and whether it is the cell's last one of the block.
Batch = tuple[Cell, np.ndarray, np.ndarray, bool]
_BLOCK_BYTES = 32 << 20  # of pixels in memory together


class Source(Protocol):
    """Images under corruptions, addressed by their positions 0 to N - 1.

    Attributes:
        labels: Class of every image, int64 of shape (N,).
        classes: Names of the classes.
        has_clean: Whether the images are available without corruption, too.
        digest: Sum of the fingerprints of the images in the block that was read last; 0 if unknown.
    """

    labels: np.ndarray
    classes: tuple[str, ...]
    has_clean: bool
    digest: int

    def check(self, cells: Sequence[Cell]) -> None:
        """Raise InputError unless these corrupted cells can be measured, as far as one image shows."""

    def about(self, corruptions: Sequence[str]) -> dict[str, Any]:
        """The fields of `Measurement` that say which images are measured under these corruptions."""

    def block_images(self, batch_size: int) -> int:
        """Images per block, a whole number of batches."""

    def batches(self, positions: np.ndarray, cells: Sequence[Cell], batch_size: int, workers: int) -> Iterator[Batch]:
        """The images of a block at these positions, cell by cell.

        Args:
            workers: Threads to use unless the source was given a number.
        """


class OnTheFlyCorruptions:
    """The images of a dataset, corrupted as they are needed; a block is decoded once for all its cells.

    Args:
        images: The images to measure on.
        geometry: From an image to the pixels that are corrupted, uint8 (H, W, 3).
        preset, seed, frost_dir: As in `corrupt`.
        jpeg_quality: Of a JPEG round trip after the corruption, 1 to 100; None for the preset's, as in the command and
            in `generate`; `none` for lossless.
        clean: Whether to measure on the clean images too.
        workers: Threads that decode and corrupt; by default one on a CPU, where the model needs the cores, else all.
    """

    def __init__(
        self,
        images: ImageSet,
        geometry: Callable[[Image.Image], np.ndarray],
        *,
        preset: str = "imagenet-c",
        seed: int = 0,
        frost_dir: Path | str | None = None,
        jpeg_quality: int | str | None = None,
        clean: bool = True,
        workers: int | None = None,
    ) -> None:
        self.images, self.geometry, self.preset, self.has_clean, self.workers = images, geometry, preset, clean, workers
        self.seed, self.frost_dir, self.jpeg_quality = seed, frost_dir, choose_jpeg_quality(jpeg_quality, preset)
        self.labels, self.classes = images.labels[images.indices], images.classes
        self.digest = 0

    def check(self, cells: Sequence[Cell]) -> None:
        """Raise InputError unless `corrupt` takes these cells, the other arguments and the first image."""
        for name, severity in cells:
            check_corruption(name, severity, self.preset, self.frost_dir)
        check_uint64("seed", self.seed)
        check_jpeg_quality(self.jpeg_quality)
        if self.workers is not None and (not isinstance(self.workers, int) or self.workers < 1):
            raise InputError(f"workers is {self.workers!r}; use an integer of 1 or more")
        pixels = self._first
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[-1] != 3:
            raise InputError(
                f"the geometry gives {pixels.dtype} of shape {pixels.shape}; use one that gives uint8 (H, W, 3)"
            )
        if cells:
            height, width = pixels.shape[:2]
            check_image_size(height, width, get_preset(self.preset))

    @cached_property
    def _first(self) -> np.ndarray:
        """The first image, uint8 (H, W, 3)."""
        return self.geometry(self.images.read(self.images.indices[0]))

    def about(self, corruptions: Sequence[str]) -> dict[str, Any]:
        return {
            "dataset": self.images.name,
            "split": self.images.split,
            "dataset_config": self.images.config,
            "preset": self.preset,
            "seed": self.seed,
            "frost": frost_source(self.frost_dir) if "frost" in corruptions else None,
            "jpeg_quality": self.jpeg_quality if corruptions else None,
            "image_size": getattr(self.geometry, "size", None),
        }

    def block_images(self, batch_size: int) -> int:
        """Images per block: whole batches of bounded size."""
        return max(batch_size, _BLOCK_BYTES // self._first.nbytes // batch_size * batch_size)

    def batches(self, positions: np.ndarray, cells: Sequence[Cell], batch_size: int, workers: int) -> Iterator[Batch]:
        """The images at these positions in every cell, corrupted in threads ahead of their use."""
        rows = self.images.indices[positions]
        pixels = np.stack(
            [image for part, _ in read_batches(self.images, self.geometry, batch_size, rows) for image in part]
        )
        self.digest = fingerprint(pixels, rows)
        starts = range(0, len(positions), batch_size)
        workers = self.workers or workers

        def make(cell: Cell, start: int) -> np.ndarray:
            part = slice(start, start + batch_size)
            if cell == CLEAN:
                return pixels[part]
            return corrupt_batch(
                pixels[part],
                *cell,
                self.preset,
                seed=self.seed,
                indices=rows[part].tolist(),
                frost_dir=self.frost_dir,
                jpeg_quality=self.jpeg_quality,
            )

        window: deque[tuple[Cell, int, Future[np.ndarray]]] = deque()

        def take() -> Batch:
            cell, start, future = window.popleft()
            return cell, positions[start : start + batch_size], future.result(), start == starts[-1]

        with ThreadPoolExecutor(workers) as threads:
            for cell in cells:
                for start in starts:
                    window.append((cell, start, threads.submit(make, cell, start)))
                    if len(window) > 2 * workers:
                        yield take()
            while window:
                yield take()


class PrecomputedCorruptions:
    """Corrupted images on disk and, if available, the clean images that they were made from.

    Images are centre-cropped where the model takes fewer pixels, and never resized: that was done before corruption.

    Args:
        corrupted: The corrupted images.
        size: Side that the model takes, px.
        clean: The dataset without corruption. Its images are paired with the corrupted ones by file name, else by
            their order; the labels have to agree.
        geometry: Resize and crop of the clean images.
        limit: Measure on a fixed, class-balanced subset of this many images.
        workers: Threads that decode the clean images; by default as in `OnTheFlyCorruptions`.
        preset: Whose constants the set was made with, if its manifest does not say; by default by its images' size.

    Raises:
        InputError: The manifest names another preset, or the clean images are not those of the set (`pairing.pair`).
    """

    def __init__(
        self,
        corrupted: CorruptedSet,
        size: int,
        *,
        clean: ImageSet | None = None,
        geometry: Geometry | None = None,
        limit: int | None = None,
        workers: int | None = None,
        preset: str | None = None,
    ) -> None:
        self.corrupted, self.size, self.preset = corrupted, size, _preset_of(corrupted, preset)
        self.indices = balanced_subset(corrupted.labels, limit)
        self.labels = corrupted.labels[self.indices]
        self.classes = corrupted.classes or tuple(str(c) for c in range(int(corrupted.labels.max()) + 1))
        self.clean = None
        if clean is not None:
            geometry = geometry or ResizeCenterCrop(size, size)
            self.clean = OnTheFlyCorruptions(
                replace(clean, indices=pair(clean, corrupted)[self.indices]), geometry, workers=workers
            )
        self.has_clean = self.clean is not None
        self.digest = 0

    def check(self, cells: Sequence[Cell]) -> None:
        """Raise InputError unless the set has these cells, and its first image the size that the model takes."""
        readers = [self.corrupted.batches(name, severity, 1, self.indices[:1]) for name, severity in cells]
        for pixels, _, _ in readers[0] if readers else ():
            self._crop(pixels[0])

    def about(self, corruptions: Sequence[str]) -> dict[str, Any]:
        manifest, clean = self.corrupted.manifest, self.clean and self.clean.images
        return {
            "dataset": clean.name if clean else manifest.get("dataset", self.corrupted.name),
            "split": clean.split if clean else manifest.get("split", "as published"),
            "dataset_config": clean.config if clean else manifest.get("dataset_config"),
            "preset": self.preset,
            "seed": manifest.get("seed", 0),
            "frost": manifest.get("frost"),
            "jpeg_quality": manifest.get("jpeg_quality"),
            "corrupted": self.corrupted.name,
            "image_size": self.size,
        }

    def block_images(self, batch_size: int) -> int:
        """All images: the cells share no work that blocks would save."""
        return len(self.indices)

    def batches(self, positions: np.ndarray, cells: Sequence[Cell], batch_size: int, workers: int) -> Iterator[Batch]:
        """The images at these positions in every cell, read and decoded ahead of their use."""
        items = self._batches(positions, cells, batch_size, workers)
        with ThreadPoolExecutor(1) as thread:
            window = deque(thread.submit(next, items, None) for _ in range(2))
            while (item := window.popleft().result()) is not None:
                window.append(thread.submit(next, items, None))
                yield item

    def _batches(self, positions: np.ndarray, cells: Sequence[Cell], batch_size: int, workers: int) -> Iterator[Batch]:
        for cell in cells:
            if cell == CLEAN and self.clean:
                size = self.clean.block_images(batch_size)
                for start in range(0, len(positions), size):
                    is_last = start + size >= len(positions)
                    for batch in self.clean.batches(positions[start : start + size], [CLEAN], batch_size, workers):
                        yield *batch[:3], batch[3] and is_last
                continue
            done = 0
            for pixels, labels, indices in self.corrupted.batches(*cell, batch_size, self.indices[positions]):
                place = positions[done : done + len(indices)]
                if (labels != self.labels[place]).any():
                    raise InputError(
                        f"{self.corrupted.name!r} has other labels in {cell[0]}/{cell[1]} than in its other folders"
                    )
                done += len(indices)
                yield cell, place, np.stack([self._crop(image) for image in pixels]), done == len(positions)

    def _crop(self, image: np.ndarray) -> np.ndarray:
        if min(image.shape[:2]) < self.size:
            raise InputError(
                f"an image of {self.corrupted.name!r} has {image.shape[1]}x{image.shape[0]} px and the model takes "
                f"{self.size}; choose a smaller --image-size"
            )
        return center_crop(image, self.size)


def _preset_of(files: CorruptedSet, given: str | None) -> str:
    """The preset of a set's constants: what its manifest says, or the user; else that of the published set whose images
    have this size.

    Raises:
        InputError: The manifest says another than the user.
    """
    made_with: str | None = files.manifest.get("preset")
    if made_with and given not in (None, made_with):
        raise InputError(f"{files.name!r} was made with preset {made_with}, not {given}; leave --preset out")
    if stated := made_with or given:
        return stated
    images, _, _ = next(files.batches(files.corruptions[0], files.severities[0], 1, [0]))
    return preset_of_size(min(images[0].shape[:2]))


def fingerprint(pixels: np.ndarray, rows: np.ndarray) -> int:
    """A hash of images and their rows in the dataset, below 2^63; a sum modulo 2^63, so that those of parts add up.

    Args:
        pixels: uint8 (N, H, W, 3).
        rows: int64 (N,).
    """
    total = 0
    for image, row in zip(pixels, rows, strict=True):
        digest = hashlib.blake2b(image.tobytes(), digest_size=8, key=int(row).to_bytes(8, "little"))
        total += int.from_bytes(digest.digest(), "little")
    return total % (1 << 63)
