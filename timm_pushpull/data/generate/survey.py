"""Which pictures can be read, before anything is written: an array's length must be known beforehand."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from timm_pushpull.data.generate.folder import Folder
from timm_pushpull.data.images import ImageSet
from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.progress import progress_bar

Decode = Callable[[np.ndarray], Iterator[tuple[int, np.ndarray | InputError]]]


@dataclass(frozen=True)
class Survey:
    """What a first pass over a data set found.

    Attributes:
        shape: (height, width, 3) of every image.
        unreadable: Rows that cannot be read, int64.
    """

    shape: tuple[int, int, int]
    unreadable: np.ndarray


def survey(folder: Folder, images: ImageSet, decode: Decode, *, progress: bool = True) -> Survey:
    """Decode every image once; what was found is kept in the folder, for resumed runs and other shards.

    Raises:
        InputError: Images of several sizes, or none that can be read.
    """
    path = folder.work / "survey.json"
    if not path.exists():
        folder.write(path, json.dumps(_survey(images, decode, progress)))
    found = json.loads(path.read_text())
    return Survey(tuple(found["shape"]), np.array(found["unreadable"], np.int64))


def _survey(images: ImageSet, decode: Decode, progress: bool) -> dict:
    unreadable: list[int] = []
    first = None
    with progress_bar(len(images), "check", "img", show=progress) as bar:
        for row, pixels in decode(images.indices):
            bar.update()
            if isinstance(pixels, InputError):
                warnings.warn(f"{pixels}; left out", stacklevel=2)
                unreadable.append(row)
                continue
            if first is None:
                first = row, pixels.shape
            if pixels.shape != first[1]:
                sizes = [f"image {r} has {w}x{h} px" for r, (h, w, _) in (first, (row, pixels.shape))]
                raise InputError(
                    f"npy needs images of one size, but {', '.join(sizes)}; give a --size, or use --format imagefolder"
                )
    if first is None:
        raise InputError(f"none of the {len(images):,} images of {images.name!r} can be read")
    return {"shape": first[1], "unreadable": unreadable}
