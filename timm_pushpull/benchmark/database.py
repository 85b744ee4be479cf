"""The hashes of a database of images, which queries are ranked against."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from timm_pushpull.benchmark.distributed import Distributed
from timm_pushpull.benchmark.hashing import TOP, pack
from timm_pushpull.benchmark.inference import choose_batch_size, eval_mode, forward, geometry_of, normalisation
from timm_pushpull.benchmark.tasks import Retrieval, check_top
from timm_pushpull.data.images import ImageSet, read_batches
from timm_pushpull.data.preprocessing import Geometry, normalise
from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.hardware import autocast
from timm_pushpull.utils.progress import progress_bar


def retrieval(
    model: Callable[[Tensor], Tensor],
    database: ImageSet,
    geometry: Geometry | None = None,
    *,
    top: int = TOP,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    batch_size: int | None = None,
    device: torch.device | str = "cpu",
    precision: str = "fp32",
    distributed: Distributed | None = None,
    progress: bool = True,
) -> Retrieval:
    """The task of retrieving images of the query's class from `database`, which is hashed here.

    Every process hashes its share of the images and receives the hashes of all. Arguments as in `evaluate`.

    Args:
        top: Ranks that count for the average precision.

    Raises:
        InputError: Fewer images than `top`, or outputs that are not a hash: their number is not a multiple of 8, or
            they are NaN.
    """
    check_top(top, len(database))
    mean, std = normalisation(model, mean, std)
    geometry = geometry_of(model, geometry)
    distributed = distributed or Distributed()
    shard = distributed.shard(0, len(database))
    batch = choose_batch_size(batch_size, device)
    codes = []
    with (
        progress_bar(len(shard), "hash the database", "img", show=progress) as steps,
        eval_mode(model),
        torch.inference_mode(),
        autocast(precision, device),
    ):
        for pixels, _ in read_batches(database, geometry, batch, database.indices[shard]):
            codes.append(_hash(forward(model, normalise(np.stack(pixels), mean, std, device))))
            steps.update(len(pixels))

    # Process 0 has images; others can have none and then do not know the length of a hash.
    (width,) = distributed.sum(np.array([codes[0].shape[1] if distributed.is_main else 0]), device)
    words = np.zeros((len(database), -(-width // 8)), np.int64)  # 8 bytes of a hash each; 0 in other processes' rows
    if codes:
        words.view(np.uint8)[shard, :width] = np.concatenate(codes)
    all_codes = np.ascontiguousarray(distributed.sum(words, device).view(np.uint8)[:, :width])
    return Retrieval(all_codes, database.labels[database.indices], top, database.split)


def _hash(outputs: Tensor) -> np.ndarray:
    if outputs.ndim == 2 and outputs.shape[1] % 8:
        raise InputError(
            f"the model gives {outputs.shape[1]} outputs per image, which are no hash: a hash has a multiple of 8 "
            f"bits; use a model trained for retrieval"
        )
    return pack(outputs)
