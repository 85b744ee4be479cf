"""Where a benchmark's pixels come from: images that are corrupted on the fly, or published files."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from timm_pushpull.benchmark.evaluation import CLEAN
from timm_pushpull.benchmark.tasks import Cell
from timm_pushpull.corruptions import corrupt_batch
from timm_pushpull.data.corrupted import CorruptedSet
from timm_pushpull.data.images import ImageSet, balanced_subset, read_batches
from timm_pushpull.data.preprocessing import ResizeCenterCrop, center_crop
from timm_pushpull.utils.errors import InputError

#: A batch on its way to the model: its cell, the images' positions in the source, their pixels, and whether it is the
#: cell's last one of the block.
Batch = tuple[Cell, np.ndarray, np.ndarray, bool]
_BLOCK = 32 << 20  # bytes of pixels in memory together


class FlySource:
    """A data set's images, corrupted as they are needed; a block is decoded once for all its cells.

    Args:
        images: The selection to measure on.
        geometry: From a picture to the pixels that are corrupted.
        preset, seed, frost_dir, jpeg_quality: As in `corrupt`.
    """

    def __init__(
        self,
        images: ImageSet,
        geometry: Callable[[object], np.ndarray],
        *,
        preset: str = "imagenet-c",
        seed: int = 0,
        frost_dir: Path | str | None = None,
        jpeg_quality: int | None = None,
    ) -> None:
        self.images, self.geometry, self.preset = images, geometry, preset
        self.options = {"seed": seed, "frost_dir": frost_dir, "jpeg_quality": jpeg_quality}
        self.labels, self.classes = images.labels[images.indices], images.classes
        self.digest = 0  # of the block that was decoded last

    def block_images(self, batch: int) -> int:
        """Images a block: whole batches, of bounded size."""
        pixels = self.geometry(self.images.read(self.images.indices[0]))
        return max(batch, _BLOCK // pixels.nbytes // batch * batch)

    def batches(self, positions: np.ndarray, cells: Sequence[Cell], batch: int, workers: int) -> Iterator[Batch]:
        """The images at these positions in every cell, corrupted in threads ahead of their use."""
        rows = self.images.indices[positions]
        pixels = np.stack(
            [image for part, _ in read_batches(self.images, self.geometry, batch, rows) for image in part]
        )
        self.digest = fingerprint(pixels, rows)
        starts = range(0, len(positions), batch)

        def make(cell: Cell, start: int) -> np.ndarray:
            part = slice(start, start + batch)
            if cell == CLEAN:
                return pixels[part]
            return corrupt_batch(pixels[part], *cell, self.preset, indices=rows[part].tolist(), **self.options)

        window: deque = deque()
        with ThreadPoolExecutor(workers) as threads:
            for cell in cells:
                for start in starts:
                    window.append((cell, start, threads.submit(make, cell, start)))
                    if len(window) > 2 * workers:
                        yield self._next(window, positions, starts, batch)
            while window:
                yield self._next(window, positions, starts, batch)

    @staticmethod
    def _next(window: deque, positions: np.ndarray, starts: range, batch: int) -> Batch:
        cell, start, future = window.popleft()
        return cell, positions[start : start + batch], future.result(), start == starts[-1]


class FilesSource:
    """Published files of corrupted images, and, if at hand, the clean images that they were made from.

    Pixels are cropped at the centre where the model takes less, and never resized: the files were resized once.

    Args:
        corrupted: The files.
        size: Side in px that the model takes.
        clean: The data set without corruption, as many images as the files have.
        geometry: Of the clean images.
        limit: Measure on a fixed, class-balanced selection of so many images.
    """

    def __init__(
        self,
        corrupted: CorruptedSet,
        size: int,
        *,
        clean: ImageSet | None = None,
        geometry: ResizeCenterCrop | None = None,
        limit: int | None = None,
    ) -> None:
        if clean is not None and len(clean) != len(corrupted):
            raise InputError(
                f"{clean.name!r} has {len(clean):,} images and {corrupted.name!r} {len(corrupted):,}; give the clean "
                f"images that these were made from"
            )
        self.corrupted, self.size = corrupted, size
        self.indices = balanced_subset(corrupted.labels, limit)
        self.labels = corrupted.labels[self.indices]
        self.classes = corrupted.classes or tuple(str(c) for c in range(int(corrupted.labels.max()) + 1))
        self.clean = None if clean is None else FlySource(clean.subset(limit), geometry)
        self.digest = 0

    def block_images(self, batch: int) -> int:
        """Nothing is shared between cells, so all images are one block."""
        return len(self.indices)

    def batches(self, positions: np.ndarray, cells: Sequence[Cell], batch: int, workers: int) -> Iterator[Batch]:
        """The images at these positions in every cell, read and decoded ahead of their use."""
        items = self._batches(positions, cells, batch, workers)
        with ThreadPoolExecutor(1) as thread:
            window = deque(thread.submit(next, items, None) for _ in range(2))
            while (item := window.popleft().result()) is not None:
                window.append(thread.submit(next, items, None))
                yield item

    def _batches(self, positions: np.ndarray, cells: Sequence[Cell], batch: int, workers: int) -> Iterator[Batch]:
        for cell in cells:
            if cell == CLEAN:
                yield from self.clean.batches(positions, [CLEAN], batch, workers)
                continue
            done = 0
            for pixels, labels, indices in self.corrupted.batches(*cell, batch, self.indices[positions]):
                place = positions[done : done + len(indices)]
                if (labels != self.labels[place]).any():
                    raise InputError(f"{self.corrupted.name!r} has other labels in {cell[0]}/{cell[1]} than elsewhere")
                done += len(indices)
                yield cell, place, np.stack([self._cropped(image) for image in pixels]), done == len(positions)

    def _cropped(self, image: np.ndarray) -> np.ndarray:
        if min(image.shape[:2]) < self.size:
            raise InputError(
                f"an image of {self.corrupted.name!r} has {image.shape[1]}x{image.shape[0]} px and the model takes "
                f"{self.size}; choose a smaller --image-size"
            )
        return center_crop(image, self.size)


def fingerprint(pixels: np.ndarray, rows: np.ndarray) -> int:
    """A number below 2^63 that the images and their rows decide; those of parts add up, in any order, modulo 2^63."""
    total = 0
    for image, row in zip(pixels, rows, strict=True):
        digest = hashlib.blake2b(image.tobytes(), digest_size=8, key=int(row).to_bytes(8, "little"))
        total += int.from_bytes(digest.digest(), "little")
    return total % (1 << 63)
