"""Distribution of the inhibition strength alpha (paper, Fig. 6)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from timm_pushpull.figures.canvas import GREY, add_caption, line_style, minus, new_figure, tidy
from timm_pushpull.figures.push_pull_kernels import push_pull_layer
from timm_pushpull.layers.push_pull_base import inhibition_strengths
from timm_pushpull.utils.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Transform

_BIN_WIDTHS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_MAX_BINS = 40


def alpha_values(model: nn.Module) -> np.ndarray:
    """The inhibition strengths of all push-pull layers of a network, float32 of shape (channels,).

    Raises:
        InputError: The network has no push-pull layer.
    """
    push_pull_layer(model)
    alpha = inhibition_strengths(model)
    assert alpha is not None
    return alpha.cpu().numpy()


def _short(value: float) -> str:
    """Two digits behind the point, or one that is not 0."""
    text = f"{value:.2f}"
    return text if float(text) or not value else f"{value:.1g}"


def plot_alpha(alpha_of: Mapping[str, np.ndarray]) -> Figure:
    """Plot a histogram of alpha per network, all with the same bins and scales, and a tick for each channel.

    Args:
        alpha_of: Name of a network to its alpha, float of shape (channels,).

    Raises:
        InputError: matplotlib is not installed, or an alpha is not finite.
    """
    for model, alpha in alpha_of.items():
        if not len(alpha) or not np.isfinite(alpha).all():
            raise InputError(f"{model} has an alpha that is not finite; check its weights")
    values = np.concatenate(list(alpha_of.values()))
    edges = bin_edges(float(values.min()), float(values.max()), _BIN_WIDTHS, _MAX_BINS)
    figure = new_figure(6.6, 1.25 * len(alpha_of) + 0.75, "constrained")
    panels = figure.subplots(len(alpha_of), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    summaries = []
    for index, (panel, (model, alpha)) in enumerate(zip(panels, alpha_of.items(), strict=True)):
        colour, median = line_style(index + 1)["color"], float(np.median(alpha))
        panel.hist(alpha, edges, weights=np.full(len(alpha), 100 / len(alpha)), color=colour, edgecolor="white", lw=0.4)
        panel.plot(
            alpha, np.zeros(len(alpha)), "|", color=colour, ms=9, mew=0.6, transform=_below_axis(panel), clip_on=False
        )
        panel.axvline(0, color=GREY, lw=0.8, zorder=0)
        panel.axvline(median, color="black", lw=1.2, ls=(0, (4, 2)))
        panel.set_title(model, size=9, loc="left", pad=3)
        panel.tick_params(labelsize=8)
        panel.tick_params(axis="x", pad=9)
        tidy(panel)
        low, high = map(_short, np.quantile(alpha, (0.05, 0.95)))
        summaries.append(
            f"{model}, {len(alpha)} channels: median {median:.2f}, 90 % between {low} and {high}, "
            f"{100 * (alpha < 0).mean():.0f} % below 0, {100 * (np.abs(alpha) <= 1).mean():.0f} % with |α| ≤ 1"
        )
    figure.supxlabel("inhibition strength α", size=10)
    figure.supylabel("channels (%)", size=10)
    add_caption(
        figure,
        minus(
            f"Distribution of the inhibition strength α over the channels of push-pull layers, in bins of "
            f"{edges[1] - edges[0]:g}. Each tick below an axis is a channel; the dashed line is the median. "
            f"{'. '.join(summaries)}."
        ),
    )
    return figure


def _below_axis(panel: Axes) -> Transform:
    """The x coordinate of the data, 6 points below the axis."""
    from matplotlib.transforms import ScaledTranslation

    figure = panel.get_figure()
    assert figure is not None
    return panel.get_xaxis_transform() + ScaledTranslation(0, -6 / 72, figure.dpi_scale_trans)


def bin_edges(low: float, high: float, widths: Sequence[float], max_bins: int) -> np.ndarray:
    """Edges of bins that cover `low` to `high`, with the first width that gives at most `max_bins` of them."""
    width = next((width for width in widths if (high - low) / width <= max_bins), (high - low) / max_bins)
    return width * np.arange(math.floor(low / width), math.floor(high / width) + 2)
