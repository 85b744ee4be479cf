"""Results as Markdown tables on the terminal."""

from __future__ import annotations

from timm_pushpull import metrics
from timm_pushpull.benchmark.comparison import measured_lines
from timm_pushpull.benchmark.results import Interval, Intervals, Results
from timm_pushpull.cli.formats import markdown
from timm_pushpull.utils.text import printable

PARTIAL = "partial: not all of the 15 x 5 cells were measured; mCE and mrCE are means over those that were"


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

    rows = [["error in %", "1", "2", "3", "4", "5", "mean", "95 % interval"]]
    if results.clean_error is not None:
        rows.append(summary("clean", results.clean_error, intervals.clean_error))
    for corruption, errors in results.errors.items():
        cells = ["" if error is None else f"{100 * error:.2f}" for error in errors]
        rows.append([corruption, *cells, f"{100 * metrics.mean_error(errors):.2f}", ""])
    if results.errors:
        rows.append(summary("mCE (partial)" if results.partial else "mCE", results.mce, intervals.mce))
    _print_table(rows)


def retrieval_note(results: Results) -> str:
    """What an error of retrieval is."""
    known = results.retrieval
    return (
        f"Errors are {results.error_name}: each image ranks the {known.database_images:,} images of split "
        f"{known.database_split} by its hash."
    )


def print_comparison(measured: list[Results]) -> None:
    """Clean error, mCE, mrCE, R_net and relative errors per corruption, as Markdown; the first results are the
    baseline.

    Relative figures are left open where the baseline makes no error.
    """
    print(markdown(measured_lines(measured)), end="")
    if measured[0].partial:
        print(f"\n{PARTIAL}")


def _print_table(rows: list[list[str]]) -> None:
    """Markdown, its columns aligned for the terminal."""
    rows = [list(map(printable, row)) for row in rows]
    widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    for row in (rows[0], rule, *rows[1:]):
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        print(f"| {' | '.join([first.strip().ljust(widths[0]), *others])} |")
