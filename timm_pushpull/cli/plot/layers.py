"""Figures of what a push-pull layer does."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timm_pushpull.cli.plot.figure import add_figure, add_model, add_seed, load_named
from timm_pushpull.utils.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def add(figures) -> None:
    kernels = add_figure(figures, "kernels", "push kernels beside their pull kernels", _kernels, arrays=True)
    add_model(kernels)
    kernels.add_argument("--count", type=int, default=5, metavar="N", help="filters (default: %(default)s)")
    _add_channel(kernels)
    add_seed(kernels, "the choice of filters")

    snr = add_figure(
        figures, "snr", "the signal-to-noise ratios of push and push-pull under Gaussian noise", _snr, arrays=True
    )
    snr.add_argument("image", type=Path, nargs="?", metavar="PICTURE", help="default: a light vertical bar of 5 px")
    add_model(snr)
    snr.add_argument(
        "--sigma",
        type=float,
        default=0.2,
        help="standard deviation of the noise, intensities from 0 to 1 (default: %(default)s)",
    )
    snr.add_argument(
        "--contrast",
        type=float,
        default=0.5,
        help="of the bar, intensities from 0 to 1; below 0 for a dark one (default: %(default)s)",
    )
    snr.add_argument("--alpha", type=float, help="inhibition strength of all filters (default: the network's own)")
    snr.add_argument("--filter", type=int, metavar="N", help="to show (default: an inhibited one that gains)")
    add_seed(snr, "the noise")

    spectra = add_figure(
        figures, "spectra", "averaged Fourier spectra of the kernels over alpha and pooling", _spectra, arrays=True
    )
    add_model(spectra)
    spectra.add_argument(
        "--alphas",
        type=float,
        nargs="+",
        default=[-2, -1, -0.5, -0.25, 0.25, 0.5, 1, 2],
        metavar="A",
        help="of any sign (default: %(default)s)",
    )
    spectra.add_argument("--avg-sizes", type=int, nargs="+", default=[0, 3, 5], metavar="K", help="default: 0 3 5")
    _add_channel(spectra)
    spectra.add_argument(
        "--stride",
        type=int,
        metavar="PX",
        help="distance of the positions that the pooling averages (default: the unit's stride; the paper's Eq. 7: 1)",
    )

    alpha = add_figure(figures, "alpha", "the distribution of the inhibition strength", _alpha, arrays=True)
    add_model(alpha, several=True)


def _add_channel(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--channel", type=int, default=0, metavar="C", help="of the input (default: %(default)s)")


def _kernels(options: argparse.Namespace) -> tuple[Figure, dict[str, Any]]:
    from timm_pushpull.figures import analysis, plots

    model, name = load_named(options.model, options.weights)
    kernels = analysis.kernels(analysis.push_pull_layer(model), options.count, options.channel, options.seed)
    return plots.kernel_pairs(kernels, name), asdict(kernels)


def _snr(options: argparse.Namespace) -> tuple[Figure, dict[str, Any]]:
    import numpy as np

    from timm_pushpull import set_inhibition
    from timm_pushpull.data.preprocessing import model_geometry
    from timm_pushpull.figures import analysis, plots

    model, name = load_named(options.model, options.weights)
    layer = analysis.push_pull_layer(model)
    if options.alpha is not None:
        set_inhibition(layer, options.alpha)
        name += f" (α set to {options.alpha:g})"
    mean, std = (np.reshape(model.pretrained_cfg[part], (-1, 1, 1)) for part in ("mean", "std"))
    if options.image:
        pixels = plots.read_picture(options.image, model_geometry(model)).transpose(2, 0, 1)
        image, signal, what = (pixels / 255 - mean) / std, None, f"the picture {options.image.name}"
    else:
        signal = analysis.vertical_bar(layer)
        image = options.contrast * signal / std
        what = f"a vertical bar 5 px wide of contrast {options.contrast:g} on the mean colour"
    ratios = analysis.signal_to_noise(layer, image, options.sigma / std.ravel(), signal, options.seed)
    figure = plots.signal_to_noise_maps(
        ratios,
        (ratios.noisy * std + mean).transpose(1, 2, 0),
        name,
        described=f"{what} under Gaussian noise of standard deviation {options.sigma:g} (intensities 0 to 1)",
        shown=options.filter,
    )
    return figure, asdict(ratios)


def _spectra(options: argparse.Namespace) -> tuple[Figure, dict[str, Any]]:
    from timm_pushpull.figures import analysis, plots

    model, name = load_named(options.model, options.weights)
    spectra = analysis.push_pull_spectra(
        analysis.push_pull_layer(model),
        options.alphas,
        options.avg_sizes,
        channel=options.channel,
        stride=options.stride,
    )
    return plots.spectra_grid(spectra, name), asdict(spectra)


def _alpha(options: argparse.Namespace) -> tuple[Figure, dict[str, Any]]:
    from timm_pushpull.figures import analysis, plots

    if len(options.weights) not in (0, len(options.model)):
        raise InputError(
            f"{len(options.model)} --model and {len(options.weights)} --weights; give one for each, or none"
        )
    strengths = {}
    for given, weights in zip(options.model, options.weights or [None] * len(options.model), strict=True):
        model, name = load_named(given, weights)
        name = f"{name} [{weights or given}]" if name in strengths else name
        strengths[name] = analysis.alpha_values(model)
    return plots.alpha_histograms(strengths), strengths
