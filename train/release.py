"""The list of releases: what there is, what is missing, and the next one made.

python train/release.py                                    # the list
python train/release.py --next --dataset FOLDER_OR_HUB_ID  # train, measure and stage the first that is missing
python train/release.py --make resnet18_cifar_pushpull.cifar10 --dataset FOLDER --epochs 5   # that one, shortened

A run that was cut off goes on where it stopped when the same command is given again. Further options are train.py's;
what they change of the recipe is written on the card.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import yaml

from command import training
from settings import RECIPES, load_recipe
from timm_pushpull import cli
from timm_pushpull.errors import InputError, unknown
from timm_pushpull.models import RELEASES
from timm_pushpull.results import Results

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
    parser.add_argument("--runs", type=Path, default=Path("runs/releases"), help="folder of the runs")
    parser.add_argument("--releases", type=Path, default=RELEASES, help="folder of the releases")
    parser.add_argument("--cards", type=Path, default=HERE.parent / "model_cards", help="folder of the cards")
    options, more = parser.parse_known_args()
    planned = yaml.safe_load(PLANNED.read_text(encoding="utf-8"))
    missing = [name for name in planned if not (options.releases / name / "results.json").exists()]
    if options.make and options.make not in planned:
        raise unknown("release", options.make, planned)
    if not (options.next or options.make):
        if more:
            raise InputError(f"unknown options {' '.join(more)}; they need --next or --make NAME")
        for name, plan in planned.items():
            print(describe(name, plan, options.releases))
        return
    if options.next and not missing:
        print("every release is there")
        return
    make(options.make or missing[0], planned, options, more)


def describe(name: str, plan: dict, releases: Path) -> str:
    """One line: what was reached and after how many epochs, or what it would take."""
    recipe = load_recipe(RECIPES / f"{plan['recipe']}.yaml")
    if not (releases / name / "results.json").exists():
        return f"{name:40} missing: recipe {plan['recipe']}, {recipe.epochs} epochs of {recipe.dataset}"
    results, trained = Results.load(releases / name), load_recipe(releases / name / "recipe.yaml")
    return (
        f"{name:40} clean error {results.clean_error:.2%}, mCE {results.mce:.2%}; {trained.epochs} epochs of "
        f"{recipe.epochs} in the recipe, seed {trained.seed}"
    )


def make(name: str, planned: dict, options: argparse.Namespace, more: list[str]) -> None:
    """Train and measure a release, or go on with it, and stage it; ends with the exit code of what fails.

    Raises:
        InputError: Its baseline is missing.
    """
    plan, (model, tag) = planned[name], name.split(".")
    settings = {"half_weights": True} | ({"model_args": plan["model_args"]} if "model_args" in plan else {})
    command = training(plan["recipe"], model, options.runs / name, settings)
    if baseline := plan.get("baseline"):
        if not (options.releases / baseline / "results.json").exists():
            raise InputError(f"{name} is compared with {baseline}, which is missing; make that first")
        command += ["--baseline", str(options.releases / baseline)]
    stage = [sys.executable, str(HERE.parent / "hub" / "stage.py"), str(options.runs / name), "--tag", tag]
    stage += ["--releases", str(options.releases), "--cards", str(options.cards)]
    for step in ([*command, *more], stage):
        code = subprocess.run(step, check=False).returncode
        if code:
            sys.exit(code)


if __name__ == "__main__":
    cli.run(main, "release.py")
