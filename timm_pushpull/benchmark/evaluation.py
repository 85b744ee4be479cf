"""The outcome of a benchmark: for every cell, the error of every image."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from torch import nn

from timm_pushpull import metrics
from timm_pushpull.benchmark.error_table import error_table
from timm_pushpull.benchmark.results import CellValues, Intervals, Measurement, Results
from timm_pushpull.benchmark.tasks import UNIT, Cell
from timm_pushpull.metrics import NORMAL_95, confidence_bins
from timm_pushpull.models.weights import current_weights_hash, name_of
from timm_pushpull.utils import provenance
from timm_pushpull.utils.errors import InputError

T = TypeVar("T")

CLEAN: Cell = ("clean", 0)
_BINS = 15  # of confidence, for the calibration error

#: Length of the counts behind top-5 and calibration errors: images that are wrong within the first five, then for each
#: bin of confidence the images, the correct ones, and the sum of confidences in units of 1/UNIT.
DETAILS = 1 + 3 * _BINS


@dataclass(frozen=True)
class Evaluation:
    """The errors of a model.

    Attributes:
        image_errors: Cell to the error of every image, in their order, shape (N,): bool if an image is right or wrong,
            else float64, fractions.
        details: Cell to int64 of shape (DETAILS,); empty unless requested.
        fingerprint: Hash of the pixels before corruption, 16 hexadecimal digits, independent of the order of images;
            None for precomputed corruptions.
        seconds: Time of the measurement.
        about: What was measured, as fields of `Measurement`; needed for `results`.

    `print(evaluation)` shows a table; `save` writes a results file, which `timm-pushpull compare`, `report` and `plot`
    read.
    """

    image_errors: Mapping[Cell, np.ndarray]
    details: Mapping[Cell, np.ndarray] = field(default_factory=dict)
    fingerprint: str | None = None
    seconds: float = 0.0
    about: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.image_errors.values())))

    @property
    def clean_error(self) -> float | None:
        """Error on the clean images, a fraction; None if there were none."""
        return self.error(CLEAN)

    @property
    def errors(self) -> dict[str, list[float | None]]:
        """Errors at severities 1 to 5 per corruption, fractions; None where not measured."""
        return self._table(self.error)

    @property
    def mce(self) -> float | None:
        """Absolute mCE (Eq. 9) over what was measured, a fraction; None without any of the test corruptions."""
        return metrics.mean_corruption_error(self.errors) if metrics.without_validation(self.errors) else None

    @property
    def intervals(self) -> dict[str, list[tuple[float, float] | None]]:
        """95 % intervals of `errors`."""
        return self._table(self.interval)

    def error(self, cell: Cell) -> float | None:
        """Mean error of the images in a cell."""
        return float(self.image_errors[cell].mean()) if cell in self.image_errors else None

    def interval(self, cell: Cell) -> tuple[float, float] | None:
        """The 95 % interval of the error in a cell: Wilson's for an error rate, else that of a mean."""
        if cell not in self.image_errors:
            return None
        if self.image_errors[cell].dtype == bool:
            return metrics.confidence_interval(float(self.image_errors[cell].mean()), len(self))
        return _interval_of_mean(self.image_errors[cell])

    @property
    def mce_interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the mCE; None without any of the test corruptions.

        The errors of an image in different cells are correlated. So this is the interval of a mean over images, each
        with its mean error over the cells, not one that takes the cells as independent.
        """
        names = list(metrics.without_validation(dict.fromkeys(self._names())))
        if not names:
            return None
        return _interval_of_mean(
            np.mean(
                [np.mean([e for (n, _), e in self.image_errors.items() if n == name], axis=0) for name in names], axis=0
            )
        )

    def top5_error(self, cell: Cell) -> float:
        """Share of images whose class is not among the five most likely."""
        return int(self.details[cell][0]) / len(self)

    def calibration_error(self, cell: Cell) -> float:
        """Expected calibration error over 15 bins of confidence of equal width."""
        _, right, confidence = self.details[cell][1:].reshape(3, _BINS)
        return float(np.abs(confidence / UNIT - right).sum() / len(self))

    def __str__(self) -> str:
        return error_table(self.clean_error, self.errors, self.interval(CLEAN), self.mce_interval)

    def results(self, model: nn.Module, *, name: str | None = None) -> Results:
        """The results, with the model's name, the hash of its weights, and what was measured.

        Args:
            model: The model that was measured.
            name: By default that of a timm model, else the name of its class.

        Raises:
            InputError: `model` is no module, or the evaluation does not come from `evaluate`.
        """
        if not isinstance(model, nn.Module):
            raise InputError(f"results need the model as a torch.nn.Module, not {type(model).__name__}")
        if not self.about:
            raise InputError("the evaluation does not say what was measured; take one that `evaluate` returns")
        measurement = Measurement(
            model=name or name_of(model),
            weights_sha256=current_weights_hash(model),
            num_images=len(self),
            versions=provenance.versions(),
            command=provenance.command(),
            commit=provenance.commit(),
            **self.about,
        )
        return measurement.results(**self.as_results())

    def save(self, path: Path | str, model: nn.Module, *, name: str | None = None) -> Results:
        """Write `results`, whole or not at all, and return them."""
        results = self.results(model, name=name)
        results.save(path)
        return results

    def as_results(self) -> dict[str, Any]:
        """The fields of `Results` that an evaluation fills."""
        return {
            "clean_error": self.clean_error,
            "errors": self.errors,
            "intervals": Intervals(self.interval(CLEAN), self.mce_interval, self.intervals),
            "top5_errors": self._values(self.top5_error),
            "calibration_errors": self._values(self.calibration_error),
            "fingerprint": self.fingerprint,
            "seconds": round(self.seconds, 1),
        }

    def _values(self, of: Callable[[Cell], float]) -> CellValues | None:
        def value(cell: Cell) -> float | None:
            return of(cell) if cell in self.image_errors else None

        return CellValues(value(CLEAN), self._table(value)) if self.details else None

    def _names(self) -> list[str]:
        return list(dict.fromkeys(name for name, _ in self.image_errors if name != CLEAN[0]))

    def _table(self, value: Callable[[Cell], T]) -> dict[str, list[T]]:
        return {name: [value((name, severity)) for severity in (1, 2, 3, 4, 5)] for name in self._names()}


def _interval_of_mean(values: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of the mean of fractions, one per image (normal approximation)."""
    reach = NORMAL_95 * values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else 1.0
    return max(0.0, float(values.mean() - reach)), min(1.0, float(values.mean() + reach))


def detail(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The counts of a batch behind top-5 and calibration errors, int64 of shape (DETAILS,).

    Args:
        probabilities: float32 (N, classes). labels: int64 (N,).
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :5]
    right = order[:, 0] == labels
    confidence = probabilities.max(axis=1)
    bins = confidence_bins(confidence, _BINS)
    counts = np.zeros(DETAILS, np.int64)
    counts[0] = (order != labels[:, None]).all(axis=1).sum()
    for row, weights in enumerate((np.ones(len(labels), np.int64), right, np.rint(confidence * UNIT).astype(np.int64))):
        np.add.at(counts[1:].reshape(3, _BINS)[row], bins, weights)
    return counts
