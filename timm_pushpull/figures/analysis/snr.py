"""Signal-to-noise ratio of the push and of the push-pull response under Gaussian noise (paper, Fig. 4)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from timm_pushpull.layers.inhibited import InhibitedConv2d
from timm_pushpull.utils.errors import InputError


@dataclass(frozen=True)
class SignalToNoise:
    """What the filters of a layer make of an image under noise.

    Attributes:
        push_db, push_pull_db: Signal-to-noise ratios, dB, float64 of shape (filters,); infinite or not a number where a
            filter does not respond to noise or to the signal.
        push, push_pull: Rectified responses to the noisy image, float32 of shape (filters, h, w).
        noisy: The image with the noise, float32 of shape (channels, H, W).
        signal: Where the signal is on the maps of responses, bool of shape (h, w).
        alpha: Inhibition strengths, float32 of shape (filters,).
        sigma: Standard deviation of the noise per channel, float64 of shape (channels,).
        seed: Of the noise.
    """

    push_db: np.ndarray
    push_pull_db: np.ndarray
    push: np.ndarray
    push_pull: np.ndarray
    noisy: np.ndarray
    signal: np.ndarray
    alpha: np.ndarray
    sigma: np.ndarray
    seed: int


@torch.no_grad()
def signal_to_noise(
    layer: InhibitedConv2d,
    image: np.ndarray,
    sigma: float | Sequence[float],
    signal: np.ndarray | None = None,
    seed: int = 0,
) -> SignalToNoise:
    """`20 log10(A_s / A_n)` of every filter, for its push response alone and with the pull response subtracted.

    The amplitudes are means of the rectified responses, as in the paper's Fig. 4: A_s where the signal is, in the noisy
    image; A_n where there is nothing but noise. That is measured on the same noise without the image, so that images
    without an empty background can be used too.

    Args:
        image: The layer's input, normalised as in training so that 0 is the mean colour, float of shape (channels, H,
            W).
        sigma: Standard deviation of the noise in the units of the image, a number or one per channel.
        signal: Where the signal is, bool of shape (H, W); by default everywhere.

    Raises:
        InputError: An image that does not fit the layer, noise without strength, or no response that is centred on the
            signal.
    """
    sigma = np.broadcast_to(np.asarray(sigma, float), len(image))
    if len(image) != layer.in_channels or not (np.isfinite(sigma).all() and (sigma > 0).all()):
        raise InputError(
            f"needs an image of {layer.in_channels} channels and noise above 0, not {len(image)} channels and "
            f"{sigma.tolist()}"
        )
    push_pull = copy.deepcopy(layer).cpu().double()
    push = copy.deepcopy(push_pull)
    push.alpha.zero_()
    noise = sigma[:, None, None] * np.random.default_rng(seed).standard_normal(image.shape)
    inputs = torch.from_numpy(np.stack([image + noise, noise]))
    there = np.ones(image.shape[1:], bool) if signal is None else signal
    there = _at_centres(push, torch.from_numpy(there.astype(float))).numpy() > 0.5
    if not there.any():
        raise InputError("no response of the layer is centred on the signal; use a wider one")
    maps, ratios = [], []
    for unit in (push, push_pull):
        noisy, empty = unit(inputs).relu().numpy()
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios.append(20 * np.log10(noisy[:, there].mean(axis=1) / empty.mean(axis=(1, 2))))
        maps.append(noisy.astype(np.float32))
    alpha = push_pull.alpha.float().numpy()
    return SignalToNoise(*ratios, *maps, inputs[0].numpy().astype(np.float32), there, alpha, sigma, seed)


@torch.no_grad()
def vertical_bar(layer: InhibitedConv2d, size: int = 128, width: int = 5) -> np.ndarray:
    """The paper's simulated signal, a vertical edge of `width` px, as bool of shape (size, size).

    It lies in the middle, centred on a column of the layer's responses. (The paper says no more than that the edge has
    5 pixels.)
    """
    columns = _at_centres(layer, torch.arange(size).repeat(size, 1).double())[0]
    middle = int(columns[len(columns) // 2])
    bar = np.zeros((size, size), bool)
    bar[:, middle - width // 2 : middle - width // 2 + width] = True
    return bar


def _at_centres(layer: InhibitedConv2d, values: Tensor) -> Tensor:
    """A map (H, W) at the centres of the layer's receptive fields, (h, w)."""
    centre = torch.zeros(1, 1, *layer.kernel_size, dtype=values.dtype)
    centre[..., layer.kernel_size[0] // 2, layer.kernel_size[1] // 2] = 1
    pad = getattr(layer, "pad", lambda given: given)
    return F.conv2d(pad(values[None, None]), centre, None, layer.stride, layer.padding, layer.dilation)[0, 0]
