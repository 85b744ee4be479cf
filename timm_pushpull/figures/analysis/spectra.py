"""Averaged Fourier spectra of push, pull and linear push-pull kernels (paper, Figs. 5 and 10)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from timm_pushpull.figures.analysis.layers import input_channel
from timm_pushpull.layers.inhibited import InhibitedConv2d
from timm_pushpull.layers.push_pull import PushPullConv2d
from timm_pushpull.utils.errors import InputError


@dataclass(frozen=True)
class Spectra:
    """Averaged spectra, each of shape (size, size), float64; the frequency 0 is at `size // 2`, rows are vertical.

    Attributes:
        frequencies: Of rows and columns, cycles per pixel, float64 of shape (size,).
        push, pull: Of the push and of the pull kernels.
        push_pull: Of the linear push-pull kernels, of shape (avg_sizes, alphas, size, size).
        alphas, avg_sizes: What `push_pull` was computed for.
        stride: Distance in px, vertical and horizontal, of the positions that the pooling averages.
        channel: Of the input.
        filters: How many kernels the averages are of.
    """

    frequencies: np.ndarray
    push: np.ndarray
    pull: np.ndarray
    push_pull: np.ndarray
    alphas: np.ndarray
    avg_sizes: np.ndarray
    stride: tuple[int, int]
    channel: int
    filters: int


@torch.no_grad()
def push_pull_spectra(
    layer: InhibitedConv2d,
    alphas: Sequence[float] = (-2, -1, -0.5, -0.25, 0.25, 0.5, 1, 2),
    avg_sizes: Sequence[int] = (0, 3, 5),
    *,
    channel: int = 0,
    stride: int | None = None,
    size: int = 64,
) -> Spectra:
    """The layer's kernels, combined with every alpha and pooling as if they had been trained with it.

    Args:
        alphas: Inhibition strengths, of any sign.
        avg_sizes: Sides of the average pooling, 0 for none.
        channel: Of the input; the paper shows the first.
        stride: By default the layer's own, for it pools its strided output; 1 is Eq. 7 as written.
        size: Frequencies a side, at least; more for kernels that are larger.

    Raises:
        InputError: A layer of 2020, whose inhibition has no such linear form; a channel, pooling or stride that there
            cannot be; an alpha that is no number.
    """
    if not isinstance(layer, PushPullConv2d):
        raise InputError(
            f"{type(layer).__name__} pools nothing, so there are no spectra over pooling; use a PushPullConv2d"
        )
    if not np.isfinite(alphas).all() or not len(alphas) or not len(avg_sizes) or (stride is not None and stride < 1):
        raise InputError(
            f"needs numbers for alpha, poolings and a stride of 1 or more, not {alphas}, {avg_sizes}, {stride}"
        )
    weight = layer.kernel().detach().float()
    step = layer.stride if stride is None else (stride, stride)
    combined = []
    for avg_size in avg_sizes:
        try:
            unit = PushPullConv2d(
                layer.in_channels,
                layer.out_channels,
                layer.kernel_size,
                step,
                dilation=layer.dilation,
                groups=layer.groups,
                avg_size=avg_size,
            )
        except ValueError as error:
            raise InputError(str(error)) from None
        unit.weight.copy_(weight)
        for alpha in alphas:
            unit.alpha.fill_(alpha)
            combined.append(input_channel(unit.effective_weight(), channel))
    largest = max(max(kernels.shape[1:]) for kernels in combined)
    size = max(size, 1 << (largest - 1).bit_length())
    spectra = np.stack([average_spectrum(kernels, size) for kernels in combined])
    push, pull = (input_channel(kernels, channel) for kernels in (weight, layer.pull_weight()))
    return Spectra(
        np.fft.fftshift(np.fft.fftfreq(size)),
        average_spectrum(push, size),
        average_spectrum(pull, size),
        spectra.reshape(len(avg_sizes), len(alphas), size, size),
        np.asarray(alphas, float),
        np.asarray(avg_sizes),
        step,
        channel,
        layer.out_channels,
    )


def average_spectrum(kernels: np.ndarray, size: int = 64) -> np.ndarray:
    """The mean magnitude of the kernels' Fourier transforms, padded with zeros to `size` x `size`, float64.

    Args:
        kernels: float of shape (filters, H, W), no larger than `size`.

    Returns:
        Shape (size, size); the frequency 0 is at `size // 2`.
    """
    return np.fft.fftshift(np.abs(np.fft.fft2(kernels.astype(float), (size, size))).mean(axis=0))


def radial_profile(spectrum: np.ndarray) -> np.ndarray:
    """A spectrum averaged over directions: entry i is the mean where the frequency rounds to i / size cycles per pixel.

    Returns:
        float64 of shape (size // 2 + 1,), up to 0.5 cycles per pixel.
    """
    size = len(spectrum)
    offset = np.arange(size) - size // 2
    radius = np.rint(np.hypot(offset[:, None], offset)).astype(int)
    within = radius <= size // 2
    return np.bincount(radius[within], spectrum[within]) / np.bincount(radius[within])
