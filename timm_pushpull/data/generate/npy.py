"""The layout of CIFAR-10-C: an array per corruption, its severities one after the other, and `labels.npy`."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path

import numpy as np

from timm_pushpull.data.generate.folder import Folder, writing
from timm_pushpull.data.generate.job import Job
from timm_pushpull.data.generate.writer import Cell
from timm_pushpull.utils.files import sha256


class NpyWriter:
    """Writes every batch to its place in `.<corruption>.npy.partial`; the files get their names at the end.

    Args:
        rows: The data set's rows that become rows of a severity's block.
        labels: Their classes, int64 of shape (N,).
        shape: (height, width, 3) of every image.
    """

    def __init__(
        self, folder: Folder, job: Job, rows: np.ndarray, labels: np.ndarray, classes: int, shape: Sequence[int]
    ) -> None:
        self.folder, self.job, self.rows, self.labels = folder, job, rows, labels
        self.label_type = np.uint8 if classes <= 256 else np.int64
        self.image_bytes = int(np.prod(shape))
        severities = job.settings["severities"]
        described = {"descr": "|u1", "fortran_order": False, "shape": (len(severities) * len(rows), *shape)}
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, described)
        self.header = header.getvalue()
        self.starts = {s: len(self.header) + i * len(rows) * self.image_bytes for i, s in enumerate(severities)}
        self.size = len(self.header) + len(severities) * len(rows) * self.image_bytes

    def begin(self) -> None:
        """Make the files at full length. Shards may do so at once: none of them cuts off what another has written."""
        for name in self.job.settings["corruptions"]:
            path = self._partial(name)
            with writing(path), open(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
                file.write(self.header)
                file.flush()
                if os.fstat(file.fileno()).st_size < self.size:
                    file.truncate(self.size)

    def encode(self, cell: Cell, rows: np.ndarray, pixels: np.ndarray) -> list[None]:
        """Write a batch to its place."""
        name, severity = cell
        first = int(np.searchsorted(self.rows, rows[0]))
        with writing(self._partial(name)), open(self._partial(name), "r+b") as file:
            file.seek(self.starts[severity] + first * self.image_bytes)
            file.write(np.ascontiguousarray(pixels).data)
        return [None] * len(rows)

    def add(self, cell: Cell, rows: np.ndarray, encoded: list[None]) -> None:
        """Nothing is left to do."""

    def end_chunk(self, chunk: int) -> dict:
        """Make the chunk's bytes outlast a crash of the machine."""
        for name in self.job.settings["corruptions"]:
            path = self._partial(name)
            with writing(path), open(path, "r+b") as file:
                os.fsync(file.fileno())
        return {}

    def finish(self, records: dict[int, dict], threads: Executor) -> dict[str, str]:
        """Give the files their names; returns their SHA-256."""
        labels = io.BytesIO()
        np.save(labels, np.tile(self.labels.astype(self.label_type), len(self.starts)))
        self.folder.write(self.folder.path / "labels.npy", labels.getvalue())
        paths = [self._final(name) for name in self.job.settings["corruptions"]]
        hashes = threads.map(self._name, self.job.settings["corruptions"])
        return {path.name: value for path, value in zip(paths, hashes, strict=True)} | {
            "labels.npy": sha256(self.folder.path / "labels.npy")
        }

    def abort(self) -> None:
        """An interrupted chunk leaves nothing behind but files that its next run replaces."""

    def _name(self, name: str) -> str:
        partial, final = self._partial(name), self._final(name)
        with writing(final):
            if not final.exists():  # else another process was faster
                with suppress(FileNotFoundError):
                    os.replace(partial, final)
            return sha256(final)

    def _partial(self, name: str) -> Path:
        return self.folder.path / f".{name}.npy.partial"

    def _final(self, name: str) -> Path:
        return self.folder.path / f"{name}.npy"
