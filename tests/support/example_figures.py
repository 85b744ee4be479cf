"""Example figures and their inputs, for the tests of plots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from support.example_run import some_results
from timm_pushpull import PushPullConv2d, cli, figures
from timm_pushpull.figures import canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PARTIAL = {"gaussian_noise": [0.3, None, 0.5, None, None], "fog": [0.2, 0.2, 0.4, 0.4, 0.4]}


def models(count: int, **changes) -> list:
    """A baseline and models with different errors."""
    first = some_results(**{"model": "model_0", **changes})
    return [
        replace(
            first,
            model=f"model_{n}",
            clean_error=0.05 + 0.01 * n,
            errors={
                name: [None if e is None else min(1, e * (1 + 0.02 * n * (-1) ** place)) for e in row]
                for place, (name, row) in enumerate(first.errors.items())
            },
        )
        for n in range(count)
    ]


def caption(figure) -> str:
    (text,) = [text for text in figure.texts if text.get_gid() == "caption"]
    return text.get_text().replace("\n", " ").replace("\N{NO-BREAK SPACE}", " ")


def some_layer(**options) -> PushPullConv2d:
    torch.manual_seed(0)
    return PushPullConv2d(3, 8, 3, padding=1, **options)


def a_heatmap(factor: float = 1.0, **changes) -> figures.FourierHeatmap:
    error = factor * np.linspace(0, 1, 25).reshape(5, 5)
    offsets = (np.arange(5) - 2) / 8
    return replace(figures.FourierHeatmap((error + error[::-1, ::-1]) / 2, offsets, 0.1, 400, 4.0, 3), **changes)


def all_figures() -> dict[str, Callable[[], Figure]]:
    """Name to a function that draws it, one per kind of figure."""
    layer = some_layer()
    bar = figures.vertical_bar(layer, 64)
    ratios = figures.signal_to_noise(layer, bar * np.ones((3, 1, 1)), 0.2, bar, seed=5)
    pairs = figures.kernel_pairs(layer, 3)
    spectra = figures.push_pull_spectra(layer, (-1, 0.5), (0, 3))
    alphas = {"one": np.linspace(-1, 1, 9), "other": np.full(4, 0.5)}
    first, second = models(2)
    return {
        "kernels": lambda: figures.plot_kernel_pairs(pairs, "a_model"),
        "snr": lambda: figures.plot_signal_to_noise(ratios, ratios.noisy[0], "a_model", described="a bar"),
        "spectra": lambda: figures.plot_spectra(spectra, "a_model"),
        "alpha": lambda: figures.plot_alpha(alphas),
        "heatmaps": lambda: figures.plot_fourier_heatmap(
            a_heatmap(0.5), "a_model", "400 images", a_heatmap(), "another"
        ),
        "sheet": lambda: figures.plot_corruption_sheet(np.zeros((8, 8, 3), np.uint8), "cifar10-c"),
        "severity": lambda: figures.plot_severity_curves([first, second], caption=True),
        "tradeoff": lambda: figures.plot_tradeoff(first, [second]),
        "bars": lambda: figures.plot_corruption_bars(first, [second]),
    }


def plot(run_inside, figure, *arguments):
    return run_inside(cli.main, "timm-pushpull", "plot", figure, *arguments)


def some_figure():
    return canvas.new_figure(1, 1)
