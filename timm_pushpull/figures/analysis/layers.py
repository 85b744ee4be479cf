"""The layer of a network that is looked at, and its parameters as arrays."""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

from timm_pushpull.layers.inhibited import InhibitedConv2d, inhibited_layers, inhibition
from timm_pushpull.utils.errors import InputError


def push_pull_layer(model: nn.Module) -> InhibitedConv2d:
    """The first push-pull layer of a network: a unit, or a layer of 2020.

    Raises:
        InputError: The network has none.
    """
    layers = inhibited_layers(model)
    if not layers:
        raise _none_in(model)
    return layers[0]


def alpha_values(model: nn.Module) -> np.ndarray:
    """The inhibition strengths of all push-pull layers of a network (paper, Fig. 6), float32 of shape (channels,).

    Raises:
        InputError: The network has no such layer.
    """
    alpha = inhibition(model)
    if alpha is None:
        raise _none_in(model)
    return alpha.cpu().numpy()


def input_channel(kernels: Tensor, channel: int) -> np.ndarray:
    """One input channel of kernels (filters, channels, H, W), float32 of shape (filters, H, W).

    Raises:
        InputError: There is no such channel.
    """
    if not 0 <= channel < kernels.shape[1]:
        raise InputError(f"the kernels have no channel {channel}; use 0 to {kernels.shape[1] - 1}")
    return kernels[:, channel].float().cpu().numpy()


def _none_in(model: nn.Module) -> InputError:
    name = (getattr(model, "pretrained_cfg", None) or {}).get("architecture") or type(model).__name__
    return InputError(f"{name} has no push-pull layer to look at; convert_stem gives a network one")
