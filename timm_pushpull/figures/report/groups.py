"""Groups of comparable results: models that were measured on the same corrupted images."""

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
        results: Its results; `model` is a name that is unique in the group.
        row: Its numbers relative to the baseline of the group.
        path: The file or folder of the results; None for a baseline that is only recorded in the results of another
            model.
    """

    results: Results
    row: ComparisonRow
    path: Path | None

    @property
    def name(self) -> str:
        return self.results.model

    @property
    def mce(self) -> float:
        """Absolute mCE, a fraction."""
        mce = self.results.mce
        assert mce is not None  # `load_groups` refuses results without test corruptions
        return mce

    def interval(self, key: str) -> tuple[float, float] | None:
        """The 95 % interval of `clean_error`, `mce` or `mrce`, fractions; None if there is none, as for `r_net`."""
        if key == "mrce":
            return self.row.mrce_interval
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
        """The results of the baseline, for properties that all members share."""
        return self.entries[0].results

    @property
    def cells(self) -> int:
        """Number of measured pairs of corruption and severity."""
        return sum(error is not None for row in self.shared.errors.values() for error in row)

    @property
    def corruptions(self) -> list[str]:
        """The measured corruptions: those of the paper in its order, then others."""
        return self.shared.corruptions


def load_groups(paths: Sequence[Path]) -> list[Group]:
    """Load results files or run folders and group them, in the order of their first members.

    The baseline of a group is the one that its results name, read from their record if its own file is not given. If
    none is named, it is the first member. Results that name different baselines are in different groups.

    Raises:
        InputError: No path is given, a file does not hold results, or results have none of the test corruptions.
    """
    if not paths:
        raise InputError("no results are given; name results files or run folders")
    loaded: list[_Member] = [(_load(path), path) for path in dict.fromkeys(map(Path, paths))]
    groups: list[list[_Member]] = []
    for member in sorted(loaded, key=lambda one: one[0].baseline is None):  # those that name a baseline first
        results = member[0]
        fitting = [members for members in groups if _comparable(results, members[0][0])]
        if results.baseline:
            fitting = [members for members in fitting if _named(members) == results.baseline.weights_sha256]
        fitting.sort(key=lambda members: _named(members) != results.weights_sha256)  # the group that names it first
        if fitting:
            fitting[0].append(member)
        else:
            groups.append([member])
    ordered = [sorted(members, key=loaded.index) for members in groups]
    return [_group(members) for members in sorted(ordered, key=lambda members: loaded.index(members[0]))]


def _named(members: Sequence[_Member]) -> str | None:
    """The hash of the weights of the baseline that a group names, if it names one."""
    return next((results.baseline.weights_sha256 for results, _ in members if results.baseline), None)


def headings(groups: Sequence[Group]) -> list[str]:
    """Dataset and preset of every group, and what distinguishes groups with the same dataset and preset."""
    short = [f"{group.shared.dataset} ({group.shared.preset})" for group in groups]
    found = []
    for group, heading in zip(groups, short, strict=True):
        same = [_distinctions(other) for other, name in zip(groups, short, strict=True) if name == heading]
        different = [
            text for index, text in enumerate(_distinctions(group)) if len({other[index] for other in same}) > 1
        ]
        found.append(", ".join([heading, *different]))
    count = Counter(found)
    return [
        f"{heading}, baseline {group.baseline.name}" if count[heading] > 1 else heading
        for group, heading in zip(groups, found, strict=True)
    ]


def _distinctions(group: Group) -> list[str]:
    """Properties in which groups with the same dataset and preset can differ, in words."""
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
    if results.mce is None:
        only = "validation corruptions" if results.errors else "clean images"
        raise InputError(f"{path} was measured on {only} only; measure some of the 15 test corruptions")
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
    named = [
        replace(results, model=f"{results.model} [{path or 'as recorded'}]") if count[results.model] > 1 else results
        for results, path in ordered
    ]
    rows = zip(named, compare(named), ordered, strict=True)
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
