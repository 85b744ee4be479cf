"""Results beside a baseline's, and beside the published ones: the rows of the paper's Tables 1, 2, 5 and 8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from timm_pushpull import metrics
from timm_pushpull.benchmark import paper
from timm_pushpull.benchmark.results import Results
from timm_pushpull.utils.errors import InputError

#: The table whose figures by corruption are absolute errors; in the others they are relative to a baseline's.
ABSOLUTE = "table8"


@dataclass(frozen=True)
class Line:
    """One model's figures, relative ones to its own baseline; None where they are not defined.

    Attributes:
        section: What the line belongs to: "measured", or where it was published.
        r_net: R_net (Eq. 13) with beta = mCE0 / E0, a fraction.
        relative: Corruption to the error relative to the baseline's.
        improved: Names of the figures (`mce`, `mrce`, corruptions, ...) that are better than the baseline's.
        absolute: Corruption to the mean error over severities, in a table of absolute errors; else empty.
    """

    model: str
    section: str
    is_baseline: bool
    clean_error: float | None
    mce: float | None
    mrce: float | None
    r_net: float | None
    relative: dict[str, float | None]
    improved: frozenset[str] = field(default=frozenset())
    absolute: dict[str, float] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, float | None]:
        """What a table shows by corruption."""
        return self.absolute or self.relative


def measured_lines(measured: Sequence[Results], absolute: bool = False) -> list[Line]:
    """Lines of results; the first are the baseline.

    Relative figures are left open where the baseline makes no error.

    Args:
        absolute: Show the errors by corruption as they are, as in the paper's Table 8.

    Raises:
        InputError: Nothing but the clean error was measured.
    """
    baseline = measured[0]
    if not baseline.errors:
        raise InputError(f"{baseline.model} was measured on clean images only; nothing is to be compared")
    lines = []
    for place, results in enumerate(measured):
        relative, mrce = results.relative_to(baseline) or (dict.fromkeys(results.errors), None)
        line = _line(
            results.model,
            "measured",
            place == 0,
            (results.clean_error, results.mce),
            mrce,
            relative,
            (baseline.clean_error, baseline.mce),
        )
        lines.append(_as_absolute(line, _means(results), _means(baseline)) if absolute else line)
    return lines


def published_lines(table: str) -> list[Line]:
    """Lines of a table of the paper, one of `paper.TABLES`; R_net is computed from the printed E and mCE.

    Raises:
        InputError: No such table.
    """
    rows = paper.load(table)
    baselines = {row.baseline: row for row in rows if row.is_baseline}
    lines = []
    for row in rows:
        base = baselines[row.baseline]
        line = _line(
            row.label,
            f"published, Table {table.removeprefix('table')}, {row.dataset}",
            row.is_baseline,
            (row.clean_error, row.mce),
            row.mrce,
            {} if table == ABSOLUTE else row.values,
            (base.clean_error, base.mce),
        )
        lines.append(_as_absolute(line, row.values, base.values) if table == ABSOLUTE else line)
    return lines


def require_errors(baseline: Results) -> None:
    """Raise InputError where the baseline makes no error, so that nothing can be relative to it."""
    metrics.relative_corruption_errors(baseline.errors, baseline.errors)
    if baseline.clean_error is not None:
        metrics.clean_error_reduction(baseline.clean_error, baseline.clean_error)


def _means(results: Results) -> dict[str, float]:
    return {name: metrics.mean_error(row) for name, row in results.errors.items()}


def _as_absolute(line: Line, errors: dict[str, float], baseline: dict[str, float]) -> Line:
    improved = {name for name, error in errors.items() if error < baseline[name]}
    return replace(line, absolute=errors, improved=(line.improved - set(errors)) | improved)


def _line(
    model: str,
    section: str,
    is_baseline: bool,
    errors: tuple[float | None, float | None],
    mrce: float | None,
    relative: dict[str, float | None],
    baseline: tuple[float | None, float | None],
) -> Line:
    clean, mce = errors
    defined = None not in errors and all(baseline)
    r_net = metrics.net_error_reduction(clean, mce, *baseline) if defined else None
    one = {"mrce": mrce, **relative}
    improved = {name for name, value in one.items() if value is not None and value < 1}
    own = {"clean_error": (clean, baseline[0]), "mce": (mce, baseline[1])}
    improved |= {name for name, pair in own.items() if None not in pair and pair[0] < pair[1]}
    improved |= {"r_net"} if r_net is not None and r_net > 0 else set()
    return Line(model, section, is_baseline, clean, mce, mrce, r_net, relative, frozenset(improved))
