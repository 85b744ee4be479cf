"""Models beside their baselines and beside the paper: the rows of the paper's Tables 1, 2, 5 and 8.

Model cards, `timm-pushpull compare`, the report, the Space and the page on the paper all read their figures here.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from timm_pushpull import metrics
from timm_pushpull.benchmark import paper
from timm_pushpull.benchmark.results import Interval, Intervals, Results
from timm_pushpull.corruptions import CORRUPTIONS
from timm_pushpull.corruptions.presets import PRESETS
from timm_pushpull.utils.errors import InputError

#: What tables say below their figures.
MCE = "mCE: mean error over corruptions and severities; it is not AlexNet-normalised."
RELATIVE = (
    "mrCE: mean over corruptions of the error divided by the baseline's; below 100 % is more robust. R_net: net error "
    "reduction; above 0 % is a better trade-off."
)
#: The table whose figures by corruption are absolute errors; in the others they are relative to a baseline's.
ABSOLUTE = "table8"


@dataclass(frozen=True)
class ComparisonRow:
    """The figures of one model, those relative to its baseline among them; None where they are not defined.

    Attributes:
        model: Its name; for a row of the paper, the label in print.
        is_baseline: Whether the model is its own baseline.
        clean_error, mce: Fractions.
        mrce: Mean of `relative` (Eq. 10).
        mrce_interval: Its 95 % interval over test images, fractions; None where that of the mCE is not known. From the
            relative errors of the two mCEs (delta method), as if they came from different images. Two networks err on
            the same images, so the interval is probably too wide.
        r_net: Net error reduction (Eq. 13) with beta = mCE0 / E0, a fraction.
        relative: Corruption to the error relative to the baseline's.
        improved: Names of the figures (`mce`, `mrce`, corruptions, ...) that are better than the baseline's.
        absolute: Corruption to the mean error over severities, in a table of absolute errors; else empty.
        table: Where the paper prints the row, such as `Table 1`; None for measured figures.
        dataset: What the model was measured on.
    """

    model: str
    is_baseline: bool
    clean_error: float | None
    mce: float | None
    mrce: float | None
    r_net: float | None
    relative: Mapping[str, float | None]
    improved: frozenset[str]
    absolute: Mapping[str, float] = field(default_factory=dict)
    table: str | None = None
    dataset: str = ""
    mrce_interval: Interval | None = None

    @property
    def values(self) -> Mapping[str, float | None]:
        """What a table shows by corruption."""
        return self.absolute or self.relative

    @property
    def may_be_chance(self) -> bool:
        """Whether 1 lies in the interval of the mrCE."""
        return _within(1.0, self.mrce_interval)

    @property
    def source(self) -> str:
        """Where the figures come from, in words."""
        return "measured" if self.table is None else f"published, {self.table}, {self.dataset}"


@dataclass(frozen=True)
class Comparison:
    """Results beside those of a baseline on the same images.

    Attributes:
        row: The figures of `results`, relative to `baseline`.
    """

    results: Results
    baseline: Results
    row: ComparisonRow

    @classmethod
    def of(cls, results: Results, baseline: Results) -> Comparison:
        """Compare results with a baseline's.

        Raises:
            InputError: They were measured on different images or cells.
        """
        results.comparable_with(baseline)
        return cls(results, baseline, _measured(results, baseline))

    @classmethod
    def recorded(cls, results: Results) -> Comparison | None:
        """Compare results with the baseline that they hold; None where they name none.

        Raises:
            InputError: The baseline was measured on other cells.
        """
        baseline = results.recorded_baseline()
        return None if baseline is None else cls.of(results, baseline)

    @property
    def may_be_chance(self) -> bool:
        """Whether 1 lies in the 95 % interval of the mrCE; where that has none, whether the baseline's mCE lies in the
        interval of this one."""
        if self.row.mrce_interval is None:
            return _within(self.baseline.mce, (self.results.intervals or Intervals()).mce)
        return self.row.may_be_chance

    @property
    def clean_may_be_chance(self) -> bool:
        """Whether 0 lies in the 95 % interval of the difference of the clean errors, as if of different images."""
        own, base = self.results.clean_error, self.baseline.clean_error
        reach = _reach(self.results, self.baseline, "clean_error")
        return own is not None and base is not None and reach is not None and abs(own - base) <= math.hypot(*reach)


def compare(measured: Sequence[Results], absolute: bool = False) -> list[ComparisonRow]:
    """The rows of results; the first are the baseline of all.

    Relative figures are None where the baseline makes no error.

    Args:
        absolute: Show the errors by corruption as they are, as in the paper's Table 8.

    Raises:
        InputError: Nothing but the clean error was measured.
    """
    baseline = measured[0]
    if not baseline.errors:
        raise InputError(f"{baseline.model} was measured on clean images only, so there is nothing to compare")
    rows = [_measured(results, baseline, results is baseline) for results in measured]
    if not absolute:
        return rows
    means = [{name: metrics.mean_error(row) for name, row in results.errors.items()} for results in measured]
    return [_as_absolute(row, errors, means[0]) for row, errors in zip(rows, means, strict=True)]


def interval_note(rows: Sequence[ComparisonRow]) -> str | None:
    """The 95 % intervals of mrCE in a sentence, in percent; None where no row has one."""
    known = [(row.model, row.mrce_interval) for row in rows if row.mrce_interval]
    if not known:
        return None
    ends = ", ".join(f"{model} {100 * low:.1f} to {100 * high:.1f} %" for model, (low, high) in known)
    return (
        f"95 % interval of mrCE over test images: {ends}. Where it holds 100 %, the difference may be chance. It does "
        f"not cover other training runs."
    )


def published(table: str) -> list[ComparisonRow]:
    """The rows of a table of the paper, one of `paper.TABLES`. R_net is computed from the printed E and mCE.

    Raises:
        InputError: No such table.
    """
    return _published(paper.load(table), paper.title(table), table == ABSOLUTE)


def paper_entry(results: Results) -> ComparisonRow | None:
    """The paper's row about the network that was measured; None where there is none, or the results are partial."""
    wanted = paper.row_of(results.model, results.dataset, results.task)
    if wanted is None or results.partial:
        return None
    rows = paper.reference(results.task)
    title = "Tables 5 and 8" if results.task == "retrieval" else "Table 1"
    return _published(rows, title)[rows.index(wanted)]


