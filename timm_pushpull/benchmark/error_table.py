"""The errors of one model as a table for people, in percent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from timm_pushpull import metrics
from timm_pushpull.benchmark.results import Interval
from timm_pushpull.utils.markdown import plain, table


def error_table(
    clean_error: float | None,
    errors: Mapping[str, Sequence[float | None]],
    clean_interval: Interval | None = None,
    mce_interval: Interval | None = None,
    *,
    partial: bool = False,
) -> str:
    """The error per corruption and severity in percent, aligned for a terminal; the last row is mCE.

    Args:
        clean_error, errors: Fractions, as in `Results`; `errors` holds those at severities 1 to 5.
        partial: Whether to say that cells are missing from mCE.
    """

    def summary(name: str, error: float, interval: Interval | None) -> list[str]:
        described = f"{100 * interval[0]:.2f} to {100 * interval[1]:.2f}" if interval else ""
        return [name, *[""] * 5, f"{100 * error:.2f}", described]

    rows = []
    if clean_error is not None:
        rows.append(summary("clean", clean_error, clean_interval))
    for corruption, row in errors.items():
        cells = ["" if error is None else f"{100 * error:.2f}" for error in row]
        rows.append([plain(corruption), *cells, f"{100 * metrics.mean_error(row):.2f}", ""])
    if metrics.without_validation(errors):
        mce = metrics.mean_corruption_error(errors)
        rows.append(summary("mCE (partial)" if partial else "mCE", mce, mce_interval))
    return table(["error (%)", "1", "2", "3", "4", "5", "mean", "95 % interval"], rows, aligned=True)
