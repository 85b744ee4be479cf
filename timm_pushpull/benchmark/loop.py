"""The loop of the benchmark: blocks of images, their cells, batches; over any number of processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from timm_pushpull.benchmark.classes import check_logits
from timm_pushpull.benchmark.evaluation import CLEAN, DETAILS, Cell, Evaluation, detail
from timm_pushpull.benchmark.journal import Journal, unpacked
from timm_pushpull.benchmark.sources import FilesSource, FlySource
from timm_pushpull.corruptions import CORRUPTIONS
from timm_pushpull.data import ImageSet
from timm_pushpull.errors import InputError
from timm_pushpull.hardware import autocast
from timm_pushpull.preprocess import Geometry, model_geometry, normalise
from timm_pushpull.progress import progress_bar

SEVERITIES = (1, 2, 3, 4, 5)


def evaluate(
    model: Callable[[Tensor], Tensor],
    images: ImageSet | FlySource | FilesSource,
    geometry: Geometry | None = None,
    *,
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
    add_up: Callable[[Tensor], Tensor] = lambda counts: counts,
    journal: Journal | None = None,
    progress: bool = True,
    **options,
) -> Evaluation:
    """Measure which images a classifier gets wrong, clean and under corruptions.

    Images are resized and cropped, corrupted, then normalised, in this order, as for ImageNet-C.

    Args:
        model: Any callable from normalised float32 images (N, 3, H, W) to logits (N, classes), on `device`. A module is
            measured in eval mode and left as it was.
        images: What to measure on; an `ImageSet` is corrupted on the fly.
        geometry, mean, std: The preprocessing; by default that of a timm model's data config.
        corruptions, severities: The cells; no corruptions for the clean error alone.
        clean: Whether to measure on the clean images too.
        details: Whether to count top-5 and calibration errors.
        batch_size: Images a forward pass; by default 64 on a CPU, whose caches hold no more, else 512.
        workers: Threads that decode and corrupt; by default one on a CPU, which the model needs, else all cores.
        rank, processes, add_up: This process takes every `processes`-th image from `rank` on, and `add_up` sums int64
            tensors over all processes.
        journal: Keeps finished parts, and supplies those of an interrupted run; only the first process writes to it.
        options: preset, seed, frost_dir, jpeg_quality for an `ImageSet`, as in `corrupt`.

    Raises:
        InputError: Fewer outputs than classes; logits that are not finite, with the cell they came from; a data set
            that is not the journal's.
    """
    if isinstance(images, ImageSet):
        images = FlySource(images, geometry or model_geometry(model), **options)
    config = getattr(model, "pretrained_cfg", {})
    mean, std = (config.get("mean") if mean is None else mean), (config.get("std") if std is None else std)
    if mean is None or std is None:
        raise InputError("the model does not say how its images are normalised; give mean and std")
    on_cpu = torch.device(device).type == "cpu"
    batch = batch_size or (64 if on_cpu else 512)
    workers = workers or (1 if on_cpu else max(1, (os.cpu_count() or 1) // processes))
    cells = [CLEAN] * clean + [(name, severity) for name in corruptions for severity in severities]
    state = _State(len(images.labels), cells, details, device, add_up, journal if rank == 0 else None)
    size = state.block_images or processes * images.block_images(batch)
    left = {
        start: [cell for cell in cells if (cell, start) not in state.done]
        for start in range(0, len(images.labels), size)
    }
    count = {start: len(range(start + rank, min(start + size, len(images.labels)), processes)) for start in left}
    total, todo = len(cells) * sum(count.values()), sum(len(left[start]) * count[start] for start in left)
    steps = progress_bar(total, "measure", "img", show=progress, initial=total - todo)
    with steps, _eval_mode(model), torch.inference_mode(), autocast(precision, device):
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
                logits = model(normalise(pixels, mean, std, device))
                check_logits(logits, len(images.classes), *cell)
                part.add(positions, logits, images.labels[positions])
                steps.update(len(positions))
                if last:
                    part.end(cell)
    return state.evaluation()


@contextmanager
def _eval_mode(model: object) -> Iterator[None]:
    training = [module for module in model.modules() if module.training] if isinstance(model, nn.Module) else []
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


class _State:
    """What has been found so far, in this run and in those before it."""

    def __init__(self, count: int, cells: list[Cell], details: bool, device, add_up, journal: Journal | None) -> None:
        self.cells, self.with_details, self.device = cells, details, device
        self.add_up, self.journal = add_up, journal
        self.wrong = np.zeros((len(cells), count), bool)
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
            self.wrong[number, start : start + part["count"]] = unpacked(part)
            self.details[number] += np.array(part["details"] or np.zeros(DETAILS), np.int64)
            self.seconds += part["seconds"]

    def shared(self, values: np.ndarray) -> np.ndarray:
        """The sum of an int64 array over all processes."""
        if values.size == 0:
            return values
        return self.add_up(torch.from_numpy(values).to(self.device)).cpu().numpy()

    def evaluation(self) -> Evaluation:
        digest = sum(self.digests.values()) % (1 << 63)
        return Evaluation(
            dict(zip(self.cells, self.wrong, strict=True)),
            dict(zip(self.cells, self.details, strict=True)) if self.with_details else {},
            f"{digest:016x}" if digest else None,
            self.seconds,
        )


class _Part:
    """A block of images, cell after cell; what every process finds is added up at the end of a cell."""

    def __init__(self, state: _State, start: int, stop: int, size: int, source: FlySource | FilesSource) -> None:
        self.state, self.start, self.stop, self.size, self.source = state, start, stop, size, source
        self._begin()

    def add(self, positions: np.ndarray, logits: Tensor, labels: np.ndarray) -> None:
        """Count a batch."""
        target = torch.from_numpy(labels).to(logits.device)
        self.wrong[torch.from_numpy(positions - self.start).to(logits.device)] = (logits.argmax(dim=1) != target).long()
        if self.state.with_details:
            self.details += detail(logits.float().softmax(dim=1).cpu().numpy(), labels)

    def end(self, cell: Cell) -> None:
        """Add up a cell over all processes, and keep it."""
        state, count = self.state, self.stop - self.start
        digest = self.source.digest
        # In halves, whose sums over the processes fit into 64 bits.
        halves = np.array([digest & 0x7FFFFFFF, digest >> 31], np.int64)
        found = state.shared(np.concatenate([self.wrong.cpu().numpy(), self.details, halves]))
        wrong, details = found[:count].astype(bool), found[count:-2]
        digest = (int(found[-2]) + (int(found[-1]) << 31)) % (1 << 63)
        if state.digests.setdefault(self.start, digest) != digest:
            raise InputError("the images are not those of the interrupted measurement; choose another --output")
        number, seconds = state.cells.index(cell), time.perf_counter() - self.began
        state.wrong[number, self.start : self.stop] = wrong
        state.details[number] += details
        state.seconds += seconds
        if state.journal:
            kept = details if state.with_details else None
            state.journal.record(cell, self.start, wrong, kept, self.size, digest=digest, seconds=round(seconds, 3))
        self._begin()

    def _begin(self) -> None:
        self.wrong = torch.zeros(self.stop - self.start, dtype=torch.int64, device=self.state.device)
        self.details = np.zeros(DETAILS, np.int64)
        self.began = time.perf_counter()
