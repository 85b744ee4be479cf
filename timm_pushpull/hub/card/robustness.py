"""The card's results: summary, table of 15 x 5 errors, comparison with the paper."""

from __future__ import annotations

from statistics import fmean

from timm_pushpull import metrics
from timm_pushpull.benchmark import comparison as comparisons
from timm_pushpull.benchmark.comparison import Comparison, ComparisonRow
from timm_pushpull.benchmark.results import Intervals, Results
from timm_pushpull.hub.card.task import definition
from timm_pushpull.utils.markdown import code, percent, plain, table

_CHANCE = " The difference may be chance: 100% lies in the 95% confidence interval of mrCE."
_UNLIKE = " The baseline differs in more than the first layer, see Robustness."


def summary(results: Results, comparison: Comparison | None) -> str:
    """Table of clean error and mCE; with a baseline also mrCE and R_net."""
    header = ["model", "clean error"] + ["mCE"] * bool(results.errors)
    rows = [[f"**{code(results.model)}**", percent(results.clean_error), percent(results.mce)][: len(header)]]
    if comparison:
        base = comparison.baseline
        rows.append([f"{code(base.model)} (baseline)", percent(base.clean_error), percent(base.mce)][: len(header)])
        if results.errors:
            header += ["mrCE", "R_net"]
            rows[0] += [percent(comparison.row.mrce, 1), percent(comparison.row.r_net, 1)]
            rows[1] += [percent(1, 1), percent(0, 1)]
    return table(header, rows)


def verdict(results: Results, comparison: Comparison | None) -> str:
    """The summary in words: the outcome in one sentence, then what each value is, with confidence intervals."""
    paragraphs, lines = [], []
    mrce = comparison.row.mrce if comparison else None
    if comparison and mrce is not None:
        if chance := comparison.may_be_chance:
            how = "about equal to"
        else:
            how = "lower than" if mrce < 1 else "higher than" if mrce > 1 else "equal to"
        paragraphs.append(
            f"**Under corruptions its error is {how} the baseline's**: {percent(mrce, 1)} of the baseline's error on "
            f"average, in one training run of each."
            f"{_CHANCE if chance else ''}{_UNLIKE if results.baseline and results.baseline.differences else ''}"
        )
    error = plain(results.error_name) if results.retrieval else "top-1 error"
    lines.append(f"- **Clean error:** {error} on the original images. {definition(results)}".rstrip())
    if results.errors:
        lines.append(
            "- **mCE:** mean error over all corruptions and severities (Eq. 9 of the paper); it is not "
            "AlexNet-normalised."
        )
    if mrce is not None:
        lines.append(
            "- **mrCE:** error under a corruption divided by the baseline's, averaged over corruptions (Eq. 10); "
            "below 100% is better."
        )
    if comparison and comparison.row.r_net is not None:
        lines.append(
            "- **R_net:** combined relative reduction of clean error and mCE (Eq. 13 with beta = mCE / E of the "
            "baseline); above 0 is better."
        )
    intervals = results.intervals or Intervals()
    ends = [("clean error", intervals.clean_error), ("mCE", intervals.mce)]
    ends += [("mrCE", comparison.row.mrce_interval)] if comparison else []
    ranges = [f"{name} {percent(pair[0], 1)} to {percent(pair[1], 1)}" for name, pair in ends if pair]
    if ranges:
        lines.append(f"- **95% confidence intervals** over the test images: {', '.join(ranges)}.")
    return "\n\n".join([*paragraphs, "\n".join(lines)])


