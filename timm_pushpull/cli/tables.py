"""Results as a Markdown table on the terminal."""

from __future__ import annotations

from timm_pushpull.benchmark.comparison import MCE, caveats
from timm_pushpull.benchmark.error_table import error_table
from timm_pushpull.benchmark.results import Intervals, Results
from timm_pushpull.utils.text import printable


def print_results(results: Results) -> None:
    """One results file: the error per corruption and severity."""
    heading = (
        f"{results.model} on {results.num_images:,} images of {results.dataset}, split {results.split}; "
        f"preset {results.preset}, seed {results.seed}"
    )
    print(f"{printable(heading)}\n")
    if results.retrieval:
        print(f"{printable(retrieval_note(results))}\n")
    intervals = results.intervals or Intervals()
    ends = intervals.clean_error, intervals.mce
    print(error_table(results.clean_error, results.errors, *ends, partial=results.partial))
    for note in (MCE, *caveats(results)) if results.mce is not None else ():
        print(f"\n{printable(note)}")


def retrieval_note(results: Results) -> str:
    """What an error of retrieval is; empty for another task."""
    known = results.retrieval
    if known is None:
        return ""
    return (
        f"Errors are {results.error_name}: each image ranks the {known.database_images:,} images of split "
        f"{known.database_split} by its hash."
    )
