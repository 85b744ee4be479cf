"""One run over a set, or over a shard of it: chunk by chunk, block by block, cell by cell."""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from timm_pushpull.corruptions import corrupt_batch
from timm_pushpull.data.generate.folder import Folder
from timm_pushpull.data.generate.imagefolder import ImageFolderWriter
from timm_pushpull.data.generate.job import Job
from timm_pushpull.data.generate.npy import NpyWriter
from timm_pushpull.data.generate.parquet import ParquetWriter
from timm_pushpull.data.generate.source import Block, blocks, decoded, file_stems
from timm_pushpull.data.generate.survey import Survey, survey
from timm_pushpull.data.generate.writer import Cell, Writer
from timm_pushpull.data.images import ImageSet
from timm_pushpull.data.preprocessing import preset_geometry
from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.progress import progress_bar

_BATCH = 256  # images that a worker corrupts at once


@dataclass(frozen=True)
class Outcome:
    """How a call of `generate` ended.

    Attributes:
        manifest: That of the finished set; None while chunks of other shards are missing.
        missing: How many chunks are missing.
        unreadable: Number of images that were left out because they cannot be read: of the set if it is finished, else
            of this shard.
        before: Whether the set was finished before, so that nothing was done.
    """

    manifest: dict | None
    missing: int
    unreadable: int
    before: bool = False

    @classmethod
    def finished(cls, manifest: dict, *, before: bool = False) -> Outcome:
        """The outcome of a set with this manifest."""
        return cls(manifest, 0, len(manifest["unreadable"]), before)


class Run:
    """One call of `generate`, its settings checked and its folder claimed."""

    def __init__(
        self,
        images: ImageSet,
        job: Job,
        folder: Folder,
        threads: ThreadPoolExecutor,
        workers: int,
        frost_dir: Path | str | None,
        progress: bool,
    ) -> None:
        settings = job.settings
        self.images, self.job, self.folder, self.threads, self.workers = images, job, folder, threads, workers
        self.progress = progress
        self.stems = dict(zip(images.indices.tolist(), file_stems(images), strict=True))
        self.decode = partial(
            decoded,
            images,
            shape=preset_geometry(settings["preset"], settings["size"]),
            threads=threads,
            ahead=2 * workers,
        )
        self.corrupt = partial(
            corrupt_batch,
            preset=settings["preset"],
            seed=settings["seed"],
            frost_dir=frost_dir,
            # The other layouts' files are JPEG themselves.
            jpeg_quality=settings["jpeg_quality"] if settings["format"] == "npy" else None,
        )

    def go(self, shard: int, shards: int) -> Outcome:
        """Make this shard's chunks, and complete the set if no other's are missing."""
        surveyed = None
        rows, size = self.images.indices, self.job.settings["chunk"]
        if self.job.settings["format"] == "npy":
            surveyed = survey(self.folder, self.images, self.decode, progress=self.progress)
            rows = np.setdiff1d(rows, surveyed.unreadable)
        chunks = [rows[start : start + size] for start in range(0, len(rows), size)]
        writer = self._writer(surveyed, rows, len(chunks))
        mine = range(shard - 1, len(chunks), shards)
        done = self.folder.records(len(chunks))
        todo = [chunk for chunk in mine if chunk not in done]
        if todo:
            writer.begin()
            self._make(writer, {chunk: chunks[chunk] for chunk in todo}, sum(len(chunks[chunk]) for chunk in mine))
        records = self.folder.records(len(chunks))
        if self.folder.manifest:  # another shard has just completed the set, and removed the records
            self.folder.sweep()
            return Outcome.finished(self.folder.manifest)
        lost = [] if surveyed is None else surveyed.unreadable.tolist()
        if len(records) < len(chunks):
            unreadable = lost + [row for chunk in mine for row in records[chunk]["unreadable"]]
            return Outcome(None, len(chunks) - len(records), len(unreadable))
        unreadable = lost + [row for record in records.values() for row in record["unreadable"]]
        if len(unreadable) == len(self.images):
            raise InputError(f"none of the {len(unreadable):,} images of {self.images.name!r} can be read")
        manifest = {
            **self.job.settings,
            "num_images": len(self.images) - len(unreadable),
            "unreadable": [{"row": row, "file": self.stems[row]} for row in unreadable],
            "classes": list(self.images.classes),
            **self.folder.origin,
            "sha256": writer.finish(records, self.threads),
        }
        self.folder.finish(manifest)
        return Outcome.finished(manifest)

    def _writer(self, surveyed: Survey | None, rows: np.ndarray, chunks: int) -> Writer:
        labels, classes = self.images.labels, self.images.classes
        if surveyed is not None:
            return NpyWriter(self.folder, self.job, rows, labels[rows], len(classes), surveyed.shape)
        if self.job.settings["format"] == "imagefolder":
            return ImageFolderWriter(self.folder, self.job, self.stems)
        return ParquetWriter(self.folder, self.job, self.stems, labels, classes, chunks)

    def _make(self, writer: Writer, chunks: dict[int, np.ndarray], total: int) -> None:
        """Make and record chunks; `total` counts the images of those made before, too."""
        cells = len(self.job.cells)
        before = total - sum(map(len, chunks.values()))
        bar = progress_bar(total * cells, "corrupt", "img", show=self.progress, initial=before * cells)
        try:
            with bar:
                for chunk, rows in chunks.items():
                    unreadable: list[int] = []
                    for block in blocks(self._readable(rows, unreadable)):
                        self._corrupt_block(writer, block, bar)
                    bar.update(len(unreadable) * cells)
                    if unreadable and self.job.settings["format"] == "npy":
                        raise InputError(f"image {unreadable[0]} could be read a moment ago; is the data set changing?")
                    self.folder.record(chunk, {"unreadable": unreadable, **writer.end_chunk(chunk)})
        finally:
            writer.abort()

    def _readable(self, rows: np.ndarray, unreadable: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        for row, pixels in self.decode(rows):
            if isinstance(pixels, InputError):
                warnings.warn(f"{pixels}; left out", stacklevel=2)
                unreadable.append(row)
            else:
                yield row, pixels

    def _corrupt_block(self, writer: Writer, block: Block, bar) -> None:
        """Send a block through all cells, batch by batch in threads; not many cells are under way at once."""
        batches = block.batches(min(_BATCH, math.ceil(len(block.rows) / self.workers)))
        ahead = math.ceil(2 * self.workers / len(batches))
        pending = deque()

        def collect() -> None:
            cell, results = pending.popleft()
            encoded: list = [None] * len(block.rows)
            for (positions, _), result in zip(batches, results, strict=True):
                for position, entry in zip(positions.tolist(), result.result(), strict=True):
                    encoded[position] = entry
                bar.update(len(positions))
            writer.add(cell, block.rows, encoded)

        for cell in self.job.cells:
            submitted = [
                self.threads.submit(self._corrupt_batch, writer, cell, block.rows[positions], pixels)
                for positions, pixels in batches
            ]
            pending.append((cell, submitted))
            if len(pending) > ahead:
                collect()
        while pending:
            collect()

    def _corrupt_batch(self, writer: Writer, cell: Cell, rows: np.ndarray, pixels: np.ndarray) -> list:
        try:
            corrupted = self.corrupt(pixels, *cell, indices=rows)
        except InputError as error:
            height, width = pixels.shape[1:3]
            raise InputError(f"image {rows[0]} ({width}x{height} px), {cell[0]} {cell[1]}: {error}") from error
        return writer.encode(cell, rows, corrupted)
