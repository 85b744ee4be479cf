"""The sections of the report, one per group of comparable results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from timm_pushpull import metrics
from timm_pushpull.figures.report import charts, facts, sentences
from timm_pushpull.figures.report.checkpoint_alpha import read_alpha, shared_bin_edges
from timm_pushpull.figures.report.groups import Entry, Group, headings

_FULL_COLOUR = math.log(1.25)  # the colour is strongest at 1.25 times the error of the baseline, and at 1 / 1.25
_GROUP_OF = {name: group for group, names in metrics.GROUPS.items() for name in names}


@dataclass(frozen=True)
class Figure:
    """A chart with its caption and the id of its HTML element."""

    key: str
    chart: charts.Chart
    caption: str


@dataclass(frozen=True)
class Section:
    """The section of one group.

    Attributes:
        key: Prefix of the ids of its HTML elements.
        severity, tradeoff: The charts; `tradeoff` is None where it is not defined, as for a single model.
        alphas: Index, model and histogram of alpha, for each model with push-pull layers.
        without_alpha: Reason why alpha could not be read, to the names of the models.
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
        """Index in the group and model, the lowest mCE first."""
        return sorted(enumerate(self.group.entries), key=lambda item: item[1].mce)

    @property
    def best(self) -> dict[str, float]:
        """Column of the leaderboard to its best value; empty for a single model."""
        if len(self.group.entries) == 1:
            return {}
        columns = {"clean_error": min, "mce": min, "mrce": min, "r_net": max}
        values = {key: [getattr(entry.row, key) for entry in self.group.entries] for key in columns}
        known = {key: [value for value in column if value is not None] for key, column in values.items()}
        return {key: end(known[key]) for key, end in columns.items() if known[key]}

    @property
    def intervals(self) -> bool:
        """Whether any clean error or mCE has an interval."""
        return any(entry.interval(key) for entry in self.group.entries for key in ("clean_error", "mce"))

    @property
    def corruptions(self) -> list[tuple[str, str]]:
        """Group and name of every corruption."""
        return [(_GROUP_OF.get(name, "Extra"), name) for name in self.group.corruptions]

    def model_facts(self, entry: Entry) -> facts.Facts:
        return facts.model_facts(entry)


def mean_error(entry: Entry, corruption: str) -> float:
    return metrics.mean_error(entry.results.errors[corruption])


def shade(relative: float | None) -> str:
    """HTML attributes of a cell: blue for fewer errors than the baseline, orange for more, stronger further from 1."""
    if relative is None:
        return ""
    strength = min(1.0, abs(math.log(relative)) / _FULL_COLOUR) if relative else 1.0
    return f'class="{"fewer" if relative < 1 else "more"}" style="--strength:{strength:.0%}"'


def sections(groups: Sequence[Group]) -> list[Section]:
    """The sections, in the order of the groups."""
    return [
        _section(f"results-{number}", heading, group)
        for number, (heading, group) in enumerate(zip(headings(groups), groups, strict=True), 1)
    ]


def _section(key: str, heading: str, group: Group) -> Section:
    severity = Figure(f"{key}-severity", charts.severity_curves(group), sentences.severity_caption(group))
    tradeoff = None
    if len(group.entries) > 1 and all(entry.row.r_net is not None for entry in group.entries):
        tradeoff = Figure(f"{key}-tradeoff", charts.tradeoff(group), sentences.tradeoff_caption(group))
    read = [(index, entry, read_alpha(entry)) for index, entry in enumerate(group.entries)]
    found = [(index, entry, checkpoint.alpha) for index, entry, checkpoint in read if len(checkpoint.alpha)]
    edges = shared_bin_edges([alpha for _, _, alpha in found]) if found else []
    alphas = [
        (
            index,
            entry,
            Figure(f"{key}-alpha-{index}", charts.alpha_histogram(index, alpha, edges), sentences.alpha_caption(alpha)),
        )
        for index, entry, alpha in found
    ]
    without: dict[str, list[str]] = {}
    for _, entry, checkpoint in read:
        if checkpoint.problem:
            without.setdefault(checkpoint.problem, []).append(entry.name)
    return Section(key, heading, group, severity, tradeoff, alphas, without)
