"""The paper's Tables 3 and 4, which list means and standard deviations, with the digits as printed."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class FixedInhibition:
    """A row of Table 3: ResNet18 on ImageNet100 with a fixed alpha, over alpha = 0.5, 1, 2, 3, 4, 5, 6.

    Attributes:
        avg_size: Side of the average pooling, 0 for none; None for the plain network.
        clean_error, mrce: Mean and standard deviation over the values of alpha; None as deviation of the baseline.
    """

    model: str
    avg_size: int | None
    clean_error: tuple[float, float | None]
    mrce: tuple[float, float | None]


@dataclass(frozen=True)
class ByFrequency:
    """A row of Table 4: errors on CIFAR10-C relative to the baseline's.

    Attributes:
        groups: Low, mid and high frequency, as in `metrics.FREQUENCIES`, to the mean over their corruptions and its
            standard deviation.
    """

    baseline: str
    model: str
    groups: dict[str, tuple[float, float]]


def table3() -> list[FixedInhibition]:
    """The rows of Table 3."""

    def pair(row: dict[str, str], name: str) -> tuple[float, float | None]:
        deviation = row[f"{name}_std"]
        return float(row[name]), float(deviation) if deviation else None

    return [
        FixedInhibition(
            row["model"],
            int(row["avg_size"]) if row["avg_size"] else None,
            pair(row, "clean_error"),
            pair(row, "mrce"),
        )
        for row in _rows("table3")
    ]


def table4() -> list[ByFrequency]:
    """The rows of Table 4."""
    return [
        ByFrequency(
            row["baseline"],
            row["model"],
            {name: (float(row[name]), float(row[f"{name}_std"])) for name in ("low", "mid", "high")},
        )
        for row in _rows("table4")
    ]


def _rows(table: str) -> list[dict[str, str]]:
    with resources.files(__package__).joinpath(f"{table}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))
