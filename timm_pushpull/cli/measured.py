"""Results files given on a command line."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from timm_pushpull.benchmark.results import Results
from timm_pushpull.utils.errors import InputError


def add_compared_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments `baseline` and `results`, which `load_compared` reads."""
    parser.add_argument("baseline", type=Path, help="results file or run folder of the baseline")
    parser.add_argument(
        "results",
        type=Path,
        nargs="*",
        help="results files or run folders (default: those of the first file, beside the baseline that they name)",
    )


def load_compared(paths: Sequence[Path], what: str | None = None) -> list[Results]:
    """As `load_results`; for a single model, its baseline as its results hold it comes first.

    Args:
        what: What needs two models, for the error; None if a model without a baseline is enough.

    Raises:
        InputError: As `load_results`, or a single model without a recorded baseline.
    """
    measured = load_results(paths)
    if len(measured) > 1:
        return measured
    (single,) = measured
    baseline = single.recorded_baseline()
    if baseline is None:
        if what is None:
            return measured
        raise InputError(
            f"{str(paths[0])!r} names no baseline, and {what} needs one; give results of two models, or show these "
            f"alone: timm-pushpull info {paths[0]}"
        )
    if baseline.model == single.model:
        baseline = replace(baseline, model=f"{baseline.model} (as recorded)")
    return [baseline, single]


def load_results(paths: Sequence[Path]) -> list[Results]:
    """Results measured on the same images; models of one name carry their path too.

    Raises:
        InputError: A file that is none of results; results that cannot be compared with the first.
    """
    measured = [Results.load(path) for path in paths]
    count = Counter(results.model for results in measured)
    named = [
        replace(results, model=f"{results.model} ({path})") if count[results.model] > 1 else results
        for results, path in zip(measured, paths, strict=True)
    ]
    for results in named:
        results.comparable_with(named[0])
    return named
