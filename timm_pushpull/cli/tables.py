"""Results as a Markdown table on the terminal."""

from __future__ import annotations

from timm_pushpull import metrics
from timm_pushpull.benchmark.comparison import MCE, caveats
from timm_pushpull.benchmark.results import Interval, Intervals, Results
from timm_pushpull.utils.markdown import plain, table
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

    def summary(name: str, error: float, interval: Interval | None) -> list[str]:
        described = f"{100 * interval[0]:.2f} to {100 * interval[1]:.2f}" if interval else ""
        return [name, *[""] * 5, f"{100 * error:.2f}", described]

    rows = []
    if results.clean_error is not None:
        rows.append(summary("clean", results.clean_error, intervals.clean_error))
    for corruption, errors in results.errors.items():
        cells = ["" if error is None else f"{100 * error:.2f}" for error in errors]
        rows.append([plain(corruption), *cells, f"{100 * metrics.mean_error(errors):.2f}", ""])
    if results.mce is not None:
        rows.append(summary("mCE (partial)" if results.partial else "mCE", results.mce, intervals.mce))
    print(table(["error (%)", "1", "2", "3", "4", "5", "mean", "95 % interval"], rows, aligned=True))
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
