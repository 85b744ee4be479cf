"""Figures of results: from results files alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from timm_pushpull import metrics
from timm_pushpull.corruptions import CORRUPTIONS
from timm_pushpull.errors import InputError
from timm_pushpull.plots.canvas import bar_style, line_style, new_figure
from timm_pushpull.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GREY = "#595959"
_PLATE = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 1}  # keeps text legible on a line
_LEGEND_SIZE = 9  # points


def severity_curves(measured: Sequence[Results], notes: Mapping[str, str] | None = None) -> Figure:
    """Error by severity: a panel per corruption, a line per model; severity 0 is the clean images, if
    they were measured.

    Where a severity was not measured, the line connects those on either side.

    Args:
        notes: Corruption to a word for the upper left corner of its panel.

    Raises:
        InputError: No corruption was measured, or matplotlib is missing.
    """
    names = _measured_corruptions(measured[0])
    columns = min(5, len(names))
    rows = -(-len(names) // columns)
    figure = _canvas(max(4.5, 0.7 + 1.75 * columns), 0.7 + 1.65 * rows, [results.model for results in measured])
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
        if notes and name in notes:
            panel.text(0.05, 0.95, notes[name], transform=panel.transAxes, size=9, color=_GREY, va="top", bbox=_PLATE)
        panel.set_xticks(range(6))
        panel.tick_params(labelsize=8, labelbottom=place + columns >= len(names))
        _tidy(panel)
    panels[0].set_ylim(0, 1.06 * panels[0].get_ylim()[1])  # shared by all; the margin keeps markers whole
    figure.supxlabel("severity (0: clean images)", size=10)
    figure.supylabel("top-1 error (%)", size=10)
    _legend(figure, panels[0])
    return figure


def tradeoff(baseline: Results, measured: Sequence[Results]) -> Figure:
    """The plane of clean error and mCE (paper, Figs. 7 and 8) with the lines through the baseline on which R_net (Eq.
    13) is 0, for beta = 1 and beta = mCE0 / E0; models below a line make the better trade.

    Raises:
        InputError: A model was not measured on clean or on corrupted images, the baseline makes no error there, or
            matplotlib is missing.
    """
    for results in (baseline, *measured):
        _measured_corruptions(results)
        if results.clean_error is None:
            raise InputError(f"{results.model} was not measured on clean images, and the trade-off needs that error")
    clean, mce = 100 * baseline.clean_error, 100 * baseline.mce
    metrics.net_error_reduction(clean, mce, clean, mce)
    names = [f"{baseline.model} (baseline)", *(results.model for results in measured)]
    betas = {"$R_{net}$ = 0 for β = 1": 1, f"$R_{{net}}$ = 0 for β = mCE₀/E₀ = {mce / clean:.2f}": mce / clean}
    figure = _canvas(6.6, 4.2, [*names, *betas])
    axes = figure.subplots()
    for number, results in enumerate((baseline, *measured)):
        style = line_style(number) | {"linestyle": "none", "markeredgecolor": "white", "markeredgewidth": 0.5}
        axes.plot(100 * results.clean_error, 100 * results.mce, label=names[number], ms=9, zorder=3, **style)
    points = [(100 * results.clean_error, 100 * results.mce) for results in (baseline, *measured)]
    (left, right), vertical = (_limits(values) for values in zip(*points, strict=True))
    for (label, beta), dashes in zip(betas.items(), ((0, (6, 3)), (0, (1, 1.5))), strict=True):
        ends = [mce - mce / (beta * clean) * (x - clean) for x in (left, right)]
        axes.plot((left, right), ends, color=_GREY, ls=dashes, lw=1.2, label=label, zorder=1)
    axes.set(xlim=(left, right), ylim=vertical)
    axes.set_title("below a line: a net gain over the baseline, $R_{net}$ > 0", size=9, color=_GREY, loc="left")
    axes.set_xlabel("clean error (%)", size=10)
    axes.set_ylabel("mean corruption error, mCE (%)", size=10)
    axes.tick_params(labelsize=9)
    _tidy(axes)
    _legend(figure, axes)
    return figure


def corruption_bars(baseline: Results, measured: Sequence[Results]) -> Figure:
    """Errors relative to the baseline's (the terms of Eq. 10) as bars up or down from 1, per corruption, in the paper's
    groups; last their mean, mrCE.

    Raises:
        InputError: The baseline makes no error on a corruption, or matplotlib is missing.
    """
    names = _measured_corruptions(baseline)
    group_of = {name: group for group, members in metrics.GROUPS.items() for name in members}
    groups = [group_of.get(name, "Extra") for name in names] + ["Mean"]
    # Half a place between groups.
    breaks = [0, *(after != before for before, after in pairwise(groups))]
    places = [place + 0.5 * sum(breaks[: place + 1]) for place in range(len(groups))]
    width = 0.84 / len(measured)
    models = [f"{baseline.model} (baseline)", *(results.model for results in measured)]
    figure = _canvas(1.5 + (0.42 + 0.05 * len(measured)) * len(groups), 3.6, models)
    axes = figure.subplots()
    for number, results in enumerate(measured):
        relative = metrics.relative_corruption_errors(results.errors, baseline.errors)
        heights = [relative[name] - 1 for name in names]
        heights.append(metrics.mean_relative_corruption_error(results.errors, baseline.errors) - 1)
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
    _tidy(axes, "y")
    _legend(figure, axes)
    return figure


def _measured_corruptions(results: Results) -> list[str]:
    if not results.errors:
        raise InputError(f"{results.model} was measured on clean images only; measure some corruptions")
    known = [name for name in CORRUPTIONS if name in results.errors]
    return known + [name for name in results.errors if name not in CORRUPTIONS]


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """Limits that leave room for markers, at least a percentage point apart."""
    room = max(0.2 * (max(values) - min(values)), 0.5)
    return min(values) - room, max(values) + room


def _tidy(axes: Axes, grid: str = "both") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="#e5e5e5", lw=0.6)
    axes.set_axisbelow(True)


def _canvas(width: float, height: float, labels: Sequence[str]) -> Figure:
    """A figure of these inches and what a legend of `labels` above it needs."""
    figure = new_figure(width, height, "constrained")
    figure.set_figwidth(max(width, _label_width(labels)))
    rows = -(-len(labels) // _legend_columns(figure, labels))
    figure.set_figheight(height + 0.15 + 0.2 * rows)
    return figure


def _legend(figure: Figure, axes: Axes) -> None:
    """The legend of `axes` above the figure, where it covers no data."""
    handles, labels = axes.get_legend_handles_labels()
    columns = _legend_columns(figure, labels)
    figure.legend(
        handles, labels, loc="outside upper center", ncols=columns, frameon=False, fontsize=_LEGEND_SIZE, handlelength=3
    )


def _legend_columns(figure: Figure, labels: Sequence[str]) -> int:
    return max(1, min(int(figure.get_figwidth() / _label_width(labels)), len(labels)))


def _label_width(labels: Sequence[str]) -> float:
    """Inches that the widest label takes with its handle and gaps."""
    from matplotlib.textpath import TextPath

    # Rendered letters are a little wider, having whole pixels.
    return 0.8 + 1.06 * max(TextPath((0, 0), label, size=_LEGEND_SIZE).get_extents().width for label in labels) / 72
