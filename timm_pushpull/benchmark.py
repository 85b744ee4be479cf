"""The corruption benchmark: the errors of a classifier on clean and corrupted images, corrupted on the fly."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from timm_pushpull.corruptions import CORRUPTIONS, corrupt_batch
from timm_pushpull.data import ImageSet, read_batches
from timm_pushpull.errors import InputError
from timm_pushpull.hardware import autocast
from timm_pushpull.preprocess import Geometry, normalise
from timm_pushpull.progress import progress_bar

SEVERITIES = (1, 2, 3, 4, 5)
CLEAN = ("clean", 0)


def evaluate(
    model: Callable[[Tensor], Tensor],
    images: ImageSet,
    geometry: Geometry,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    preset: str = "imagenet-c",
    corruptions: Sequence[str] = CORRUPTIONS,
    severities: Sequence[int] = SEVERITIES,
    seed: int = 0,
    frost_dir: Path | str | None = None,
    jpeg_quality: int | None = None,
    batch_size: int | None = None,
    device: torch.device | str = "cpu",
    precision: str = "fp32",
    rank: int = 0,
    processes: int = 1,
    add_up: Callable[[Tensor], Tensor] = lambda counts: counts,
    progress: bool = True,
) -> tuple[float, dict[str, list[float | None]]]:
    """Measure the top-1 error on clean images and under corruptions.

    Images are resized and cropped, corrupted, then normalised, in this order, as for ImageNet-C. Every image is
    decoded once for all its corruptions.

    Args:
        model: Normalised float32 images (N, 3, H, W) to logits (N, classes); in eval mode, on `device`.
        preset, corruptions, severities, seed, frost_dir, jpeg_quality: What the images go through, as in `corrupt`; no
            corruptions for the clean error alone.
        batch_size: Images a forward pass; by default 64 on a CPU, whose caches hold no more, else 512.
        rank, processes, add_up: This process takes every `processes`-th image from `rank` on, and `add_up` sums the
            int64 counts of all processes.

    Returns:
        The clean error, and the errors at severities 1 to 5 per corruption (None where not asked for), fractions.

    Raises:
        InputError: Fewer outputs than classes; logits that are not finite, with the cell they came from.
    """
    cells = [CLEAN, *((name, severity) for name in corruptions for severity in severities)]
    wrong = torch.zeros(len(cells), dtype=torch.int64, device=device)
    rows = images.indices[rank::processes]
    batch_size = batch_size or (64 if torch.device(device).type == "cpu" else 512)
    options = {"seed": seed, "frost_dir": frost_dir, "jpeg_quality": jpeg_quality}
    steps = progress_bar(len(cells) * len(rows), "measure", "img", show=progress)
    with steps, torch.inference_mode(), autocast(precision, device):
        for pictures, indices in read_batches(images, geometry, batch_size, rows):
            batch = np.stack(pictures)
            labels = torch.from_numpy(images.labels[indices]).to(device)
            for number, (name, severity) in enumerate(cells):
                clean = (name, severity) == CLEAN
                pixels = batch if clean else corrupt_batch(batch, name, severity, preset, indices=indices, **options)
                logits = model(normalise(pixels, mean, std, device))
                _check_logits(logits, len(images.classes), name, severity)
                wrong[number] += (logits.argmax(dim=1) != labels).sum()
                steps.update(len(indices))
    errors = (add_up(wrong).cpu().numpy().astype(np.float64) / len(images)).tolist()
    table: dict[str, list[float | None]] = {name: [None] * 5 for name in corruptions}
    for (name, severity), error in zip(cells[1:], errors[1:], strict=True):
        table[name][severity - 1] = error
    return errors[0], table


def check_classes(names: Sequence[str] | None, images: ImageSet) -> None:
    """Compare the class names that came with a model, if any, to the data set's.

    Names that agree only in part, or in another order, would count right answers as wrong. Names with nothing in common
    may be two spellings of the same classes (WordNet ids and words), so they only draw a warning.

    Raises:
        InputError: Another number of classes; names that agree in part or in another order.
    """
    if not names or list(names) == list(images.classes):
        return
    if len(names) != len(images.classes):
        raise InputError(
            f"the model has {len(names)} classes, {images.name!r} has {len(images.classes)}; "
            f"use a model trained on these classes"
        )
    theirs, ours = (", ".join(map(str, classes[:3])) for classes in (names, images.classes))
    described = f"the model's classes ({theirs}, ...) are not those of {images.name!r} ({ours}, ...)"
    if set(names) & set(images.classes):
        raise InputError(f"{described}; use a model trained on these classes, in this order")
    warnings.warn(f"{described}; errors mean nothing unless they are the same under other names", stacklevel=2)


def _check_logits(logits: Tensor, classes: int, name: str, severity: int) -> None:
    if logits.ndim != 2 or logits.shape[1] != classes:
        raise InputError(
            f"the model gives {tuple(logits.shape)[1:]} outputs per image, the data set has {classes} "
            f"classes; use a model trained on these classes"
        )
    if not logits.isfinite().all():
        raise InputError(
            f"the model gives logits that are not finite on {name}, severity {severity}; "
            f"try --precision fp32, or mend the weights"
        )
