"""What push-pull inhibition does, from weights or images to arrays; `timm_pushpull.figures.plots` draws them.

>>> layer = push_pull_layer(timm.create_model("resnet18_pushpull.tiny_imagenet", pretrained=True))
>>> kernels(layer).pull.shape
(5, 7, 7)
"""

from timm_pushpull.figures.analysis.fourier_heatmap import FourierHeatmap, fourier_basis, fourier_heatmap
from timm_pushpull.figures.analysis.kernels import Kernels, kernels
from timm_pushpull.figures.analysis.layers import alpha_values, push_pull_layer
from timm_pushpull.figures.analysis.snr import SignalToNoise, signal_to_noise, vertical_bar
from timm_pushpull.figures.analysis.spectra import Spectra, average_spectrum, push_pull_spectra, radial_profile

__all__ = [
    "FourierHeatmap",
    "Kernels",
    "SignalToNoise",
    "Spectra",
    "alpha_values",
    "average_spectrum",
    "fourier_basis",
    "fourier_heatmap",
    "kernels",
    "push_pull_layer",
    "push_pull_spectra",
    "radial_profile",
    "signal_to_noise",
    "vertical_bar",
]
