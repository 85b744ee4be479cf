"""From a data set's pictures to the pixels that are corrupted."""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from timm_pushpull.data.images import ImageSet
from timm_pushpull.utils.errors import InputError

_READ = 64  # rows fetched at once; their undecoded files are in memory together
_DECODE = 4  # images that a worker decodes at once
_BLOCK = 64 << 20  # bytes of decoded pixels in memory together
_BATCH = 2 << 20  # bytes of pixels that a worker corrupts at once


@dataclass(frozen=True)
class Block:
    """Decoded images that are in memory together.

    Attributes:
        rows: Their rows in the data set, int64 of shape (N,).
        pixels: uint8 of shape (H, W, 3) each.
    """

    rows: np.ndarray
    pixels: list[np.ndarray]

    def batches(self, size: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """The block in batches of one shape, at most `size` images each (fewer if they are large).

        Returns:
            (positions, pixels) per batch: int64 of shape (N,), places in the block, and uint8 of shape (N, H, W, 3).
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


def decoded(
    images: ImageSet, rows: np.ndarray, shape: Callable[[Image.Image], np.ndarray], threads: Executor, ahead: int
) -> Iterator[tuple[int, np.ndarray | InputError]]:
    """Rows in their order with their pixels, or with the error of an unreadable one; `ahead` batches are being read."""

    def decode(stored: list[dict], rows: list[int]) -> list[np.ndarray | InputError]:
        pictures = []
        for picture, row in zip(stored, rows, strict=True):
            try:
                pictures.append(shape(images.decode(picture, row)))
            except InputError as error:
                pictures.append(error)
        return pictures

    window = deque()
    for start in range(0, len(rows), _READ):
        chosen = rows[start : start + _READ].tolist()
        stored = images.files.read(chosen)
        for i in range(0, len(chosen), _DECODE):
            part = chosen[i : i + _DECODE]
            window.append((part, threads.submit(decode, stored[i : i + _DECODE], part)))
            if len(window) > ahead:
                part, pictures = window.popleft()
                yield from zip(part, pictures.result(), strict=True)
    for part, pictures in window:
        yield from zip(part, pictures.result(), strict=True)


def blocks(pictures: Iterable[tuple[int, np.ndarray]]) -> Iterator[Block]:
    """Cut a stream of images into blocks of bounded size; the cuts depend on the images alone."""
    rows, pixels, size = [], [], 0
    for row, image in pictures:
        rows.append(row)
        pixels.append(image)
        size += image.nbytes
        if size >= _BLOCK:
            yield Block(np.array(rows), pixels)
            rows, pixels, size = [], [], 0
    if rows:
        yield Block(np.array(rows), pixels)


def class_folders(classes: Iterable[str]) -> list[str]:
    """A folder name for every class: its own as far as a file system takes it, with its number in front where two
    classes would share a folder."""
    folders = [_file_name(name) for name in classes]
    if len({folder.casefold() for folder in folders}) < len(folders):
        folders = [f"{number:04d}_{folder}" for number, folder in enumerate(folders)]
    return folders


def file_stems(images: ImageSet) -> list[str]:
    """`<class folder>/<file stem>` for every selected image, all of them different.

    The stem is that of the picture's file, else the row's number; a repeated one has the number behind it.
    """
    paths = images.files.paths(images.indices.tolist())
    folders, digits = class_folders(images.classes), max(8, len(str(len(images.labels))))
    taken: set[str] = set()
    names = []
    for row, path in zip(images.indices.tolist(), paths, strict=True):
        number = f"{row:0{digits}d}"
        file = PurePosixPath((path or "").split("::")[0].replace("\\", "/"))
        name = f"{folders[images.labels[row]]}/{_file_name(file.stem) if path else number}"
        if name.casefold() in taken:
            name += f"_{number}"
        while name.casefold() in taken:
            name += "_"
        taken.add(name.casefold())
        names.append(name)
    return names


def _file_name(text: str) -> str:
    """Text that can be the name of a file or folder, and starts with no dot."""
    text = re.sub(r"[/\\\x00-\x1f]", "_", text)
    text = text.encode()[:200].decode(errors="ignore")
    return re.sub(r"^\.", "_", text) or "_"
