"""Averaged Fourier spectra of push, pull and linear push-pull kernels (paper, Figs. 5 and 10)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from timm_pushpull.figures.canvas import MAGNITUDES, add_caption, decibels, minus, new_figure
from timm_pushpull.figures.push_pull_kernels import input_channel
from timm_pushpull.layers.push_pull import PushPullConv2d
from timm_pushpull.layers.push_pull_base import PushPullBase, conv_kwargs
from timm_pushpull.utils.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DYNAMIC_RANGE = 40  # dB below the highest value that the colour map resolves
_BAND_PASS = 1  # dB: a spectrum whose centre is at least this far below its peak is called a band-pass


@dataclass(frozen=True)
class Spectra:
    """Averaged spectra, float64 of shape (size, size); rows are vertical frequencies, frequency 0 is at `size // 2`.

    Attributes:
        frequencies: Frequencies of rows and columns in cycles per pixel, float64 of shape (size,).
        push, pull: Spectra of the push and of the pull kernels.
        push_pull: Spectra of the linear push-pull kernels, of shape (avg_sizes, alphas, size, size).
        alphas, avg_sizes: Inhibition strengths and pooling sizes of `push_pull`.
        stride: Vertical and horizontal distance of the positions that the pooling averages, px.
        channel: Input channel.
        filters: Number of kernels that are averaged.
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
    layer: PushPullBase,
    alphas: Sequence[float] = (-2, -1, -0.5, -0.25, 0.25, 0.5, 1, 2),
    avg_sizes: Sequence[int] = (0, 3, 5),
    *,
    channel: int = 0,
    stride: int | None = None,
    size: int = 64,
) -> Spectra:
    """Average the spectra of a layer's kernels, combined with every alpha and pooling size.

    Args:
        alphas: Inhibition strengths, of any sign.
        avg_sizes: Sizes of the average pooling, 0 for none.
        channel: Input channel; the paper shows the first.
        stride: Stride of the pooled positions. By default the stride of the layer, which pools its strided output; 1
            is Eq. 7 as written.
        size: Number of frequencies per side; larger if a kernel is larger.

    Raises:
        InputError: The layer is one of 2020, whose inhibition has no such linear form; the channel does not exist; an
            alpha, pooling size or stride is not valid.
    """
    if not isinstance(layer, PushPullConv2d):
        raise InputError(
            f"{type(layer).__name__} has no pooling, so there are no spectra over pooling sizes; use a PushPullConv2d"
        )
    if not np.isfinite(alphas).all() or not len(alphas) or not len(avg_sizes) or (stride is not None and stride < 1):
        raise InputError(
            f"needs finite alphas, pooling sizes and a stride of 1 or more, not {alphas}, {avg_sizes}, {stride}"
        )
    weight = layer.push_weight().detach().float()
    step = (layer.stride[0], layer.stride[1]) if stride is None else (stride, stride)
    geometry = conv_kwargs(layer) | {"stride": step, "padding": 0, "dtype": torch.float32}
    combined = []
    for avg_size in avg_sizes:
        try:
            unit = PushPullConv2d(**geometry, avg_size=avg_size)
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
    """Mean magnitude of the Fourier transforms of kernels, zero-padded to `size` x `size`.

    Args:
        kernels: float of shape (filters, H, W), H and W at most `size`.

    Returns:
        float64 of shape (size, size); frequency 0 is at `size // 2`.
    """
    return np.fft.fftshift(np.abs(np.fft.fft2(kernels.astype(float), (size, size))).mean(axis=0))


def radial_profile(spectrum: np.ndarray) -> np.ndarray:
    """Average a spectrum over directions: entry i is the mean where the frequency rounds to i / size cycles per pixel.

    Returns:
        float64 of shape (size // 2 + 1,), up to 0.5 cycles per pixel.
    """
    size = len(spectrum)
    offset = np.arange(size) - size // 2
    radius = np.rint(np.hypot(offset[:, None], offset)).astype(int)
    within = radius <= size // 2
    return np.bincount(radius[within], spectrum[within]) / np.bincount(radius[within])


