"""`timm-pushpull report`."""

from __future__ import annotations

import argparse
from pathlib import Path

from timm_pushpull.cli.options import add_frost_option
from timm_pushpull.cli.parser import add_command
from timm_pushpull.corruptions import PRESETS
from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.text import say

_SUFFIXES = (".html", ".htm")


def add(commands) -> None:
    parser = add_command(
        commands,
        "report",
        help="write results as an HTML page",
        description="Write results as one HTML page that needs no network: leaderboard, severity curves, trade-off, "
        "errors by corruption, inhibition strengths, a corruption viewer and provenance. Results that cannot be "
        "compared with each other get separate sections.",
        examples=("timm-pushpull report plain.json pushpull.json --image cat.png -o report.html",),
    )
    parser.add_argument("results", type=Path, nargs="+", help="results files, run or release folders")
    parser.add_argument(
        "--image",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="image for the corruption viewer; may be repeated (default: a photograph that scikit-learn contains)",
    )
    parser.add_argument("--preset", help=f"constants of the viewer: {', '.join(PRESETS)} (default: the results' own)")
    add_frost_option(parser)
    parser.add_argument("--title", help="heading of the page (default: Robustness to image corruptions)")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="an .html file to write")
    parser.set_defaults(run=_report)


def _report(options: argparse.Namespace) -> None:
    from timm_pushpull.figures.report import TITLE, render
    from timm_pushpull.utils.files import check_output, write_file

    output = options.output
    if output.suffix.lower() not in _SUFFIXES:
        raise InputError(f"{str(output)!r} does not end in .html")
    check_output(output)
    page = render(
        options.results,
        options.image,
        preset=options.preset,
        frost_dir=options.frost_dir,
        title=options.title or TITLE,
    )
    write_file(output, page)
    say(f"written to {output} ({len(page.encode()) / 1e6:.1f} MB)")
