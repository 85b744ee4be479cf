"""From the images of a dataset to blocks of pixels: decoded ahead, in bounded memory, and scanned beforehand where the
length of an array must be known."""

from __future__ import annotations

import dataclasses
import json
import math
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from timm_pushpull.data.corrupted.folder import OutputFolder
from timm_pushpull.data.corrupted.manifest import read_work_file
from timm_pushpull.data.images import EncodedImage, ImageSet
from timm_pushpull.utils import schema
from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.json_text import with_checksum
from timm_pushpull.utils.progress import progress_bar

_READ = 64  # rows read at once; their encoded files are in memory together
_DECODE = 4  # images that a worker decodes at once
_BLOCK = 64 << 20  # bytes of decoded pixels in memory together
_BATCH = 2 << 20  # bytes of pixels that a worker corrupts at once

#: A row and its pixels, uint8 of shape (H, W, 3), or the error of an unreadable image.
Decoded = tuple[int, np.ndarray | InputError]


@dataclass(frozen=True)
class Block:
    """Decoded images that are in memory together.

    Attributes:
        rows: Their rows in the dataset, int64 of shape (N,).
        pixels: uint8 of shape (H, W, 3) each.
    """

    rows: np.ndarray
    pixels: list[np.ndarray]

    def batches(self, size: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """The block in batches of one shape, at most `size` images each (fewer if they are large).

        Returns:
            (positions, pixels) per batch: positions in the block, int64 of shape (N,), and uint8 of shape (N, H, W, 3).
        """
        shapes: dict[tuple, list[int]] = {}
        for position, image in enumerate(self.pixels):
            shapes.setdefault(image.shape, []).append(position)
        batches = []
        for shape, positions in shapes.items():
            step = max(1, min(size, _BATCH // math.prod(shape)))
            for start in range(0, len(positions), step):
                chosen = positions[start : start + step]
                batches.append((np.array(chosen), np.stack([self.pixels[position] for position in chosen])))
        return batches


class Decoder:
    """Decodes images in threads, ahead of their use.

    Args:
        transform: From an RGB image to uint8 of shape (H, W, 3).
        ahead: Number of small batches that are decoded in advance.
    """

    def __init__(
        self, images: ImageSet, transform: Callable[[Image.Image], np.ndarray], threads: Executor, ahead: int
    ) -> None:
        self.images, self.transform, self.threads, self.ahead = images, transform, threads, ahead

    def __call__(self, rows: np.ndarray) -> Iterator[Decoded]:
        """The images in these rows, in order."""
        window: deque[Future[list[Decoded]]] = deque()
        for start in range(0, len(rows), _READ):
            chosen = rows[start : start + _READ].tolist()
            files = self.images.files.read(chosen)
            for i in range(0, len(chosen), _DECODE):
                part = slice(i, i + _DECODE)
                window.append(self.threads.submit(self._decode, files[part], chosen[part]))
                if len(window) > self.ahead:
                    yield from window.popleft().result()
        for future in window:
            yield from future.result()

    def readable(self, rows: np.ndarray, unreadable: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        """The readable images in these rows; the rows of the others are appended to `unreadable`, with a warning."""
        for row, pixels in self(rows):
            if isinstance(pixels, InputError):
                warnings.warn(f"{pixels}; left out", stacklevel=2)
                unreadable.append(row)
            else:
                yield row, pixels

    def _decode(self, files: list[EncodedImage], rows: list[int]) -> list[Decoded]:
        decoded: list[Decoded] = []
        for file, row in zip(files, rows, strict=True):
            try:
                decoded.append((row, self.transform(self.images.decode(file, row))))
            except InputError as error:
                decoded.append((row, error))
        return decoded


def blocks(images: Iterable[tuple[int, np.ndarray]]) -> Iterator[Block]:
    """Cut a stream of rows and pixels into blocks of bounded size; the cuts depend only on the images."""
    rows: list[int] = []
    pixels: list[np.ndarray] = []
    size = 0
    for row, image in images:
        rows.append(row)
        pixels.append(image)
        size += image.nbytes
        if size >= _BLOCK:
            yield Block(np.array(rows), pixels)
            rows, pixels, size = [], [], 0
    if rows:
        yield Block(np.array(rows), pixels)


@dataclass(frozen=True)
class Scan:
    """What a first pass over a dataset found.

    Attributes:
        shape: (height, width, 3) of every image.
        unreadable: Rows that cannot be read.
    """

    shape: tuple[schema.Positive, schema.Positive, schema.Positive]
    unreadable: list[schema.Count]


def scan(folder: OutputFolder, decoder: Decoder, format: str, *, progress: bool = True) -> Scan:
    """Decode every image once; the result is stored in the folder for resumed runs and other shards.

    Args:
        format: Name of the layout, for the error message.

    Raises:
        InputError: Images of several sizes, or none that can be read.
    """
    path = folder.work / "scan.json"
    stored = read_work_file(path)
    found = stored and _stored_scan(stored, decoder.images)
    if not found:  # or a damaged one
        found = _scan(decoder, format, progress)
        folder.write(path, json.dumps(with_checksum(dataclasses.asdict(found))))
    return found


def _stored_scan(content: dict[str, Any], images: ImageSet) -> Scan | None:
    """What a file says of a scan of these images; None if that cannot be."""
    try:
        found = schema.check(Scan, content, "the scan", "scan of a dataset")
    except InputError:
        return None
    return found if found.shape[2] == 3 and set(found.unreadable) <= set(images.indices.tolist()) else None


def _scan(decoder: Decoder, format: str, progress: bool) -> Scan:
    images = decoder.images
    unreadable: list[int] = []
    first = None
    with progress_bar(len(images), "check", "img", show=progress) as bar:
        for row, pixels in decoder.readable(images.indices, unreadable):
            bar.update()
            first = first or (row, pixels.shape)
            if pixels.shape != first[1]:
                sizes = [f"image {r} has {w}x{h} px" for r, (h, w, _) in (first, (row, pixels.shape))]
                raise InputError(
                    f"{format} needs images of one size, but {', '.join(sizes)}; give a --size, or use another "
                    f"--format, such as imagefolder"
                )
        bar.update(len(unreadable))
    if first is None:
        raise InputError(f"none of the {len(images):,} images of {images.name!r} can be read")
    height, width, channels = first[1]
    return Scan((height, width, channels), unreadable)
