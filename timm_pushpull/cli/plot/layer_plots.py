"""`timm-pushpull plot`: figures of a push-pull layer."""

from __future__ import annotations

import argparse
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timm_pushpull.cli.plot.shared import add_figure, add_model, add_seed, load_named, pretrained_cfg
from timm_pushpull.utils.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def add(commands) -> None:
    example = "--model resnet18_cifar_pushpull.cifar10"
    kernels = add_figure(
        commands,
        "kernels",
        "push kernels and their pull kernels",
        _kernels,
        example=f"{example} -o kernels.png",
        arrays=True,
    )
    add_model(kernels)
    kernels.add_argument("--count", type=int, default=5, metavar="N", help="filters (default: %(default)s)")
    _add_channel(kernels)
    add_seed(kernels, "the choice of filters")

    snr = add_figure(
        commands,
        "snr",
        "the signal-to-noise ratios of push and push-pull under Gaussian noise",
        _snr,
        example=f"{example} -o snr.png",
        arrays=True,
    )
    snr.add_argument(
        "image", type=Path, nargs="?", metavar="IMAGE", help="image file (default: a light vertical bar of 5 px)"
    )
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
        help="contrast of the bar, intensities from 0 to 1; negative for a dark bar (default: %(default)s)",
    )
    snr.add_argument("--alpha", type=float, help="inhibition strength of all filters (default: the network's own)")
    snr.add_argument(
        "--filter", type=int, metavar="N", help="filter to show (default: one with alpha above 0 and a large gain)"
    )
    add_seed(snr, "the noise")

    spectra = add_figure(
        commands,
        "spectra",
        "averaged Fourier spectra of the kernels over alpha and pooling",
        _spectra,
        example=f"{example} -o spectra.png",
        arrays=True,
    )
    add_model(spectra)
    spectra.add_argument(
        "--alphas",
        type=float,
        nargs="+",
        default=[-2, -1, -0.5, -0.25, 0.25, 0.5, 1, 2],
        metavar="A",
        help="inhibition strengths, of any sign (default: %(default)s)",
    )
    spectra.add_argument("--avg-sizes", type=int, nargs="+", default=[0, 3, 5], metavar="K", help="(default: 0 3 5)")
    _add_channel(spectra)
    spectra.add_argument(
        "--stride",
        type=int,
        metavar="PX",
        help="distance of the positions that the pooling averages (default: the unit's stride; the paper's Eq. 7: 1)",
    )

    alpha = add_figure(
        commands,
        "alpha",
        "the distribution of the inhibition strength",
        _alpha,
        example=f"{example} -o alpha.png",
        arrays=True,
    )
    add_model(alpha, several=True)


def _add_channel(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--channel", type=int, default=0, metavar="C", help="of the input (default: %(default)s)")


def _kernels(options: argparse.Namespace) -> tuple[Figure, dict[str, Any]]:
    from timm_pushpull import figures

    model, name = load_named(options.model, options.weights)
    kernels = figures.kernel_pairs(figures.push_pull_layer(model), options.count, options.channel, options.seed)
    return figures.plot_kernel_pairs(kernels, name), asdict(kernels)


def _snr(options: argparse.Namespace) -> tuple[Figure, dict[str, Any]]:
    import numpy as np

    from timm_pushpull import figures, set_inhibition
    from timm_pushpull.data.preprocessing import model_geometry

    if not 0 < abs(options.contrast) <= 1:
        raise InputError(f"--contrast is {options.contrast:g}; use -1 to 1, but not 0")
    if not (options.sigma > 0 and math.isfinite(options.sigma)):
        raise InputError(f"--sigma is {options.sigma:g}; use noise above 0")
    model, name = load_named(options.model, options.weights)
    layer = figures.push_pull_layer(model)
    if options.alpha is not None:
        set_inhibition(layer, options.alpha)
        name += f" (α set to {options.alpha:g})"
    mean, std = (np.reshape(pretrained_cfg(model)[part], (-1, 1, 1)) for part in ("mean", "std"))
    if options.image:
        pixels = figures.read_image(options.image, model_geometry(model)).transpose(2, 0, 1)
        image, signal, what = (pixels / 255 - mean) / std, None, f"image {options.image.name}"
    else:
        signal = figures.vertical_bar(layer)
        image = options.contrast * signal / std
        what = f"a vertical bar 5 px wide of contrast {options.contrast:g} on the mean colour"
    ratios = figures.signal_to_noise(layer, image, options.sigma / std.ravel(), signal, options.seed)
    figure = figures.plot_signal_to_noise(
        ratios,
        (ratios.noisy * std + mean).transpose(1, 2, 0),
        name,
        described=f"{what} under Gaussian noise of standard deviation {options.sigma:g} (intensities 0 to 1)",
        shown=options.filter,
    )
    return figure, asdict(ratios)


def _spectra(options: argparse.Namespace) -> tuple[Figure, dict[str, Any]]:
    from timm_pushpull import figures

    model, name = load_named(options.model, options.weights)
    spectra = figures.push_pull_spectra(
        figures.push_pull_layer(model),
        options.alphas,
        options.avg_sizes,
        channel=options.channel,
        stride=options.stride,
    )
    return figures.plot_spectra(spectra, name), asdict(spectra)


def _alpha(options: argparse.Namespace) -> tuple[Figure, dict[str, Any]]:
    from timm_pushpull import figures

    if len(options.weights) not in (0, len(options.model)):
        raise InputError(
            f"{len(options.model)} --model and {len(options.weights)} --weights; give one for each, or none"
        )
    strengths = {}
    for given, weights in zip(options.model, options.weights or [None] * len(options.model), strict=True):
        model, name = load_named(given, weights)
        name = f"{name} [{weights or given}]" if name in strengths else name
        strengths[name] = figures.alpha_values(model)
    return figures.plot_alpha(strengths), strengths
