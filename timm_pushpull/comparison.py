"""Results beside a baseline's, and beside the published ones: the rows of the paper's Table 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from timm_pushpull import metrics, paper
from timm_pushpull.errors import InputError
from timm_pushpull.results import Results


@dataclass(frozen=True)
class Line:
    """One model's figures, relative ones to its own baseline; None where they are not defined.

    Attributes:
        section: What the line belongs to: "measured", or where it was published.
        r_net: R_net (Eq. 13) with beta = mCE0 / E0, a fraction.
        relative: Corruption to the error relative to the baseline's.
        improved: Names of the figures (`mce`, `mrce`, corruptions, ...) that are better than the baseline's.
    """

    model: str
    section: str
    is_baseline: bool
    clean_error: float | None
    mce: float
    mrce: float | None
    r_net: float | None
    relative: dict[str, float | None]
    improved: frozenset[str] = field(default=frozenset())


def measured_lines(measured: Sequence[Results]) -> list[Line]:
    """Lines of results; the first are the baseline.

    Relative figures are left open where the baseline makes no error.

    Raises:
        InputError: Nothing but the clean error was measured.
    """
    baseline = measured[0]
    if not baseline.errors:
        raise InputError(f"{baseline.model} was measured on clean images only; nothing is to be compared")
    lines = []
    for place, results in enumerate(measured):
        relative, mrce = results.relative_to(baseline) or (dict.fromkeys(results.errors), None)
        lines.append(
            _line(
                results.model,
                "measured",
                place == 0,
                (results.clean_error, results.mce),
                mrce,
                relative,
                (baseline.clean_error, baseline.mce),
            )
        )
    return lines


def published_lines(table: str) -> list[Line]:
    """Lines of the paper's `table1` or `table2`; R_net is computed from the printed E and mCE.

    Raises:
        InputError: No such table.
    """
    rows = paper.load(table)
    baselines = {row.baseline: (row.clean_error, row.mce) for row in rows if row.is_baseline}
    return [
        _line(
            row.label,
            f"published, Table {table.removeprefix('table')}, {row.dataset}",
            row.is_baseline,
            (row.clean_error, row.mce),
            row.mrce,
            row.values,
            baselines[row.baseline],
        )
        for row in rows
    ]


def require_errors(baseline: Results) -> None:
    """Raise InputError where the baseline makes no error, so that nothing can be relative to it."""
    metrics.relative_corruption_errors(baseline.errors, baseline.errors)
    if baseline.clean_error is not None:
        metrics.clean_error_reduction(baseline.clean_error, baseline.clean_error)


def _line(
    model: str,
    section: str,
    is_baseline: bool,
    errors: tuple[float | None, float],
    mrce: float | None,
    relative: dict[str, float | None],
    baseline: tuple[float | None, float],
) -> Line:
    clean, mce = errors
    defined = clean is not None and all(baseline)
    r_net = metrics.net_error_reduction(clean, mce, *baseline) if defined else None
    one = {"mrce": mrce, **relative}
    improved = {name for name, value in one.items() if value is not None and value < 1}
    own = {"clean_error": (clean, baseline[0]), "mce": (mce, baseline[1])}
    improved |= {name for name, pair in own.items() if None not in pair and pair[0] < pair[1]}
    improved |= {"r_net"} if r_net is not None and r_net > 0 else set()
    return Line(model, section, is_baseline, clean, mce, mrce, r_net, relative, frozenset(improved))
