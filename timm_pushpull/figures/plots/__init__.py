"""Figures, drawn with matplotlib, which only this package needs."""

from timm_pushpull.figures.plots.alpha import alpha_histograms
from timm_pushpull.figures.plots.canvas import FORMATS, add_caption, check_output, save
from timm_pushpull.figures.plots.fourier_heatmap import fourier_heatmaps
from timm_pushpull.figures.plots.kernels import kernel_pairs
from timm_pushpull.figures.plots.results import corruption_bars, severity_curves
from timm_pushpull.figures.plots.sheet import corruption_sheet, read_image, read_picture
from timm_pushpull.figures.plots.snr import signal_to_noise_maps
from timm_pushpull.figures.plots.spectra import spectra_grid
from timm_pushpull.figures.plots.tradeoff import tradeoff

__all__ = [
    "FORMATS",
    "add_caption",
    "alpha_histograms",
    "check_output",
    "corruption_bars",
    "corruption_sheet",
    "fourier_heatmaps",
    "kernel_pairs",
    "read_image",
    "read_picture",
    "save",
    "severity_curves",
    "signal_to_noise_maps",
    "spectra_grid",
    "tradeoff",
]
