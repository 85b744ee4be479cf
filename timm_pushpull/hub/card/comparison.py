"""What a model is compared with: its baseline and the paper's row."""

from __future__ import annotations

from dataclasses import dataclass

from timm_pushpull import metrics
from timm_pushpull.benchmark import paper
from timm_pushpull.benchmark.results import Results


@dataclass(frozen=True)
class Comparison:
    """A model beside its baseline.

    Attributes:
        baseline: What was measured of it on the same images.
        relative: Corruption to the error relative to the baseline's; empty where the baseline makes none somewhere.
        mrce: Their mean (Eq. 10).
        r_net: Net error reduction (Eq. 13) with beta = mCE0 / E0, a fraction.
    """

    baseline: Results
    relative: dict[str, float]
    mrce: float | None
    r_net: float | None


def with_baseline(results: Results) -> Comparison | None:
    """The comparison that the results hold; None where they have no baseline.

    Raises:
        InputError: The baseline was measured on other cells.
    """
    baseline = results.recorded_baseline()
    if baseline is None:
        return None
    relative, mrce = results.relative_to(baseline) or ({}, None)
    errors = (results.clean_error, results.mce, baseline.clean_error, baseline.mce)
    defined = None not in errors and all(errors[2:])
    return Comparison(baseline, relative, mrce, metrics.net_error_reduction(*errors) if defined else None)


@dataclass(frozen=True)
class Printed:
    """The paper's row about a network, and R_net (Eq. 13) computed from it and the printed row of its baseline."""

    table: str
    row: paper.Row
    r_net: float


def with_paper(results: Results) -> Printed | None:
    """What the paper prints of this network; None where it has nothing, or the results are no full benchmark."""
    row = paper.published(results.model, results.dataset, results.task)
    if row is None or results.partial:
        return None
    base = next(
        other
        for other in paper.reference(results.task)
        if other.is_baseline and (other.dataset, other.baseline) == (row.dataset, row.baseline)
    )
    table = "Tables 5 and 8" if results.retrieval else "Table 1"
    return Printed(table, row, metrics.net_error_reduction(row.clean_error, row.mce, base.clean_error, base.mce))
