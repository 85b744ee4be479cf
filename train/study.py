"""A study: many small trainings that differ in one thing each, with several seeds, and the table of what came out.

python train/study.py                                    # what has been run, and what has not
python train/study.py --next --dataset FOLDER_OR_HUB_ID  # train and measure the first that has not
python train/study.py --all --dataset FOLDER_OR_HUB_ID   # one after the other
python train/study.py --page model_cards/study.md        # the table as a page

A study is a folder with `plan.yaml`, train/studies/cifar10 unless --study names another; the results of a row and seed
go beside it, as ROW.SEED.json. Several processes may work on one study: each leaves alone what another has begun. To go
on with a training whose process was killed, remove its ROW.SEED.lock under --runs.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from command import training
from timm_pushpull import cli, metrics
from timm_pushpull.benchmark import paper
from timm_pushpull.benchmark.results import Results
from timm_pushpull.utils import markdown
from timm_pushpull.utils.errors import InputError, unknown
from timm_pushpull.utils.files import make_folder, write_file

HERE = Path(__file__).resolve().parent
_ROW_KEYS = ("paper", "model", "baseline", "settings", "seeds")


@dataclass(frozen=True)
class Row:
    """A row of a study: what is trained, and what has been measured of it.

    Attributes:
        paper: Its label in the study's table of the paper.
        baseline: The row that it is compared with, above it in the plan; None where it is one itself.
        settings: Of train.py, beyond the recipe's.
        seeds: How often it is trained.
        results: Seed to results, of the seeds that were run.
    """

    name: str
    paper: str
    model: str
    baseline: Row | None
    settings: Mapping[str, Any]
    seeds: tuple[int, ...]
    results: dict[int, Results] = field(default_factory=dict)

    @property
    def base(self) -> Row:
        """The baseline, itself where it is one."""
        return self.baseline or self

    def mrce(self) -> str:
        """mrCE to the mean errors of the baseline, over the seeds; `-` where that was not run."""
        if not self.base.results:
            return "-"
        errors = self.base.mean_errors()
        return spread([metrics.mean_relative_corruption_error(r.errors, errors) for r in self.results.values()], 3)

    def mean_errors(self) -> dict[str, list[float]]:
        """The errors per corruption and severity, means over the seeds."""
        tables = [results.errors for results in self.results.values()]
        return {
            name: [statistics.mean(cell) for cell in zip(*(table[name] for table in tables), strict=True)]
            for name in tables[0]
        }


@dataclass(frozen=True)
class Study:
    """A plan and what has been run of it.

    Raises:
        InputError: No plan there, or one that cannot be read; results of something else than their row.
    """

    folder: Path
    table: str
    recipe: str
    rows: dict[str, Row]
    remarks: str

    @classmethod
    def load(cls, folder: Path) -> Study:
        path = folder / "plan.yaml"
        try:
            text = path.read_text(encoding="utf-8")
            plan = yaml.safe_load(text)
            common, rows = plan.get("settings", {}), {}
            for name, row in plan["rows"].items():
                if odd := set(row) - set(_ROW_KEYS):
                    raise unknown(f"key in row {name} of {path}", min(odd), _ROW_KEYS)
                if row.get("baseline") not in (None, *rows):
                    raise unknown(f"baseline in {path}", row["baseline"], rows)
                baseline, settings = rows.get(row.get("baseline")), {**common, **row.get("settings", {})}
                seeds = tuple(row.get("seeds", plan["seeds"]))
                rows[name] = Row(name, row["paper"], row["model"], baseline, settings, seeds)
            study = cls(folder, plan["table"], plan["recipe"], rows, _remarks(text))
        except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{str(path)!r} is no plan of a study: {type(error).__name__}: {error}") from error
        first = None
        for row, seed in study.trainings():
            if study.file(row, seed).exists():
                results = row.results[seed] = Results.load(study.file(row, seed))
                if results.model != row.model or f"--seed {seed} " not in f"{results.command} ":
                    raise InputError(f"{study.file(row, seed)} is about another network or seed than its name says")
                first = first or results
                results.comparable_with(first)
        return study

    def trainings(self) -> Iterator[tuple[Row, int]]:
        """All of them in the order in which they are to be run: every row once before any is repeated."""
        seeds = sorted({seed for row in self.rows.values() for seed in row.seeds})
        return ((row, seed) for seed in seeds for row in self.rows.values() if seed in row.seeds)

    def file(self, row: Row, seed: int) -> Path:
        return self.folder / f"{row.name}.{seed}.json"


def main() -> None:
    parser = cli.Parser(
        prog="study.py",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Run a study, or show it.",
        epilog=__doc__,
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--next", action="store_true", help="run the first training that has not been run")
    which.add_argument("--all", action="store_true", help="run all that have not been run")
    which.add_argument("--page", type=Path, metavar="FILE", help="write the table as a Markdown page")
    parser.add_argument("--study", type=Path, default=HERE / "studies" / "cifar10", help="folder of the study")
    parser.add_argument("--runs", type=Path, default=Path("runs/studies"), help="folder of the runs")
    options, more = parser.parse_known_args()
    study = Study.load(options.study)
    if more and not (options.next or options.all):
        raise InputError(f"unknown options {' '.join(more)}; they need --next or --all")
    if options.page:
        write_file(options.page, page(study))
        print(f"written to {options.page}")
    elif options.next or options.all:
        for row, seed in study.trainings():
            if not study.file(row, seed).exists() and run(study, row, seed, options.runs, more) and options.next:
                break
    else:
        print(table(study), end="")


def run(study: Study, row: Row, seed: int, runs: Path, more: list[str]) -> bool:
    """One training, unless another process has begun it; ends with the exit code of one that fails."""
    output = runs / study.folder.name / f"{row.name}.{seed}"
    make_folder(output.parent)
    lock = output.with_name(f"{output.name}.lock")
    try:
        lock.mkdir()
    except FileExistsError:
        return False
    command = training(study.recipe, row.model, output, {"seed": seed, **row.settings})
    try:
        code = subprocess.run([*command, *more], check=False).returncode
    finally:
        lock.rmdir()
    if code:
        sys.exit(code)
    write_file(study.file(row, seed), (output / "results.json").read_text(encoding="utf-8"))
    return True


def table(study: Study) -> str:
    """What came out, as Markdown: means and standard deviations over the seeds, in %, mrCE to the mean baseline."""
    published = {(row.dataset, row.label): row for row in paper.load(study.table)}
    header = [f"row of Table {study.table.removeprefix('table')}", "network", "seeds"]
    header += ["E, %", "mCE, %", "mrCE", "published mrCE"]
    lines = []
    for row in study.rows.values():
        known = next((f for d in ("CIFAR10", "ImageNet") if (f := published.get((d, row.paper)))), None)
        theirs = f"{known.mrce:.3f} ({known.dataset})" if known else ""
        augmentation = row.settings.get("augmentation")
        network = f"`{row.model}`{f', {augmentation}' if augmentation else ''}"
        done = list(row.results.values())
        if not done:
            lines.append([row.paper, network, "not run", "", "", "", theirs])
            continue
        clean = spread([100 * results.clean_error for results in done], 1)
        mce = spread([100 * results.mce for results in done], 1)
        lines.append([row.paper, network, str(len(done)), clean, mce, row.mrce(), theirs])
    return markdown.table(header, lines, words=2) + "\n"


def spread(values: list[float], digits: int) -> str:
    """Mean and, where there are several, standard deviation."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def _remarks(plan: str) -> str:
    """The comment that a plan begins with, as one paragraph."""
    lines = plan.splitlines()
    head = lines[: next((place for place, line in enumerate(lines) if not line.startswith("#")), len(lines))]
    return " ".join(line.removeprefix("#").strip() for line in head)