def require_errors(baseline: Results) -> None:
    """Raise InputError where the baseline makes no error, so that nothing can be relative to it."""
    for corruption, row in baseline.errors.items():
        if metrics.mean_error(row) == 0:
            raise InputError(
                f"{baseline.model} makes no error on {corruption}, so that none can be relative to it; measure more "
                f"images, or leave the corruption out"
            )


@dataclass(frozen=True)
class Caveat:
    """A reason why results cannot be compared with published ones: a subject and the rest of the sentence."""

    subject: str
    text: str

    def __str__(self) -> str:
        return self.subject + self.text


def caveats(*measured: Results) -> list[Caveat]:
    """Reasons why results cannot be compared with published ones or with one another, each once."""
    shown = {results.weights_sha256 for results in measured} if len(measured) > 1 else None
    return list(dict.fromkeys(caveat for results in measured for caveat in _caveats(results, shown)))


def _caveats(results: Results, shown: Collection[str] | None) -> list[Caveat]:
    """Those of one model.

    Args:
        shown: The weights beside which it is shown; about another baseline nothing is said. None for it alone.
    """
    found = []
    if results.frost not in (None, "original"):
        found.append(
            Caveat(
                "Frost",
                f" was {results.frost}, because the original textures were not available. Compare mCE and mrCE only "
                f"with results for the same frost.",
            )
        )
    if results.partial and results.errors:
        missing = ", ".join(name for name in CORRUPTIONS if name not in results.errors) or "some severities"
        found.append(
            Caveat(
                "Partial",
                f": mCE and mrCE are means over the measured cells only and cannot be compared with published values. "
                f"Not measured: {missing}.",
            )
        )
    made_for = PRESETS[results.preset].image_size if results.preset in PRESETS else results.image_size
    if results.errors and not results.corrupted and results.image_size not in (None, made_for):
        found.append(
            Caveat(
                "Image size",
                f" was {results.image_size} px, and the constants of {results.preset} are made for {made_for} px: a "
                f"blur of a given radius is stronger in a smaller image. Compare mCE at equal sizes only.",
            )
        )
    is_shown = results.baseline and (shown is None or results.baseline.weights_sha256 in shown)
    if results.baseline and results.baseline.differences and is_shown:
        found.append(
            Caveat(
                "Baseline",
                f": {results.baseline.model} differs from {results.model} in more than the first layer, which may "
                f"explain a part of the difference: {'; '.join(results.baseline.differences)}.",
            )
        )
    return found


