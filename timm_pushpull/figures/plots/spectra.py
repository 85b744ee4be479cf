"""Averaged Fourier spectra over alpha and pooling (paper, Figs. 5 and 10)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from timm_pushpull.figures.analysis.spectra import radial_profile
from timm_pushpull.figures.plots.canvas import MAGNITUDES, add_caption, decibels, minus, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from timm_pushpull.figures.analysis import Spectra

_DEPTH = 40  # dB below the highest value that are told apart
_BAND_PASS = 1  # dB by which the centre of a spectrum then lies below its peak, at least


def spectra_grid(spectra: Spectra, model: str) -> Figure:
    """Spectra of the linear push-pull kernels, a row per pooling and a column per alpha, beside those of the push and
    of the pull kernels; all on one scale.

    Args:
        model: What the caption calls the network.

    Raises:
        InputError: matplotlib is missing.
    """
    from matplotlib.patheffects import withStroke

    rows, columns = spectra.push_pull.shape[:2]
    lines = max(rows, 2)  # push and pull need two
    figure = new_figure(1.05 * columns + 2.9, 1.02 * lines + 0.75, "constrained")
    panels = figure.subplots(lines, columns + 1, squeeze=False)
    cells = {(row, column): spectra.push_pull[row, column] for row in range(rows) for column in range(columns)}
    cells |= {(0, columns): spectra.push, (lines - 1, columns): spectra.pull}
    reference = spectra.push.max()
    with np.errstate(divide="ignore"):
        decibels = {place: 20 * np.log10(values / reference) for place, values in cells.items()}
    top = max(values.max() for values in decibels.values())
    bottom = max(min(values.min() for values in decibels.values()), top - _DEPTH)
    half = 0.5 / len(spectra.frequencies)
    low, high = spectra.frequencies[0] - half, spectra.frequencies[-1] + half
    for (row, column), panel in np.ndenumerate(panels):
        if (row, column) not in cells:
            panel.remove()
            continue
        image = panel.imshow(decibels[row, column], MAGNITUDES, vmin=bottom, vmax=top, extent=(low, high, high, low))
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
        panels[row, 0].set_ylabel(f"avg {size}" if size else "no pooling", size=9)
    panels[0, columns].set_title("push", size=9, weight="bold")
    panels[lines - 1, columns].set_title("pull", size=9, weight="bold")
    figure.supxlabel("horizontal frequency (cycles/px)", size=9)
    figure.supylabel("vertical frequency (cycles/px)", size=9)
    bar = figure.colorbar(
        image, ax=figure.axes, aspect=25, shrink=0.9, extend="min" if bottom == top - _DEPTH else "neither"
    )
    bar.set_label("mean |FFT| (dB re peak of push)", size=8)
    bar.ax.tick_params(labelsize=7)
    add_caption(figure, _caption(spectra, model))
    return figure


def _dip(spectrum: np.ndarray) -> float:
    """By how many dB the centre lies below the highest average over directions: 0 for a low-pass."""
    profile = radial_profile(spectrum)
    return float(20 * np.log10(profile.max() / profile[0])) if profile[0] else np.inf


def _caption(spectra: Spectra, model: str) -> str:
    middle = len(spectra.frequencies) // 2
    with np.errstate(divide="ignore"):
        centres = 20 * np.log10(spectra.push_pull[:, :, middle, middle] / spectra.push.max())
        centre = 20 * np.log10(spectra.push[middle, middle] / spectra.push.max())
    told = [f"Push is {'' if _dip(spectra.push) >= _BAND_PASS else 'not '}one, its centre lies at {decibels(centre)}"]
    for kind, chosen in (("α < 0", spectra.alphas < 0), ("α > 0", spectra.alphas > 0)):
        if chosen.any():
            dips = [_dip(values) for row in spectra.push_pull[:, chosen] for values in row]
            told.append(
                f"of the {len(dips)} with {kind}, {sum(dip >= _BAND_PASS for dip in dips)} are, and the centres lie at "
                f"{decibels(centres[:, chosen].min())} to {decibels(centres[:, chosen].max())}"
            )
    text = (
        f"Averaged Fourier spectra of the {spectra.filters} kernels in the push-pull unit of {model}, input channel "
        f"{spectra.channel}: of the push kernels, the pull kernels, and the linear push-pull kernels (Eq. 8) that they "
        f"make with other α and poolings. In a corner: by how many dB the centre lies below the highest average over "
        f"directions; 0 is a low-pass, {_BAND_PASS} or more is called a band-pass here. {'; '.join(told)}."
    )
    if (spectra.avg_sizes > 1).any():
        text += f" The pooling averages positions {' x '.join(map(str, spectra.stride))} px apart."
    return minus(text)
