"""Push and pull kernels of a layer, side by side (paper, Fig. 3)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor, nn

from timm_pushpull.figures.canvas import SIGNED, add_caption, minus, new_figure
from timm_pushpull.layers.push_pull_base import PushPullBase, push_pull_layers
from timm_pushpull.utils.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 12


@dataclass(frozen=True)
class KernelPairs:
    """One input channel of some filters of a push-pull layer.

    Attributes:
        filters: Indices of the filters, ascending, int64 of shape (count,).
        push: Push kernels, float32 of shape (count, H, W).
        pull: Pull kernels, float32 of shape (count, H', W'); H' > H in the layer of 2020.
        alpha: Inhibition strengths, float32 of shape (count,).
        total: Number of filters in the layer.
        channel, seed: As in `kernel_pairs`.
    """

    filters: np.ndarray
    push: np.ndarray
    pull: np.ndarray
    alpha: np.ndarray
    total: int
    channel: int
    seed: int


def kernel_pairs(layer: PushPullBase, count: int = 5, channel: int = 0, seed: int = 0) -> KernelPairs:
    """Draw filters at random and return their push and pull kernels.

    Args:
        count: Number of filters; the paper shows five.
        channel: Input channel; the paper shows the first.
        seed: Seed of the random choice.

    Raises:
        InputError: `count` exceeds the filters of the layer, or the channel does not exist.
    """
    if not 1 <= count <= layer.out_channels:
        raise InputError(f"cannot show {count} filters; the layer has {layer.out_channels}")
    filters = np.sort(np.random.default_rng(seed).choice(layer.out_channels, count, replace=False))
    weights = layer.push_weight().detach(), layer.pull_weight().detach()
    push, pull = (input_channel(weight, channel)[filters] for weight in weights)
    alpha = layer.alpha.detach().float().cpu().numpy()[filters]
    return KernelPairs(filters, push, pull, alpha, layer.out_channels, channel, seed)


def plot_kernel_pairs(pairs: KernelPairs, model: str) -> Figure:
    """Plot each push kernel above its pull kernel, up to twelve pairs in a row. Each pair has its own scale.

    Args:
        model: Name of the network in the caption.

    Raises:
        InputError: matplotlib is not installed.
    """
    count = len(pairs.filters)
    limits = np.maximum(*(np.abs(weights).max(axis=(1, 2)) for weights in (pairs.push, pairs.pull)))
    columns = min(count, _COLUMNS)
    rows = math.ceil(count / columns)
    figure = new_figure(max(5, 1.15 * columns + 1.4), 3.1 + 2.7 * (rows - 1), "constrained")
    panels = figure.subplots(2 * rows, columns, squeeze=False)
    for index in range(count):
        row, column = divmod(index, columns)
        limit = limits[index]
        for lower, (name, weights) in enumerate((("push", pairs.push[index]), ("pull", pairs.pull[index]))):
            panel = panels[2 * row + lower, column]
            height, width = (side / 2 for side in weights.shape)
            scaled = weights / limit if limit else weights
            image = panel.imshow(scaled, SIGNED, vmin=-1, vmax=1, extent=(-width, width, height, -height))
            panel.locator_params(nbins=5, integer=True)
            panel.tick_params(labelsize=7, length=2, labelleft=column == 0, labelbottom=lower == 1)
            if column == 0:
                panel.set_ylabel(f"{name} kernel", size=9)
        title = f"filter {pairs.filters[index]}\nα = {round(float(pairs.alpha[index]), 2) + 0.0:.2f}\nw* = {limit:.2g}"
        panels[2 * row, column].set_title(minus(title), size=8)
    for panel in panels[2 * rows - 2 :, (count - 1) % columns + 1 :].flat:
        panel.set_axis_off()
    bar = figure.colorbar(image, ax=panels, shrink=0.8 / rows, aspect=25)
    bar.set_label("weight / w*", size=9)
    bar.ax.tick_params(labelsize=8)
    figure.supxlabel("horizontal offset (px)", size=9)
    figure.supylabel("vertical offset (px)", size=9)
    wider = pairs.pull.shape != pairs.push.shape
    add_caption(
        figure,
        f"{count} of the {pairs.total} filters in the push-pull layer of {model}, chosen at random (seed "
        f"{pairs.seed}), input channel {pairs.channel}. Below each push kernel is its pull kernel, which responds to "
        f"the opposite contrast: {'the negative push kernel, upsampled' if wider else 'the complement of Eq. 4'}. α is "
        f"the inhibition strength, w* the largest absolute weight of the pair; grey is 0.",
    )
    return figure


def push_pull_layer(model: nn.Module) -> PushPullBase:
    """The first push-pull layer of a network: a push-pull unit or a layer of 2020.

    Raises:
        InputError: The network has no such layer.
    """
    layers = push_pull_layers(model)
    if not layers:
        name = (getattr(model, "pretrained_cfg", None) or {}).get("architecture") or type(model).__name__
        raise InputError(f"{name} has no push-pull layer; convert_stem gives it one")
    return layers[0]


def input_channel(weight: Tensor, channel: int) -> np.ndarray:
    """One input channel of weights (filters, channels, H, W), float32 of shape (filters, H, W).

    Raises:
        InputError: The channel does not exist.
    """
    if not 0 <= channel < weight.shape[1]:
        raise InputError(f"the kernels have no channel {channel}; use 0 to {weight.shape[1] - 1}")
    return weight[:, channel].float().cpu().numpy()
