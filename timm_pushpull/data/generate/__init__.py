"""Corrupted copies of a data set, written in the layouts of CIFAR-10-C, ImageNet-C or a Hugging Face data set.

The images are cut into fixed chunks. A chunk's images are decoded once, go through every corruption and severity, and
the finished chunk is recorded; so a run that was killed goes on at the next chunk, and shards share a set by taking
every N-th chunk. Pixels depend on an image's row in its data set and not on chunks, shards or workers, and neither does
any byte of the set.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from timm_pushpull.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS
from timm_pushpull.data.generate.folder import Folder
from timm_pushpull.data.generate.job import FORMATS, make_job
from timm_pushpull.data.generate.run import Outcome, Run
from timm_pushpull.data.images import ImageSet
from timm_pushpull.data.preprocessing import preset_geometry
from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.files import write_error

__all__ = ["FORMATS", "Outcome", "generate"]

CHUNK = 1000


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
    """Write corrupted copies of a data set, or go on with it where a killed run stopped.

    Args:
        output: The folder; new, empty, or that of the same job.
        format: `npy` (CIFAR-10-C), `imagefolder` (ImageNet-C) or `parquet` (Hugging Face).
        size: Side in px; None for the preset's, `keep` to leave pictures as they are.
        jpeg_quality: Of the pictures, or of a round trip of npy's pixels; None for the preset's, `none` for lossless.
        workers: Threads; all cores by default.
        shard: (i, N) makes chunks i - 1, i - 1 + N, ...; whoever ends last completes the set.
        overwrite: Remove the set that the folder holds first.
        command: What the manifest gives as the command; this process's by default.
        chunk: Images per chunk.

    Raises:
        InputError: Settings out of range, a folder that holds something else or another set, pictures of several sizes
            for npy, no readable picture, a place that cannot be written to or is full.
    """
    number, shards = shard
    if not 1 <= number <= shards:
        raise InputError(f"shard is {number}/{shards}; use 1/{max(shards, 1)} to {max(shards, 1)}/{max(shards, 1)}")
    if overwrite and shards > 1:
        raise InputError("overwriting would remove what other shards have made; remove the folder instead")
    workers = os.cpu_count() if workers is None else workers
    if workers < 1:
        raise InputError(f"the number of workers is {workers}; use 1 or more")
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
    preset_geometry(preset, size)
    folder = Folder(output, job, overwrite=overwrite)
    if folder.manifest:
        return Outcome.finished(folder.manifest, before=True)
    threads = ThreadPoolExecutor(workers)
    try:
        return Run(images, job, folder, threads, workers, frost_dir, progress).go(number, shards)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and folder.manifest:  # another shard has just completed the set
            folder.sweep()
            return Outcome.finished(folder.manifest)
        raise write_error(error.filename or folder.path, error) from error
    finally:
        threads.shutdown(cancel_futures=True)
