"""The plan of a study, and what has been run of it: rows times seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from timm.models import split_model_name_tag

from timm_pushpull import metrics
from timm_pushpull.benchmark.results import Results
from timm_pushpull.utils import markdown
from timm_pushpull.utils.errors import InputError, unknown
from timm_pushpull.utils.files import check_name
from timm_pushpull.utils.yaml_text import load_yaml
from train.settings import Settings, find_recipe, load_recipe

_ROW_KEYS = ("paper", "label", "recipe", "model", "baseline", "settings", "seeds")


@dataclass(frozen=True)
class Interval:
    """The mean of one value per seed and its 95 % interval by Student's t; without bounds for a single seed."""

    mean: float
    low: float | None
    high: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Interval:
        mean = statistics.fmean(values)
        if len(values) < 2:
            return cls(mean, None, None)
        try:
            from scipy import stats
        except ImportError:
            raise InputError("intervals over seeds need scipy: pip install 'timm-pushpull[train]'") from None

        reach = float(stats.t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
        return cls(mean, mean - reach, mean + reach)

    def bounds(self) -> tuple[float, float]:
        """The ends of the interval, of two or more seeds."""
        assert self.low is not None
        assert self.high is not None
        return self.low, self.high

    def text(self) -> str:
        """In percent, such as `93.1 [90.2, 96.0]`."""
        return markdown.percentage(self.mean, None if self.low is None or self.high is None else (self.low, self.high))


@dataclass(frozen=True)
class Row:
    """A row of a study: what is trained, and what has been measured of it.

    Attributes:
        label: Its label in the study's table of the paper, or in the study's own.
        network: The network in words, as Markdown.
        recipe: What it is trained by.
        baseline: The row that it is compared with, above it in the plan; None where it is one itself.
        changes: Settings in place of the recipe's.
        settings: The recipe with these changes.
        seeds: The seeds that it is trained with.
        results: Seed to results, of the seeds that were run.
    """

    name: str
    label: str
    network: str
    recipe: str
    model: str
    baseline: Row | None
    changes: Mapping[str, Any]
    settings: Settings
    seeds: tuple[int, ...]
    results: dict[int, Results] = field(default_factory=dict)

    def pairs(self) -> dict[int, tuple[Results, Results]]:
        """Seed to the results, and to those of the baseline with the same seed; only seeds that both were run with."""
        base = self.baseline or self
        return {seed: (own, base.results[seed]) for seed, own in self.results.items() if seed in base.results}

    def relative_errors(self) -> dict[int, dict[str, float]]:
        """Seed to the errors per corruption relative to those of the baseline with the same seed (terms of Eq. 10).

        Networks of one seed see the same images in the same order, so that part of what differs between seeds cancels.
        """
        return {
            seed: metrics.relative_corruption_errors(own.errors, base.errors)
            for seed, (own, base) in self.pairs().items()
        }

    def by_corruption(self) -> dict[str, Interval]:
        """Corruption to its relative errors over the seeds; of at least one pair."""
        seeds = list(self.relative_errors().values())
        return {name: Interval.of([relative[name] for relative in seeds]) for name in seeds[0]}

    def mrce(self) -> Interval | None:
        """mrCE over the seeds, each relative to the baseline's of the same seed; None where there is no such pair."""
        values = [
            statistics.fmean(metrics.without_validation(relative).values())
            for relative in self.relative_errors().values()
        ]
        return Interval.of(values) if values else None

    def mrce_text(self) -> str:
        """`mrce` in a table, in percent: 100 by definition for a baseline, `-` where there is none."""
        mrce = self.mrce()
        if mrce is None:
            return "-"
        return mrce.text() if self.baseline else f"{100 * mrce.mean:.1f}"


@dataclass(frozen=True)
class Study:
    """A plan and what has been run of it.

    Attributes:
        table: The table of the paper whose rows it trains, such as table2; None where it is not about the paper.

    Raises:
        InputError: No plan there, or one that cannot be read; results of something else than their row.
    """

    folder: Path
    table: str | None
    rows: dict[str, Row]
    remarks: str

    @classmethod
    def load(cls, folder: Path) -> Study:
        path = folder / "plan.yaml"
        if not path.is_file():
            raise InputError(f"{str(folder)!r} holds no plan.yaml; give the folder of a study, as in train/studies")
        try:
            text = path.read_text(encoding="utf-8")
            plan = load_yaml(text)
            rows, about = dict[str, Row](), "paper" if plan.get("table") else "label"
            for name, row in plan["rows"].items():
                if odd := set(row) - set(_ROW_KEYS):
                    raise unknown(f"key in row {name} of {path}", min(odd), _ROW_KEYS)
                if row.get("baseline") not in (None, *rows):
                    raise unknown(f"baseline in {path}", row["baseline"], rows)
                changes = {**plan.get("settings", {}), **row.get("settings", {})}
                recipe = row.get("recipe", plan["recipe"])
                settings = load_recipe(find_recipe(recipe), {**changes, "models": [row["model"]]})
                seeds, base = tuple(row.get("seeds", plan["seeds"])), rows.get(row.get("baseline"))
                if other := [seed for seed in seeds if type(seed) is not int]:
                    raise InputError(f"row {name} of {path} has the seed {other[0]!r}; give whole numbers")
                if not str(row[about]).isprintable():
                    raise InputError(f"row {name} of {path} has the {about} {row[about]!r}; give printable text")
                check_name(name, f"a row of {path}")  # a part of the names of the run's folder and its results file
                network = _network(row["model"], changes, plan.get("settings", {}).get("model_args", {}))
                rows[name] = Row(name, row[about], network, recipe, row["model"], base, changes, settings, seeds)
            study = cls(folder, plan.get("table"), rows, _remarks(text))
        except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{str(path)!r} is no plan of a study: {type(error).__name__}: {error}") from error
        study._load_results()
        return study

    def _load_results(self) -> None:
        first = None
        for row, seed in self.trainings():
            path = self.file(row, seed)
            if not path.exists():
                continue
            results = row.results[seed] = Results.load(path)
            if results.model != split_model_name_tag(row.model)[0] or f"--seed {seed} " not in f"{results.command} ":
                raise InputError(f"{path} is about another network or seed than its name says")
            if (epochs := results.training.epochs if results.training else None) != row.settings.epochs:
                raise InputError(
                    f"{path} is about a training of {epochs} epochs, the plan says {row.settings.epochs}; remove it to "
                    f"train anew"
                )
            first = first or results
            results.comparable_with(first)

    def trainings(self) -> Iterator[tuple[Row, int]]:
        """All of them in the order in which they are to be run: every row once before any is repeated."""
        seeds = sorted({seed for row in self.rows.values() for seed in row.seeds})
        return ((row, seed) for seed in seeds for row in self.rows.values() if seed in row.seeds)

    def file(self, row: Row, seed: int) -> Path:
        return self.folder / f"{row.name}.{seed}.json"

    def name(self, row: Row) -> str:
        """The network of a row in words, or its label where another row has the same network."""
        alike = [other for other in self.rows.values() if other.network == row.network]
        return row.network if len(alike) == 1 else row.label

    @property
    def note(self) -> str:
        """For captions: whose networks these are."""
        return f"The networks are those of the study {self.folder.name}, not released weights of these names."

    def compared(self) -> list[tuple[Row, Interval]]:
        """The rows with a baseline, and their mrCE, where both were run with at least two seeds."""
        found = [(row, row.mrce()) for row in self.rows.values() if row.baseline]
        return [(row, mrce) for row, mrce in found if mrce and mrce.low is not None]


def fixed_alpha(model_args: Mapping[str, Any]) -> Any:
    """The alpha that a network's arguments fix; None where it is trained, or not given."""
    return None if model_args.get("trainable_alpha", True) else model_args.get("alpha")


def _network(model: str, changes: Mapping[str, Any], shared: Mapping[str, Any]) -> str:
    """A network in words: its name, and what it has beside the arguments that all networks of the study share."""
    own = {name: value for name, value in changes.get("model_args", {}).items() if name not in shared}
    fixed = "fixed " if fixed_alpha(own) is not None else ""
    if fixed:
        del own["trainable_alpha"]
    arguments = " ".join(f"{name}={value}" for name, value in own.items())
    parts = [f"`{model}`", changes.get("augmentation"), f"{fixed}`{arguments}`" if arguments else None]
    return ", ".join(part for part in parts if part)


def _remarks(plan: str) -> str:
    """The comment that a plan begins with, as one paragraph."""
    lines = plan.splitlines()
    head = lines[: next((place for place, line in enumerate(lines) if not line.startswith("#")), len(lines))]
    return " ".join(line.removeprefix("#").strip() for line in head)
