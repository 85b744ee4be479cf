"""`timm-pushpull benchmark`."""

from __future__ import annotations

import argparse
from pathlib import Path

from timm_pushpull.cli.source import add_cells, add_columns, add_pictures, check_cells
from timm_pushpull.cli.tables import print_results
from timm_pushpull.corruptions import CORRUPTIONS
from timm_pushpull.errors import InputError
from timm_pushpull.files import make_folder
from timm_pushpull.results import Results


def add(commands) -> None:
    parser = commands.add_parser(
        "benchmark",
        help="measure a model on clean and corrupted images",
        description="Measure the top-1 error of a timm model on clean and corrupted images, corrupted on the fly.",
    )
    parser.add_argument("--model", required=True, help="a registered name, local-dir:FOLDER or hf-hub:ID")
    parser.add_argument("--weights", help="a safetensors file, local-dir:FOLDER or hf-hub:ID (default: the registered)")
    parser.add_argument("--dataset", required=True, help="a folder or Hub id of an image data set, or digits")
    add_columns(parser)
    add_cells(parser, CORRUPTIONS, "the 15 of ImageNet-C")
    add_pictures(parser)
    parser.add_argument("--batch-size", type=int, metavar="N", help="default: 64 on a CPU, else 512")
    parser.add_argument("--precision", default="auto", help="auto, bf16 or fp32 (default: %(default)s)")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="results file to write, JSON")
    parser.set_defaults(run=_benchmark)


def _benchmark(options: argparse.Namespace) -> None:
    import torch

    from timm_pushpull import benchmark, corruptions
    from timm_pushpull.data import load_images
    from timm_pushpull.hardware import choose_device, choose_precision, describe
    from timm_pushpull.preprocess import model_geometry
    from timm_pushpull.weights import label_names, load_model

    if options.batch_size is not None and options.batch_size < 1:
        raise InputError(f"--batch-size is {options.batch_size}; use 1 or more")
    check_cells(options)
    if options.output.is_dir():
        raise InputError(f"--output {str(options.output)!r} is a folder; give a file, such as results.json")
    make_folder(options.output.parent)
    device = choose_device()
    precision = choose_precision(options.precision, device)
    model, weights_sha256 = load_model(options.model, options.weights)
    images = load_images(
        options.dataset,
        options.split,
        image_column=options.image_column,
        label_column=options.label_column,
    ).limited(options.limit)
    benchmark.check_classes(label_names(model), images)
    config = model.pretrained_cfg
    clean_error, errors = benchmark.evaluate(
        model.to(device, memory_format=torch.channels_last),
        images,
        model_geometry(model),
        mean=config["mean"],
        std=config["std"],
        preset=options.preset,
        corruptions=options.corruptions,
        severities=options.severities,
        seed=options.seed,
        frost_dir=options.frost_dir,
        jpeg_quality=options.jpeg_quality,
        batch_size=options.batch_size,
        device=device,
        precision=precision,
    )
    results = Results(
        model=config["architecture"],
        weights_sha256=weights_sha256,
        dataset=images.name,
        split=images.split,
        preset=options.preset,
        seed=options.seed,
        num_images=len(images),
        clean_error=clean_error,
        errors=errors,
        frost=corruptions.frost_source(options.frost_dir) if "frost" in errors else None,
        jpeg_quality=options.jpeg_quality if errors else None,
        precision=precision,
        hardware=describe(device),
    )
    results.save(options.output)
    print_results(results)
    print(f"written to {options.output}")
