"""The plot on the card: error by severity, beside the baseline."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from timm_pushpull import figures
from timm_pushpull.benchmark.comparison import Comparison
from timm_pushpull.benchmark.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def robustness_figure(results: Results) -> Figure:
    """Plot the error by severity, one panel per corruption, with a second line for the baseline if there is one.

    Raises:
        InputError: No corruption was measured, the baseline was measured on other cells, or matplotlib is missing.
    """
    comparison = Comparison.recorded(results)
    if comparison is None:
        return figures.plot_severity_curves([results])
    baseline = comparison.baseline
    measured = [replace(baseline, model=f"{baseline.model} (baseline)"), results]
    if comparison.row.mrce is None:
        return figures.plot_severity_curves(measured)
    figure = figures.plot_severity_curves(
        measured, {name: f"{100 * value:.0f} %" for name, value in comparison.row.relative.items() if value is not None}
    )
    figure.supxlabel("severity (0: clean images); in the corners: error relative to the baseline's", size=10)
    return figure
