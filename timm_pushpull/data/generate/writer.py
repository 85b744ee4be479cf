"""What the three layouts have in common."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import Protocol

import numpy as np

Cell = tuple[str, int]  # corruption and severity


class Writer(Protocol):
    """Writes corrupted images in one layout. `encode` is called from several threads, the rest from one."""

    def begin(self) -> None:
        """Prepare the folder, once per run; other shards may do the same at the same time."""

    def encode(self, cell: Cell, rows: np.ndarray, pixels: np.ndarray) -> list:
        """Encode corrupted images, uint8 (N, H, W, 3), of these rows of the data set; returns N entries for `add`."""

    def add(self, cell: Cell, rows: np.ndarray, encoded: list) -> None:
        """Take the entries of a block of images, in the order of their rows."""

    def end_chunk(self, chunk: int) -> dict:
        """Put what was added on the disk; returns what `finish` needs to know of it."""

    def finish(self, records: dict[int, dict], threads: Executor) -> dict[str, str]:
        """Complete the set once all chunks have records; returns the SHA-256 of its files. May be called twice."""

    def abort(self) -> None:
        """Remove what a chunk that will not end has begun."""
