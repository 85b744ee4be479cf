"""`timm-pushpull report`."""

from __future__ import annotations

import argparse
from pathlib import Path

from timm_pushpull.corruptions import PRESETS
from timm_pushpull.utils.errors import InputError

_SUFFIXES = (".html", ".htm")


def add(commands) -> None:
    parser = commands.add_parser(
        "report",
        help="write results as one page to look at",
        description="Write results as one HTML page that needs no network: leaderboard, severity curves, trade-off, "
        "errors by corruption, inhibition strengths, a corruption viewer and provenance. Results that cannot be "
        "compared with each other get sections of their own.",
    )
    parser.add_argument("results", type=Path, nargs="+", help="results files, run or release folders")
    parser.add_argument(
        "--image",
        type=Path,
        action="append",
        default=[],
        metavar="PICTURE",
        help="for the corruption viewer; repeat it",
    )
    parser.add_argument("--preset", help=f"of the viewer: {', '.join(PRESETS)} (default: the results' own)")
    parser.add_argument("--frost-dir", type=Path, metavar="DIR", help="the frost textures of ImageNet-C")
    parser.add_argument("--title", help="heading of the page")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="an .html file to write")
    parser.set_defaults(run=_report)


def _report(options: argparse.Namespace) -> None:
    from timm_pushpull.figures.report import TITLE, render
    from timm_pushpull.utils.files import make_folder, write_file

    output = options.output
    if output.is_dir():
        raise InputError(f"{str(output)!r} is a folder; give a file")
    if output.suffix.lower() not in _SUFFIXES:
        raise InputError(f"{str(output)!r} does not end in .html")
    make_folder(output.parent)
    page = render(
        options.results,
        options.image,
        preset=options.preset,
        frost_dir=options.frost_dir,
        title=options.title or TITLE,
    )
    write_file(output, page)
    print(f"written to {output} ({len(page.encode()) / 1e6:.1f} MB)")
