"""Write corrupted copies of a dataset.

The images are cut into fixed chunks. The images of a chunk are decoded once and go through every corruption and
severity; then the chunk is recorded. A run that was killed continues at the next chunk, and of N shards each takes
every N-th chunk. The pixels of an image depend on its row in the dataset; neither they nor any byte of the set depend
on chunks, shards or workers (Parquet files hold one chunk each).
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from timm_pushpull.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, corrupt_batch
from timm_pushpull.data.corrupted.base import Cell, CorruptedSetWriter, SetContents
from timm_pushpull.data.corrupted.decoding import Block, Decoder, Scan, blocks, scan
from timm_pushpull.data.corrupted.folder import OutputFolder
from timm_pushpull.data.corrupted.image_files import image_stems
from timm_pushpull.data.corrupted.job import Job, make_job
from timm_pushpull.data.corrupted.layouts import LAYOUTS, set_entries
from timm_pushpull.data.images import ImageSet
from timm_pushpull.data.preprocessing import preset_geometry
from timm_pushpull.utils.errors import InputError, unknown
from timm_pushpull.utils.files import write_error
from timm_pushpull.utils.json_text import with_checksum
from timm_pushpull.utils.locks import only_process
from timm_pushpull.utils.progress import progress_bar

CHUNK = 1000
_BATCH = 256  # images that a worker corrupts at once


@dataclass(frozen=True)
class Outcome:
    """How a call of `generate` ended.

    Attributes:
        manifest: That of the finished set; None while chunks of other shards are missing.
        missing: Number of missing chunks.
        unreadable: Number of images that were left out because they cannot be read: of the set if it is finished, else
            of this shard.
        before: Whether the set was finished before, so that nothing was done.
    """

    manifest: dict[str, Any] | None
    missing: int
    unreadable: int
    before: bool = False

    @classmethod
    def finished(cls, manifest: dict[str, Any], *, before: bool = False) -> Outcome:
        """The outcome of a set with this manifest.

        Raises:
            InputError: The manifest lacks what `generate` has written into it.
        """
        if missing := [name for name in ("num_images", "unreadable") if name not in manifest]:
            raise InputError(f"the manifest of the set lacks {' and '.join(missing)}; restore it, or --overwrite")
        return cls(manifest, 0, len(manifest["unreadable"]), before)


def check_generation(format: str, shard: tuple[int, int], workers: int | None, overwrite: bool) -> None:
    """Raise InputError for arguments of `generate` that are wrong whatever the images."""
    number, shards = shard
    if not 1 <= number <= shards:
        raise InputError(f"shard is {number}/{shards}; use 1/{max(shards, 1)} to {max(shards, 1)}/{max(shards, 1)}")
    if overwrite and shards > 1:
        raise InputError("overwriting would remove what other shards have made; remove the folder instead")
    if workers is not None and workers < 1:
        raise InputError(f"the number of workers is {workers}; use 1 or more")
    if format not in LAYOUTS:
        raise unknown("format", format, LAYOUTS)


def generate(
    images: ImageSet,
    output: Path | str,
    *,
    format: str,
    preset: str = "imagenet-c",
    corruptions: Sequence[str] = CORRUPTIONS + EXTRA_CORRUPTIONS,
    severities: Sequence[int] = (1, 2, 3, 4, 5),
    seed: int = 0,
    size: int | str | None = None,
    jpeg_quality: int | str | None = None,
    frost_dir: Path | str | None = None,
    workers: int | None = None,
    shard: tuple[int, int] = (1, 1),
    overwrite: bool = False,
    command: str | None = None,
    chunk: int = CHUNK,
    progress: bool = True,
) -> Outcome:
    """Write corrupted copies of a dataset, or continue where a killed run stopped.

    Args:
        output: A folder that is new, empty, or that of the same job.
        format: `npy` (CIFAR-10-C), `imagefolder` (ImageNet-C) or `parquet` (Hugging Face).
        preset, corruptions, severities, seed, frost_dir: As in `corrupt`.
        size: Side in px; None for the preset's, `keep` to leave images as they are.
        jpeg_quality: Of the image files, or of a JPEG round trip of the pixels in arrays; None for the preset's, `none`
            for lossless.
        workers: Threads; default: all cores.
        shard: (i, N) makes chunks i - 1, i - 1 + N, ...; the shard that ends last completes the set.
        overwrite: Remove the set in the folder first.
        command: What the manifest gives as the command; default: that of this process.
        chunk: Images per chunk.
        progress: Whether to show a progress bar.

    Raises:
        InputError: Settings out of range; a folder that holds something else or another set, or that another process
            works on, unless on another shard; images of several sizes for `npy`; no readable image; a place that cannot
            be written to or is full.
    """
    check_generation(format, shard, workers, overwrite)
    number, shards = shard
    workers = (os.cpu_count() or 1) if workers is None else workers
    job = make_job(
        images,
        preset=preset,
        format=format,
        corruptions=corruptions,
        severities=severities,
        seed=seed,
        size=size,
        jpeg_quality=jpeg_quality,
        frost_dir=frost_dir,
        chunk=chunk,
        command=command,
    )
    transform = preset_geometry(preset, size)
    with only_process(Path(output), f"shard-{number}-of-{shards}" if shards > 1 else None):
        folder = OutputFolder(output, job, set_entries, overwrite=overwrite)
        if folder.manifest:
            return Outcome.finished(folder.manifest, before=True)
        return _generate(folder, job, images, transform, workers, frost_dir, progress, shard)


def _generate(
    folder: OutputFolder,
    job: Job,
    images: ImageSet,
    transform: Callable[[Image.Image], np.ndarray],
    workers: int,
    frost_dir: Path | str | None,
    progress: bool,
    shard: tuple[int, int],
) -> Outcome:
    """Make the chunks of a shard in a folder that is this job's."""
    threads = ThreadPoolExecutor(workers)
    try:
        decoder = Decoder(images, transform, threads, ahead=2 * workers)
        return _Run(decoder, job, folder, workers, frost_dir, progress).run(*shard)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and folder.manifest:  # another shard has just completed the set
            folder.remove_temporary()
            return Outcome.finished(folder.manifest)
        raise write_error(error.filename or folder.path, error) from error
    finally:
        threads.shutdown(cancel_futures=True)


