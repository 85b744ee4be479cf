"""The list of releases: what there is, what is missing, and the next one made.

python train/release.py                                    # the list
python train/release.py --next --dataset FOLDER_OR_HUB_ID  # train, measure and stage the first that is missing
python train/release.py --make resnet18_cifar_pushpull.cifar10 --dataset FOLDER --epochs 5   # that one, shortened

A run that was cut off goes on where it stopped when the same command is given again. Further options are train.py's;
what they change of the recipe is written on the card.

python train/release.py --measure resnet18_cifar_pushpull.cifar10 --dataset FOLDER   # its weights anew, not trained

keeps the recipe that it was trained with; --benchmark-limit 10000 measures on so many images.

python train/release.py --hand-over resnet18_cifar_pushpull.cifar10        # trained here, to be measured elsewhere

copies a trained run to hub/trained, to be committed: another machine measures it with the command that trained it. To
train it anew instead, remove it from there.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from command import training
from run_folder import RECIPE, RESULTS, TRAINING, copy_trained
from settings import RECIPES, load_recipe
from timm_pushpull import cli
from timm_pushpull.benchmark.results import Results
from timm_pushpull.models import RELEASES
from timm_pushpull.utils.errors import InputError, unknown

HERE = Path(__file__).resolve().parent
PLANNED = HERE / "releases.yaml"


def main() -> None:
    parser = cli.Parser(
        prog="release.py",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Show the releases, or make one.",
        epilog=__doc__,
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--next", action="store_true", help="make the first release that is missing")
    which.add_argument("--make", metavar="NAME", help="make this release, again if it is there")
    which.add_argument("--measure", metavar="NAME", help="measure this release anew, without training")
    which.add_argument("--hand-over", metavar="NAME", help="let another machine measure this trained run")
    parser.add_argument("--runs", type=Path, default=Path("runs/releases"), help="folder of the runs")
    parser.add_argument("--releases", type=Path, default=RELEASES, help="folder of the releases")
    parser.add_argument(
        "--trained", type=Path, default=RELEASES.parent / "trained", help="folder of what is handed over"
    )
    parser.add_argument("--cards", type=Path, default=HERE.parent / "model_cards", help="folder of the cards")
    options, more = parser.parse_known_args()
    planned = yaml.safe_load(PLANNED.read_text(encoding="utf-8"))
    missing = [name for name in planned if not (options.releases / name / RESULTS).exists()]
    for name in (options.make, options.measure, options.hand_over):
        if name and name not in planned:
            raise unknown("release", name, planned)
    if not (options.next or options.make or options.measure):
        if more:
            raise InputError(f"unknown options {' '.join(more)}; they need --next, --make NAME or --measure NAME")
        if options.hand_over:
            copy_trained(options.runs / options.hand_over, options.trained / options.hand_over)
            print(options.trained / options.hand_over)
            return
        for name, plan in planned.items():
            print(describe(name, plan, options))
        return
    if options.next and not missing:
        print("every release is there")
        return
    make(options.make or options.measure or missing[0], planned, options, more)


def describe(name: str, plan: dict, options: argparse.Namespace) -> str:
    """One line: what was reached, on how many images and after how many epochs, or what it would take."""
    recipe, release = load_recipe(RECIPES / f"{plan['recipe']}.yaml"), options.releases / name
    if not (release / RESULTS).exists():
        if (options.trained / name).exists():
            epochs = load_recipe(options.trained / name / RECIPE).epochs
            return f"{name:40} trained, to be measured: {epochs} epochs of {recipe.epochs} in the recipe"
        return f"{name:40} missing: recipe {plan['recipe']}, {recipe.epochs} epochs of {recipe.dataset}"
    results, trained = Results.load(release), load_recipe(release / RECIPE)
    return (
        f"{name:40} clean error {results.clean_error:.2%}, mCE {results.mce:.2%} on {results.num_images:,} images; "
        f"{trained.epochs} epochs of {recipe.epochs} in the recipe, seed {trained.seed}"
    )


def make(name: str, planned: dict, options: argparse.Namespace, more: list[str]) -> None:
    """Train and measure a release, or go on with it, and stage it; ends with the exit code of what fails.

    A run that was handed over is taken up, unless there is one here.

    Raises:
        InputError: Its baseline is missing, or the release that is to be measured, or a run is in the way of that.
    """
    plan, (model, tag), run = planned[name], name.split("."), options.runs / name
    baseline, trained = plan.get("baseline"), options.trained / name
    if baseline and not (options.releases / baseline / RESULTS).exists():
        raise InputError(f"{name} is compared with {baseline}, which is missing; make that first")
    if options.measure:
        if not (run / TRAINING).exists():  # else it goes on
            if run.exists():
                raise InputError(f"{str(run)!r} holds a run, which would be lost; remove it, or choose another --runs")
            copy_trained(options.releases / name, run)
        command = training(str(run / RECIPE), model, run, {})
    else:
        if trained.exists() and not run.exists():
            copy_trained(trained, run)
        command = training(plan["recipe"], model, run, {"half_weights": True, **plan.get("settings", {})})
    if baseline:
        # As seen from here: results tell the command, and are for everybody.
        command += ["--baseline", os.path.relpath(options.releases / baseline)]
    stage = [sys.executable, str(HERE.parent / "hub" / "stage.py"), str(run), "--tag", tag]
    stage += ["--releases", str(options.releases), "--cards", str(options.cards)]
    for step in ([*command, *more], stage):
        code = subprocess.run(step, check=False).returncode
        if code:
            sys.exit(code)
    shutil.rmtree(trained, ignore_errors=True)


if __name__ == "__main__":
    cli.run(main, "release.py")
