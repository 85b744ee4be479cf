"""What a benchmark found: for every cell, which images were wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from timm_pushpull import metrics
from timm_pushpull.metrics.statistics import NORMAL_95, confidence_bins

Cell = tuple[str, int]  # a corruption and its severity
CLEAN: Cell = ("clean", 0)
_BINS = 15  # of confidence, for the calibration error
_UNIT = 1 << 24  # confidences are added up as whole numbers, so that their sum does not depend on the order

#: What is counted besides wrong images where it is asked for: wrong within the first five, then per bin of confidence
#: the images, the right ones, and the sum of confidences.
DETAILS = 1 + 3 * _BINS


@dataclass(frozen=True)
class Evaluation:
    """Which images a model got wrong.

    Attributes:
        wrong: Cell to bool of shape (N,), in the order of the images.
        details: Cell to int64 of shape (DETAILS,); empty where they were not asked for.
        fingerprint: Of the images' pixels before corruption, 16 hexadecimal digits, the same in any order; None where
            they were not at hand.
        seconds: Time that the cells took.
    """

    wrong: Mapping[Cell, np.ndarray]
    details: Mapping[Cell, np.ndarray] = field(default_factory=dict)
    fingerprint: str | None = None
    seconds: float = 0.0

    def __len__(self) -> int:
        return len(next(iter(self.wrong.values())))

    @property
    def clean_error(self) -> float | None:
        """Top-1 error on the clean images, a fraction; None where there were none."""
        return self.error(CLEAN)

    @property
    def errors(self) -> dict[str, list[float | None]]:
        """Top-1 errors at severities 1 to 5 per corruption, fractions; None where not measured."""
        return self._table(self.error)

    @property
    def intervals(self) -> dict[str, list[list[float] | None]]:
        """95 % intervals of `errors`."""
        return self._table(self.interval)

    def error(self, cell: Cell) -> float | None:
        """Top-1 error in a cell."""
        return float(self.wrong[cell].mean()) if cell in self.wrong else None

    def interval(self, cell: Cell) -> list[float] | None:
        """The 95 % interval of the error in a cell (Wilson's)."""
        if cell not in self.wrong:
            return None
        return list(metrics.confidence_interval(self.error(cell), len(self)))

    @property
    def mce_interval(self) -> list[float] | None:
        """The 95 % interval of the mCE.

        An image's errors in all cells go together, so the interval is that of the mean over images of their shares of
        wrong cells (normal approximation), not one of independent cells.
        """
        names = self._names()
        if not names:
            return None
        shares = np.mean(
            [np.mean([w for (n, _), w in self.wrong.items() if n == name], axis=0) for name in names], axis=0
        )
        reach = NORMAL_95 * shares.std(ddof=1) / math.sqrt(len(shares)) if len(shares) > 1 else 1.0
        return [max(0.0, float(shares.mean() - reach)), min(1.0, float(shares.mean() + reach))]

    def top5_error(self, cell: Cell) -> float:
        """Share of images whose class is not among the five most likely."""
        return int(self.details[cell][0]) / len(self)

    def calibration_error(self, cell: Cell) -> float:
        """Expected calibration error over 15 bins of confidence of equal width."""
        _, right, confidence = self.details[cell][1:].reshape(3, _BINS)
        return float(np.abs(confidence / _UNIT - right).sum() / len(self))

    def as_results(self) -> dict[str, object]:
        """The fields of `Results` that an evaluation fills."""
        intervals = {"clean_error": self.interval(CLEAN), "mce": self.mce_interval, "errors": self.intervals}
        more = {}
        if self.details:
            for name, value in (("top5_errors", self.top5_error), ("calibration_errors", self.calibration_error)):
                more[name] = self._table(lambda cell, of=value: of(cell) if cell in self.wrong else None)
                if CLEAN in self.wrong:
                    more[name] = {"clean": value(CLEAN), **more[name]}
        return {
            "clean_error": self.clean_error,
            "errors": self.errors,
            "intervals": intervals,
            "fingerprint": self.fingerprint,
            "seconds": round(self.seconds, 1),
            **more,
        }

    def _names(self) -> list[str]:
        return list(dict.fromkeys(name for name, _ in self.wrong if name != CLEAN[0]))

    def _table(self, value) -> dict[str, list]:
        return {name: [value((name, severity)) for severity in (1, 2, 3, 4, 5)] for name in self._names()}


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
    for row, weights in enumerate(
        (np.ones(len(labels), np.int64), right, np.rint(confidence * _UNIT).astype(np.int64))
    ):
        np.add.at(counts[1:].reshape(3, _BINS)[row], bins, weights)
    return counts
