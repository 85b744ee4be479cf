"""The hashes of a database of images, which queries are ranked against."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from timm_pushpull.benchmark.hashing import TOP, pack
from timm_pushpull.benchmark.preparation import Sum, default_batch, eval_mode, normalisation, summed
from timm_pushpull.benchmark.tasks import Retrieval, check_top
from timm_pushpull.data.images import ImageSet, read_batches
from timm_pushpull.data.preprocessing import ResizeCenterCrop, model_geometry, normalise
from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.hardware import autocast
from timm_pushpull.utils.progress import progress_bar


def retrieval(
    model: Callable[[Tensor], Tensor],
    database: ImageSet,
    geometry: ResizeCenterCrop | None = None,
    *,
    top: int = TOP,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    batch_size: int | None = None,
    device: torch.device | str = "cpu",
    precision: str = "fp32",
    rank: int = 0,
    processes: int = 1,
    add_up: Sum = lambda counts: counts,
    progress: bool = True,
) -> Retrieval:
    """The task of retrieving, for a query, the images of its class from `database`, which is hashed here.

    Every process hashes its share of the images, and all get all hashes. Arguments as in `evaluate`.

    Raises:
        InputError: Fewer images than `top`, or outputs that are no hash: not a multiple of 8, or no numbers.
    """
    check_top(top, len(database))
    mean, std = normalisation(model, mean, std)
    geometry = geometry or model_geometry(model)
    mine = np.arange(rank, len(database), processes)
    batch = batch_size or default_batch(device)
    codes = []
    with (
        progress_bar(len(mine), "hash the database", "img", show=progress) as steps,
        eval_mode(model),
        torch.inference_mode(),
        autocast(precision, device),
    ):
        for pixels, _ in read_batches(database, geometry, batch, database.indices[mine]):
            codes.append(_hash(model(normalise(np.stack(pixels), mean, std, device))))
            steps.update(len(pixels))

    # The first process has images, others may have none and do not know the length of a hash.
    (width,) = summed(np.array([codes[0].shape[1] if rank == 0 else 0]), add_up, device)
    words = np.zeros((len(database), -(-width // 8)), np.int64)  # 8 bytes of a hash each; 0 where others have hashed
    if codes:
        words.view(np.uint8)[mine, :width] = np.concatenate(codes)
    all_codes = np.ascontiguousarray(summed(words, add_up, device).view(np.uint8)[:, :width])
    return Retrieval(all_codes, database.labels[database.indices], top)


def _hash(outputs: Tensor) -> np.ndarray:
    if outputs.ndim == 2 and outputs.shape[1] % 8:
        raise InputError(
            f"the model gives {outputs.shape[1]} outputs per image, which are no hash: that has a multiple of 8 bits; "
            f"use a model trained for retrieval"
        )
    return pack(outputs)
