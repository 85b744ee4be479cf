"""The evaluation loop: blocks of images, the cells of each block, batches; over any number of processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from timm_pushpull.benchmark.distributed import Distributed
from timm_pushpull.benchmark.evaluation import CLEAN, DETAILS, Evaluation, detail
from timm_pushpull.benchmark.inference import (
    check_module,
    choose_batch_size,
    eval_mode,
    forward,
    geometry_of,
    normalisation,
)
from timm_pushpull.benchmark.progress_log import ProgressLog, unpack_errors
from timm_pushpull.benchmark.sources import OnTheFlyCorruptions, Source
from timm_pushpull.benchmark.tasks import UNIT, Cell, Classification, Retrieval, Task
from timm_pushpull.corruptions import CORRUPTIONS, SEVERITIES
from timm_pushpull.corruptions.functional import cells_of
from timm_pushpull.data.images import ImageSet
from timm_pushpull.data.preprocessing import Geometry, normalise
from timm_pushpull.utils import hardware
from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.progress import progress_bar


def evaluate(
    model: Callable[[Tensor], Tensor],
    images: ImageSet | Source,
    geometry: Geometry | None = None,
    *,
    task: Task | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    corruptions: Sequence[str] = CORRUPTIONS,
    severities: Sequence[int] = SEVERITIES,
    details: bool = False,
    batch_size: int | None = None,
    device: torch.device | str = "cpu",
    precision: str = "fp32",
    distributed: Distributed | None = None,
    log: ProgressLog | None = None,
    progress: bool = True,
    **options: Any,
) -> Evaluation:
    """Measure the errors of a model on clean and corrupted images.

    Images are resized and cropped, corrupted, then normalised, in this order, as for ImageNet-C.

    Args:
        model: Any callable from normalised float32 images (N, 3, H, W) on `device` to outputs (N, outputs). A module
            is run in eval mode and restored afterwards.
        images: What to measure on. An `ImageSet` is corrupted on the fly.
        geometry: Resize and crop of an `ImageSet`; by default that of the model's timm data config.
        task: What the error of an image is: by default a wrong top-1 class; `retrieval(...)` for 1 - AP.
        mean, std: Of the input, per channel; by default those of the model's timm data config.
        corruptions, severities: The cells, beside the clean images. Without corruptions, the clean error alone.
        details: Whether to count top-5 and calibration errors of a classifier.
        batch_size: Images per forward pass; by default 64 on a CPU, else 512.
        device: Where the model is; images are moved there.
        precision: Precision of the forward pass, fp32 or bf16.
        distributed: The place of this process among several; by default it works alone.
        log: Keeps finished parts and supplies those of an interrupted run. Only process 0 uses it.
        progress: Whether to show a progress bar.
        options: For an `ImageSet`: preset, seed, frost_dir, jpeg_quality, clean and workers of `OnTheFlyCorruptions`.

    Raises:
        InputError: Before anything is measured: a model on another device, in half precision or without three input
            channels; an unknown corruption or preset; a severity, seed or quality out of range; a `frost_dir` without
            the textures; images that are too small. Then: outputs of the wrong shape or not finite, with the cell they
            come from; images other than those of the log; details of another task than classification.

    Examples:
        >>> from timm_pushpull.data import ResizeCenterCrop, load_images
        >>> def brightness(x):  # class 0 for dark images to 9 for bright ones
        ...     return torch.nn.functional.one_hot((9 * x.mean(dim=(1, 2, 3))).long(), 10).float()
        >>> evaluation = evaluate(
        ...     brightness, load_images("digits"), ResizeCenterCrop(32, 32), mean=(0, 0, 0), std=(1, 1, 1),
        ...     preset="cifar10-c", corruptions=["contrast"], severities=[1, 3], progress=False,
        ... )
        >>> [error is None for error in evaluation.errors["contrast"]]
        [False, True, False, True, True]
    """
    if not callable(model):
        raise InputError(f"the model is {model!r}; give the network itself, such as timm.create_model(NAME)")
    check_module(model, device, precision)
    images = _source(model, images, geometry, options)
    mean, std = normalisation(model, mean, std)
    distributed = distributed or Distributed()
    if task is None:
        task = Classification(len(images.classes))
    if details and not isinstance(task, Classification):
        raise InputError("top-5 and calibration errors are those of a classifier; leave details out")
    batch = choose_batch_size(batch_size, device)
    workers = 1 if torch.device(device).type == "cpu" else max(1, (os.cpu_count() or 1) // distributed.world_size)
    count = len(images.labels)
    corrupted = cells_of(corruptions, severities)
    images.check(corrupted)
    about = images.about([name for name, _ in corrupted]) | _about(task, device, precision)
    cells = [CLEAN] * images.has_clean + corrupted
    state = _State(task, count, cells, details, device, distributed, log if distributed.is_main else None)
    size = state.block_images or distributed.world_size * images.block_images(batch)
    todo = {start: [cell for cell in cells if (cell, start) not in state.done] for start in range(0, count, size)}
    shards = {start: distributed.shard(start, min(start + size, count)) for start in todo}
    total = len(cells) * sum(map(len, shards.values()))
    left = sum(len(todo[start]) * len(shards[start]) for start in todo)
    steps = progress_bar(total, "measure", "img", show=progress, initial=total - left)
    with steps, eval_mode(model), torch.inference_mode(), hardware.autocast(precision, device):
        for start, missing in todo.items():
            block = _Block(state, start, min(start + size, count), size)
            if len(shards[start]) == 0:  # the last block can have fewer images than there are processes
                for cell in missing:
                    block.finish(cell, 0)
            elif missing:
                for cell, positions, pixels, last in images.batches(shards[start], missing, batch, workers):
                    outputs = forward(model, normalise(pixels, mean, std, device))
                    block.add(cell, positions, outputs, images.labels[positions])
                    steps.update(len(positions))
                    if last:
                        block.finish(cell, images.digest)
    return replace(state.evaluation(), about=about)


def _about(task: Task, device: torch.device | str, precision: str) -> dict[str, Any]:
    """The fields of `Measurement` that say what an error is and how it was computed."""
    fields = {"precision": precision, "hardware": hardware.describe(torch.device(device))}
    return fields | ({"task": "retrieval", "retrieval": task.settings} if isinstance(task, Retrieval) else {})


def _source(model: Any, images: ImageSet | Source, geometry: Geometry | None, options: Mapping[str, Any]) -> Source:
    if isinstance(images, ImageSet):
        return OnTheFlyCorruptions(images, geometry_of(model, geometry), **options)
    if not hasattr(images, "batches"):
        raise InputError(f"images are {type(images).__name__}; give timm_pushpull.data.load_images(FOLDER_OR_HUB_ID)")
    if options:
        raise InputError(f"{', '.join(options)} are for an ImageSet; give them to {type(images).__name__} itself")
    return images


class _State:
    """The errors found so far, in this run and, from its log, in those before."""

    def __init__(
        self,
        task: Task,
        count: int,
        cells: list[Cell],
        details: bool,
        device: torch.device | str,
        distributed: Distributed,
        log: ProgressLog | None,
    ) -> None:
        self.task, self.cells, self.with_details, self.device = task, cells, details, device
        self.distributed, self.log = distributed, log
        self.errors: np.ndarray = np.zeros((len(cells), count), task.dtype)
        self.details = np.zeros((len(cells), DETAILS), np.int64)
        self.seconds = 0.0
        self.digests: dict[int, int] = {}
        self.done: set[tuple[Cell, int]] = set()
        parts = [part for part in log.parts if self._fits(part, count, log.block_images)] if log else []
        # Process 0 tells the others what is done: a row of (cell, start, digest) per part, and the block size.
        head = self.sum(np.array([len(parts), (log.block_images or 0) if log else 0]))
        self.block_images = int(head[1])
        table = np.zeros((int(head[0]), 3), np.int64)
        for row, part in zip(table, parts, strict=False):
            row[:] = cells.index(tuple(part["cell"])), part["start"], part["digest"]
        for number, start, digest in self.sum(table).tolist():
            self.done.add((cells[number], start))
            self.digests[start] = digest
        for part in parts:
            number, start = cells.index(tuple(part["cell"])), part["start"]
            self.errors[number, start : start + part["count"]] = unpack_errors(part)
            self.details[number] += np.array(part["details"] or np.zeros(DETAILS), np.int64)
            self.seconds += part["seconds"]

    def _fits(self, part: Mapping[str, Any], count: int, block_images: int | None) -> bool:
        """Whether a part of a log is one that this measurement would write; any other is measured again."""
        start, size = part["start"], part["block_images"]
        return (
            tuple(part["cell"]) in self.cells
            and size == block_images
            and start % size == 0
            and part["count"] == min(start + size, count) - start
            and (part["details"] is not None) == self.with_details
            and unpack_errors(part).dtype == self.task.dtype
        )

    def sum(self, values: np.ndarray) -> np.ndarray:
        """The sum of an int64 array over all processes."""
        return self.distributed.sum(values, self.device)

    def evaluation(self) -> Evaluation:
        digest = sum(self.digests.values()) % (1 << 63)
        errors = self.errors if self.task.dtype is bool else self.errors / UNIT
        return Evaluation(
            dict(zip(self.cells, errors, strict=True)),
            dict(zip(self.cells, self.details, strict=True)) if self.with_details else {},
            f"{digest:016x}" if digest else None,
            self.seconds,
        )


class _Block:
    """A block of images, cell after cell. The counts of all processes are summed at the end of each cell."""

    def __init__(self, state: _State, start: int, stop: int, size: int) -> None:
        self.state, self.start, self.stop, self.size = state, start, stop, size
        self._reset()

    def add(self, cell: Cell, positions: np.ndarray, outputs: Tensor, labels: np.ndarray) -> None:
        """Count a batch."""
        places = torch.from_numpy(positions - self.start).to(outputs.device)
        self.errors[places] = self.state.task.errors(outputs, labels, cell)
        if self.state.with_details:
            self.details += detail(outputs.float().softmax(dim=1).cpu().numpy(), labels)

    def finish(self, cell: Cell, digest: int) -> None:
        """Sum a cell over all processes and log it.

        Args:
            digest: Of this process's images of the block.
        """
        state, count = self.state, self.stop - self.start
        # In halves, whose sums over the processes fit into 64 bits.
        halves = np.array([digest & 0x7FFFFFFF, digest >> 31], np.int64)
        found = state.sum(np.concatenate([self.errors.cpu().numpy(), self.details, halves]))
        errors: np.ndarray = found[:count].astype(state.task.dtype)
        details = found[count:-2]
        digest = (int(found[-2]) + (int(found[-1]) << 31)) % (1 << 63)
        if state.digests.setdefault(self.start, digest) != digest:
            raise InputError("the images are not those of the interrupted measurement; choose another --output")
        number, seconds = state.cells.index(cell), time.perf_counter() - self.began
        state.errors[number, self.start : self.stop] = errors
        state.details[number] += details
        state.seconds += seconds
        if state.log:
            logged = details if state.with_details else None
            state.log.append(cell, self.start, errors, logged, self.size, digest=digest, seconds=round(seconds, 3))
        self._reset()

    def _reset(self) -> None:
        self.errors = torch.zeros(self.stop - self.start, dtype=torch.int64, device=self.state.device)
        self.details = np.zeros(DETAILS, np.int64)
        self.began = time.perf_counter()
