"""The layout of CIFAR-10-C: an array per corruption, its severities one after the other, and `labels.npy`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from timm_pushpull.data.layouts.base import Batch, CorruptedSet, in_order
from timm_pushpull.utils.errors import InputError, one_line

_LABELS = "labels.npy"


class NpySet(CorruptedSet):
    """Arrays that stay on the disk; a batch's rows are copied out of them.

    Args:
        folder: Holds `<corruption>.npy`, uint8 of shape (severities * N, H, W, 3), and `labels.npy`, integers of shape
            (severities * N,), or (N,).
        manifest: Names the severities, which are 1 to 5 otherwise.
    """

    def __init__(self, folder: Path, manifest: dict) -> None:
        self.folder, self.manifest, self.name = folder, manifest, folder.resolve().name
        self.severities = tuple(manifest.get("severities", (1, 2, 3, 4, 5)))
        self.classes = tuple(manifest["classes"]) if "classes" in manifest else None
        held = {path.stem for path in folder.glob("[!.]*.npy") if path.name != _LABELS}
        self.corruptions = in_order({*held, *manifest.get("corruptions", ())})
        if not self.corruptions:
            raise InputError(f"{str(folder)!r} holds no <corruption>.npy; is this a folder like CIFAR-10-C?")
        rows = None
        for name in self.corruptions:
            images = self._open(f"{name}.npy")
            if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
                raise InputError(
                    f"{folder / name!s}.npy holds {images.dtype} of shape {images.shape}; expected uint8 of shape "
                    f"(N, H, W, 3)"
                )
            rows = rows or len(images)
            if len(images) != rows:
                raise InputError(f"{folder / name!s}.npy has {len(images):,} rows, {self.corruptions[0]}.npy {rows:,}")
        if rows % len(self.severities):
            raise InputError(
                f"{folder / self.corruptions[0]!s}.npy has {rows:,} rows, no multiple of its "
                f"{len(self.severities)} severities; restore the file"
            )
        self._length = rows // len(self.severities)
        self._labels = self._open(_LABELS)
        if not np.issubdtype(self._labels.dtype, np.integer) or self._labels.shape not in ((rows,), (len(self),)):
            raise InputError(
                f"{str(folder / _LABELS)!r} holds {self._labels.dtype} of shape {self._labels.shape}; expected a class "
                f"number for each of the {rows:,} rows"
            )
        self.labels = self._labels[: self._length].astype(np.int64)

    def __len__(self) -> int:
        return self._length

    def _read(self, corruption: str, severity: int, batches: list[np.ndarray]) -> Iterator[Batch]:
        images = self._open(f"{corruption}.npy")
        start = self.severities.index(severity) * len(self)
        for indices in batches:
            labels = self._labels[(start + indices) % len(self._labels)]
            yield images[start + indices], labels.astype(np.int64), indices

    def _open(self, name: str) -> np.ndarray:
        path = self.folder / name
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            raise InputError(f"{str(self.folder)!r} lacks {name}; restore it") from None
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{str(path)!r} is cut off or no array: {one_line(error)}; restore it") from error
