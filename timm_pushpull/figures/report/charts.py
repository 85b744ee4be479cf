"""The charts of the report, as Plotly's JSON without colours: the script of the page adds those of the colour scheme.

A trace whose `meta` has `series` belongs to the model with this index in its group; one with `guide` is a reference
line.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from timm_pushpull import metrics
from timm_pushpull.figures.report import marks
from timm_pushpull.figures.report.groups import Entry, Group
from timm_pushpull.figures.tradeoff_plane import padded_limits

Chart = dict[str, Any]

_PANEL = 132  # height of the plot area of a small panel, px
_BETWEEN = 40  # px, room for the title of a panel
_COLUMNS = {0: 2, 560: 4}  # minimum width of the chart in px to the number of its columns


def label(name: str) -> str:
    """Escape a name from a file for Plotly, which interprets HTML tags."""
    return html.escape(name, quote=False)


def severity_curves(group: Group) -> Chart:
    """Error by severity: a panel for the mean and one per corruption, a line per model; severity 0 is clean."""
    panels: list[str | None] = [*group.corruptions]
    counted = len(metrics.without_validation(group.shared.errors))
    if counted > 1:
        panels.insert(0, None)  # their mean
    tops: list[float] = []  # of points and error bars
    traces = []
    for number, corruption in enumerate(panels, 1):
        for index, entry in enumerate(group.entries):
            points = curve(entry, corruption) if corruption else mean_curve(entry)
            trace = _line(entry.name, index, points) | {"xaxis": f"x{number}", "yaxis": f"y{number}"}
            if corruption:
                intervals = {severity: entry.cell_interval(corruption, severity) for severity in points}
                trace["error_y"] = _error_bars(points, intervals)
                tops += [interval[1] for interval in intervals.values() if interval]
            tops += points.values()
            traces.append(trace)
    titles = [label(name.replace("_", " ")) if name else f"<b>mean of {counted}</b>" for name in panels]
    layouts = [
        {"from": width, "layout": _panels(titles, min(columns, len(panels)), 105 * max(tops))}
        for width, columns in _COLUMNS.items()
    ]
    return _chart(traces, layouts)


def curve(entry: Entry, corruption: str) -> dict[int, float]:
    """Severity to error, where measured; severity 0 is the clean images."""
    row = (entry.results.clean_error, *entry.results.errors[corruption])
    return {severity: error for severity, error in enumerate(row) if error is not None}


def mean_curve(entry: Entry) -> dict[int, float]:
    """Severity to the mean error over the test corruptions that were measured at it; severity 0 is the clean images."""
    columns = enumerate(zip(*metrics.without_validation(entry.results.errors).values(), strict=True), 1)
    known = {severity: [error for error in column if error is not None] for severity, column in columns}
    clean = {} if entry.results.clean_error is None else {0: entry.results.clean_error}
    return clean | {severity: fmean(column) for severity, column in known.items() if column}


def tradeoff(group: Group) -> Chart:
    """Clean error against mCE (paper, Figs. 7 and 8), with the lines through the baseline on which R_net (Eq. 13) is 0
    for beta = 1 and beta = mCE0 / E0. Models below a line have a positive R_net.
    """
    points = [clean_error_and_mce(entry) for entry in group.entries]
    clean, mce = points[0]
    spans = [
        [
            end
            for entry, point in zip(group.entries, points, strict=True)
            for end in (entry.interval(key) or (point[axis],))
        ]
        for axis, key in enumerate(("clean_error", "mce"))
    ]
    (left, right), vertical = (padded_limits(span, 0.005) for span in spans)
    traces = []
    for beta, dashes in ((1, "dash"), (mce / clean, "dot")):
        ends = [metrics.mce_without_gain(x, clean, mce, beta) for x in (left, right)]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": _percent((left, right)),
                "y": _percent(ends),
                "line": {"dash": dashes, "width": 1.5},
                "hoverinfo": "skip",
                "meta": {"guide": True},
            }
        )
    for index, (entry, point) in enumerate(zip(group.entries, points, strict=True)):
        across, along = ({0: point[axis]} for axis in (0, 1))
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": label(entry.name),
                "x": _percent(across.values()),
                "y": _percent(along.values()),
                "error_x": _error_bars(across, {0: entry.interval("clean_error")}),
                "error_y": _error_bars(along, {0: entry.interval("mce")}),
                "marker": {"symbol": marks.symbol(index), "size": 12},
                "hovertemplate": "%{fullData.name}<br>E %{x:.1f} %, mCE %{y:.1f} %<extra></extra>",
                "meta": {"series": index},
            }
        )
    layout = {
        "height": 420,
        "margin": {"l": 58, "r": 12, "t": 12, "b": 48},
        "xaxis": {"range": _percent((left, right)), "title": {"text": "clean error E (%)"}},
        "yaxis": {"range": _percent(vertical), "title": {"text": "mCE (%)"}},
    }
    return _chart(traces, [{"from": 0, "layout": layout}])


def clean_error_and_mce(entry: Entry) -> tuple[float, float]:
    """Clean error and mCE of a model for which both were measured, fractions."""
    clean_error = entry.results.clean_error
    assert clean_error is not None
    return clean_error, entry.mce


def alpha_histogram(index: int, alpha: np.ndarray, edges: Sequence[float]) -> Chart:
    """Histogram of the inhibition strengths of the model with this index."""
    counts, _ = np.histogram(alpha, edges)
    width = edges[1] - edges[0]
    trace = {
        "type": "bar",
        "x": [round(edge + width / 2, 6) for edge in edges[:-1]],
        "y": counts.tolist(),
        "width": round(width, 6),
        "customdata": [[f"{low:.2f}", f"{low + width:.2f}"] for low in edges[:-1]],
        "hovertemplate": "alpha %{customdata[0]} to %{customdata[1]}: %{y} channels<extra></extra>",
        "meta": {"series": index},
    }
    layout = {
        "height": 220,
        "bargap": 0,
        "margin": {"l": 48, "r": 12, "t": 8, "b": 44},
        "xaxis": {"range": [edges[0], edges[-1]], "title": {"text": "alpha"}, "zeroline": True},
        "yaxis": {"rangemode": "tozero", "title": {"text": "channels"}, "nticks": 5},
    }
    return _chart([trace], [{"from": 0, "layout": layout}])


def _line(name: str, index: int, points: Mapping[int, float]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": label(name),
        "x": list(points),
        "y": _percent(points.values()),
        "line": {"dash": marks.dash(index), "width": 1.6},
        "marker": {"symbol": marks.symbol(index), "size": 6},
        "hovertemplate": "%{fullData.name}<br>severity %{x}: %{y:.1f} %<extra></extra>",
        "meta": {"series": index},
    }


def _error_bars(points: Mapping[int, float], intervals: Mapping[int, tuple[float, float] | None]) -> dict[str, Any]:
    """Error bars from points to the ends of their intervals, where there are any."""
    up, down = [], []
    for key, point in points.items():
        low, high = intervals[key] or (point, point)
        up.append(max(0.0, high - point))
        down.append(max(0.0, point - low))
    return {
        "type": "data",
        "symmetric": False,
        "array": _percent(up),
        "arrayminus": _percent(down),
        "thickness": 1,
        "width": 0,
        "visible": any(up + down),
    }


def _panels(titles: Sequence[str], columns: int, highest: float) -> dict[str, Any]:
    """The layout of small panels with shared axes."""
    from plotly.subplots import make_subplots

    rows = -(-len(titles) // columns)
    plot_height = rows * _PANEL + (rows - 1) * _BETWEEN
    figure = make_subplots(
        rows,
        columns,
        subplot_titles=titles,
        horizontal_spacing=0.03 if columns > 2 else 0.06,
        vertical_spacing=_BETWEEN / plot_height if rows > 1 else 0,
    )
    for number in range(1, len(titles) + 1):
        row, column = (part + 1 for part in divmod(number - 1, columns))
        bottom = number + columns > len(titles)
        figure.update_xaxes(range=[-0.3, 5.3], tickvals=list(range(6)), showticklabels=bottom, row=row, col=column)
        figure.update_yaxes(range=[0, highest], showticklabels=column == 1, nticks=6, row=row, col=column)
    layout = figure.to_plotly_json()["layout"]
    for annotation in layout["annotations"]:
        annotation["font"] = {"size": 13}
    for name in ("xaxis", "yaxis"):  # empty cells of the grid
        for number in range(len(titles) + 1, rows * columns + 1):
            layout[f"{name}{number}"]["visible"] = False
    margin = {"l": 40, "r": 8, "t": 28, "b": 30}
    return layout | {"height": plot_height + margin["t"] + margin["b"], "margin": margin, "template": None}


def _chart(traces: list[dict[str, Any]], layouts: list[dict[str, Any]]) -> Chart:
    """Traces, and a layout for each width, validated by Plotly and ready for JSON."""
    from plotly.graph_objects import Figure

    for layout in layouts:
        figure = Figure(traces, layout["layout"]).to_plotly_json()
        figure["layout"].pop("template", None)  # the script of the page has its own
        layout["layout"] = figure["layout"]
    return {"data": figure["data"], "layouts": layouts}


def _percent(values: Iterable[float]) -> list[float]:
    return [round(100 * value, 4) for value in values]
