"""The layout of ImageNet-C: `<corruption>/<severity>/<class>/<file>`, or the same below a folder per group, such as
`blur/defocus_blur/...` in the published archives."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from timm_pushpull.data.generate.source import class_folders
from timm_pushpull.data.images import decode_image
from timm_pushpull.data.layouts.base import Batch, CorruptedSet, check_complete, in_order
from timm_pushpull.utils.errors import InputError

_SEVERITIES = ("1", "2", "3", "4", "5")
_PICTURES = (".jpeg", ".jpg", ".png", ".webp", ".bmp", ".ppm", ".tif", ".tiff")


class FolderSet(CorruptedSet):
    """Picture files; images are ordered by class folder and file name.

    Args:
        folder: The set's folder.
        manifest: Names the classes, which are the class folders in alphabetical order otherwise.
    """

    def __init__(self, folder: Path, manifest: dict) -> None:
        self.manifest, self.name = manifest, folder.resolve().name
        self._folders = _corruption_folders(folder)
        if not self._folders:
            raise InputError(
                f"{str(folder)!r} holds no corrupted images; expected <corruption>.npy and labels.npy, Parquet files, "
                f"or <corruption>/<severity>/<class>/<file>"
            )
        self.severities = check_complete(
            self.name, {name: _severities(place) for name, place in self._folders.items()}, manifest
        )
        self.corruptions = in_order(self._folders)
        self._files = self._list(self.corruptions[0], self.severities[0])
        held = sorted({name.split("/")[0] for name in self._files})
        if not held:
            raise InputError(f"{self.name!r} holds no pictures in {self.corruptions[0]}/{self.severities[0]}")
        self.classes = tuple(manifest.get("classes", held))
        numbers = {name: number for number, name in enumerate(class_folders(self.classes) if manifest else held)}
        strange = [name for name in held if name not in numbers]
        if strange:
            raise InputError(f"{self.name!r} has a class folder {strange[0]!r} that its manifest does not know")
        self.labels = np.array([numbers[name.split("/")[0]] for name in self._files], np.int64)

    def __len__(self) -> int:
        return len(self._files)

    def _read(self, corruption: str, severity: int, batches: list[np.ndarray]) -> Iterator[Batch]:
        files = self._list(corruption, severity)
        if files != self._files:
            odd = sorted(set(files) ^ set(self._files))
            raise InputError(
                f"{self.name!r}: {corruption}/{severity} holds {len(files):,} images, "
                f"{self.corruptions[0]}/{self.severities[0]} {len(self):,}; one has {odd[0]!r}, the other has not"
            )
        place = self._folders[corruption] / str(severity)
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for indices in batches:
                pictures = list(threads.map(_decode, [place / files[index] for index in indices.tolist()]))
                yield pictures, self.labels[indices], indices

    def _list(self, corruption: str, severity: int) -> list[str]:
        """`<class>/<file>` of every picture of a cell, in order."""
        place = self._folders[corruption] / str(severity)
        return [
            f"{folder}/{file}"
            for folder in sorted(entry.name for entry in os.scandir(place) if entry.is_dir())
            for file in sorted(os.listdir(place / folder))
            if file.lower().endswith(_PICTURES) and not file.startswith(".")
        ]


def _corruption_folders(folder: Path) -> dict[str, Path]:
    """Folders that have one per severity, by name, in `folder` or in its sub-folders."""
    found = {}
    for place in sorted(entry for entry in folder.iterdir() if entry.is_dir()):
        # A class may be called 1, too: nothing below a corruption is looked at.
        candidates = [place] if _severities(place) else sorted(place.iterdir())
        found |= {candidate.name: candidate for candidate in candidates if _severities(candidate)}
    return found


def _severities(place: Path) -> list[int]:
    """The severities that a folder has sub-folders for."""
    return [int(name) for name in _SEVERITIES if (place / name).is_dir()]


def _decode(path: Path) -> np.ndarray:
    try:
        return np.asarray(decode_image(path))
    except InputError as error:
        raise InputError(f"{str(path)!r} cannot be read: {error}; restore it") from None
