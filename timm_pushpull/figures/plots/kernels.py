"""Push and pull kernels beside each other (paper, Fig. 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from timm_pushpull.figures.plots.canvas import SIGNED, add_caption, minus, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from timm_pushpull.figures.analysis import Kernels


def kernel_pairs(kernels: Kernels, model: str) -> Figure:
    """Push kernels above, pull kernels below, every pair on a scale of its own.

    Args:
        model: What the caption calls the network.

    Raises:
        InputError: matplotlib is missing.
    """
    count = len(kernels.filters)
    limits = np.maximum(*(np.abs(weights).max(axis=(1, 2)) for weights in (kernels.push, kernels.pull)))
    figure = new_figure(max(5, 1.15 * count + 1.4), 3.1, "constrained")
    panels = figure.subplots(2, count, squeeze=False)
    for place, (name, weights) in enumerate((("push", kernels.push), ("pull", kernels.pull))):
        height, width = (side / 2 for side in weights.shape[1:])
        row = panels[place]
        for panel, kernel, limit in zip(row, weights, limits, strict=True):
            scaled = kernel / limit if limit else kernel
            image = panel.imshow(scaled, SIGNED, vmin=-1, vmax=1, extent=(-width, width, height, -height))
            panel.locator_params(nbins=5, integer=True)
            panel.tick_params(labelsize=7, length=2, labelleft=panel is row[0], labelbottom=place == 1)
        row[0].set_ylabel(f"{name} kernel", size=9)
    for panel, number, alpha, limit in zip(panels[0], kernels.filters, kernels.alpha, limits, strict=True):
        panel.set_title(minus(f"filter {number}\nα = {alpha:.2f}\nw* = {limit:.2g}"), size=8)
    figure.supxlabel("horizontal offset (px)", size=9)
    figure.supylabel("vertical offset (px)", size=9)
    bar = figure.colorbar(image, ax=panels, shrink=0.8, aspect=25)
    bar.set_label("weight / w*", size=9)
    bar.ax.tick_params(labelsize=8)
    wider = kernels.pull.shape != kernels.push.shape
    add_caption(
        figure,
        f"{count} of the {kernels.total} filters in the push-pull layer of {model}, drawn at random (seed "
        f"{kernels.seed}), input channel {kernels.channel}. Below every push kernel its pull kernel, which responds to "
        f"the opposite contrast: {'minus the push kernel, widened' if wider else 'the complement of Eq. 4'}. α is the "
        f"inhibition strength, w* the largest magnitude of a weight in the pair; grey is a weight of 0.",
    )
    return figure
