"""Numbers as text, and the sentences and captions of the report, which are computed from the results."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup, escape

from timm_pushpull import metrics
from timm_pushpull.benchmark import comparison
from timm_pushpull.corruptions import get_preset
from timm_pushpull.figures.report.charts import clean_error_and_mce, mean_curve
from timm_pushpull.figures.report.corrupted_images import CorruptedImage
from timm_pushpull.figures.report.groups import Entry, Group

NONE, MINUS, TO, NO_BREAK = "\N{EN DASH}", "\N{MINUS SIGN}", "\N{EN DASH}", "\N{NO-BREAK SPACE}"


def percent(value: float | None, places: int = 1) -> str:
    """A fraction in percent, with a minus sign instead of a hyphen; a dash for None."""
    return NONE if value is None else f"{100 * value:.{places}f}{NO_BREAK}%".replace("-", MINUS)


def number(value: float | None, places: int = 3) -> str:
    """A number, with a minus sign instead of a hyphen; a dash for None."""
    return NONE if value is None else f"{value:.{places}f}".replace("-", MINUS)


def interval(ends: tuple[float, float] | None) -> str:
    """A 95 % interval of a fraction, in percent without the unit; empty for None."""
    return "" if ends is None else f"{100 * ends[0]:.1f}{TO}{100 * ends[1]:.1f}"


def prose(text: str) -> Markup:
    """A sentence as HTML, with a subscript in R_net."""
    return Markup(str(escape(text)).replace("R_net", "R<sub>net</sub>"))


def spoken(corruption: str) -> str:
    return corruption.replace("_", " ")


def counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]


def measured_on(group: Group) -> str:
    """The images that all models of a group were measured on."""
    shared = group.shared
    images = f"{counted(shared.num_images, 'image')} of {shared.dataset}, split {shared.split}"
    if shared.retrieval:
        database = f"{shared.retrieval.database_images:,} of split {shared.retrieval.database_split}"
        images = f"Retrieval with {images}, among {database}"
    if shared.corrupted:
        return f"{images}: the published files {shared.corrupted}, preset {shared.preset}."
    through = f", then sent through JPEG files of quality {shared.jpeg_quality}" if shared.jpeg_quality else ""
    return f"{images}, corrupted on the fly with the constants of {shared.preset}, seed {shared.seed}{through}."


def verdict(group: Group) -> str:
    """The models compared with the baseline, in words."""
    others = [(entry, entry.row.mrce) for entry in group.entries[1:] if entry.row.mrce is not None]
    if len(group.entries) == 1:
        return "There is only one model, so nothing is relative to a baseline: no mrCE, no R_net and no trade-off."
    if not others:
        return "The baseline makes no error under some corruption, so relative errors are not defined."
    base = group.baseline.name
    chance = [entry.name for entry, _ in others if entry.row.may_be_chance]
    whose = f" of {listed(chance)}" if chance and len(others) > 1 else ""
    unsure = (
        f"; the difference{whose} may be chance: 100{NO_BREAK}% lies in its 95{NO_BREAK}% interval" if chance else ""
    )
    if len(others) == 1:
        entry, mrce = others[0]
        text = f"Under corruptions {entry.name} has {percent(mrce)} of the error of {base} (mrCE){unsure}"
        if entry.row.r_net is None:
            return text + "."
        judged = "better than" if entry.row.r_net > 0 else "worse than" if entry.row.r_net < 0 else "equal to"
        return f"{text}. With the clean error included it is {judged} the baseline (R_net {percent(entry.row.r_net)})."
    fewer = sum(mrce < 1 for _, mrce in others)
    text = (
        f"Under corruptions {fewer} of {len(others)} models {'has' if fewer == 1 else 'have'} fewer errors than {base} "
        f"(mrCE below 100{NO_BREAK}%){unsure}"
    )
    net = {entry.name: entry.row.r_net for entry, _ in others if entry.row.r_net is not None}
    if not net:
        return text + "."
    best = max(net, key=net.__getitem__)
    if net[best] <= 0:
        return f"{text}. With the clean error included none is better than {base} ({best}: R_net {percent(net[best])})."
    return f"{text}. With the clean error included {best} is best (R_net {percent(net[best])})."


def severity_caption(group: Group) -> str:
    """Caption of the severity curves."""
    best = min(group.entries, key=lambda entry: entry.mce)
    curves = {entry.name: mean_curve(entry) for entry in (group.baseline, best)}
    severities = sorted(set(curves[best.name]) - {0})
    first, last = severities[0], severities[-1]
    text = ""
    if first < last:
        rises = [f"{percent(points[first])} to {percent(points[last])} ({name})" for name, points in curves.items()]
        models = " (baseline and lowest mCE)" if len(rises) > 1 else ""
        text = f"From severity {first} to {last} the mean error goes from {listed(rises)}{models}. "
    base = {name: metrics.mean_error(row) for name, row in group.shared.errors.items()}
    if len(base) > 1:
        hardest, easiest = (spoken(end(base, key=base.__getitem__)) for end in (max, min))
        text += (
            f"The mean error of {group.baseline.name} is highest under {hardest} ({percent(max(base.values()))}) and "
            f"lowest under {easiest} ({percent(min(base.values()))}). "
        )
    gaps = [
        (error - other, entry.name, name, severity)
        for entry in group.entries[1:]
        for name, row in entry.results.errors.items()
        for severity, (error, other) in enumerate(zip(row, group.shared.errors[name], strict=True), 1)
        if error is not None and other is not None
    ]
    if gaps:
        gap, model, name, severity = max(gaps, key=lambda cell: abs(cell[0]))
        more = "more" if gap > 0 else "less"
        text += (
            f"The largest difference from the baseline is that of {model} under {spoken(name)} at severity {severity}: "
            f"{100 * abs(gap):.1f} percentage points {more}."
        )
    return text.strip()


def tradeoff_caption(group: Group) -> str:
    """Caption of the trade-off plane."""
    base = group.baseline
    clean_error, mce = clean_error_and_mce(base)
    beta = mce / clean_error
    text = (
        f"On the lines through {base.name} the net error reduction R_net is 0. The dashed line gives the relative "
        f"reductions of clean error and mCE the same weight (β = 1), the dotted line weighs mCE by β = mCE₀/E₀ = "
        f"{beta:.2f}. Below a line R_net is positive. "
    )
    others = group.entries[1:]
    if not others:
        return text.strip()
    lines = {"dashed": 1.0, "dotted": beta}
    nets = {line: [_net(entry, base, weight) for entry in others] for line, weight in lines.items()}
    if len(others) == 1:
        sides = [f"{'below' if net > 0 else 'above' if net < 0 else 'on'} the {line}" for line, (net,) in nets.items()]
        return f"{text}{others[0].name} lies {' and '.join(sides)} line."
    parts = [f"{sum(net > 0 for net in found) or 'none'} below the {line} line" for line, found in nets.items()]
    return f"{text}Of {len(others)} models {' and '.join(parts)}."


def _net(entry: Entry, baseline: Entry, beta: float) -> float:
    return metrics.net_error_reduction(*clean_error_and_mce(entry), *clean_error_and_mce(baseline), beta)


def alpha_caption(alpha: np.ndarray) -> str:
    """Caption of a histogram of inhibition strengths."""
    if np.ptp(alpha) == 0:
        return f"{counted(len(alpha), 'channel')}, all with alpha {number(float(alpha[0]), 2)}."
    negative = int((alpha < 0).sum())
    return (
        f"{counted(len(alpha), 'channel')}: median {number(float(np.median(alpha)), 2)}, from "
        f"{number(float(alpha.min()), 2)} to {number(float(alpha.max()), 2)}; {negative or 'none'} below 0."
    )


def image_note(image: CorruptedImage) -> str:
    """How an image of the viewer was made."""
    height, width = image.size
    preset = image.settings.preset
    jpeg = ", without the JPEG compression of the benchmark" if get_preset(preset).jpeg_quality else ""
    storage = "stored without loss" if image.lossless else "stored as lossy WebP, which smooths fine grain"
    size = f"{width} \N{MULTIPLICATION SIGN} {height} px"
    return f"{size}, constants of {preset}, seed {image.settings.seed}{jpeg}; {storage}. Frost: {image.frost}."


def caveats(group: Group) -> list[str]:
    """Why the results of a group cannot be compared with published ones."""
    return [str(caveat) for caveat in comparison.caveats(*(entry.results for entry in group.entries))]
