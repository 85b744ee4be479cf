"""Analyses of networks and results, their plots, and the report page.

The analyses return arrays and need no matplotlib; the functions `plot_...` draw them and do.

>>> import timm
>>> layer = push_pull_layer(timm.create_model("resnet18_pushpull"))
>>> pairs = kernel_pairs(layer)
>>> pairs.pull.shape
(5, 7, 7)
>>> save_figure(plot_kernel_pairs(pairs, "resnet18_pushpull"), Path("kernels.png"))  # doctest: +SKIP

The report page is in `timm_pushpull.figures.report`.
"""

from timm_pushpull.figures.alpha import alpha_values, plot_alpha
from timm_pushpull.figures.canvas import FORMATS, add_caption, check_output, save_figure
from timm_pushpull.figures.corruption_errors import (
    plot_corruption_bars,
    plot_corruption_intervals,
    plot_severity_curves,
)
from timm_pushpull.figures.corruption_sheet import plot_corruption_sheet, read_image, read_preset_image
from timm_pushpull.figures.heatmap import FourierHeatmap, fourier_basis, fourier_heatmap, plot_fourier_heatmap
from timm_pushpull.figures.push_pull_kernels import KernelPairs, kernel_pairs, plot_kernel_pairs, push_pull_layer
from timm_pushpull.figures.snr import SignalToNoise, plot_signal_to_noise, signal_to_noise, vertical_bar
from timm_pushpull.figures.spectra import Spectra, average_spectrum, plot_spectra, push_pull_spectra, radial_profile
from timm_pushpull.figures.tradeoff_plane import plot_tradeoff

__all__ = [
    "FORMATS",
    "FourierHeatmap",
    "KernelPairs",
    "SignalToNoise",
    "Spectra",
    "add_caption",
    "alpha_values",
    "average_spectrum",
    "check_output",
    "fourier_basis",
    "fourier_heatmap",
    "kernel_pairs",
    "plot_alpha",
    "plot_corruption_bars",
    "plot_corruption_intervals",
    "plot_corruption_sheet",
    "plot_fourier_heatmap",
    "plot_kernel_pairs",
    "plot_severity_curves",
    "plot_signal_to_noise",
    "plot_spectra",
    "plot_tradeoff",
    "push_pull_layer",
    "push_pull_spectra",
    "radial_profile",
    "read_image",
    "read_preset_image",
    "save_figure",
    "signal_to_noise",
    "vertical_bar",
]
