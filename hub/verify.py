"""Check that weights, model card and results of a release or run folder belong together.

examples:
  python hub/verify.py hub/releases/resnet18_cifar_pushpull.cifar10 --dataset uoft-cs/cifar10
"""

from __future__ import annotations

from pathlib import Path

from timm_pushpull import cli
from timm_pushpull.hub import Release, verify
from timm_pushpull.utils.errors import InputError


def main() -> None:
    parser = cli.Parser(prog="verify.py", description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="release or run folder")
    parser.add_argument("--dataset", help="folder or Hub id, to measure a subset again (default: the recipe's)")
    parser.add_argument(
        "--images", type=int, default=500, metavar="N", help="size of that subset (default: %(default)s)"
    )
    options = parser.parse_args()
    if options.images < 1:
        raise InputError(f"--images is {options.images}; use 1 or more")
    for folder in options.folders:
        release = Release.load(folder)
        print(release.name)
        for line in verify(release, options.dataset, options.images):
            print(f"  {line}")


if __name__ == "__main__":
    cli.run(main, "verify.py")
