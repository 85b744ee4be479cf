"""Results files given on a command line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from timm_pushpull.benchmark.results import Results


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
