"""Make a release from a finished run: the folder of a Hub repository, and its model card.

examples:
  # writes hub/releases/resnet18_cifar_pushpull.cifar10
  python hub/stage.py runs/cifar10/resnet18_cifar_pushpull
  # writes the cards and images of these releases again
  python hub/stage.py hub/releases/*
"""

from __future__ import annotations

from pathlib import Path

from timm_pushpull import cli
from timm_pushpull.hub import stage
from timm_pushpull.models import RELEASES
from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.text import say

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = cli.Parser(prog="stage.py", description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", help="run folder, as train/train.py --half-weights writes it")
    parser.add_argument("--tag", help="part of the release's name after the dot (default: the run's)")
    parser.add_argument(
        "--eval-results", action="store_true", help="also write the Hub's .eval_results (a draft format)"
    )
    parser.add_argument("--releases", type=Path, default=RELEASES, help="where to write (default: hub/releases)")
    parser.add_argument(
        "--cards", type=Path, default=ROOT / "model_cards", help="where to write the card (default: model_cards)"
    )
    options = parser.parse_args()
    if options.tag and len(options.runs) > 1:
        raise InputError(f"--tag {options.tag} is for one run, not for {len(options.runs)}")
    for run in options.runs:
        say(str(stage(run, options.releases, options.cards, ROOT / "LICENSE", options.tag, options.eval_results)))


if __name__ == "__main__":
    cli.run(main, "stage.py")
