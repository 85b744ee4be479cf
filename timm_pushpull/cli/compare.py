"""`timm-pushpull compare`."""

from __future__ import annotations

import argparse
from pathlib import Path

from timm_pushpull import metrics
from timm_pushpull.cli.tables import print_comparison
from timm_pushpull.results import Results


def add(commands) -> None:
    parser = commands.add_parser(
        "compare",
        help="put results beside a baseline's",
        description="Print clean error, mCE, mrCE and the relative error per corruption, as a Markdown table.",
    )
    parser.add_argument("baseline", type=Path, help="results file or run folder of the baseline")
    parser.add_argument("results", type=Path, nargs="+", help="results files or run folders")
    parser.set_defaults(run=_compare)


def _compare(options: argparse.Namespace) -> None:
    measured = [Results.load(path) for path in (options.baseline, *options.results)]
    for results in measured:
        results.comparable_with(measured[0])
        metrics.relative_corruption_errors(results.errors, measured[0].errors)
    print_comparison(measured)
