"""Results as Markdown tables on the terminal."""

from __future__ import annotations

from timm_pushpull import metrics
from timm_pushpull.results import Results


def print_results(results: Results) -> None:
    """One results file: the error per corruption and severity."""
    print(
        f"{results.model} on {results.num_images:,} images of {results.dataset}, split {results.split}; "
        f"preset {results.preset}, seed {results.seed}\n"
    )
    rows = [["error in %", "1", "2", "3", "4", "5", "mean"], ["clean", *[""] * 5, f"{100 * results.clean_error:.2f}"]]
    for corruption, errors in results.errors.items():
        cells = ["" if error is None else f"{100 * error:.2f}" for error in errors]
        rows.append([corruption, *cells, f"{100 * metrics.mean_error(errors):.2f}"])
    if results.errors:
        rows.append(["mCE (partial)" if results.partial else "mCE", *[""] * 5, f"{100 * results.mce:.2f}"])
    _print_table(rows)


def print_comparison(measured: list[Results]) -> None:
    """Clean error, mCE, mrCE and relative errors per corruption, as Markdown; the first results are the baseline.

    Relative errors are left open where the baseline makes no error on a corruption.
    """
    baseline = measured[0]
    rows = [["model", "E", "mCE", "mrCE", *baseline.errors]]
    for results in measured:
        relative, mrce = results.relative_to(baseline) or ({}, None)
        cells = [f"{relative[name]:.2f}" if relative else "-" for name in baseline.errors]
        mrce = f"{mrce:.3f}" if relative else "-"
        rows.append([results.model, f"{results.clean_error:.4f}", f"{results.mce:.4f}", mrce, *cells])
    _print_table(rows)
    if baseline.partial:
        print("\npartial: not all of the 15 x 5 cells were measured; mCE and mrCE are means over those that were")


def _print_table(rows: list[list[str]]) -> None:
    """Markdown, its columns aligned for the terminal."""
    widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    for row in (rows[0], rule, *rows[1:]):
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        print(f"| {' | '.join([first.strip().ljust(widths[0]), *others])} |")
