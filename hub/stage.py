"""Make a release of a finished run: a folder as a Hub repository holds it, and its card.

python hub/stage.py runs/cifar10/resnet18_cifar_pushpull   # -> hub/releases/resnet18_cifar_pushpull.cifar10
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from timm_pushpull import cli
from timm_pushpull.card import HERE
from timm_pushpull.errors import InputError
from timm_pushpull.files import make_folder, sha256, write_error, write_file
from timm_pushpull.models import NAMESPACE, RELEASES
from timm_pushpull.results import Results
from timm_pushpull.weights import CONFIG, WEIGHTS

ROOT = Path(__file__).resolve().parents[1]
COPIED = (WEIGHTS, CONFIG, "results.json", "recipe.yaml", "log.csv")


def main() -> None:
    parser = cli.Parser(prog="stage.py", description="Make a release of a finished run.")
    parser.add_argument("run", type=Path, help="run folder, as train/train.py --half-weights writes it")
    parser.add_argument("--tag", help="what stands behind the dot of the release's name (default: the data set)")
    parser.add_argument("--releases", type=Path, default=RELEASES, help="folder of the releases")
    parser.add_argument("--cards", type=Path, default=ROOT / "model_cards", help="folder of the cards")
    options = parser.parse_args()
    print(stage(options.run, options.releases, options.cards, options.tag))


def stage(run: Path, releases: Path, cards: Path, tag: str | None = None) -> Path:
    """Copy a finished run into `releases/<arch>.<tag>`, whole or not at all, and its card to `cards/<arch>.<tag>.md`.

    Raises:
        InputError: The run is not finished, was not measured in full, or its results are not those of its weights in
            half precision.
    """
    missing = [name for name in (*COPIED, "README.md") if not (run / name).is_file()]
    if missing:
        raise InputError(f"{str(run)!r} is no finished run: it lacks {', '.join(missing)}")
    results = Results.load(run)
    if results.partial or results.clean_error is None:
        raise InputError(f"{str(run / 'results.json')!r} is partial; a release needs all 15 x 5 cells")
    check_weights(run / WEIGHTS, results)
    config = json.loads((run / CONFIG).read_text(encoding="utf-8"))
    trained = config["pretrained_cfg"]["tag"]
    name = f"{config['architecture']}.{tag or trained}"
    card = (run / "README.md").read_text(encoding="utf-8")
    card = card.replace(f"{config['architecture']}.{trained}", name).replace(HERE, f"hf-hub:{NAMESPACE}/{name}")
    config["pretrained_cfg"]["tag"] = tag or trained
    make_folder(releases)
    make_folder(cards)
    temporary = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=releases))
    try:
        for file in COPIED:
            shutil.copyfile(run / file, temporary / file)
        shutil.copyfile(ROOT / "LICENSE", temporary / "LICENSE")
        (temporary / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        (temporary / "README.md").write_text(card, encoding="utf-8")
        temporary.chmod(0o755)
        if (releases / name).exists():
            shutil.rmtree(releases / name)
        temporary.rename(releases / name)
    except OSError as error:
        raise write_error(releases / name, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    write_file(cards / f"{name}.md", card)
    return releases / name


def check_weights(path: Path, results: Results) -> None:
    """Raise InputError unless these weights are in half precision and those that were measured."""
    try:
        with safe_open(path, framework="pt") as file:
            wide = [name for name in file.keys() if file.get_tensor(name).dtype == torch.float32]  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(f"{str(path)!r} is damaged: {error}") from error
    if wide:
        raise InputError(f"{str(path)!r} holds float32 weights; finish the run with --half-weights")
    if sha256(path) != results.weights_sha256:
        raise InputError(f"{str(path)!r} are not the weights that results.json is about; measure them again")


if __name__ == "__main__":
    cli.run(main, "stage.py")
