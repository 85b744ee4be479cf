"""Clean error against robustness (paper, Figs. 7 and 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from timm_pushpull import metrics
from timm_pushpull.benchmark.results import Results
from timm_pushpull.figures.canvas import GREY, add_caption, draw_legend, figure_with_legend, line_style, minus, tidy
from timm_pushpull.figures.corruption_errors import TEXT_BOX, described, measured_corruptions
from timm_pushpull.utils.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Results whose points a line connects, in this order, each with its fixed alpha if known.
Series = Sequence[tuple[float | None, Results]]
#: Offset in points and alignment of the alpha next to a point; each series has another, because they can be close.
_LABEL_OFFSETS = (((5, 4), "left"), ((-5, -9), "right"), ((5, -9), "left"), ((-5, 4), "right"))


def plot_tradeoff(
    baseline: Results, measured: Sequence[Results], series: Mapping[str, Series] | None = None, *, note: str = ""
) -> Figure:
    """Plot clean error against mCE, with the lines through the baseline on which R_net (Eq. 13) is 0, for beta = 1 and
    beta = mCE0 / E0. Models below a line have a positive R_net.

    Args:
        measured: Results that are drawn as one point each.
        series: Label to results whose points a line connects, such as one network with growing alpha; the alpha is
            written next to the points.
        note: A sentence at the end of the caption.

    Raises:
        InputError: A model was not measured on clean or on corrupted images, the baseline makes no error, or matplotlib
            is not installed.
    """
    groups: list[tuple[str, Series]] = [(f"{baseline.model} (baseline)", [(None, baseline)])]
    groups += [(results.model, [(None, results)]) for results in measured]
    groups += (series or {}).items()
    if len(groups) == 1:
        raise InputError("nothing to compare with the baseline; give results or series")
    points = [[_point(results) for _, results in members] for _, members in groups]
    ((clean, mce),) = points[0]
    metrics.net_error_reduction(clean, mce, clean, mce)  # raises for a baseline without errors
    betas = {"$R_{net}$ = 0 for β = 1": 1.0, f"$R_{{net}}$ = 0 for β = mCE₀/E₀ = {mce / clean:.2f}": mce / clean}
    figure = figure_with_legend(6.6, 4.2, [*(label for label, _ in groups), *betas])
    axes = figure.subplots()
    for number, (label, members) in enumerate(groups):
        style = line_style(number) | {"markeredgecolor": "white", "markeredgewidth": 0.5}
        style |= {"ms": 9, "linestyle": "none"} if len(members) == 1 else {"ms": 7, "lw": 1.2}
        axes.plot(*zip(*points[number], strict=True), label=label, zorder=3, **style)
        offset, side = _LABEL_OFFSETS[number % len(_LABEL_OFFSETS)]
        for (alpha, _), point in zip(members, points[number], strict=True):
            if alpha is not None:
                text = axes.annotate(f"{alpha:g}", point, offset, textcoords="offset points", ha=side, size=8)
                text.set(color=style["color"], bbox=TEXT_BOX)
    (left, right), vertical = (padded_limits(values, 0.5) for values in zip(*chain(*points), strict=True))
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
    add_caption(figure, f"{_caption(baseline, groups)} {note}".rstrip())
    return figure


def _point(results: Results) -> tuple[float, float]:
    """Clean error and mCE in percent."""
    measured_corruptions(results)
    if results.clean_error is None or results.mce is None:
        missing = "clean images" if results.clean_error is None else "any of the 15 test corruptions"
        raise InputError(f"{results.model} was not measured on {missing}, and the trade-off needs that error")
    return 100 * results.clean_error, 100 * results.mce


def _caption(baseline: Results, groups: Sequence[tuple[str, Series]]) -> str:
    others = [
        (label if alpha is None else f"{label}, α = {alpha:g}", _point(results))
        for label, members in groups[1:]
        for alpha, results in members
    ]
    text = (
        f"Clean error against mean corruption error, on {described(baseline)}. Further right: more errors on clean "
        f"images; further down: fewer on corrupted ones. On the lines the net error reduction R_net is 0. "
    )
    counts, bests = [], []
    for beta, line in ((1.0, "β = 1"), (None, "β = mCE₀/E₀")):
        gains = [metrics.net_error_reduction(*point, *_point(baseline), beta) for _, point in others]
        best, (name, _) = max(zip(gains, others, strict=True), key=lambda pair: pair[0])
        bests.append(f"{round(100 * best, 1) + 0.0:+.1f} %")  # never -0.0
        counts.append(f"{sum(gain > 0 for gain in gains)} lie below the line for {line} (best: {name}, {bests[-1]})")
    if len(others) == 1:
        text += f"R_net of {others[0][0]} is {bests[0]} for β = 1 and {bests[1]} for β = mCE₀/E₀."
    else:
        text += f"Of {len(others)} models, {' and '.join(counts)}."
    if any(alpha is not None for _, members in groups for alpha, _ in members):
        text += " Numbers next to points: the fixed inhibition strength α."
    return minus(text)


def padded_limits(values: Sequence[float], minimum: float) -> tuple[float, float]:
    """Axis limits with room for markers around values, at least `minimum` on either side."""
    room = max(0.2 * (max(values) - min(values)), minimum)
    return min(values) - room, max(values) + room
