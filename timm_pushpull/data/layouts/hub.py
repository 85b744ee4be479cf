"""Hugging Face data sets with a configuration per corruption and a split per severity, on the Hub or in a folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from timm_pushpull.data.images import ImageSet, read_batches
from timm_pushpull.data.layouts.base import Batch, CorruptedSet, check_complete, in_order
from timm_pushpull.data.loading import load_images
from timm_pushpull.utils.errors import InputError, one_line
from timm_pushpull.utils.hub_client import quiet_hub


class HubSet(CorruptedSet):
    """Splits that are called `severity_1` to `severity_5`, or `1` to `5`; other configurations are left alone.

    Args:
        place: Hub id or folder. `datasets` keeps its own copy of what is read, in its cache.
        manifest: Names what must be there.
    """

    def __init__(self, place: str, manifest: dict | None = None) -> None:
        import datasets

        self.place, self.manifest = place, manifest or {}
        self.name = Path(place).resolve().name if Path(place).is_dir() else place
        self._splits: dict[str, dict[int, str]] = {}
        try:
            with quiet_hub():
                for config in datasets.get_dataset_config_names(place):
                    names = datasets.get_dataset_split_names(place, config)
                    matches = [re.fullmatch(r"(?:severity_?)?([1-5])", name) for name in names]
                    splits = {int(match[1]): match[0] for match in matches if match}
                    if splits:
                        self._splits[config] = splits
        except Exception as error:  # whatever builder, file system or network, as in `load_images`
            raise InputError(f"cannot load data set {place!r}: {one_line(error)}") from error
        if not self._splits:
            raise InputError(
                f"{place!r} holds no corrupted images; expected a configuration per corruption with splits severity_1 "
                f"to severity_5"
            )
        found = {name: list(splits) for name, splits in self._splits.items()}
        self.severities = check_complete(self.name, found, self.manifest)
        self.corruptions = in_order(self._splits)
        self._opened: dict[tuple[str, int], ImageSet] = {}
        first = self._open(self.corruptions[0], self.severities[0])
        self.classes, self.labels = first.classes, first.labels
        self._length = len(first)

    def __len__(self) -> int:
        return self._length

    def _read(self, corruption: str, severity: int, batches: list[np.ndarray]) -> Iterator[Batch]:
        images = self._open(corruption, severity)
        if len(images) != len(self):
            raise InputError(
                f"{self.name!r}: {corruption}/{severity} holds {len(images):,} images, "
                f"{self.corruptions[0]}/{self.severities[0]} {len(self):,}"
            )
        rows = np.concatenate(batches) if batches else np.empty(0, np.int64)
        for pictures, indices in read_batches(images, np.asarray, len(batches[0]) if batches else 1, rows):
            yield pictures, images.labels[indices], indices

    def _open(self, corruption: str, severity: int) -> ImageSet:
        cell = corruption, severity
        if cell not in self._opened:
            self._opened[cell] = load_images(self.place, self._splits[corruption][severity], config=corruption)
        return self._opened[cell]
