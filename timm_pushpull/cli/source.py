"""The options that name a data set, common to several commands."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from timm_pushpull import corruptions
from timm_pushpull.utils.errors import InputError

if TYPE_CHECKING:
    from timm_pushpull.data.images import ImageSet


def add_columns(parser: argparse.ArgumentParser) -> None:
    """Options `--split`, `--image-column` and `--label-column`."""
    parser.add_argument("--split", help="default: the first of test, validation, valid, val")
    parser.add_argument("--image-column", help="needed only where there are several")
    parser.add_argument("--label-column", help="needed only where there are several")


def load(options: argparse.Namespace, dataset: str, split: str | None) -> ImageSet:
    """The images of a split, with the columns that the options name.

    Raises:
        InputError: As in `data.load_images`.
    """
    from timm_pushpull.data.loading import load_images

    return load_images(dataset, split, image_column=options.image_column, label_column=options.label_column)


def add_cells(parser: argparse.ArgumentParser, names: tuple[str, ...], described: str) -> None:
    """Options `--preset`, `--corruptions` (by default `names`, in words `described`), `--severities`, `--limit` and
    `--seed`."""
    parser.add_argument(
        "--preset", default="imagenet-c", help=f"constants: {', '.join(corruptions.PRESETS)} (default: %(default)s)"
    )
    parser.add_argument("--corruptions", nargs="+", default=list(names), metavar="NAME", help=f"default: {described}")
    parser.add_argument("--severities", nargs="+", type=int, default=[1, 2, 3, 4, 5], metavar="1..5")
    parser.add_argument("--limit", type=int, metavar="N", help="a fixed, class-balanced selection of N images")
    parser.add_argument("--seed", type=int, default=0, help="of the corruptions (default: %(default)s)")


def add_pictures(parser: argparse.ArgumentParser) -> None:
    """Options `--frost-dir` and `--jpeg-quality`."""
    parser.add_argument("--frost-dir", type=Path, metavar="DIR", help="the frost textures of ImageNet-C")
    parser.add_argument(
        "--jpeg-quality",
        metavar="Q|none",
        help="of the files that corrupted pictures go through (default: the preset's as published, 85 or none)",
    )


def check_cells(options: argparse.Namespace) -> None:
    """Settle the options of `add_cells` and `add_pictures`: repetitions dropped, severities sorted, the JPEG quality a
    number or None.

    Raises:
        InputError: A name, severity, quality or folder of textures that does not exist.
    """
    quality = options.jpeg_quality
    if quality not in (None, "none") and not (quality.isdecimal() and 1 <= int(quality) <= 100):
        raise InputError(f"--jpeg-quality is {quality!r}; use 1 to 100 or none")
    options.corruptions = list(dict.fromkeys(options.corruptions))
    options.severities = sorted(set(options.severities))
    for name in options.corruptions:
        for severity in options.severities:
            corruptions.check(name, severity, options.preset, options.frost_dir)
    default = corruptions.JPEG_QUALITY.get(options.preset)
    options.jpeg_quality = default if quality is None else None if quality == "none" else int(quality)
