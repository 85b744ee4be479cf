"""Fourier heat maps (Yin et al. 2019): error by the frequency of the noise in the images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from timm_pushpull.figures.plots.canvas import MAGNITUDES, SIGNED, add_caption, minus, new_figure
from timm_pushpull.metrics import confidence_interval
from timm_pushpull.utils.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from timm_pushpull.figures.analysis import FourierHeatmap

#: Bands of frequency, cycles per pixel, that captions tell apart.
_BANDS = {"below 0.125": (0.0, 0.125), "from there to 0.25": (0.125, 0.25), "beyond": (0.25, 1.0)}


def fourier_heatmaps(
    measured: FourierHeatmap,
    model: str,
    images: str,
    baseline: FourierHeatmap | None = None,
    baseline_model: str = "baseline",
) -> Figure:
    """A network's heat map; with a baseline, its map on the same scale, and the difference.

    Args:
        model, baseline_model: What titles and caption call the networks.
        images: What they were measured on, in words.
        baseline: Measured on the same images with the same noise.

    Raises:
        InputError: matplotlib is missing, or the two maps are of other frequencies, noise or images.
    """
    maps = [(model, measured)]
    if baseline is not None:
        maps.append((baseline_model, baseline))
        _check_alike(measured, baseline)
    figure = new_figure(*((5.6, 4.2) if baseline is None else (9.6, 3.3)), "constrained")
    panels = figure.subplots(1, 1 if baseline is None else 3, squeeze=False)[0]
    errors = [100 * one.error for _, one in maps]
    low, high = min(map(np.min, errors)), max(map(np.max, errors))
    half = 0.5 * (measured.frequencies[1] - measured.frequencies[0]) if len(measured.frequencies) > 1 else 0.5
    start, end = measured.frequencies[0] - half, measured.frequencies[-1] + half
    extent = (start, end, end, start)
    for panel, (name, one), error in zip(panels, maps, errors, strict=False):
        image = panel.imshow(error, MAGNITUDES, vmin=low, vmax=high, extent=extent)
        panel.set_title(f"{name}\nclean error {100 * one.clean_error:.1f} %", size=8.5)
    bar = figure.colorbar(image, ax=panels[: len(maps)], shrink=0.9)
    bar.set_label("top-1 error (%)", size=9)
    bars = [bar]
    if baseline is not None:
        difference = errors[0] - errors[1]
        reach = max(float(np.abs(difference).max()), 0.1)
        image = panels[2].imshow(difference, SIGNED, vmin=-reach, vmax=reach, extent=extent)
        panels[2].set_title("difference\nblue: the first errs less", size=8.5)
        bars.append(figure.colorbar(image, ax=panels[2], shrink=0.9))
        bars[1].set_label("difference (percentage points)", size=9)
    for panel in panels:
        panel.tick_params(labelsize=8, labelleft=panel is panels[0])
        panel.set_xlabel("horizontal frequency (cycles/px)", size=9)
        panel.locator_params(nbins=5)
    for drawn in bars:
        drawn.ax.tick_params(labelsize=8)
    panels[0].set_ylabel("vertical frequency (cycles/px)", size=9)
    add_caption(figure, _caption(maps, images))
    return figure


def _check_alike(one: FourierHeatmap, other: FourierHeatmap) -> None:
    for name in ("norm", "seed", "num_images"):
        if getattr(one, name) != getattr(other, name):
            raise InputError(
                f"the heat maps have {name} {getattr(one, name)} and {getattr(other, name)}; measure both alike"
            )
    if not np.array_equal(one.frequencies, other.frequencies):
        raise InputError("the heat maps are of different frequencies; measure both alike")


def _caption(maps: list[tuple[str, FourierHeatmap]], images: str) -> str:
    _, first = maps[0]
    radius = np.hypot(first.frequencies[:, None], first.frequencies)
    bands = {name: (radius >= low) & (radius < high) for name, (low, high) in _BANDS.items()}
    bands = {name: chosen for name, chosen in bands.items() if chosen.any()}
    told = [
        f"{name} {', '.join(f'{100 * one.error[chosen].mean():.1f} % {band}' for band, chosen in bands.items())}"
        for name, one in maps
    ]
    low, high = confidence_interval(0.5, first.num_images)
    text = (
        f"Fourier heat map (Yin et al. 2019): error when noise of one frequency and l₂ norm {first.norm:g} a channel "
        f"(intensities 0 to 1; random signs, seed {first.seed}) is added to {images}. A cell is a frequency: the "
        f"centre a uniform shift, the rim the finest patterns. Mean errors by cycles/px: {'; '.join(told)}. A cell's "
        f"error is known to ± {50 * (high - low):.1f} points or better (95 %)."
    )
    if len(maps) == 2:
        difference = first.error - maps[1][1].error
        text += minus(
            f" The first errs less at {100 * (difference < 0).mean():.0f} % of the frequencies and more at "
            f"{100 * (difference > 0).mean():.0f} %, by {100 * difference.mean():+.1f} points on average."
        )
    return text
