"""What every corrupted set offers."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from timm_pushpull.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS
from timm_pushpull.utils.errors import InputError, unknown

Batch = tuple[np.ndarray | list[np.ndarray], np.ndarray, np.ndarray]


class CorruptedSet(ABC):
    """The same images under several corruptions and severities.

    Attributes:
        name: Its folder's name, or its Hub id.
        corruptions: Those it holds, the benchmark's first and in their order.
        severities: Those it holds, the same for every corruption.
        classes: Names of the classes; None if the set does not say.
        labels: Class of every image, int64 of shape (N,).
        manifest: What `timm-pushpull corrupt` wrote beside the images; empty for other sets.
    """

    name: str
    corruptions: tuple[str, ...]
    severities: tuple[int, ...]
    classes: tuple[str, ...] | None
    labels: np.ndarray
    manifest: dict

    @abstractmethod
    def __len__(self) -> int:
        """Number of images under each corruption and severity."""

    def batches(
        self, corruption: str, severity: int, batch_size: int, indices: Sequence[int] | None = None
    ) -> Iterator[Batch]:
        """Read images batch by batch; nothing but the batch is in memory.

        Args:
            indices: Which images, by their position in the set; the same position is the same image under every
                corruption and severity. All of them if not given.

        Yields:
            (images, labels, indices): uint8, an array of shape (N, H, W, 3) or a list of (H, W, 3) where sizes may
            differ; int64 of shape (N,); int64 of shape (N,).

        Raises:
            InputError: A corruption, severity or index that the set does not hold, or a damaged file.
        """
        if corruption not in self.corruptions:
            raise unknown(f"corruption in {self.name!r}:", corruption, self.corruptions)
        if severity not in self.severities:
            held = ", ".join(map(str, self.severities))
            raise InputError(f"{self.name!r} has no severity {severity!r}; it has: {held}")
        if batch_size < 1:
            raise InputError(f"the batch size is {batch_size}; use 1 or more")
        chosen = np.arange(len(self)) if indices is None else np.asarray(indices, np.int64)
        wrong = chosen[(chosen < 0) | (chosen >= len(self))]
        if len(wrong):
            raise InputError(f"{self.name!r} has no image {wrong[0]}; it has {len(self):,}, counted from 0")
        return self._read(corruption, severity, [chosen[i : i + batch_size] for i in range(0, len(chosen), batch_size)])

    @abstractmethod
    def _read(self, corruption: str, severity: int, batches: list[np.ndarray]) -> Iterator[Batch]:
        """The batches at these indices."""


def read_manifest(folder: Path) -> dict:
    """What `timm-pushpull corrupt` says about a folder; empty where it did not make it."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
    except (OSError, ValueError):
        return {}
    return manifest if isinstance(manifest, dict) and "rows_sha256" in manifest else {}


def in_order(corruptions: Iterable[str]) -> tuple[str, ...]:
    """The benchmark's corruptions in its order, then others by name."""
    known = CORRUPTIONS + EXTRA_CORRUPTIONS
    return tuple(sorted(corruptions, key=lambda name: (known.index(name) if name in known else len(known), name)))


def check_complete(name: str, found: dict[str, list[int]], manifest: dict) -> tuple[int, ...]:
    """The severities that every corruption has.

    Args:
        found: Corruption to its severities.

    Raises:
        InputError: A corruption or severity that the manifest, or another corruption, has is missing.
    """
    severities = sorted(manifest.get("severities") or {severity for held in found.values() for severity in held})
    for corruption in in_order({*found, *manifest.get("corruptions", ())}):
        for severity in severities:
            if severity not in found.get(corruption, ()):
                raise InputError(f"{name!r} is incomplete: {corruption}/{severity} is missing; restore it")
    return tuple(severities)