def _reach(results: Results, baseline: Results, name: str) -> tuple[float, float] | None:
    """Half the lengths of the two intervals of a figure; None where the model's is not known. That of the baseline is
    taken to be as long where it is not known, as in results files of older versions."""
    ends = [getattr(one.intervals or Intervals(), name) for one in (results, baseline)]
    if ends[0] is None:
        return None
    own, base = ((high - low) / 2 for low, high in (ends[0], ends[1] or ends[0]))
    return own, base


def _mrce_interval(mrce: float | None, results: Results, baseline: Results) -> Interval | None:
    reach = _reach(results, baseline, "mce")
    if mrce is None or reach is None or not results.mce or not baseline.mce:
        return None
    relative = math.hypot(reach[0] / results.mce, reach[1] / baseline.mce)
    return mrce * (1 - relative), mrce * (1 + relative)


def _within(value: float | None, interval: Interval | None) -> bool:
    return value is not None and interval is not None and interval[0] <= value <= interval[1]


def _measured(results: Results, baseline: Results, is_baseline: bool = False) -> ComparisonRow:
    relative: Mapping[str, float | None] = dict.fromkeys(results.errors)
    mrce = None
    if results.errors and all(metrics.mean_error(row) > 0 for row in baseline.errors.values()):
        relative = metrics.relative_corruption_errors(results.errors, baseline.errors)
        if results.mce is not None:
            mrce = metrics.mean_relative_corruption_error(results.errors, baseline.errors)
    row = ComparisonRow(
        results.model,
        is_baseline,
        results.clean_error,
        results.mce,
        mrce,
        None,
        relative,
        frozenset(),
        dataset=results.dataset,
        mrce_interval=None if is_baseline else _mrce_interval(mrce, results, baseline),
    )
    return _judged(row, baseline.clean_error, baseline.mce)


def _published(entries: Sequence[paper.Row], table: str, absolute: bool = False) -> list[ComparisonRow]:
    baselines = {(entry.dataset, entry.baseline): entry for entry in entries if entry.is_baseline}
    rows = []
    for entry in entries:
        base = baselines[entry.dataset, entry.baseline]
        row = ComparisonRow(
            entry.label,
            entry.is_baseline,
            entry.clean_error,
            entry.mce,
            entry.mrce,
            None,
            {} if absolute else entry.values,
            frozenset(),
            table=table,
            dataset=entry.dataset,
        )
        row = _judged(row, base.clean_error, base.mce)
        rows.append(_as_absolute(row, entry.values, base.values) if absolute else row)
    return rows


def _judged(row: ComparisonRow, clean_error: float | None, mce: float | None) -> ComparisonRow:
    """A row with R_net and what is better than its baseline, whose clean error and mCE are given."""
    r_net = None
    if row.clean_error is not None and row.mce is not None and clean_error and mce:
        r_net = metrics.net_error_reduction(row.clean_error, row.mce, clean_error, mce)
    # Better is what is below the second number.
    figures = {"clean_error": (row.clean_error, clean_error), "mce": (row.mce, mce), "mrce": (row.mrce, 1.0)}
    figures |= {name: (value, 1.0) for name, value in row.relative.items()}
    figures["r_net"] = (None if r_net is None else -r_net, 0.0)
    improved = {name for name, (own, other) in figures.items() if own is not None and other is not None and own < other}
    return replace(row, r_net=r_net, improved=frozenset(improved))


def _as_absolute(row: ComparisonRow, errors: Mapping[str, float], baseline: Mapping[str, float]) -> ComparisonRow:
    improved = {name for name, error in errors.items() if error < baseline[name]}
    return replace(row, absolute=errors, improved=(row.improved - set(errors)) | improved)
