"""Signal-to-noise ratios of push against push-pull responses (paper, Fig. 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from timm_pushpull.figures.plots.canvas import GREY, MAGNITUDES, add_caption, decibels, line_style, minus, new_figure
from timm_pushpull.figures.plots.legend import tidy
from timm_pushpull.utils.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from timm_pushpull.figures.analysis import SignalToNoise


def signal_to_noise_maps(
    ratios: SignalToNoise, picture: np.ndarray, model: str, *, described: str, shown: int | None = None
) -> Figure:
    """The noisy image, one filter's push and push-pull responses to it, and the ratios of all filters.

    Args:
        picture: The noisy image for the eye, (H, W) or (H, W, 3), from 0 to 1.
        model: What the caption calls the network.
        described: Signal and noise, in words.
        shown: The filter whose responses are shown; by default the one that gains most of those that are inhibited
            (alpha above 0) and respond well (push SNR at or above the median of those that respond).

    Raises:
        InputError: matplotlib is missing, or there is no such filter.
    """
    push, alpha = ratios.push_db, ratios.alpha
    responds = push > 0  # false where it is no number
    change = np.where(np.isnan(ratios.push_pull_db), -np.inf, ratios.push_pull_db) - np.where(responds, push, 0)
    why = ""
    if shown is None:
        well = responds & (push >= np.median(push[responds] if responds.any() else push))
        shown = int(np.lexsort((change, (alpha > 0) & np.isfinite(change), well))[-1])
        why = ", the one that gains most of the better half of those with α > 0" if well.any() else ""
    if not 0 <= shown < len(push):
        raise InputError(f"there is no filter {shown}; use 0 to {len(push) - 1}")
    figure = new_figure(10.2, 2.75, "constrained")
    first, second, third, plane = figure.subplots(1, 4, width_ratios=(1, 1, 1, 1.15))
    first.imshow(np.clip(picture, 0, 1), "gray", vmin=0, vmax=1)
    first.set_title("noisy input", size=9)
    maps = ratios.push[shown], ratios.push_pull[shown]
    highest = max(float(np.max(maps)), 1e-12)
    for panel, response, name, ratio in zip(
        (second, third), maps, ("push", "push-pull"), (push[shown], ratios.push_pull_db[shown]), strict=True
    ):
        image = panel.imshow(response, MAGNITUDES, vmin=0, vmax=highest)
        panel.set_title(f"{name}: {'no response' if np.isnan(ratio) else decibels(ratio)}", size=9)
        panel.set_xlabel("column of the response", size=8)
    first.set_xlabel("column (px)", size=8)
    first.set_ylabel("row (px)", size=8)
    for panel in (first, second, third):
        panel.tick_params(labelsize=7, length=2)
        panel.locator_params(nbins=5)
    bar = figure.colorbar(image, ax=third, shrink=0.85)
    bar.set_label(f"response of filter {shown} (α = {minus(f'{alpha[shown]:.2f}')})", size=8)
    bar.ax.tick_params(labelsize=7)
    _plane(plane, ratios, shown)
    told = [f"Of {len(push)} filters {responds.sum()} respond to the signal (push SNR above 0 dB)"]
    for kind, chosen in (("α > 0", responds & (alpha > 0)), ("α < 0", responds & (alpha < 0))):
        if chosen.any():
            median = decibels(float(np.median(change[chosen])), sign=True)
            told.append(
                f"of those with {kind} push-pull has the higher SNR in {(change[chosen] > 0).sum()} of {chosen.sum()} "
                f"(median change {median})"
            )
    add_caption(
        figure,
        f"Push and push-pull responses of {model} to {described}, seed {ratios.seed}. SNR = 20 log₁₀(Aₛ/Aₙ): Aₛ is the "
        f"mean rectified response on the signal, Aₙ that to the noise alone. {'; '.join(told)}. Middle: "
        f"filter {shown}{why}. Right: a point per filter, hollow where α < 0; those above the line gain; triangles "
        f"lie beyond the axes.",
    )
    return figure


def _plane(axes: Axes, ratios: SignalToNoise, shown: int) -> None:
    both = np.stack([ratios.push_db, ratios.push_pull_db])
    finite = both[np.isfinite(both)]
    low, high = max(finite.min(initial=0.0), -20.0), finite.max(initial=5.0)
    clipped = np.clip(both, low, high)
    colour = line_style(1)["color"]
    for x, y, across, up, alpha in zip(*clipped, *both, ratios.alpha, strict=True):
        marker = "v" if up < low else "^" if up > high else "<" if across < low else ">" if across > high else "o"
        axes.plot(x, y, marker, ms=4, mec=colour, mfc="none" if alpha < 0 else colour, mew=0.8, clip_on=False)
    axes.plot(*clipped[:, shown], "o", ms=10, mfc="none", mec=line_style(2)["color"], mew=1.4, clip_on=False)
    limits = (low - 0.06 * (high - low), high + 0.06 * (high - low))
    axes.plot(limits, limits, color=GREY, lw=1, ls="--", zorder=1)
    axes.set(xlim=limits, ylim=limits)
    axes.set_title(f"all filters (ring: {shown})", size=9)
    axes.set_xlabel("SNR of push (dB)", size=8)
    axes.set_ylabel("SNR of push-pull (dB)", size=8)
    axes.tick_params(labelsize=7)
    tidy(axes)
