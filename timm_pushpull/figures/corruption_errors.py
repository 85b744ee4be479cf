"""Errors by corruption and severity, from results files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from timm_pushpull import metrics
from timm_pushpull.benchmark.results import Results
from timm_pushpull.figures.canvas import (
    GREY,
    add_caption,
    bar_style,
    draw_legend,
    figure_with_legend,
    line_style,
    tidy,
)
from timm_pushpull.utils.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TEXT_BOX = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 1}  # keeps text readable on a line


def plot_severity_curves(
    measured: Sequence[Results], notes: Mapping[str, str] | None = None, *, caption: bool = False
) -> Figure:
    """Plot error by severity, a panel per corruption and a line per model. Severity 0 is the clean images.

    Severities that were not measured have no marker; the line connects their neighbours.

    Args:
        notes: Corruption to a short text in the upper left corner of its panel, or in the lower left corner if all
            lines start high.
        caption: Write a caption below the figure; model cards have their own text.

    Raises:
        InputError: No corruption was measured, or matplotlib is not installed.
    """
    names = measured_corruptions(measured[0])
    columns = min(5, len(names))
    rows = -(-len(names) // columns)
    figure = figure_with_legend(
        max(4.5, 0.7 + 1.75 * columns), 0.7 + 1.65 * rows, [results.model for results in measured]
    )
    panels = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    for panel in panels[len(names) :]:
        panel.remove()
    for index, (panel, name) in enumerate(zip(panels, names, strict=False)):
        for number, results in enumerate(measured):
            points = [
                (severity, 100 * error)
                for severity, error in enumerate((results.clean_error, *results.errors[name]))
                if error is not None
            ]
            panel.plot(*zip(*points, strict=True), label=results.model, lw=1.2, ms=3.5, **line_style(number))
        panel.set_title(name.replace("_", " "), size=9, pad=3)
        panel.set_xticks(range(6))
        panel.tick_params(labelsize=8, labelbottom=index + columns >= len(names))
        tidy(panel)
    panels[0].set_ylim(0, 1.06 * panels[0].get_ylim()[1])  # shared by all panels; the margin keeps markers whole
    if notes:
        _write_in_corners(dict(zip(names, panels, strict=False)), notes)
    figure.supxlabel("severity (0: clean images)", size=10)
    figure.supylabel(f"{measured[0].error_name} (%)", size=10)
    draw_legend(figure, panels[0])
    if caption:
        error = measured[0].error_name
        add_caption(
            figure,
            f"{error[:1].upper()}{error[1:]} by severity of {len(names)} "
            f"{'corruptions' if len(names) > 1 else 'corruption'}, on {described(measured[0])}. The flatter a line, "
            f"the more robust the model is to the corruption.",
        )
    return figure


def _write_in_corners(panels: Mapping[str, Axes], notes: Mapping[str, str]) -> None:
    """Write a text into the same left corner of each panel: the lower one where every line starts high."""
    lines = [(panel, np.asarray(line.get_xydata())) for panel in panels.values() for line in panel.lines]
    starts = [y / panel.get_ylim()[1] for panel, points in lines for severity, y in points if severity <= 1]
    height, aligned = (0.05, "bottom") if min(starts, default=0) > 0.3 else (0.95, "top")
    for name in notes.keys() & panels.keys():
        panel = panels[name]
        panel.text(0.05, height, notes[name], transform=panel.transAxes, size=9, color=GREY, va=aligned, bbox=TEXT_BOX)


def plot_corruption_bars(baseline: Results, measured: Sequence[Results]) -> Figure:
    """Plot the error relative to the baseline (the terms of Eq. 10) as bars that start at 100 %.

    Corruptions are in the groups of the paper; the last bar is their mean, mrCE.

    Raises:
        InputError: The baseline makes no error on a corruption, or matplotlib is not installed.
    """
    names = measured_corruptions(baseline)
    figure, axes, positions = _relative_errors(baseline.model, [results.model for results in measured], names)
    width = 0.84 / len(measured)
    counts = []
    for number, results in enumerate(measured):
        relative = metrics.relative_corruption_errors(results.errors, baseline.errors)
        mrce = metrics.mean_relative_corruption_error(results.errors, baseline.errors)
        heights = [100 * (value - 1) for value in (*(relative[name] for name in names), mrce)]
        fewer = sum(relative[name] < 1 for name in names)
        counts.append(f"{results.model} on {fewer} of {len(names)} (mrCE {100 * mrce:.1f} %)")
        at = [position + (number - (len(measured) - 1) / 2) * width for position in positions]
        style: dict[str, Any] = {"edgecolor": "white", "lw": 0.4, "zorder": 2} | bar_style(number + 1)
        axes.bar(at, heights, width, bottom=100, label=results.model, **style)
    draw_legend(figure, axes)
    add_caption(
        figure,
        f"Error by corruption divided by the error of {baseline.model}, both averaged over severities, on "
        f"{described(baseline)}. A bar below 100 % means fewer errors than the baseline: {'; '.join(counts)}.",
    )
    return figure


def plot_corruption_intervals(
    baseline: Results, measured: Mapping[str, Mapping[str, tuple[float, float, float]]], seeds: str, note: str = ""
) -> Figure:
    """Plot means and intervals of the error relative to the baseline over training seeds, as points with error bars.

    Args:
        baseline: Results of the baseline with one of the seeds, for its name and images.
        measured: Model to corruption, and `mrCE`, to the mean and the ends of its 95 % interval, as fractions.
        seeds: The training seeds in words, for the caption, such as `10 training seeds`.
        note: A sentence at the end of the caption.

    Raises:
        InputError: No corruption was measured, or matplotlib is not installed.
    """
    names = measured_corruptions(baseline)
    figure, axes, positions = _relative_errors(baseline.model, list(measured), names)
    step = 0.6 / len(measured)
    for number, (model, intervals) in enumerate(measured.items()):
        mean, low, high = np.transpose([[100 * value for value in intervals[name]] for name in (*names, "mrCE")])
        at = [position + (number - (len(measured) - 1) / 2) * step for position in positions]
        style = line_style(number + 1) | {"linestyle": "none", "ms": 5, "capsize": 2.5, "elinewidth": 1.2, "zorder": 4}
        axes.errorbar(at, mean, (mean - low, high - mean), label=model, **style)
    draw_legend(figure, axes)
    add_caption(
        figure,
        f"Error by corruption divided by the error of {baseline.model} with the same seed, both averaged over "
        f"severities: means and 95 % intervals over {seeds}, on {described(baseline)}. Where an interval lies below "
        f"100 %, the model makes fewer errors than the baseline. {note}".rstrip(),
    )
    return figure


def _relative_errors(baseline: str, models: Sequence[str], names: Sequence[str]) -> tuple[Figure, Axes, list[float]]:
    """Axes with the baseline's line at 100 %, and the position of each corruption, and of mrCE, on them."""
    group_of = {name: group for group, members in metrics.GROUPS.items() for name in members}
    groups = [group_of.get(name, "Extra") for name in names] + ["Mean"]
    # Groups are half a unit apart.
    breaks = [0, *(after != before for before, after in pairwise(groups))]
    positions = [index + 0.5 * sum(breaks[: index + 1]) for index in range(len(groups))]
    labels = [f"{baseline} (baseline)", *models]
    figure = figure_with_legend(1.5 + (0.42 + 0.05 * len(models)) * len(groups), 3.6, labels)
    axes = figure.subplots()
    axes.axhline(100, color=line_style(0)["color"], lw=1, zorder=3, label=labels[0])
    for group in dict.fromkeys(groups):
        members = [position for position, of in zip(positions, groups, strict=True) if of == group]
        middle = (members[0] + members[-1]) / 2
        axes.text(middle, 1.02, group, transform=axes.get_xaxis_transform(), size=10, weight="bold", ha="center")
        if members[0]:
            axes.axvline(members[0] - 0.75, color="#cccccc", lw=0.8, zorder=0)
    axes.set_xticks(
        positions,
        [*(name.replace("_", " ") for name in names), "mrCE"],
        rotation=40,
        ha="right",
        rotation_mode="anchor",
        size=9,
    )
    axes.set(xlim=(-0.7, positions[-1] + 0.7))
    axes.set_ylabel("error relative to the baseline (%)\n(below 100: better)", size=10)
    axes.tick_params(labelsize=9)
    tidy(axes, "y")
    return figure, axes, positions


def measured_corruptions(results: Results) -> list[str]:
    """The corruptions of results, in the order of the paper.

    Raises:
        InputError: No corruption was measured.
    """
    if not results.errors:
        raise InputError(f"{results.model} was measured on clean images only; measure some corruptions")
    return results.corruptions


def described(results: Results) -> str:
    """The images that results were measured on, in words."""
    how = f"files {results.corrupted}" if results.corrupted else f"preset {results.preset}, seed {results.seed}"
    return f"{results.num_images:,} images of {results.dataset}, split {results.split} ({how})"
