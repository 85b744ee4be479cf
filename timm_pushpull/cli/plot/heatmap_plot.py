"""`timm-pushpull plot fourier-heatmap`."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from timm_pushpull.cli.options import add_split_options, load
from timm_pushpull.cli.plot.shared import add_figure, add_model, add_seed, load_named, pretrained_cfg
from timm_pushpull.utils.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import nn

    from timm_pushpull.data.images import ImageSet
    from timm_pushpull.figures import FourierHeatmap


def add(commands) -> None:
    heatmap = add_figure(
        commands,
        "fourier-heatmap",
        "the error of a classifier by the frequency of noise",
        _heatmap,
        example="--model resnet50.a1_in1k --dataset my_images -o heatmap.png",
        arrays=True,
    )
    add_model(heatmap)
    heatmap.add_argument(
        "--baseline", metavar="MODEL", help="also draw this model's error and the difference (default: none)"
    )
    heatmap.add_argument("--dataset", required=True, help="a folder or Hub id of an image dataset, or digits")
    add_split_options(heatmap)
    heatmap.add_argument(
        "--limit", type=int, metavar="N", help="take a fixed, class-balanced subset of N images (default: all images)"
    )
    heatmap.add_argument("--image-size", type=int, metavar="PX", help="input size (default: the model's)")
    heatmap.add_argument(
        "--norm",
        type=float,
        default=4.0,
        help="l2 norm of the noise in a channel, intensities from 0 to 1 (default: %(default)s, as Yin et al. on "
        "CIFAR-10; on ImageNet they use 15.7)",
    )
    heatmap.add_argument(
        "--frequencies", type=int, metavar="K", help="measure only the K x K lowest frequencies (default: all)"
    )
    heatmap.add_argument("--batch-size", type=int, metavar="N", help="(default: 64 on a CPU, else 512)")
    heatmap.add_argument("--precision", default="auto", help="auto, bf16 or fp32 (default: %(default)s)")
    add_seed(heatmap, "the noise")


def _heatmap(options: argparse.Namespace) -> tuple[Figure, dict[str, Any]]:
    from timm_pushpull import figures
    from timm_pushpull.data.preprocessing import model_geometry
    from timm_pushpull.utils.hardware import choose_device, choose_precision

    for option in ("batch_size", "image_size"):
        value = getattr(options, option)
        if value is not None and value < 1:
            raise InputError(f"--{option.replace('_', '-')} is {value}; use 1 or more")
    device = choose_device()
    precision = choose_precision(options.precision, device)
    loaded = [load_named(options.model, options.weights)] + (
        [load_named(options.baseline, None)] if options.baseline else []
    )
    sizes = sorted({model_geometry(model, options.image_size).size for model, _ in loaded})
    if len(sizes) > 1:
        raise InputError(f"the models take images of {' and '.join(map(str, sizes))} px; give one --image-size")
    images = load(options, options.dataset, options.split)
    (name, measured, described), *others = [_measure(*one, images, options, device, precision) for one in loaded]
    arrays = asdict(measured)
    if not others:
        return figures.plot_fourier_heatmap(measured, name, described), arrays
    ((other, baseline, _),) = others
    other = f"{other} (baseline)" if other == name else other
    arrays |= {f"baseline_{part}": value for part, value in asdict(baseline).items()}
    return figures.plot_fourier_heatmap(measured, name, described, baseline, other), arrays


def _measure(
    model: nn.Module, name: str, images: ImageSet, options: argparse.Namespace, device, precision: str
) -> tuple[str, FourierHeatmap, str]:
    """Return the name of a model, its heat map, and a description of the images."""
    import numpy as np
    import torch

    from timm_pushpull import benchmark, figures
    from timm_pushpull.data.images import read_batches
    from timm_pushpull.data.preprocessing import model_geometry
    from timm_pushpull.models.weights import label_names

    geometry = model_geometry(model, options.image_size)
    names = label_names(model)
    images = benchmark.restrict_to_classes(images, names)
    benchmark.check_classes(names, images.classes, images.name)
    images = images.subset(options.limit)
    pixels = np.concatenate([np.stack(part) for part, _ in read_batches(images, geometry, 512)])
    config = pretrained_cfg(model)
    measured = figures.fourier_heatmap(
        model.to(device).to(memory_format=torch.channels_last),
        pixels,
        images.labels[images.indices],
        config["mean"],
        config["std"],
        norm=options.norm,
        frequencies=options.frequencies,
        indices=images.indices,
        seed=options.seed,
        batch_size=options.batch_size,
        device=device,
        precision=precision,
    )
    return (
        name,
        measured,
        f"{len(images):,} images of {images.name}, split {images.split}, {geometry.size} px, {precision}",
    )