class _Run:
    """One call of `generate`, its settings checked and its folder claimed."""

    def __init__(
        self,
        decoder: Decoder,
        job: Job,
        folder: OutputFolder,
        workers: int,
        frost_dir: Path | str | None,
        progress: bool,
    ) -> None:
        self.decoder, self.job, self.folder = decoder, job, folder
        self.workers, self.frost_dir, self.progress = workers, frost_dir, progress
        self.images, self.threads, self.layout = decoder.images, decoder.threads, LAYOUTS[job.format]
        self.stems = image_stems(self.images)

    def run(self, shard: int, shards: int) -> Outcome:
        """Make the chunks of this shard, and complete the set if no other is missing."""
        scanned: Scan | None = None
        rows = self.images.indices
        if self.layout.arrays:
            scanned = scan(self.folder, self.decoder, self.job.format, progress=self.progress)
            rows = np.setdiff1d(rows, scanned.unreadable)
        chunks = [rows[start : start + self.job.chunk] for start in range(0, len(rows), self.job.chunk)]
        shape = scanned.shape if scanned else None
        contents = SetContents(rows, self.images.labels, self.images.classes, self.stems, len(chunks), shape)
        writer = self.layout.writer(self.folder, self.job, contents)
        mine = range(shard - 1, len(chunks), shards)
        done = self._verified(writer, chunks, self.folder.records(mine))
        todo = [chunk for chunk in mine if chunk not in done]
        if todo:
            writer.begin()
            self._make(writer, {chunk: chunks[chunk] for chunk in todo}, sum(len(chunks[chunk]) for chunk in mine))
        records = self.folder.records(range(len(chunks)))
        if len(records) == len(chunks):  # else another shard is going to verify the chunks of the others
            others = {chunk: record for chunk, record in records.items() if chunk not in mine}
            verified = self._verified(writer, chunks, others)
            records = {chunk: record for chunk, record in records.items() if chunk in mine or chunk in verified}
        if self.folder.manifest:  # another shard has just completed the set, and removed the records
            self.folder.remove_temporary()
            return Outcome.finished(self.folder.manifest)
        unreadable = scanned.unreadable if scanned else []
        if len(records) < len(chunks):
            unreadable = unreadable + [row for chunk in mine for row in records[chunk]["unreadable"]]
            return Outcome(None, len(chunks) - len(records), len(unreadable))
        return self._finish(writer, records, unreadable)

    def _verified(
        self, writer: CorruptedSetWriter, chunks: list[np.ndarray], records: dict[int, dict[str, Any]]
    ) -> set[int]:
        """The chunks whose records are of these chunks and whose images are as they were written."""

        def is_verified(chunk: int) -> bool:
            rows, record = chunks[chunk], records[chunk]
            return set(record["unreadable"]) <= set(rows.tolist()) and writer.wrote(chunk, rows, record)

        with progress_bar(len(records), "verify", "chunk", show=self.progress and bool(records)) as bar:
            found = set()
            for chunk, verified in zip(records, self.threads.map(is_verified, records), strict=True):
                if verified:
                    found.add(chunk)
                bar.update()
        return found

    def _finish(self, writer: CorruptedSetWriter, records: dict[int, dict[str, Any]], unreadable: list[int]) -> Outcome:
        """Complete the set and write its manifest."""
        unreadable = unreadable + [row for record in records.values() for row in record["unreadable"]]
        if len(unreadable) == len(self.images):
            raise InputError(f"none of the {len(unreadable):,} images of {self.images.name!r} can be read")
        manifest = with_checksum(
            {
                **self.job.settings,
                "num_images": len(self.images) - len(unreadable),
                "unreadable": [{"row": row, "file": self.stems[row]} for row in unreadable],
                "classes": list(self.images.classes),
                **self.folder.origin,
                "sha256": writer.finish(records, self.threads),
            }
        )
        self.folder.finish(manifest)
        return Outcome.finished(manifest)

    def _make(self, writer: CorruptedSetWriter, chunks: dict[int, np.ndarray], total: int) -> None:
        """Make and record chunks; `total` counts the images of those made before, too."""
        cells = len(self.job.cells)
        before = total - sum(map(len, chunks.values()))
        bar = progress_bar(total * cells, "corrupt", "img", show=self.progress, initial=before * cells)
        try:
            with bar:
                for chunk, rows in chunks.items():
                    unreadable: list[int] = []
                    for block in blocks(self.decoder.readable(rows, unreadable)):
                        self._corrupt_block(writer, block, bar)
                    bar.update(len(unreadable) * cells)
                    if unreadable and self.layout.arrays:
                        raise InputError(f"image {unreadable[0]} could be read a moment ago; is the dataset changing?")
                    self.folder.record(chunk, {"unreadable": unreadable, **writer.end_chunk(chunk)})
        finally:
            writer.abort()

    def _corrupt_block(self, writer: CorruptedSetWriter, block: Block, bar: tqdm) -> None:
        """Send a block through all cells, batch by batch in threads, with a bounded number of cells in progress."""
        batches = block.batches(min(_BATCH, math.ceil(len(block.rows) / self.workers)))
        ahead = math.ceil(2 * self.workers / len(batches))
        pending: deque[tuple[Cell, list[Future[list]]]] = deque()

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

    def _corrupt_batch(self, writer: CorruptedSetWriter, cell: Cell, rows: np.ndarray, pixels: np.ndarray) -> list:
        name, severity = cell
        try:
            corrupted = corrupt_batch(
                pixels,
                name,
                severity,
                self.job.preset,
                seed=self.job.seed,
                indices=rows.tolist(),
                frost_dir=self.frost_dir,
                # The other layouts' files are JPEG themselves.
                jpeg_quality=self.job.jpeg_quality if self.layout.arrays else None,
            )
        except InputError as error:
            height, width = pixels.shape[1:3]
            raise InputError(f"image {rows[0]} ({width}x{height} px), {name} {severity}: {error}") from error
        return writer.encode(cell, rows, corrupted)
