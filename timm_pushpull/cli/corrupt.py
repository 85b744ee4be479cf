"""`timm-pushpull corrupt`."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from timm_pushpull.cli.options import (
    add_corruption_options,
    add_frost_option,
    add_jpeg_option,
    add_split_options,
    check_corruption_options,
    load,
)
from timm_pushpull.cli.parser import add_command
from timm_pushpull.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS
from timm_pushpull.utils import provenance
from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.text import say


def add(commands) -> None:
    parser = add_command(
        commands,
        "corrupt",
        help="write corrupted copies of a dataset",
        description="Write corrupted copies of a dataset in the layout of CIFAR-10-C (npy), of ImageNet-C "
        "(imagefolder) or of a Hugging Face dataset (parquet). Running the same command again resumes an interrupted "
        "one.",
        examples=(
            "timm-pushpull corrupt cifar10 CIFAR-10-C --format npy --preset cifar10-c",
            "timm-pushpull corrupt ImageNet/val ImageNet-C --format imagefolder --shard 1/4",
        ),
        allow_abbrev=False,
    )
    parser.add_argument("source", help="a folder or Hub id of an image dataset, or digits")
    parser.add_argument("output", type=Path, help="folder to write")
    parser.add_argument("--format", required=True, help="npy, imagefolder or parquet")
    add_split_options(parser)
    add_corruption_options(
        parser, CORRUPTIONS + EXTRA_CORRUPTIONS, "the 15 of ImageNet-C and the 4 validation corruptions"
    )
    parser.add_argument(
        "--size", metavar="N|keep", help="side in px, or keep for the images' own (default: the preset's)"
    )
    add_frost_option(parser)
    add_jpeg_option(parser)
    parser.add_argument("--workers", type=int, metavar="N", help="threads (default: one per core)")
    parser.add_argument(
        "--shard", default="1/1", metavar="i/N", help="do only the i-th of N equal parts (default: %(default)s)"
    )
    parser.add_argument("--overwrite", action="store_true", help="first remove the corrupted set in the folder")
    parser.set_defaults(run=_corrupt)


def _corrupt(options: argparse.Namespace) -> int:
    check_corruption_options(options)
    numbers = re.fullmatch(r"(\d+)/(\d+)", options.shard)
    if not numbers:
        raise InputError(f"--shard is {options.shard!r}; use i/N, such as 1/4")
    shard = int(numbers[1]), int(numbers[2])
    size = _number("--size", options.size, "keep")
    if options.output.exists() and not options.output.is_dir():
        raise InputError(f"{str(options.output)!r} is a file; give a folder")

    from timm_pushpull.data.corrupted.generation import check_generation, generate

    check_generation(options.format, shard, options.workers, options.overwrite)
    images = load(options, options.source, options.split).subset(options.limit)
    outcome = generate(
        images,
        options.output,
        format=options.format,
        preset=options.preset,
        corruptions=options.corruptions,
        severities=options.severities,
        seed=options.seed,
        size=size,
        jpeg_quality=options.jpeg_quality or "none",
        frost_dir=options.frost_dir,
        workers=options.workers,
        shard=shard,
        overwrite=options.overwrite,
        command=_command(),
    )
    if outcome.manifest is None:
        say(
            f"shard {options.shard} is done; {outcome.missing:,} chunks of other shards are missing in "
            f"{options.output}; the shard that ends last completes the set"
        )
    else:
        say(
            f"{options.output} {'was finished before' if outcome.before else 'is finished'}: "
            f"{outcome.manifest['num_images']:,} images, {len(options.corruptions)} corruptions, "
            f"{len(options.severities)} severities"
        )
    if outcome.unreadable:
        print(f"timm-pushpull corrupt: left out {outcome.unreadable:,} unreadable images", file=sys.stderr)
        return 1
    return 0


def _number(option: str, text: str | None, word: str) -> int | str | None:
    if text is None or text == word:
        return text
    if not re.fullmatch(r"\d+", text):
        raise InputError(f"{option} is {text!r}; use a whole number or {word}")
    return int(text)


def _command() -> str:
    """The command without the options that do not change the files: all shards write the same manifest."""
    arguments = iter(sys.argv[1:])
    kept = []
    for argument in arguments:
        if argument in ("--shard", "--workers"):
            next(arguments)
        elif argument != "--overwrite" and not argument.startswith(("--shard=", "--workers=")):
            kept.append(argument)
    return provenance.command(kept)
