"""List the planned releases and their results, make releases of finished runs, or measure one again.

examples:
  python train/release.py                                  # list the planned releases
  python train/release.py --table                          # print the table of the README
  python train/run_queue.py --datasets FILE                # train and measure what the queue names
  python train/release.py --stage resnet18_cifar.cifar10   # make a release of a finished run
  # measure a release again
  python train/release.py --measure resnet18_cifar.cifar10 --dataset FOLDER

Networks with `weights: false` in train/releases.yaml are baselines: only their results are kept, in train/studies. A
release is outdated if its recipe.yaml differs from train/releases.yaml and the recipe named there; train it again.
--measure keeps the recipe that the weights were trained with, and accepts other options of train.py, such as
--benchmark-limit 10000. Running the same command again resumes an interrupted measurement.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # see train/__init__.py

from timm_pushpull import cli
from timm_pushpull.benchmark.comparison import Comparison
from timm_pushpull.benchmark.results import Intervals, Results, Training
from timm_pushpull.hub import stage
from timm_pushpull.models import RELEASES
from timm_pushpull.models.weights import WEIGHTS
from timm_pushpull.utils.errors import InputError, unknown
from timm_pushpull.utils.files import check_name, make_folder
from timm_pushpull.utils.markdown import percentage, plain, table
from timm_pushpull.utils.text import printable, say
from timm_pushpull.utils.yaml_text import load_yaml
from train.command_line import training_command
from train.run_folder import RECIPE, RESULTS, TRAINING, copy_trained
from train.settings import Settings, find_recipe, load_recipe

ROOT = Path(__file__).resolve().parents[1]
#: Flags of train.py that `--measure` gives itself, or that would leave nothing measured.
_DECIDED = {
    *("--recipe", "--config", "-c", "--model", "--output", "--baseline", "--model-args"),
    *("--resume", "--overwrite", "--skip-benchmark"),
}
PLANNED = ROOT / "train" / "releases.yaml"
STUDIES = ROOT / "train" / "studies"
_PATIENCE = 10.0  # seconds


@dataclass(frozen=True)
class PlannedRelease:
    """A release as train/releases.yaml has it.

    Attributes:
        name: `<architecture>.<tag>`.
        recipe: Name of the recipe.
        changes: Settings in place of the recipe's.
        baseline: Name of the release that it is compared with, if any.
        settings: The recipe with these changes.
        weights: Whether the weights are released; otherwise only the results are kept, for others to compare with.
    """

    name: str
    recipe: str
    changes: Mapping[str, Any]
    baseline: str | None
    settings: Settings
    weights: bool = True

    def results_file(self, releases: Path) -> Path:
        """Where the results are, in `releases` or, without weights, among the studies."""
        return releases / self.name / RESULTS if self.weights else STUDIES / self.recipe / f"{self.name}.json"

    @property
    def model(self) -> str:
        return self.name.split(".")[0]

    @property
    def tag(self) -> str:
        return self.name.split(".")[1]

    def outdated(self, trained: Settings) -> list[str]:
        """How the recipe of trained weights differs from the plan, in words; empty where it does not."""
        names = ("img_size", "resize", "preset")  # what the plan leaves to the model was resolved in training
        resolved = {name: getattr(self.settings, name) or getattr(trained, name) for name in names}
        return trained.overrides(replace(self.settings, **resolved))


def load_planned(path: Path = PLANNED) -> dict[str, PlannedRelease]:
    """The planned releases by name, in the order in which they are to be made.

    Raises:
        InputError: The file cannot be read, or names an unknown recipe, setting or baseline.
    """
    planned: dict[str, PlannedRelease] = {}
    try:
        content = load_yaml(path.read_text(encoding="utf-8"))
        for name, plan in content.items():
            check_name(name, f"a release of {path}")
            if plan.get("baseline") not in (None, *planned):
                raise unknown(f"baseline in {path}", plan["baseline"], planned)
            for key in plan:
                if key not in (known := ("recipe", "settings", "baseline", "weights")):
                    raise InputError(f"release {name} of {str(path)!r}: {unknown('key', key, known)}")
            changes = plan.get("settings", {})
            settings = load_recipe(find_recipe(plan["recipe"]), {**changes, "models": [name.split(".")[0]]})
            planned[name] = PlannedRelease(
                name, plan["recipe"], changes, plan.get("baseline"), settings, plan.get("weights", True)
            )
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{str(path)!r} is no list of releases: {type(error).__name__}: {error}") from error
    return planned


def main() -> None:
    parser = cli.Parser(
        prog="release.py",
        description=__doc__,
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--table", action="store_true", help="print what is released as a Markdown table")
    which.add_argument("--stage", metavar="NAME", nargs="+", help="make releases of the runs RUNS/NAME")
    which.add_argument("--measure", metavar="NAME", help="measure this release again, without training, and stage it")
    parser.add_argument(
        "--runs", type=Path, help="folder of the runs (default: runs/queue/releases, with --measure runs/measured)"
    )
    parser.add_argument(
        "--releases", type=Path, default=RELEASES, help="folder of the releases (default: hub/releases)"
    )
    parser.add_argument(
        "--cards", type=Path, default=ROOT / "model_cards", help="folder of the cards (default: model_cards)"
    )
    options, more = parser.parse_known_args()
    planned = load_planned()
    for name in (*(options.stage or ()), *([options.measure] if options.measure else ())):
        if name not in planned:
            raise unknown("release", name, planned)
    if more and not options.measure:
        raise InputError(f"unknown options {' '.join(more)}; those of train.py need --measure NAME")
    if options.measure:
        run = (options.runs or Path("runs/measured")) / options.measure
        plan = planned[options.measure]
        baseline = planned[plan.baseline].results_file(options.releases) if plan.baseline else None
        measure(plan, run, options.releases, baseline, more)
        say(str(stage(run, options.releases, options.cards, ROOT / "LICENSE", planned[options.measure].tag)))
    elif options.stage:
        for name in options.stage:
            run = (options.runs or Path("runs/queue/releases")) / name
            if planned[name].weights:
                say(str(stage(run, options.releases, options.cards, ROOT / "LICENSE", planned[name].tag)))
            else:
                say(str(keep_results(run, planned[name].results_file(options.releases))))
    elif options.table:
        print(weights_table(planned, options.releases))
    else:
        for plan in planned.values():
            print(printable(describe(plan, options.releases)))


def keep_results(run: Path, path: Path) -> Path:
    """Copy the results of a finished run.

    Raises:
        InputError: They cannot be read, are partial, or do not tell of a training.
    """
    results = Results.load(run)
    if results.partial or results.clean_error is None or results.training is None:
        raise InputError(f"{str(run / RESULTS)!r} needs the clean error, all 15 x 5 cells and the training")
    make_folder(path.parent)
    results.save(path)
    return path


def describe(plan: PlannedRelease, releases: Path) -> str:
    """One line: what a release has reached, and whether it is what is planned."""
    recipe, path = plan.settings, plan.results_file(releases)
    if not path.exists():
        return f"{plan.name:40} missing: recipe {plan.recipe}, {recipe.epochs} epochs of {recipe.dataset}"
    results = Results.load(path)
    reached = " and ".join(
        f"{kind} {error:.2%}"
        for kind, error in (("clean error", results.clean_error), ("mCE", results.mce))
        if error is not None
    )
    line = f"{plan.name:40} {reached} on {results.num_images:,} images; "
    if not plan.weights:
        known = results.training or Training()
        outdated = f"; outdated: {', '.join(known.overrides)}" if known.overrides else ""
        return f"{line}{known.epochs or '?'} epochs, results only{outdated}"
    trained = load_recipe(path.parent / RECIPE)
    differences = plan.outdated(trained)
    outdated = f"; outdated: {', '.join(differences)}" if differences else ""
    return f"{line}{trained.epochs} epochs, seed {trained.seed}{outdated}"


def weights_table(planned: Mapping[str, PlannedRelease], releases: Path) -> str:
    """The releases, and the results without weights, in a Markdown table for the README.

    95 % intervals are in brackets, in percent. A dagger marks an mrCE whose baseline differs in more than push-pull.
    """
    rows = []
    for plan in planned.values():
        path = plan.results_file(releases)
        if not path.exists():
            continue
        results, baseline = Results.load(path), planned[plan.baseline] if plan.baseline else None
        comparison = Comparison.of(results, Results.load(baseline.results_file(releases))) if baseline else None
        intervals = results.intervals or Intervals()
        dagger = "\N{NO-BREAK SPACE}†" if results.baseline and results.baseline.differences else ""
        cells = [
            percentage(results.clean_error, intervals.clean_error),
            percentage(results.mce, intervals.mce),
            percentage(comparison.row.mrce, comparison.row.mrce_interval) + dagger if comparison else "baseline",
        ]
        rows.append(
            [
                f"[`{plan.name}`](hub/releases/{plan.name})" if plan.weights else f"`{plan.name}`",
                f"{plain(results.dataset)}, {results.num_images:,}",
                *(cell.replace(", ", ",\N{NO-BREAK SPACE}") for cell in cells),  # intervals stay on one line
                f"{(path.parent / WEIGHTS).stat().st_size / 1e6:.0f} MB" if plan.weights else "results only",
            ]
        )
    return table(["weights", "test images", "clean error, %", "mCE, %", "mrCE, %", "size"], rows, words=2)


def measure(plan: PlannedRelease, run: Path, releases: Path, baseline: Path | None, more: list[str]) -> None:
    """Measure the weights of a release in a run folder of their own; ends with the exit code of train.py if it fails.

    Raises:
        InputError: The release or its baseline is missing, `run` holds another run, or an argument is one that the
            release decides.
    """
    for flag in (argument.split("=")[0] for argument in more if argument.startswith("-") and argument != "--"):
        if any(own.startswith(flag) for own in _DECIDED):  # argparse takes abbreviations, too
            raise InputError(f"--measure decides {flag} itself; leave it out")
    if not plan.weights:
        raise InputError(f"the weights of {plan.name} are not kept; train it again")
    if baseline and not baseline.exists():
        raise InputError(f"{plan.name} is compared with {plan.baseline}, which is missing; make that first")
    if not (run / TRAINING).exists():  # else it is resumed
        if run.exists():
            raise InputError(f"{str(run)!r} holds a run, which would be lost; remove it, or choose another --runs")
        copy_trained(releases / plan.name, run)
    command = training_command(str(run / RECIPE), plan.model, run, {})
    if baseline:
        # A relative path: results tell the command, and are for everybody.
        command += ["--baseline", os.path.relpath(baseline)]
    with subprocess.Popen([*command, *more]) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt as error:
            # Of Ctrl-C the terminal has told the training too.
            if getattr(error, "signal", None) != signal.SIGTERM:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_PATIENCE)
            process.terminate()  # nothing, if it has ended
            process.wait()
            raise
    if code:
        sys.exit(code)


if __name__ == "__main__":
    cli.run(main, "release.py")
