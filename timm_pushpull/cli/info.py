"""`timm-pushpull info`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from timm_pushpull.benchmark.results import Results
from timm_pushpull.cli.parser import add_command
from timm_pushpull.cli.tables import print_results
from timm_pushpull.utils.text import printable

_PROVENANCE = (
    *("dataset_config", "corrupted", "frost", "jpeg_quality", "image_size", "fingerprint", "weights_sha256"),
    *("precision", "hardware", "seconds", "command", "commit"),
)


def add(commands) -> None:
    parser = add_command(
        commands,
        "info",
        help="show a results file and its provenance",
        description="Show the errors in a results file, and how they were measured.",
        examples=("timm-pushpull info results.json", "timm-pushpull info hub/releases/resnet18_cifar.cifar10"),
    )
    parser.add_argument("results", type=Path, help="results file or run folder")
    parser.set_defaults(run=_info)


def _info(options: argparse.Namespace) -> None:
    results = Results.load(options.results)
    print_results(results)
    print()
    rows = {name: getattr(results, name) for name in _PROVENANCE}
    if results.training:
        shown = {name: value for name, value in vars(results.training).items() if value != []}
        initial = shown.pop("initial_weights")
        rows["training"] = _listed(shown)
        if initial:
            rows["initial_weights"] = _listed(vars(initial))
    if results.baseline:
        rows["baseline"] = f"{results.baseline.model}, weights_sha256 {results.baseline.weights_sha256}"
    rows["versions"] = _listed(results.versions)
    for name, value in rows.items():
        if value not in (None, ""):
            print(f"{name}: {printable(value)}")


def _listed(items: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in items.items() if value is not None)
