"""Push and pull kernels (paper, Fig. 3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from timm_pushpull.figures.analysis.layers import input_channel
from timm_pushpull.layers.inhibited import InhibitedConv2d
from timm_pushpull.utils.errors import InputError


@dataclass(frozen=True)
class Kernels:
    """Some filters of a push-pull layer, one input channel of each.

    Attributes:
        filters: Their numbers, ascending, int64 of shape (count,).
        push: float32 of shape (count, H, W).
        pull: float32 of shape (count, H', W'); larger than `push` in the layer of 2020.
        alpha: Inhibition strengths, float32 of shape (count,).
        total: How many filters the layer has.
        channel, seed: As in `kernels`.
    """

    filters: np.ndarray
    push: np.ndarray
    pull: np.ndarray
    alpha: np.ndarray
    total: int
    channel: int
    seed: int


def kernels(layer: InhibitedConv2d, count: int = 5, channel: int = 0, seed: int = 0) -> Kernels:
    """Filters drawn at random; the paper shows five, and of each the first channel.

    Raises:
        InputError: More filters than the layer has, or a channel that it has not.
    """
    if not 1 <= count <= layer.out_channels:
        raise InputError(f"cannot show {count} filters; the layer has {layer.out_channels}")
    filters = np.sort(np.random.default_rng(seed).choice(layer.out_channels, count, replace=False))
    push, pull = (input_channel(w, channel)[filters] for w in (layer.kernel().detach(), layer.pull_weight().detach()))
    alpha = layer.alpha.detach().float().cpu().numpy()[filters]
    return Kernels(filters, push, pull, alpha, layer.out_channels, channel, seed)
