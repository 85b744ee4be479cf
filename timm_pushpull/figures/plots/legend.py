"""Figures of several models: room for their legend, and quiet axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from timm_pushpull.figures.plots.canvas import new_figure, text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE = 9  # points


def figure_with_legend(width: float, height: float, labels: Sequence[str]) -> Figure:
    """A figure of these inches and what a legend of `labels` above it needs."""
    figure = new_figure(width, height, "constrained")
    figure.set_figwidth(max(width, _label_width(labels)))
    rows = -(-len(labels) // _columns(figure, labels))
    figure.set_figheight(height + 0.15 + 0.2 * rows)
    return figure


def draw_legend(figure: Figure, axes: Axes) -> None:
    """The legend of `axes` above the figure, where it covers no data."""
    handles, labels = axes.get_legend_handles_labels()
    columns = _columns(figure, labels)
    figure.legend(
        handles, labels, loc="outside upper center", ncols=columns, frameon=False, fontsize=_SIZE, handlelength=3
    )


def tidy(axes: Axes, grid: str = "both") -> None:
    """Without a frame above and to the right, with a faint grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="#e5e5e5", lw=0.6)
    axes.set_axisbelow(True)


def _columns(figure: Figure, labels: Sequence[str]) -> int:
    return max(1, min(int(figure.get_figwidth() / _label_width(labels)), len(labels)))


def _label_width(labels: Sequence[str]) -> float:
    """Inches that the widest label takes with its handle and gaps."""
    return 0.8 + max(text_width(label, _SIZE) for label in labels)
