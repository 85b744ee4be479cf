"""The plane of clean error and robustness (paper, Figs. 7 and 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from timm_pushpull import metrics
from timm_pushpull.benchmark.results import Results
from timm_pushpull.figures.plots.canvas import GREY, add_caption, line_style, minus
from timm_pushpull.figures.plots.legend import draw_legend, figure_with_legend, tidy
from timm_pushpull.figures.plots.results import described, measured_corruptions
from timm_pushpull.utils.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Results that belong together, in the order in which they are joined, each with its fixed alpha if that is known.
Series = Sequence[tuple[float | None, Results]]
#: Where the alpha stands beside a point: offset in points, alignment. Another for each series, which may be close.
_BESIDE = (((5, 4), "left"), ((-5, -9), "right"), ((5, -9), "left"), ((-5, 4), "right"))


def tradeoff(baseline: Results, measured: Sequence[Results], series: Mapping[str, Series] | None = None) -> Figure:
    """The plane of clean error and mCE with the lines through the baseline on which R_net (Eq. 13) is 0, for beta = 1
    and beta = mCE0 / E0; models below a line make the better trade.

    Args:
        measured: Models with a point each.
        series: Label to models whose points a line joins, such as one network with growing alpha, which is written
            beside the points.

    Raises:
        InputError: A model was not measured on clean or on corrupted images, the baseline makes no error there, or
            matplotlib is missing.
    """
    groups = [(f"{baseline.model} (baseline)", [(None, baseline)])]
    groups += [(results.model, [(None, results)]) for results in measured]
    groups += (series or {}).items()
    if len(groups) == 1:
        raise InputError("nothing is compared with the baseline; give results or series of them")
    everything = [results for _, members in groups for _, results in members]
    for results in everything:
        measured_corruptions(results)
        if results.clean_error is None:
            raise InputError(f"{results.model} was not measured on clean images, and the trade-off needs that error")
    clean, mce = 100 * baseline.clean_error, 100 * baseline.mce
    metrics.net_error_reduction(clean, mce, clean, mce)
    betas = {"$R_{net}$ = 0 for β = 1": 1, f"$R_{{net}}$ = 0 for β = mCE₀/E₀ = {mce / clean:.2f}": mce / clean}
    figure = figure_with_legend(6.6, 4.2, [*(label for label, _ in groups), *betas])
    axes = figure.subplots()
    for number, (label, members) in enumerate(groups):
        style = line_style(number) | {"markeredgecolor": "white", "markeredgewidth": 0.5}
        style |= {"ms": 9, "linestyle": "none"} if len(members) == 1 else {"ms": 7, "lw": 1.2}
        points = [(100 * results.clean_error, 100 * results.mce) for _, results in members]
        axes.plot(*zip(*points, strict=True), label=label, zorder=3, **style)
        offset, side = _BESIDE[number % len(_BESIDE)]
        for (alpha, _), point in zip(members, points, strict=True):
            if alpha is not None:
                axes.annotate(
                    f"{alpha:g}", point, offset, textcoords="offset points", ha=side, size=8, color=style["color"]
                )
    (left, right), vertical = (
        limits([100 * value for value in values], 0.5)
        for values in zip(*((results.clean_error, results.mce) for results in everything), strict=True)
    )
    for (label, beta), dashes in zip(betas.items(), ((0, (6, 3)), (0, (1, 1.5))), strict=True):
        ends = [metrics.mce_without_gain(x, clean, mce, beta) for x in (left, right)]
        axes.plot((left, right), ends, color=GREY, ls=dashes, lw=1.2, label=label, zorder=1)
    axes.set(xlim=(left, right), ylim=vertical)
    axes.set_title("below a line: a net gain over the baseline, $R_{net}$ > 0", size=9, color=GREY, loc="left")
    axes.set_xlabel("clean error (%)", size=10)
    axes.set_ylabel("mean corruption error, mCE (%)", size=10)
    axes.tick_params(labelsize=9)
    tidy(axes)
    draw_legend(figure, axes)
    add_caption(figure, _caption(baseline, groups))
    return figure


def _caption(baseline: Results, groups: Sequence[tuple[str, Series]]) -> str:
    others = [
        (label if alpha is None else f"{label}, α = {alpha:g}", results)
        for label, members in groups[1:]
        for alpha, results in members
    ]
    found = []
    for beta, line in ((1.0, "β = 1"), (None, "β = mCE₀/E₀")):
        gains = [
            metrics.net_error_reduction(results.clean_error, results.mce, baseline.clean_error, baseline.mce, beta)
            for _, results in others
        ]
        best, (name, _) = max(zip(gains, others, strict=True), key=lambda pair: pair[0])
        found.append(
            f"{sum(gain > 0 for gain in gains)} lie below the line for {line} (best: {name}, {100 * best:+.1f} %)"
        )
    text = (
        f"What robustness costs in clean accuracy, on {described(baseline)}: further right, more errors on clean "
        f"images; further down, fewer on corrupted ones. Lines: no net error reduction, R_net = 0. Of {len(others)} "
        f"models, {' and '.join(found)}."
    )
    if any(alpha is not None for _, members in groups for alpha, _ in members):
        text += " Numbers beside points: the fixed inhibition strength α."
    return minus(text)


def limits(values: Sequence[float], least: float) -> tuple[float, float]:
    """Limits that leave room for markers around values, on either side at least so much."""
    room = max(0.2 * (max(values) - min(values)), least)
    return min(values) - room, max(values) + room
