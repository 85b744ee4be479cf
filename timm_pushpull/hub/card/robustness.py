"""The card's figures: summary, 15 x 5 table, and the paper's beside them."""

from __future__ import annotations

from statistics import fmean

from timm_pushpull import metrics
from timm_pushpull.benchmark.results import Results
from timm_pushpull.corruptions import CORRUPTIONS
from timm_pushpull.hub.card.comparison import Comparison, Printed
from timm_pushpull.hub.card.markdown import code, number, percent, plain, table
from timm_pushpull.hub.card.task import definition


def summary(results: Results, comparison: Comparison | None) -> str:
    """Clean error and mCE, with mrCE and R_net where there is a baseline."""
    header = ["model", "clean error"] + ["mCE"] * bool(results.errors)
    rows = [[f"**{code(results.model)}**", percent(results.clean_error), percent(results.mce)][: len(header)]]
    if comparison:
        base = comparison.baseline
        rows.append([f"{code(base.model)} (baseline)", percent(base.clean_error), percent(base.mce)][: len(header)])
        if results.errors:
            header += ["mrCE", "R_net"]
            rows[0] += [number(comparison.mrce), percent(comparison.r_net, 1)]
            rows[1] += [number(1), percent(0, 1)]
    return table(header, rows)


def verdict(results: Results, comparison: Comparison | None) -> str:
    """What the summary says, in words, and how far chance goes."""
    sentences = []
    if comparison and comparison.mrce is not None:
        often = "much" if results.retrieval else "often"
        if chance := results.near(comparison.baseline.mce):
            how = f"about as {often} as"
        else:
            how = "less than" if comparison.mrce < 1 else "more than" if comparison.mrce > 1 else f"as {often} as"
        sentences.append(
            f"**Under corruptions it errs {how} its baseline**: {number(comparison.mrce)} times as {often} in the mean "
            f"over corruptions (mrCE, Eq. 10 of the paper; below 1 is better)"
            f"{', which may be chance: the interval of its mCE holds that of the baseline' * chance}."
        )
    if comparison and comparison.r_net is not None:
        sentences.append(
            "R_net (Eq. 13, beta = mCE/E of the baseline; above 0 is better) sets that against the clean error."
        )
    mean = "; mCE is their mean over corruptions and severities" if results.errors else ""
    sentences.append(f"All errors are {plain(results.error_name) if results.retrieval else 'top-1'}{mean}.")
    sentences += [definition(results)] * bool(results.retrieval)
    ends = [
        (name, (results.intervals or {}).get(key)) for name, key in (("clean error", "clean_error"), ("mCE", "mce"))
    ]
    ranges = [f"{name} {percent(pair[0], 1)} to {percent(pair[1], 1)}" for name, pair in ends if pair]
    if ranges:
        sentences.append(f"95% intervals over the test images: {', '.join(ranges)}.")
    return " ".join(sentences)


def error_table(results: Results, comparison: Comparison | None) -> str:
    """Errors by corruption and severity in percent, their means, and the baseline's."""
    header = ["corruption", "1", "2", "3", "4", "5", "mean"] + ["baseline", "relative"] * bool(comparison)
    rows = []
    for corruption, row in results.errors.items():
        cells = [plain(corruption), *("-" if error is None else f"{100 * error:.1f}" for error in row)]
        cells.append(f"{100 * metrics.mean_error(row):.1f}")
        if comparison:
            cells.append(f"{100 * metrics.mean_error(comparison.baseline.errors[corruption]):.1f}")
            cells.append(number(comparison.relative.get(corruption), 2))
        rows.append(cells)
    columns = [
        [error for error in column if error is not None] for column in zip(*results.errors.values(), strict=True)
    ]
    last = ["**mean**", *(f"{100 * fmean(column):.1f}" if column else "-" for column in columns)]
    last.append(f"**{100 * results.mce:.1f}**")
    if comparison:
        last += [f"{100 * comparison.baseline.mce:.1f}", f"**{number(comparison.mrce, 2)}**"]
    return table(header, [*rows, last])


def legend(results: Results, comparison: Comparison | None) -> str:
    """What the table's figures are."""
    through = f", then sent through JPEG files of quality {plain(results.jpeg_quality)}" if results.jpeg_quality else ""
    made = (
        f"corrupted on the fly with the constants of preset {code(results.preset)}, seed {plain(results.seed)}{through}"
    )
    if results.corrupted:
        made = f"the published files {code(results.corrupted)}"
    what = f"Errors, {plain(results.error_name)} in percent," if results.retrieval else "Top-1 errors in percent"
    text = (
        f"{what} at severities 1 to 5, on {results.num_images:,} images of {code(results.dataset)}, "
        f"split {code(results.split)}: {made}. The mean of the means is mCE (Eq. 9 of the paper; not normalised "
        f"by AlexNet's)."
    )
    if comparison and comparison.relative:
        text += " *relative* is the mean over the baseline's, and the mean of these is mrCE (Eq. 10)."
    elif comparison:
        text += " Relative errors are not defined here: the baseline makes no error under some corruption."
    return text


def caveats(results: Results) -> str:
    """What keeps the figures from being compared with published ones."""
    if not results.errors:
        return "Not measured: these weights were tested on clean images only."
    lines = []
    if results.frost not in (None, "original"):
        lines.append(
            f"**Frost** was {plain(results.frost)}: the original textures were not at hand, so mCE and mrCE compare "
            f"with results that say the same only."
        )
    if results.partial:
        missing = [corruption for corruption in CORRUPTIONS if corruption not in results.errors]
        lines.append(
            f"**Partial**: mCE and mrCE here are means over what was measured and cannot be compared with published "
            f"ones. Not measured: {', '.join(missing) or 'some severities'}."
        )
    return "\n\n".join(lines)


def beside_the_paper(results: Results, comparison: Comparison | None, printed: Printed, departures: list[str]) -> str:
    """This model's figures, the paper's, and what differs between them."""
    row, plain_network = printed.row, comparison is None and printed.row.is_baseline
    mrce, r_net = (1.0, 0.0) if plain_network else (comparison and comparison.mrce, comparison and comparison.r_net)
    ours = ["this model", percent(results.clean_error), percent(results.mce), number(mrce), percent(r_net, 1)]
    theirs = [
        f"paper, {printed.table}: {row.label}",
        percent(row.clean_error, 1),
        percent(row.mce, 1 if results.retrieval else 2),  # as many digits as in print
        number(row.mrce),
        percent(printed.r_net, 1),
    ]
    reasons = [
        "the paper measures on the published files of the corrupted set"
        + ("" if results.corrupted else ", this card on images corrupted here with the same constants"),
        *(f"in this training, {plain(departure)}" for departure in departures),
        "this is one training run with one seed",
    ]
    has = "The paper's tables have" if results.retrieval else "The paper's table has"
    return (
        table(["beside the paper", "clean error", "mCE", "mrCE", "R_net"], [ours, theirs])
        + f"\n\n{has} no R_net: it is computed here from the printed clean error and mCE of this row "
        f"and of its baseline's. What differs: {'; '.join(reasons)}."
    )