def plot_spectra(spectra: Spectra, model: str) -> Figure:
    """Plot the spectra of the linear push-pull kernels, a row per pooling size and a column per alpha, next to those of
    the push and the pull kernels, all on one scale.

    Args:
        model: Name of the network in the caption.

    Raises:
        InputError: matplotlib is not installed.
    """
    rows, columns = spectra.push_pull.shape[:2]
    lines = max(rows, 2)  # push and pull need two
    figure = new_figure(1.05 * columns + 2.9, 1.02 * lines + 0.75, "constrained")
    from matplotlib.patheffects import withStroke  # after the error for a missing matplotlib

    panels = figure.subplots(lines, columns + 1, squeeze=False)
    cells = {(row, column): spectra.push_pull[row, column] for row in range(rows) for column in range(columns)}
    cells |= {(0, columns): spectra.push, (lines - 1, columns): spectra.pull}
    reference = spectra.push.max()
    with np.errstate(divide="ignore"):
        levels = {cell: 20 * np.log10(values / reference) for cell, values in cells.items()}
    top = max(values.max() for values in levels.values())
    bottom = max(min(values.min() for values in levels.values()), top - _DYNAMIC_RANGE)
    half = 0.5 / len(spectra.frequencies)
    low, high = spectra.frequencies[0] - half, spectra.frequencies[-1] + half
    for (row, column), panel in np.ndenumerate(panels):
        if (row, column) not in cells:
            panel.remove()
            continue
        image = panel.imshow(levels[row, column], MAGNITUDES, vmin=bottom, vmax=top, extent=(low, high, high, low))
        panel.text(
            0.04,
            0.04,
            f"{_dip(cells[row, column]):.1f}".replace("inf", "∞"),
            transform=panel.transAxes,
            size=7,
            color="white",
            path_effects=[withStroke(linewidth=1.5, foreground="black")],
        )
        panel.set_xticks((-0.5, 0, 0.5), ("−.5", "0", ".5"))
        panel.set_yticks((-0.5, 0, 0.5), ("−.5", "0", ".5"))
        panel.tick_params(labelsize=7, length=2, labelbottom=row == lines - 1 or (row, column) == (rows - 1, column))
        panel.tick_params(labelleft=column == 0)
    for column, alpha in enumerate(spectra.alphas):
        panels[0, column].set_title(f"α = {minus(f'{alpha:g}')}", size=9)
    for row, size in enumerate(spectra.avg_sizes):
        panels[row, 0].set_ylabel(f"pooling {size} x {size}" if size else "no pooling", size=9)
    panels[0, columns].set_title("push", size=9, weight="bold")
    panels[lines - 1, columns].set_title("pull", size=9, weight="bold")
    figure.supxlabel("horizontal frequency (cycles/px)", size=9)
    figure.supylabel("vertical frequency (cycles/px)", size=9)
    bar = figure.colorbar(
        image, ax=figure.axes, aspect=25, shrink=0.9, extend="min" if bottom == top - _DYNAMIC_RANGE else "neither"
    )
    bar.set_label("mean |FFT| (dB, 0: peak of push)", size=8)
    bar.ax.tick_params(labelsize=7)
    add_caption(figure, _caption(spectra, model))
    return figure


def _dip(spectrum: np.ndarray) -> float:
    """How far the centre is below the peak of the radial profile, dB: 0 for a low-pass."""
    profile = radial_profile(spectrum)
    return float(20 * np.log10(profile.max() / profile[0])) if profile[0] else np.inf


def _caption(spectra: Spectra, model: str) -> str:
    middle = len(spectra.frequencies) // 2
    with np.errstate(divide="ignore"):
        centres = 20 * np.log10(spectra.push_pull[:, :, middle, middle] / spectra.push.max())
        centre = 20 * np.log10(spectra.push[middle, middle] / spectra.push.max())
    kind = "band-pass" if _dip(spectra.push) >= _BAND_PASS else "not band-pass"
    counts = [f"Push kernels: {kind}, centre at {decibels(centre)}"]
    for sign, chosen in (("α < 0", spectra.alphas < 0), ("α > 0", spectra.alphas > 0)):
        if chosen.any():
            dips = [_dip(values) for row in spectra.push_pull[:, chosen] for values in row]
            counts.append(
                f"{sign}: {sum(dip >= _BAND_PASS for dip in dips)} of {len(dips)} band-pass, centres from "
                f"{decibels(centres[:, chosen].min())} to {decibels(centres[:, chosen].max())}"
            )
    text = (
        f"Averaged Fourier spectra of the {spectra.filters} kernels in the push-pull unit of {model}, input channel "
        f"{spectra.channel}: push kernels, pull kernels, and the linear push-pull kernels (Eq. 8) for other α and "
        f"average pooling. The number in each panel is how far the centre, frequency 0, is below the peak of the mean "
        f"over directions, in dB: 0 is low-pass, {_BAND_PASS} or more is called band-pass here. {'; '.join(counts)}."
    )
    if (spectra.avg_sizes > 1).any():
        text += f" The pooled positions are {' x '.join(map(str, spectra.stride))} px apart."
    return minus(text)
