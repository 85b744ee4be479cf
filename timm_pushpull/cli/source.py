"""The options that name a data set, common to several commands."""

from __future__ import annotations

import argparse

from timm_pushpull import corruptions


def add_columns(parser: argparse.ArgumentParser) -> None:
    """Options `--split`, `--image-column` and `--label-column`."""
    parser.add_argument("--split", help="default: the first of test, validation, valid, val")
    parser.add_argument("--image-column", help="needed only where there are several")
    parser.add_argument("--label-column", help="needed only where there are several")


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


def check_cells(options: argparse.Namespace) -> None:
    """Drop repetitions, sort the severities, and raise InputError for a name or severity that does not exist."""
    options.corruptions = list(dict.fromkeys(options.corruptions))
    options.severities = sorted(set(options.severities))
    for name in options.corruptions:
        for severity in options.severities:
            corruptions.check(name, severity, options.preset)
