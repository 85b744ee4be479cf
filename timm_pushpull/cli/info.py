"""`timm-pushpull info`."""

from __future__ import annotations

import argparse
from pathlib import Path

from timm_pushpull.benchmark.results import Results
from timm_pushpull.cli.tables import print_results

_PROVENANCE = ("corrupted", "frost", "jpeg_quality", "image_size", "fingerprint", "weights_sha256", "precision")
_PROVENANCE += ("hardware", "seconds", "command", "commit")


def add(commands) -> None:
    parser = commands.add_parser(
        "info",
        help="show what a results file holds and where it came from",
        description="Show what a results file holds and where it came from.",
    )
    parser.add_argument("results", type=Path, help="results file or run folder")
    parser.set_defaults(run=_info)


def _info(options: argparse.Namespace) -> None:
    results = Results.load(options.results)
    print_results(results)
    print()
    for name in _PROVENANCE:
        if getattr(results, name) is not None:
            print(f"{name}: {getattr(results, name)}")
    if results.training:
        told = {name: value for name, value in results.training.items() if value not in (None, [])}
        print("training: " + ", ".join(f"{name} {value}" for name, value in told.items()))
    if results.baseline:
        print(f"baseline: {results.baseline['model']}, weights_sha256 {results.baseline['weights_sha256']}")
    print("versions: " + ", ".join(f"{name} {number}" for name, number in results.versions.items()))