def error_table(results: Results, comparison: Comparison | None) -> str:
    """Table of the errors by corruption and severity in percent, with their means and the baseline's."""
    header = ["corruption", "1", "2", "3", "4", "5", "mean"] + ["baseline", "relative"] * bool(comparison)
    rows = []
    for corruption, row in results.errors.items():
        cells = [plain(corruption), *map(_tenths, row), _tenths(metrics.mean_error(row))]
        if comparison:
            cells.append(_tenths(metrics.mean_error(comparison.baseline.errors[corruption])))
            cells.append(_tenths(comparison.row.relative.get(corruption)))
        rows.append(cells)
    columns = [
        [error for error in column if error is not None]
        for column in zip(*metrics.without_validation(results.errors).values(), strict=True)
    ] or [[]] * 5
    last = ["**mean**", *(_tenths(fmean(column) if column else None) for column in columns)]
    last.append(f"**{_tenths(results.mce)}**")
    if comparison:
        last += [_tenths(comparison.baseline.mce), f"**{_tenths(comparison.row.mrce)}**"]
    return table(header, [*rows, last])


def _tenths(error: float | None) -> str:
    return percent(error, 1).removesuffix("%")


def legend(results: Results, comparison: Comparison | None) -> str:
    """Explanation of the table."""
    jpeg = f", then compressed as JPEG of quality {plain(results.jpeg_quality)}" if results.jpeg_quality else ""
    made = (
        f"corrupted on the fly with the constants of preset {code(results.preset)} and seed {plain(results.seed)}{jpeg}"
    )
    if results.corrupted:
        made = f"read from the files {code(results.corrupted)}"
    what = f"Errors ({plain(results.error_name)}) in percent" if results.retrieval else "Top-1 errors in percent"
    config = f", configuration {code(results.dataset_config)}" if results.dataset_config else ""
    text = (
        f"{what} at severities 1 to 5, on {results.num_images:,} images of {code(results.dataset)}{config}, "
        f"split {code(results.split)}, {made}. *mean* is the mean over the severities; the mean of that column is mCE "
        f"(Eq. 9 of the paper, not divided by AlexNet's errors)."
    )
    if len(metrics.without_validation(results.errors)) < len(results.errors):
        text += " The validation corruptions of ImageNet-C are in the table, but count towards no mean."
    if comparison and comparison.row.mrce is not None:
        text += (
            " *baseline* is the baseline's mean, *relative* is *mean* divided by *baseline*, in percent, and the mean "
            "of that column is mrCE (Eq. 10)."
        )
    elif comparison:
        text += " Relative errors are not defined, because the baseline makes no error under some corruption."
    return text


def caveats(results: Results) -> str:
    """Reasons why the results cannot be compared with published ones, if there are any."""
    if not results.errors:
        return "Not measured. These weights were tested on clean images only."
    return "\n\n".join(
        plain(caveat).replace(caveat.subject, f"**{caveat.subject}**", 1) for caveat in comparisons.caveats(results)
    )


def beside_the_paper(
    results: Results, comparison: Comparison | None, entry: ComparisonRow, overrides: list[str]
) -> str:
    """Table of this model's results and the paper's, and what differs between the two measurements.

    Args:
        entry: The paper's row about this network.
    """
    own = comparison.row if comparison else Comparison.of(results, results).row if entry.is_baseline else None
    ours = ["this model", percent(results.clean_error), percent(results.mce)]
    ours += [percent(own.mrce if own else None, 1), percent(own.r_net if own else None, 1)]
    theirs = [
        f"paper, {entry.table}: {entry.model}",
        percent(entry.clean_error, 1),
        percent(entry.mce, 1 if results.retrieval else 2),  # as printed
        percent(entry.mrce, 1),
        percent(entry.r_net, 1),
    ]
    reasons = [
        "the paper measures on the published corrupted files, this card "
        + ("" if results.corrupted else f"corrupts on the fly with the constants of {code(results.preset)} and ")
        + f"measures {results.num_images:,} images",
        *([f"in this training, {', '.join(map(plain, overrides))}"] if overrides else []),
        "this is one training run with one seed",
    ]
    where = "The paper's tables do" if results.retrieval else "The paper's table does"
    return (
        table(["source", "clean error", "mCE", "mrCE", "R_net"], [ours, theirs])
        + f"\n\n{where} not list R_net; it is computed here from the printed clean errors and mCEs of the model "
        f"and its baseline. Differences: {'; '.join(reasons)}."
    )
