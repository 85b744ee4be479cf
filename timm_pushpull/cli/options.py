"""The options that several commands share: dataset, corruptions, frost textures."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from timm_pushpull import corruptions
from timm_pushpull.corruptions.functional import check_uint64
from timm_pushpull.utils.errors import InputError

if TYPE_CHECKING:
    from timm_pushpull.data.images import ImageSet


_PRESET = "imagenet-c"


def add_split_options(parser: argparse.ArgumentParser) -> None:
    """Options `--split`, `--dataset-config`, `--image-column` and `--label-column`."""
    parser.add_argument(
        "--split", help="split of the dataset (default: the first that exists of test, validation, valid, val)"
    )
    parser.add_argument("--dataset-config", metavar="NAME", help="configuration of the dataset (default: the only one)")
    parser.add_argument("--image-column", help="column of the images (default: the only one of its kind)")
    parser.add_argument("--label-column", help="column of the labels (default: the only one of its kind)")


def load(options: argparse.Namespace, dataset: str, split: str | None) -> ImageSet:
    """The images of a split, with the columns that the options name.

    Raises:
        InputError: As in `data.load_images`.
    """
    from timm_pushpull.data.loading import load_images

    return load_images(
        dataset,
        split,
        config=options.dataset_config,
        image_column=options.image_column,
        label_column=options.label_column,
    )


def add_corruption_options(
    parser: argparse.ArgumentParser, names: tuple[str, ...], described: str, otherwise: str = ""
) -> None:
    """Options `--preset`, `--corruptions`, `--severities`, `--limit` and `--seed`.

    Args:
        names: The default of `--corruptions`.
        described: The same in words.
        otherwise: What the default of `--preset` is in other cases.
    """
    parser.add_argument(
        "--preset",
        help=f"constants: {', '.join(corruptions.PRESETS)} (default: {_PRESET}{otherwise})",
    )
    parser.add_argument(
        "--corruptions", nargs="+", default=list(names), metavar="NAME", help=f"names (default: {described})"
    )
    parser.add_argument(
        "--severities", nargs="+", type=int, default=[1, 2, 3, 4, 5], metavar="1..5", help="(default: all five)"
    )
    parser.add_argument(
        "--limit", type=int, metavar="N", help="take a fixed, class-balanced subset of N images (default: all images)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the corruptions (default: %(default)s)")


def add_frost_option(parser: argparse.ArgumentParser) -> None:
    """Option `--frost-dir`."""
    parser.add_argument(
        "--frost-dir",
        type=Path,
        metavar="DIR",
        help="folder of the frost textures of ImageNet-C (default: $TIMM_PUSHPULL_FROST_DIR, else those of an "
        "installed imagecorruptions, else procedural frost)",
    )


def add_jpeg_option(parser: argparse.ArgumentParser) -> None:
    """Option `--jpeg-quality`."""
    parser.add_argument(
        "--jpeg-quality",
        metavar="Q|none",
        help="compress corrupted images with this JPEG quality, as the published files are (default: the preset's, "
        "85 or none)",
    )


def check_corruption_options(options: argparse.Namespace) -> None:
    """Check the options of the other functions here, and bring them into their final form.

    Repeated names are dropped, severities sorted, the JPEG quality becomes a number or None. `preset_given` is the
    preset that was asked for, if any.

    Raises:
        InputError: An unknown name, severity or quality, a number out of range, or a folder without the textures.
    """
    if options.limit is not None and options.limit < 1:
        raise InputError(f"--limit is {options.limit}; use at least one image")
    check_uint64("--seed", options.seed)
    quality = options.jpeg_quality
    if quality not in (None, "none") and not (quality.isdecimal() and 1 <= int(quality) <= 100):
        raise InputError(f"--jpeg-quality is {quality!r}; use 1 to 100 or none")
    options.preset_given = options.preset
    options.preset = options.preset or _PRESET
    options.corruptions = list(dict.fromkeys(options.corruptions))
    options.severities = sorted(set(options.severities))
    for name in options.corruptions:
        for severity in options.severities:
            corruptions.check_corruption(name, severity, options.preset, options.frost_dir)
    default = corruptions.get_preset(options.preset).jpeg_quality
    options.jpeg_quality = default if quality is None else None if quality == "none" else int(quality)
