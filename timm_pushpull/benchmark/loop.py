"""The loop of the benchmark: blocks of images, their cells, batches; over any number of processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from timm_pushpull.benchmark.evaluation import CLEAN, DETAILS, Evaluation, detail
from timm_pushpull.benchmark.journal import Journal, unpacked
from timm_pushpull.benchmark.preparation import Sum, default_batch, eval_mode, normalisation, summed
from timm_pushpull.benchmark.sources import FilesSource, FlySource
from timm_pushpull.benchmark.tasks import UNIT, Cell, Classification, Task
from timm_pushpull.corruptions import CORRUPTIONS
from timm_pushpull.data.images import ImageSet
from timm_pushpull.data.preprocessing import ResizeCenterCrop, model_geometry, normalise
from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.hardware import autocast
from timm_pushpull.utils.progress import progress_bar

SEVERITIES = (1, 2, 3, 4, 5)


def evaluate(
    model: Callable[[Tensor], Tensor],
    images: ImageSet | FlySource | FilesSource,
    geometry: ResizeCenterCrop | None = None,
    *,
    task: Task | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    corruptions: Sequence[str] = CORRUPTIONS,
    severities: Sequence[int] = SEVERITIES,
    clean: bool = True,
    details: bool = False,
    batch_size: int | None = None,
    workers: int | None = None,
    device: torch.device | str = "cpu",
    precision: str = "fp32",
    rank: int = 0,
    processes: int = 1,
    add_up: Sum = lambda counts: counts,
    journal: Journal | None = None,
    progress: bool = True,
    **options,
) -> Evaluation:
    """Measure what a model gets wrong, clean and under corruptions.

    Images are resized and cropped, corrupted, then normalised, in this order, as for ImageNet-C.

    Args:
        model: Any callable from normalised float32 images (N, 3, H, W) to outputs (N, outputs), on `device`. A module
            is measured in eval mode and left as it was.
        images: What to measure on; an `ImageSet` is corrupted on the fly.
        task: What an image's error is: by default whether it is taken for another class; `retrieval(...)` for how far
            what is retrieved for it is from perfect.
        geometry, mean, std: The preprocessing; by default that of a timm model's data config.
        corruptions, severities: The cells; no corruptions for the clean error alone.
        clean: Whether to measure on the clean images too.
        details: Whether to count top-5 and calibration errors of a classifier.
        batch_size: Images a forward pass; by default 64 on a CPU, whose caches hold no more, else 512.
        workers: Threads that decode and corrupt; by default one on a CPU, which the model needs, else all cores.
        rank, processes, add_up: This process takes every `processes`-th image from `rank` on, and `add_up` sums int64
            tensors over all processes.
        journal: Keeps finished parts, and supplies those of an interrupted run; only the first process writes to it.
        options: preset, seed, frost_dir, jpeg_quality for an `ImageSet`, as in `corrupt`.

    Raises:
        InputError: Outputs that are not the task's, or are not finite, with the cell they came from; a data set that is
            not the journal's; details of anything but a classifier.
    """
    if isinstance(images, ImageSet):
        images = FlySource(images, geometry or model_geometry(model), **options)
    mean, std = normalisation(model, mean, std)
    task = task or Classification(len(images.classes))
    if details and not isinstance(task, Classification):
        raise InputError("top-5 and calibration errors are those of a classifier; leave the details out")
    batch = batch_size or default_batch(device)
    workers = workers or (1 if torch.device(device).type == "cpu" else max(1, (os.cpu_count() or 1) // processes))
    cells = [CLEAN] * clean + [(name, severity) for name in corruptions for severity in severities]
    state = _State(task, len(images.labels), cells, details, device, add_up, journal if rank == 0 else None)
    size = state.block_images or processes * images.block_images(batch)
    left = {
        start: [cell for cell in cells if (cell, start) not in state.done]
        for start in range(0, len(images.labels), size)
    }
    count = {start: len(range(start + rank, min(start + size, len(images.labels)), processes)) for start in left}
    total, todo = len(cells) * sum(count.values()), sum(len(left[start]) * count[start] for start in left)
    steps = progress_bar(total, "measure", "img", show=progress, initial=total - todo)
    with steps, eval_mode(model), torch.inference_mode(), autocast(precision, device):
        for start, missing in left.items():
            if not missing:
                continue
            stop = min(start + size, len(images.labels))
            mine = np.arange(start + rank, stop, processes)
            part = _Part(state, start, stop, size, images)
            if len(mine) == 0:  # more processes than images are left
                images.digest = 0
                for cell in missing:
                    part.end(cell)
                continue
            for cell, positions, pixels, last in images.batches(mine, missing, batch, workers):
                part.add(cell, positions, model(normalise(pixels, mean, std, device)), images.labels[positions])
                steps.update(len(positions))
                if last:
                    part.end(cell)
    return state.evaluation()


class _State:
    """What has been found so far, in this run and in those before it."""

    def __init__(
        self, task: Task, count: int, cells: list[Cell], details: bool, device, add_up, journal: Journal | None
    ) -> None:
        self.task, self.cells, self.with_details, self.device = task, cells, details, device
        self.add_up, self.journal = add_up, journal
        self.errors = np.zeros((len(cells), count), task.dtype)
        self.details = np.zeros((len(cells), DETAILS), np.int64)
        self.seconds, self.digests, self.done = 0.0, {}, set()
        parts = [part for part in journal.parts if tuple(part["cell"]) in cells] if journal else []
        # Every process learns from the first one what is done: [cell, start, digest] for each part, and the block size.
        head = self.shared(np.array([len(parts), journal.block_images or 0 if journal else 0]))
        self.block_images = int(head[1])
        table = np.zeros((int(head[0]), 3), np.int64)
        for row, part in zip(table, parts, strict=False):
            row[:] = cells.index(tuple(part["cell"])), part["start"], part["digest"]
        for number, start, digest in self.shared(table).tolist():
            self.done.add((cells[number], start))
            self.digests[start] = digest
        for part in parts:
            number, start = cells.index(tuple(part["cell"])), part["start"]
            self.errors[number, start : start + part["count"]] = unpacked(part)
            self.details[number] += np.array(part["details"] or np.zeros(DETAILS), np.int64)
            self.seconds += part["seconds"]

    def shared(self, values: np.ndarray) -> np.ndarray:
        """The sum of an int64 array over all processes."""
        if values.size == 0:
            return values
        return summed(values, self.add_up, self.device)

    def evaluation(self) -> Evaluation:
        digest = sum(self.digests.values()) % (1 << 63)
        errors = self.errors if self.task.dtype is bool else self.errors / UNIT
        return Evaluation(
            dict(zip(self.cells, errors, strict=True)),
            dict(zip(self.cells, self.details, strict=True)) if self.with_details else {},
            f"{digest:016x}" if digest else None,
            self.seconds,
        )


class _Part:
    """A block of images, cell after cell; what every process finds is added up at the end of a cell."""

    def __init__(self, state: _State, start: int, stop: int, size: int, source: FlySource | FilesSource) -> None:
        self.state, self.start, self.stop, self.size, self.source = state, start, stop, size, source
        self._begin()

    def add(self, cell: Cell, positions: np.ndarray, outputs: Tensor, labels: np.ndarray) -> None:
        """Count a batch."""
        places = torch.from_numpy(positions - self.start).to(outputs.device)
        self.errors[places] = self.state.task.errors(outputs, labels, cell)
        if self.state.with_details:
            self.details += detail(outputs.float().softmax(dim=1).cpu().numpy(), labels)

    def end(self, cell: Cell) -> None:
        """Add up a cell over all processes, and keep it."""
        state, count = self.state, self.stop - self.start
        digest = self.source.digest
        # In halves, whose sums over the processes fit into 64 bits.
        halves = np.array([digest & 0x7FFFFFFF, digest >> 31], np.int64)
        found = state.shared(np.concatenate([self.errors.cpu().numpy(), self.details, halves]))
        errors, details = found[:count].astype(state.task.dtype), found[count:-2]
        digest = (int(found[-2]) + (int(found[-1]) << 31)) % (1 << 63)
        if state.digests.setdefault(self.start, digest) != digest:
            raise InputError("the images are not those of the interrupted measurement; choose another --output")
        number, seconds = state.cells.index(cell), time.perf_counter() - self.began
        state.errors[number, self.start : self.stop] = errors
        state.details[number] += details
        state.seconds += seconds
        if state.journal:
            kept = details if state.with_details else None
            state.journal.record(cell, self.start, errors, kept, self.size, digest=digest, seconds=round(seconds, 3))
        self._begin()

    def _begin(self) -> None:
        self.errors = torch.zeros(self.stop - self.start, dtype=torch.int64, device=self.state.device)
        self.details = np.zeros(DETAILS, np.int64)
        self.began = time.perf_counter()
