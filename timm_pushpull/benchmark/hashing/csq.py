"""Central similarity quantization (CSQ; Yuan et al., CVPR 2020): the images of a class are trained towards its hash."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from timm_pushpull.utils.errors import InputError, unknown

BITS = 64
QUANTIZATION_WEIGHT = 1e-4

_DRAWS = 1000  # random codes tried before codes at a smaller distance are accepted

_REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": torch.mean,
    "sum": torch.sum,
    "none": lambda losses: losses,
}


def hash_targets(classes: int, bits: int = BITS, seed: int = 0) -> Tensor:
    """One hash per class, far from each other.

    If `bits` is a power of two and there are at most `2 * bits` classes, these are the first rows of [H; -H], where H
    is the Sylvester-Hadamard matrix: two rows differ in half of the bits, opposite rows in all. Otherwise they are
    random balanced codes, as in CSQ, half of whose bits are 1. A drawn code is accepted if it is far from all before it
    (1000 codes of 64 bits differ in at least 22).

    Args:
        classes: Number of classes, at least 2.
        bits: Length of a hash, a multiple of 8.
        seed: Of the random codes; the rows of the Hadamard matrix do not depend on it.

    Returns:
        float32 of shape (classes, bits), each value -1 or 1; index it by labels for the targets of `csq_loss`.

    Raises:
        InputError: Fewer than 2 classes, more classes than balanced codes, or bits that are not a multiple of 8.
    """
    if classes < 2:
        raise InputError(f"hash targets for {classes} classes; give at least 2")
    if bits < 8 or bits % 8:
        raise InputError(f"a hash cannot have {bits} bits; give a multiple of 8")
    if bits & (bits - 1) or classes > 2 * bits:
        return torch.from_numpy(_balanced_codes(classes, bits, np.random.default_rng(seed)))
    hadamard = torch.ones(1, 1)
    while len(hadamard) < bits:
        hadamard = torch.kron(torch.tensor([[1.0, 1.0], [1.0, -1.0]]), hadamard)
    return torch.cat([hadamard, -hadamard])[:classes]


def _balanced_codes(classes: int, bits: int, rng: np.random.Generator) -> np.ndarray:
    """Distinct codes, float32 of shape (classes, bits), each with as many -1 as 1; so all distances are even."""
    if classes > math.comb(bits, bits // 2):
        raise InputError(f"{classes} classes, but there are {math.comb(bits, bits // 2)} balanced codes of {bits} bits")
    codes, found, distance = np.empty((classes, bits), np.float32), 0, bits // 2

    def far(draws: np.ndarray) -> np.ndarray:
        return (codes[:found] @ draws.T <= bits - 2 * distance).all(axis=0)

    while found < classes:
        draws = np.where(rng.random((_DRAWS, bits)).argsort(axis=1) < bits // 2, 1, -1).astype(np.float32)
        draws = draws[far(draws)]
        if not len(draws):
            distance = max(distance - 2, 2)
        for draw in draws:
            if found < classes and far(draw):
                codes[found] = draw
                found += 1
    return codes


def csq_loss(
    outputs: Tensor, targets: Tensor, quantization_weight: float = QUANTIZATION_WEIGHT, reduction: str = "mean"
) -> Tensor:
    """The loss of CSQ (the paper's supplement, Eqs. 16 and 17).

    Per image, it is the mean over bits of the binary cross entropy between (1 + tanh y) / 2 and (1 + target) / 2, plus
    `quantization_weight` times the mean over bits of (|tanh y| - 1)^2. It is computed in float32 or float64.

    Args:
        outputs: Of the network, shape (N, bits), any floating dtype.
        targets: The hash of each image's class, of the same shape, each value -1 or 1: `hash_targets(...)[labels]`.
        reduction: "mean" or "sum" over images, or "none".

    Returns:
        A scalar, or with "none" shape (N,); float32, or float64 for outputs in float64.

    Raises:
        InputError: Shapes that differ, or an unknown reduction.
    """
    if reduction not in _REDUCTIONS:
        raise unknown("reduction", reduction, _REDUCTIONS)
    if outputs.ndim != 2 or outputs.shape != targets.shape:
        raise InputError(
            f"outputs have shape {tuple(outputs.shape)} and targets {tuple(targets.shape)}; give both as (images, bits)"
        )
    outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
    targets = (1 + targets.to(outputs.dtype)) / 2
    # (1 + tanh y) / 2 is the sigmoid of 2 y: from logits, the logarithm of a saturated output stays finite.
    hash_loss = F.binary_cross_entropy_with_logits(2 * outputs, targets, reduction="none").mean(dim=1)
    quantization_loss = (outputs.tanh().abs() - 1).square().mean(dim=1)
    return _REDUCTIONS[reduction](hash_loss + quantization_weight * quantization_loss)
