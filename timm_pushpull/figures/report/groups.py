"""Results sorted by what can be compared: a group is one benchmark, its baseline first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from timm_pushpull.benchmark.comparison import ComparisonRow, compare
from timm_pushpull.benchmark.results import Intervals, Results
from timm_pushpull.utils.errors import InputError

_Member = tuple[Results, Path | None]


@dataclass(frozen=True)
class Entry:
    """One model of a group.

    Attributes:
        results: What was measured; `model` is the name that tells it apart in its group.
        row: Its figures relative to the group's baseline.
        path: The file or folder it was read from; None for a baseline that only another's results hold.
    """

    results: Results
    row: ComparisonRow
    path: Path | None

    @property
    def name(self) -> str:
        return self.results.model

    def interval(self, key: str) -> tuple[float, float] | None:
        """The 95 % interval of a figure, fractions; None where the results have none, as for `mrce` and `r_net`."""
        return getattr(self.results.intervals or Intervals(), key, None)

    def cell_interval(self, corruption: str, severity: int) -> tuple[float, float] | None:
        """The 95 % interval of a cell; severity 0 is the clean images."""
        if severity == 0:
            return self.interval("clean_error")
        row = (self.results.intervals or Intervals()).errors.get(corruption)
        return row[severity - 1] if row else None


@dataclass(frozen=True)
class Group:
    """Models that were measured on the same corrupted images, the baseline first."""

    entries: tuple[Entry, ...]

    @property
    def baseline(self) -> Entry:
        return self.entries[0]

    @property
    def shared(self) -> Results:
        """Results to read what all have in common from."""
        return self.entries[0].results

    @property
    def cells(self) -> int:
        """How many pairs of corruption and severity were measured."""
        return sum(error is not None for row in self.shared.errors.values() for error in row)

    @property
    def corruptions(self) -> list[str]:
        """Names of what was measured, in the paper's order, others after them."""
        return self.shared.corruptions


def load_groups(paths: Sequence[Path]) -> list[Group]:
    """Results files or run folders as groups, in the order in which their first member is given.

    A group's baseline is the one that its results name, if need be as they hold it; where none is named, the first.

    Raises:
        InputError: No path; a file that is none of results; results of clean images only.
    """
    if not paths:
        raise InputError("no results are given; name results files or run folders")
    groups: list[list[_Member]] = []
    for path in dict.fromkeys(map(Path, paths)):
        results = _load(path)
        for members in groups:
            if _comparable(results, members[0][0]):
                members.append((results, path))
                break
        else:
            groups.append([(results, path)])
    return [_group(members) for members in groups]


def headings(groups: Sequence[Group]) -> list[str]:
    """Data set and preset of every group, and whatever else tells it from another group of these."""
    short = [f"{group.shared.dataset} ({group.shared.preset})" for group in groups]
    found = []
    for group, heading in zip(groups, short, strict=True):
        alike = [_apart(other) for other, name in zip(groups, short, strict=True) if name == heading]
        differing = [part for place, part in enumerate(_apart(group)) if len({other[place] for other in alike}) > 1]
        found.append(", ".join([heading, *differing]))
    return found


def _apart(group: Group) -> list[str]:
    """What can keep groups of the same data set and preset from being one, in words."""
    shared = group.shared
    return [
        f"retrieval from split {shared.retrieval.database_split}" if shared.retrieval else shared.task,
        f"split {shared.split}",
        f"seed {shared.seed}",
        f"{shared.num_images:,} images",
        f"JPEG quality {shared.jpeg_quality}",
        f"files {shared.corrupted}" if shared.corrupted else "on the fly",
        f"frost {shared.frost}",
        f"{group.cells} cells",
    ]


def _load(path: Path) -> Results:
    results = Results.load(path)
    if not results.errors:
        raise InputError(f"{path} was measured on clean images only; measure some corruptions")
    return results


def _comparable(one: Results, other: Results) -> bool:
    try:
        one.comparable_with(other)
    except InputError:
        return False
    return True


def _group(members: Sequence[_Member]) -> Group:
    baseline = _baseline(members)
    ordered = [baseline, *(member for member in members if member is not baseline)]
    count = Counter(results.model for results, _ in ordered)
    apart = [
        replace(results, model=f"{results.model} [{path or 'as recorded'}]") if count[results.model] > 1 else results
        for results, path in ordered
    ]
    rows = zip(apart, compare(apart), ordered, strict=True)
    return Group(tuple(Entry(results, row, path) for results, row, (_, path) in rows))


def _baseline(members: Sequence[_Member]) -> _Member:
    named = [results.baseline for results, _ in members if results.baseline]
    for baseline in named:
        for member in members:
            if member[0].weights_sha256 == baseline.weights_sha256:
                return member
    if not named:
        return members[0]
    results, path = members[0]
    try:
        recorded = replace(results, baseline=named[0]).recorded_baseline()
    except InputError as error:
        raise InputError(f"{path}: its baseline cannot be read: {error}") from error
    assert recorded is not None
    return recorded, None
