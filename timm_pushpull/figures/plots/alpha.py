"""The distribution of inhibition strengths (paper, Fig. 6)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from timm_pushpull.figures.plots.canvas import GREY, add_caption, line_style, minus, new_figure
from timm_pushpull.figures.plots.legend import tidy
from timm_pushpull.utils.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTHS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_MOST_BINS = 40


def alpha_histograms(strengths: Mapping[str, np.ndarray]) -> Figure:
    """How many channels have which alpha: a row per network, with the same bins and scales, and a stroke per channel.

    Args:
        strengths: Network to its alpha, float of shape (channels,).

    Raises:
        InputError: matplotlib is missing, or there is an alpha that is no finite number.
    """
    for model, alpha in strengths.items():
        if not len(alpha) or not np.isfinite(alpha).all():
            raise InputError(f"{model} has inhibition strengths that are no numbers; mend its weights")
    every = np.concatenate(list(strengths.values()))
    edges = round_edges(float(every.min()), float(every.max()), _WIDTHS, _MOST_BINS)
    figure = new_figure(6.6, 1.25 * len(strengths) + 0.75, "constrained")
    panels = figure.subplots(len(strengths), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    told = []
    for place, (panel, (model, alpha)) in enumerate(zip(panels, strengths.items(), strict=True)):
        colour, median = line_style(place + 1)["color"], float(np.median(alpha))
        panel.hist(alpha, edges, weights=np.full(len(alpha), 100 / len(alpha)), color=colour, edgecolor="white", lw=0.4)
        panel.plot(
            alpha, np.zeros(len(alpha)), "|", color=colour, ms=9, mew=0.6, transform=_beneath(panel), clip_on=False
        )
        panel.axvline(0, color=GREY, lw=0.8, zorder=0)
        panel.axvline(median, color="black", lw=1.2, ls=(0, (4, 2)))
        panel.set_title(model, size=9, loc="left", pad=3)
        panel.tick_params(labelsize=8)
        panel.tick_params(axis="x", pad=9)
        tidy(panel)
        low, high = np.quantile(alpha, (0.05, 0.95))
        told.append(
            f"{model}, {len(alpha)} channels: median {median:.2f}, nine in ten from {low:.2f} to {high:.2f}, "
            f"{100 * (alpha < 0).mean():.0f} % below 0, {100 * (np.abs(alpha) <= 1).mean():.0f} % with |α| ≤ 1"
        )
    figure.supxlabel("inhibition strength α", size=10)
    figure.supylabel("channels (%)", size=10)
    add_caption(
        figure,
        minus(
            f"Distribution of the inhibition strength α over the channels of push-pull layers, in bins of "
            f"{edges[1] - edges[0]:g}; a stroke below is a channel, the dashed line the median. {'. '.join(told)}."
        ),
    )
    return figure


def _beneath(panel):
    """The data's x with a height of 9 points below the axis."""
    from matplotlib.transforms import ScaledTranslation

    return panel.get_xaxis_transform() + ScaledTranslation(0, -6 / 72, panel.figure.dpi_scale_trans)


def round_edges(low: float, high: float, widths: Sequence[float], most: int) -> np.ndarray:
    """Edges of bins from `low` to `high`, of the first of these widths that makes no more than `most` of them."""
    width = next((width for width in widths if (high - low) / width <= most), (high - low) / most)
    return width * np.arange(math.floor(low / width), math.floor(high / width) + 2)
