"""What the page's template shows of a group of results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from timm_pushpull import metrics
from timm_pushpull.figures.report import charts, facts, sentences
from timm_pushpull.figures.report.checkpoint_alpha import read_alpha, shared_bin_edges
from timm_pushpull.figures.report.groups import Entry, Group, headings

_FULL_COLOUR = math.log(1.25)  # a model with 1.25 times the baseline's errors, or 1 / 1.25, has the strongest colour
_GROUP_OF = {name: group for group, names in metrics.GROUPS.items() for name in names}


@dataclass(frozen=True)
class Figure:
    """A chart, what it shows in words, and the name of its element."""

    key: str
    chart: charts.Chart
    caption: str


@dataclass(frozen=True)
class Section:
    """One group on the page.

    Attributes:
        key: What the names of the section's elements begin with.
        severity, tradeoff: The charts; the trade-off plane is None where it is not defined.
        alphas: A histogram per model with push-pull layers, after the model and its place in the group.
        without_alpha: Why weights could not be read, and the models whose.
    """

    key: str
    heading: str
    group: Group
    severity: Figure
    tradeoff: Figure | None
    alphas: list[tuple[int, Entry, Figure]]
    without_alpha: dict[str, list[str]]

    measured_on = property(lambda self: sentences.measured_on(self.group))
    verdict = property(lambda self: sentences.verdict(self.group))
    caveats = property(lambda self: sentences.caveats(self.group))
    group_facts = property(lambda self: facts.group_facts(self.group))
    size = property(lambda self: len(self.group.entries))

    @property
    def figures(self) -> list[Figure]:
        return [self.severity, *filter(None, [self.tradeoff]), *(figure for _, _, figure in self.alphas)]

    @property
    def leaderboard(self) -> list[tuple[int, Entry]]:
        """Models and their places in the group, the lowest mCE first."""
        return sorted(enumerate(self.group.entries), key=lambda row: row[1].line.mce)

    @property
    def best(self) -> dict[str, float]:
        """Column of the leaderboard to its best value; none where nothing is compared."""
        if len(self.group.entries) == 1:
            return {}
        columns = {"clean_error": min, "mce": min, "mrce": min, "r_net": max}
        values = {key: [getattr(entry.line, key) for entry in self.group.entries] for key in columns}
        known = {key: [value for value in column if value is not None] for key, column in values.items()}
        return {key: end(known[key]) for key, end in columns.items() if known[key]}

    @property
    def intervals(self) -> bool:
        """Whether any of the leaderboard's figures has one."""
        return any(entry.interval(key) for entry in self.group.entries for key in ("clean_error", "mce"))

    @property
    def corruptions(self) -> list[tuple[str, str]]:
        """The paper's group and the name of every corruption."""
        return [(_GROUP_OF.get(name, "Extra"), name) for name in self.group.corruptions]

    def model_facts(self, entry: Entry) -> facts.Facts:
        return facts.model_facts(entry)


def mean_error(entry: Entry, corruption: str) -> float:
    return metrics.mean_error(entry.results.errors[corruption])


def shade(relative: float | None) -> str:
    """Attributes of a cell: blue for fewer errors than the baseline's, orange for more, stronger the farther from 1."""
    if not relative:
        return ""
    strength = min(1.0, abs(math.log(relative)) / _FULL_COLOUR)
    return f'class="{"fewer" if relative < 1 else "more"}" style="--strength:{strength:.0%}"'


def sections(groups: Sequence[Group]) -> list[Section]:
    """Sections in the order of the groups."""
    return [
        _section(f"results-{number}", heading, group)
        for number, (heading, group) in enumerate(zip(headings(groups), groups, strict=True), 1)
    ]


def _section(key: str, heading: str, group: Group) -> Section:
    severity = Figure(f"{key}-severity", charts.severity_curves(group), sentences.severity_caption(group))
    tradeoff = None
    if all(entry.line.r_net is not None for entry in group.entries):
        tradeoff = Figure(f"{key}-tradeoff", charts.tradeoff(group), sentences.tradeoff_caption(group))
    read = [(place, entry, read_alpha(entry)) for place, entry in enumerate(group.entries)]
    found = [(place, entry, checkpoint.alpha) for place, entry, checkpoint in read if len(checkpoint.alpha)]
    edges = shared_bin_edges([alpha for _, _, alpha in found]) if found else []
    alphas = [
        (
            place,
            entry,
            Figure(f"{key}-alpha-{place}", charts.alpha_histogram(place, alpha, edges), sentences.alpha_caption(alpha)),
        )
        for place, entry, alpha in found
    ]
    without: dict[str, list[str]] = {}
    for _, entry, checkpoint in read:
        if checkpoint.problem:
            without.setdefault(checkpoint.problem, []).append(entry.name)
    return Section(key, heading, group, severity, tradeoff, alphas, without)