def page(study: Study) -> str:
    """The study for people."""
    done = [results for row in study.rows.values() for results in row.results.values()]
    if not done:
        raise InputError(f"nothing of the study {str(study.folder)!r} has been run; add --next --dataset FOLDER")
    one = done[0]
    epochs = one.training.epochs
    commits = ", ".join(f"`{commit[:10]}`" for commit in sorted({results.commit for results in done if results.commit}))
    return (
        f"# Study: {study.folder.name}\n\n{study.remarks}\n\n{table(study)}\n"
        f"E is the error on clean images{' (1 - mAP)' if one.task == 'retrieval' else ''}. Means ± standard deviations "
        f"over training seeds. Each network was trained for {epochs} epochs on "
        f"{one.training.images:,} images of {one.dataset} and measured on {one.num_images:,} test images, clean and "
        f"under 15 corruptions at 5 severities (preset {one.preset}, corruption seed {one.seed}, {one.frost} frost). "
        f"mrCE is relative to the baseline's mean errors. With few seeds, a difference below two standard deviations "
        f"says little.\n\n"
        f"`python train/study.py --all --dataset FOLDER_OR_HUB_ID` runs what is missing; the results files are in "
        f"`train/studies/{study.folder.name}`, made by commit {commits} on {len(done)} runs "
        f"({sum(results.training.seconds for results in done) / 3600:.1f} h of training).\n"
    )


if __name__ == "__main__":
    cli.run(main, "study.py")
