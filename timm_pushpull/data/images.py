"""Labelled image datasets in memory: which images, their classes, and how an image file becomes RGB pixels."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypedDict

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

from timm_pushpull.utils.errors import InputError, one_line, unknown
from timm_pushpull.utils.wordnet import wordnet_ids

#: What Pillow raises for files that are damaged or not images: its readers of rare formats raise almost anything.
UNREADABLE: tuple[type[Exception], ...] = (Exception,)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


#: From an image's (width, height) to the divisor of its sides that is wanted: 1, 2, 4 or 8.
Reduction = Callable[[tuple[int, int]], int]


def decode_image(file: str | Path | io.BytesIO, reduction: Reduction | None = None) -> Image.Image:
    """Decode an image file to RGB, turned as its EXIF orientation says.

    Grey levels of 16 bits lose the lower 8, as those of colour images do in Pillow. An alpha channel that hides nothing
    is dropped.

    Args:
        reduction: Decode a JPEG file at a fraction of its size, which is faster. It is not asked for other formats.

    Raises:
        InputError: The file is damaged or not an image; it has transparent pixels, whose colour is not what anybody
            sees, or pixels without a known range; it is PostScript. The message is the reason alone, for the caller to
            add where.
    """
    try:
        if isinstance(file, (str, Path)) and not os.path.isfile(file) and os.path.exists(file):
            raise InputError("it is not a file")  # a pipe, which would be waited for
        with Image.open(file) as image:
            if image.format == "EPS":
                raise InputError("PostScript is a program, which is not run")  # by Pillow it would, with Ghostscript
            if reduction and image.format == "JPEG":
                by = reduction(image.size[::-1] if _orientation(image) > 4 else image.size)
                image.draft(None, (max(image.width // by, 1), max(image.height // by, 1)))
            image.load()
            return _to_rgb(upright(image))
    except InputError:
        raise
    except UNREADABLE as error:
        raise InputError(one_line(error).split(" <_io")[0]) from None


def upright(image: Image.Image) -> Image.Image:
    """The image, turned as its EXIF orientation says. EXIF that cannot be read says nothing.

    `ImageOps.exif_transpose` also writes the other fields again, which fails where one of them is odd.
    """
    image.load()
    turn = _TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except UNREADABLE:
        return 1
    return orientation if isinstance(orientation, int) else 1  # it may be stored as text, or several times


_TRANSPARENT = "it has transparent pixels; blend it with a background and save it without alpha channel"


def _to_rgb(image: Image.Image) -> Image.Image:
    if 0 in image.size:
        raise InputError(f"it has {image.width} x {image.height} px")
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):  # whose readers scale to 16 bits
        if (np.asarray(image) == image.info.get("transparency", -1)).any():
            raise InputError(_TRANSPARENT)
        return Image.fromarray((_sixteen_bits(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        kind = "32-bit integers" if image.mode == "I" else "decimal numbers"
        raise InputError(f"its grey levels are {kind} of unknown range; save it with 8 or 16 bits")
    if image.has_transparency_data and (np.asarray(image.convert("RGBA"))[..., 3] < 255).any():
        raise InputError(_TRANSPARENT)
    return image.convert("RGB")


def _sixteen_bits(image: Image.Image) -> np.ndarray:
    """Grey levels from 0, black, to 65535; Pillow leaves those of TIFF files as they are stored."""
    levels = np.asarray(image)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        if image.tag_v2.get(ExifTags.Base.BitsPerSample) == (12,):
            levels = levels << 4
        if image.tag_v2.get(ExifTags.Base.PhotometricInterpretation) == 0:  # white is zero
            levels = 65535 - levels
    return levels


class EncodedImage(TypedDict):
    """An image file, as `datasets.Image(decode=False)` gives it: its content, or else the path to read it from."""

    bytes: bytes | None
    path: str | None


class ImageFiles(Protocol):
    """The image files of a split, by row."""

    def read(self, rows: Sequence[int]) -> list[EncodedImage]:
        """The files in these rows."""

    def paths(self, rows: Sequence[int]) -> list[str | None]:
        """The paths of the files in these rows, where they have one."""


@dataclass(frozen=True)
class ImageSet:
    """The labelled images of one split of a dataset, or a subset of them.

    Attributes:
        name: Its name in results and cards: the Hub id, or the folder's name.
        split: Name of the split.
        files: The image files of all rows.
        labels: Class of every row, int64 of shape (rows,).
        classes: Names of the classes.
        indices: The rows of the subset, int64. The random draws of corruptions depend on the row, not on its place in
            the subset.
        origin: Where the images come from, in words, if known.
        config: Configuration of the dataset; None where it has only one.
    """

    name: str
    split: str
    files: ImageFiles
    labels: np.ndarray
    classes: tuple[str, ...]
    indices: np.ndarray
    origin: str = ""
    config: str | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, row: int, reduction: Reduction | None = None) -> Image.Image:
        """The image in a row, as RGB; `reduction` as in `decode_image`.

        Raises:
            InputError: The file is damaged or not an image.
        """
        return self.decode(self.files.read([int(row)])[0], row, reduction)

    def decode(self, encoded: EncodedImage, row: int, reduction: Reduction | None = None) -> Image.Image:
        """Decode the file of a row, as RGB; `reduction` as in `decode_image`.

        Raises:
            InputError: The file is damaged or not an image.
        """
        content, path = encoded["bytes"], encoded["path"]
        try:
            if content is None and not path:
                raise InputError("the row holds no image")
            return decode_image(io.BytesIO(content) if content is not None else path or "", reduction)
        except InputError as error:
            where = f" ({path})" if path else ""
            raise InputError(
                f"image {row}{where} of {self.name!r}, split {self.split!r}, cannot be read: {error}; "
                f"replace or remove it"
            ) from None

    def subset(self, count: int | None) -> ImageSet:
        """A fixed, class-balanced subset of `count` images; all images for None, or if there are fewer.

        It depends on the labels and `count` alone, and contains every smaller subset.

        Raises:
            InputError: A count below 1.
        """
        if count is None or count >= len(self):
            return self
        return replace(self, indices=self.indices[balanced_subset(self.labels[self.indices], count)])

    def renumbered(self, classes: Sequence[str]) -> ImageSet:
        """The same images, whose labels are positions in `classes`, which has all of their classes."""
        position = {name: number for number, name in enumerate(classes)}
        numbers = np.array([position[name] for name in self.classes], np.int64)
        return replace(self, labels=numbers[self.labels], classes=tuple(classes))

    def select_classes(self, names: Sequence[str]) -> ImageSet:
        """The images of some classes; a label is then the position of its class in `names`.

        The classes of ImageNet-1k may be given as WordNet ids, even if the dataset has other names for them.

        Raises:
            InputError: The dataset has no such class, or no image of any of them.
        """
        known = self.classes if set(names) <= set(self.classes) else wordnet_ids(self.classes)
        position = {name: index for index, name in enumerate(known)}
        for name in names:
            if name not in position:
                raise InputError(f"dataset {self.name!r} lacks it: {unknown('class', name, known)}")
        new_labels = np.full(len(known) + 1, -1)
        new_labels[[position[name] for name in names]] = np.arange(len(names))
        labels = new_labels[self.labels]
        indices = self.indices[labels[self.indices] >= 0]
        if len(indices) == 0:
            raise InputError(f"split {self.split!r} of {self.name!r} has no image of the {len(names)} classes")
        return replace(self, labels=labels, classes=tuple(names), indices=indices)


def balanced_subset(labels: np.ndarray, count: int | None) -> np.ndarray:
    """The positions of a fixed, class-balanced subset, int64 in ascending order; all for None, or if there are fewer.

    Args:
        labels: Class of every image, integers of shape (N,).

    Raises:
        InputError: A count below 1.
    """
    if count is None or count >= len(labels):
        return np.arange(len(labels))
    if count < 1:
        raise InputError(f"the limit is {count}; use at least one image")
    order = np.random.Generator(np.random.Philox(key=0)).permutation(len(labels))
    ranks = rank_in_class(labels[order])
    return np.sort(order[np.argsort(ranks, kind="stable")[:count]])


def rank_in_class(labels: np.ndarray) -> np.ndarray:
    """Number of earlier images of the same class, for each image, int64 of the shape of `labels`."""
    order = np.argsort(labels, kind="stable")
    _, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    ranks = np.empty(len(labels), np.int64)
    ranks[order] = np.arange(len(labels)) - np.repeat(starts, counts)
    return ranks


def read_batches(
    images: ImageSet,
    transform: Callable[[Image.Image], np.ndarray],
    batch_size: int,
    rows: np.ndarray | None = None,
) -> Iterator[tuple[list[np.ndarray], np.ndarray]]:
    """Decode images in threads, batch by batch.

    Args:
        transform: From an RGB image to an array, such as `ResizeCenterCrop`.
        rows: The rows to read; by default those of the subset.

    Yields:
        (images, rows): the arrays that `transform` returned, and int64 of shape (N,).

    Raises:
        InputError: A file is damaged or not an image.
    """
    rows = images.indices if rows is None else rows
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for start in range(0, len(rows), batch_size):
            batch = rows[start : start + batch_size]
            files = images.files.read(batch.tolist())
            yield list(threads.map(lambda file, row: transform(images.decode(file, row)), files, batch)), batch
