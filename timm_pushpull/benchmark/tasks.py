"""What the error of an image is: a wrong class, or 1 - average precision."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from timm_pushpull.benchmark.hashing import TOP, average_precision, pack
from timm_pushpull.benchmark.results import RetrievalSettings
from timm_pushpull.utils.errors import InputError

Cell = tuple[str, int]  # a corruption and its severity
#: Fractions are stored and summed as integers in units of 1/UNIT, so that a sum does not depend on its order.
UNIT = 1 << 24


class Task(Protocol):
    """From a batch of network outputs to an error per image.

    Attributes:
        dtype: Of stored errors: bool, or int32 for fractions in units of 1/UNIT.
    """

    dtype: type

    def errors(self, outputs: Tensor, labels: np.ndarray, cell: Cell) -> Tensor:
        """The error of every image, int64 of shape (N,): 0 or 1, or fractions in units of 1/UNIT.

        Args:
            outputs: Of the network, shape (N, outputs).
            labels: int64 of shape (N,).
            cell: What is measured, for error messages.

        Raises:
            InputError: Outputs of the wrong shape, or not finite.
        """


class Classification:
    """An image is wrong if its class is not the most likely one of `classes` classes."""

    dtype: type = bool

    def __init__(self, classes: int) -> None:
        self.classes = classes

    def errors(self, outputs: Tensor, labels: np.ndarray, cell: Cell) -> Tensor:
        if outputs.ndim != 2 or outputs.shape[1] != self.classes:
            raise InputError(
                f"the model gives {tuple(outputs.shape)[1:]} outputs per image, the dataset has {self.classes} "
                f"classes; use a model trained on these classes"
            )
        _check_finite(outputs, "logits", cell)
        return (outputs.argmax(dim=1) != torch.from_numpy(labels).to(outputs.device)).long()


class Retrieval:
    """An image's error is 1 - AP, with its average precision among the `top` nearest of a database (supplement 7.2).

    Hashes at the same distance, which are frequent with a trained network, rank in a random order that is drawn once
    with a fixed seed: in the order of the dataset, images may be sorted by class.

    Args:
        codes: Hashes of the database, uint8 of shape (M, bits / 8), from `hashing.pack`.
        labels: Their classes, int64 of shape (M,).
        top: Number of ranks that count.
        split: Where the database is from, for the record.

    Raises:
        InputError: The database has fewer than `top` images.
    """

    dtype: type = np.int32

    def __init__(self, codes: np.ndarray, labels: np.ndarray, top: int = TOP, split: str = "train") -> None:
        check_top(top, len(codes))
        self.settings = RetrievalSettings(8 * codes.shape[1], top, split, len(codes))
        order = np.random.default_rng(0).permutation(len(codes))
        self.codes, self.labels, self.top = codes[order], labels[order], top

    def errors(self, outputs: Tensor, labels: np.ndarray, cell: Cell) -> Tensor:
        if outputs.ndim != 2 or outputs.shape[1] != 8 * self.codes.shape[1]:
            raise InputError(
                f"the model gives {tuple(outputs.shape)[1:]} outputs per image, the hashes of the database have "
                f"{8 * self.codes.shape[1]} bits; hash both with the same model"
            )
        _check_finite(outputs, "outputs", cell)
        precision = average_precision(pack(outputs), self.codes, labels, self.labels, self.top)
        return torch.from_numpy(np.rint((1 - precision) * UNIT).astype(np.int64)).to(outputs.device)


def check_top(top: int, images: int) -> None:
    """Raise InputError unless 1 <= top <= images, the size of the database."""
    if not 1 <= top <= images:
        raise InputError(f"top is {top} and the database has {images:,} images; use one from 1 to {images}")


def _check_finite(outputs: Tensor, name: str, cell: Cell) -> None:
    if not outputs.isfinite().all():
        raise InputError(
            f"the model gives {name} that are not finite on {cell[0]}, severity {cell[1]}; try --precision fp32, or "
            f"check the weights"
        )
