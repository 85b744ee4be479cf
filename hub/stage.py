"""Make a release of a finished run: a folder as a Hub repository holds it, and its card.

python hub/stage.py runs/cifar10/resnet18_cifar_pushpull   # -> hub/releases/resnet18_cifar_pushpull.cifar10
python hub/stage.py hub/releases/*                         # the same releases, their cards and pictures made anew
"""

from __future__ import annotations

from pathlib import Path

from timm_pushpull import cli
from timm_pushpull.hub import stage
from timm_pushpull.models import RELEASES
from timm_pushpull.utils.errors import InputError

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = cli.Parser(prog="stage.py", description="Make a release of a finished run.")
    parser.add_argument("runs", type=Path, nargs="+", help="run folder, as train/train.py --half-weights writes it")
    parser.add_argument("--tag", help="what stands behind the dot of the release's name (default: the data set)")
    parser.add_argument("--eval-results", action="store_true", help="write the Hub's .eval_results too, still a draft")
    parser.add_argument("--releases", type=Path, default=RELEASES, help="folder of the releases")
    parser.add_argument("--cards", type=Path, default=ROOT / "model_cards", help="folder of the cards")
    options = parser.parse_args()
    if options.tag and len(options.runs) > 1:
        raise InputError(f"--tag {options.tag} is for one run, not for {len(options.runs)}")
    for run in options.runs:
        print(stage(run, options.releases, options.cards, ROOT / "LICENSE", options.tag, options.eval_results))


if __name__ == "__main__":
    cli.run(main, "stage.py")
