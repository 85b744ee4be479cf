"""What every layout of corrupted sets has in common: the interfaces of its reader and its writer.

A layout is one module with a `CorruptedSet`, a `CorruptedSetWriter` and a `Layout` that names the two; `layouts.py`
lists it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from timm_pushpull.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS
from timm_pushpull.data.corrupted.folder import OutputFolder
from timm_pushpull.data.corrupted.job import Job
from timm_pushpull.utils.errors import InputError, unknown

#: Images, uint8 of shape (N, H, W, 3) or a list of (H, W, 3); labels and indices, int64 of shape (N,).
Batch = tuple[np.ndarray | list[np.ndarray], np.ndarray, np.ndarray]
#: A corruption and its severity.
Cell = tuple[str, int]
#: The content of `manifest.json`.
Manifest = Mapping[str, Any]


class CorruptedSet(ABC):
    """The same images under several corruptions and severities, on disk or on the Hub.

    Attributes:
        name: Name of the folder, or the Hub id.
        corruptions: The corruptions of the set, those of the benchmark first and in its order.
        severities: The severities of the set, the same for every corruption.
        classes: Names of the classes; None if the set has no names.
        labels: Class of every image, int64 of shape (N,).
        manifest: What `timm-pushpull corrupt` wrote beside the images; empty for other sets.
    """

    name: str
    corruptions: tuple[str, ...]
    severities: tuple[int, ...]
    classes: tuple[str, ...] | None
    labels: np.ndarray
    manifest: Manifest

    @abstractmethod
    def __len__(self) -> int:
        """Number of images under each corruption and severity."""

    def names(self) -> list[str] | None:
        """`<class folder>/<file stem>` of every image; None for images without file names."""
        return None

    def batches(
        self, corruption: str, severity: int, batch_size: int, indices: Sequence[int] | np.ndarray | None = None
    ) -> Iterator[Batch]:
        """Read images batch by batch; only one batch is in memory.

        Args:
            indices: The positions of the images in the set; a position is the same image under every corruption and
                severity. Default: all images.

        Yields:
            (images, labels, indices): uint8, an array of shape (N, H, W, 3) or a list of (H, W, 3) if sizes may
            differ; int64 of shape (N,); int64 of shape (N,).

        Raises:
            InputError: A corruption, severity or index that the set does not have, or a damaged file.
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
        """The batches with these indices."""


@dataclass(frozen=True)
class SetContents:
    """The images of a set that is being written.

    Attributes:
        rows: Their rows in the dataset in ascending order, int64 of shape (N,). Without the unreadable images if the
            layout stores arrays.
        labels: Class of every row of the dataset, int64.
        classes: Names of the classes.
        stems: `<class folder>/<file stem>` of every row of the set.
        chunks: Number of chunks.
        shape: (height, width, 3) of every image if the layout stores arrays, else None.
    """

    rows: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    stems: dict[int, str]
    chunks: int
    shape: tuple[int, int, int] | None


class CorruptedSetWriter(ABC):
    """Writes corrupted images in one layout. `encode` is called from several threads, all else from one.

    Whatever is killed at any moment and started again, and however many shards run at once, the files are the same:
    a file gets its name only when it is complete, and nothing is written outside a chunk that is not recorded.
    """

    def __init__(self, folder: OutputFolder, job: Job, contents: SetContents) -> None:
        self.folder, self.job, self.contents = folder, job, contents

    @abstractmethod
    def begin(self) -> None:
        """Prepare the folder, once per run; other shards may do the same at the same time."""

    @abstractmethod
    def encode(self, cell: Cell, rows: np.ndarray, pixels: np.ndarray) -> list:
        """Encode corrupted images.

        Args:
            rows: Their rows in the dataset, int64 of shape (N,).
            pixels: uint8 of shape (N, H, W, 3).

        Returns:
            N entries for `add`.
        """

    def add(self, cell: Cell, rows: np.ndarray, encoded: list) -> None:  # noqa: B027 - not every layout needs it
        """Take the entries of a block of images, in the order of their rows."""

    @abstractmethod
    def end_chunk(self, chunk: int) -> dict[str, Any]:
        """Flush what was added to the disk; returns what `finish` needs to know, as JSON."""

    def wrote(self, chunk: int, rows: np.ndarray, record: dict[str, Any]) -> bool:
        """Whether a record is what `end_chunk` said of a chunk, and its images are still as they were written.

        Called from several threads.

        Args:
            rows: The chunk's rows in the dataset, int64 of shape (N,).
            record: Its `unreadable` are among them.
        """
        return True

    @abstractmethod
    def finish(self, records: dict[int, dict[str, Any]], threads: Executor) -> dict[str, str]:
        """Complete the set once all chunks have records; may be called twice.

        Returns:
            SHA-256 of the files of the set, by name.
        """

    def abort(self) -> None:  # noqa: B027
        """Remove the temporary files of a chunk that is not completed."""


@dataclass(frozen=True)
class Layout:
    """One layout of corrupted sets on disk.

    Attributes:
        name: What `--format` and manifests call it.
        description: The files of such a set, for error messages.
        arrays: Whether images are stored as arrays of one size, known beforehand, instead of image files.
        reader: Opens a folder, or another place, with its manifest.
        writer: Its writer.
        matches: Whether a folder without a manifest has this layout.
        entries: The names at the top of the folder that a set of these corruptions may have; hidden ones are temporary.
    """

    name: str
    description: str
    arrays: bool
    reader: Callable[[str, Manifest], CorruptedSet]
    writer: Callable[[OutputFolder, Job, SetContents], CorruptedSetWriter]
    matches: Callable[[Path], bool]
    entries: Callable[[Sequence[str]], list[str]]


def in_order(corruptions: Iterable[str]) -> tuple[str, ...]:
    """The benchmark's corruptions in its order, then others by name."""
    known = CORRUPTIONS + EXTRA_CORRUPTIONS
    return tuple(sorted(corruptions, key=lambda name: (known.index(name) if name in known else len(known), name)))


def check_complete(name: str, found: Mapping[str, Sequence[int]], manifest: Manifest) -> tuple[int, ...]:
    """The severities that every corruption has.

    Args:
        found: The severities of each corruption.

    Raises:
        InputError: A corruption or severity that the manifest, or another corruption, has is missing.
    """
    severities = sorted(manifest.get("severities") or {severity for held in found.values() for severity in held})
    for corruption in in_order({*found, *manifest.get("corruptions", ())}):
        for severity in severities:
            if severity not in found.get(corruption, ()):
                raise InputError(f"{name!r} is incomplete: {corruption}/{severity} is missing; restore it")
    return tuple(severities)
