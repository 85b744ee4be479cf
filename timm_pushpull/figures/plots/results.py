"""Figures of errors by corruption: from results files alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from timm_pushpull import metrics
from timm_pushpull.benchmark.results import Results
from timm_pushpull.figures.plots.canvas import GREY, add_caption, bar_style, line_style
from timm_pushpull.figures.plots.legend import draw_legend, figure_with_legend, tidy
from timm_pushpull.utils.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PLATE = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 1}  # keeps text legible on a line


def severity_curves(
    measured: Sequence[Results], notes: Mapping[str, str] | None = None, *, caption: bool = False
) -> Figure:
    """Error by severity: a panel per corruption, a line per model; severity 0 is the clean images, if
    they were measured.

    Where a severity was not measured, the line connects those on either side.

    Args:
        notes: Corruption to a word for the upper left corner of its panel, or the lower one if every line begins high.
        caption: Whether to write one below; model cards have their own text.

    Raises:
        InputError: No corruption was measured, or matplotlib is missing.
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
    for place, (panel, name) in enumerate(zip(panels, names, strict=False)):
        for number, results in enumerate(measured):
            points = [
                (severity, 100 * error)
                for severity, error in enumerate((results.clean_error, *results.errors[name]))
                if error is not None
            ]
            panel.plot(*zip(*points, strict=True), label=results.model, lw=1.2, ms=3.5, **line_style(number))
        panel.set_title(name.replace("_", " "), size=9, pad=3)
        panel.set_xticks(range(6))
        panel.tick_params(labelsize=8, labelbottom=place + columns >= len(names))
        tidy(panel)
    panels[0].set_ylim(0, 1.06 * panels[0].get_ylim()[1])  # shared by all; the margin keeps markers whole
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
            f"{'corruptions' if len(names) > 1 else 'corruption'}, "
            f"{described(measured[0])}. Lines that rise less are of models that withstand the corruption better.",
        )
    return figure


def _write_in_corners(panels: Mapping[str, Axes], notes: Mapping[str, str]) -> None:
    """Write a word into a left corner of each panel, the same in all: the lower ones where every line begins high."""
    lines = [(panel, line.get_xydata()) for panel in panels.values() for line in panel.lines]
    beginnings = [y / panel.get_ylim()[1] for panel, points in lines for severity, y in points if severity <= 1]
    height, aligned = (0.05, "bottom") if min(beginnings, default=0) > 0.3 else (0.95, "top")
    for name in notes.keys() & panels.keys():
        panel = panels[name]
        panel.text(0.05, height, notes[name], transform=panel.transAxes, size=9, color=GREY, va=aligned, bbox=_PLATE)


def corruption_bars(baseline: Results, measured: Sequence[Results]) -> Figure:
    """Errors relative to the baseline's (the terms of Eq. 10) as bars up or down from 1, per corruption, in the paper's
    groups; last their mean, mrCE.

    Raises:
        InputError: The baseline makes no error on a corruption, or matplotlib is missing.
    """
    names = measured_corruptions(baseline)
    group_of = {name: group for group, members in metrics.GROUPS.items() for name in members}
    groups = [group_of.get(name, "Extra") for name in names] + ["Mean"]
    # Half a place between groups.
    breaks = [0, *(after != before for before, after in pairwise(groups))]
    places = [place + 0.5 * sum(breaks[: place + 1]) for place in range(len(groups))]
    width = 0.84 / len(measured)
    models = [f"{baseline.model} (baseline)", *(results.model for results in measured)]
    figure = figure_with_legend(1.5 + (0.42 + 0.05 * len(measured)) * len(groups), 3.6, models)
    axes = figure.subplots()
    told = []
    for number, results in enumerate(measured):
        relative = metrics.relative_corruption_errors(results.errors, baseline.errors)
        heights = [relative[name] - 1 for name in names]
        heights.append(metrics.mean_relative_corruption_error(results.errors, baseline.errors) - 1)
        fewer = sum(relative[name] < 1 for name in names)
        told.append(f"{results.model} errs less on {fewer} of {len(names)} (mrCE {1 + heights[-1]:.3f})")
        at = [place + (number - (len(measured) - 1) / 2) * width for place in places]
        style = {"edgecolor": "white", "lw": 0.4, "zorder": 2} | bar_style(number + 1)
        axes.bar(at, heights, width, bottom=1, label=results.model, **style)
    axes.axhline(1, color=line_style(0)["color"], lw=1, zorder=3, label=models[0])
    for group in dict.fromkeys(groups):
        members = [place for place, of in zip(places, groups, strict=True) if of == group]
        middle = (members[0] + members[-1]) / 2
        axes.text(middle, 1.02, group, transform=axes.get_xaxis_transform(), size=10, weight="bold", ha="center")
        if members[0]:
            axes.axvline(members[0] - 0.75, color="#cccccc", lw=0.8, zorder=0)
    labels = [*(name.replace("_", " ") for name in names), "mrCE"]
    axes.set_xticks(places, labels, rotation=40, ha="right", rotation_mode="anchor", size=9)
    axes.set(xlim=(-0.7, places[-1] + 0.7))
    axes.set_ylabel("error relative to the baseline's\n(below 1: better)", size=10)
    axes.tick_params(labelsize=9)
    tidy(axes, "y")
    draw_legend(figure, axes)
    add_caption(
        figure,
        f"Errors by corruption over those of {baseline.model}, each a mean over severities, on {described(baseline)}. "
        f"Bars reach down where a model errs less: {'; '.join(told)}.",
    )
    return figure


def measured_corruptions(results: Results) -> list[str]:
    """`Results.corruptions` of results that are to be drawn.

    Raises:
        InputError: Nothing but clean images was.
    """
    if not results.errors:
        raise InputError(f"{results.model} was measured on clean images only; measure some corruptions")
    return results.corruptions


def described(results: Results) -> str:
    """What results were measured on, in words."""
    how = f"files {results.corrupted}" if results.corrupted else f"preset {results.preset}, seed {results.seed}"
    return f"{results.num_images:,} images of {results.dataset}, split {results.split} ({how})"
