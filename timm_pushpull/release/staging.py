"""A release made of a finished run, and its card for people."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import torch
from PIL import Image
from safetensors import safe_open

from timm_pushpull import plots
from timm_pushpull.card import eval_results_yaml, robustness_picture
from timm_pushpull.data import UNREADABLE
from timm_pushpull.errors import InputError, one_line
from timm_pushpull.files import make_folder, sha256, write_error, write_file
from timm_pushpull.models import NAMESPACE
from timm_pushpull.release.folder import CARD, EVAL_RESULTS, LICENSE, LOG, PICTURE, RECIPE, RESULTS, Release, _name
from timm_pushpull.results import Results
from timm_pushpull.weights import CONFIG, WEIGHTS

#: In the picture's metadata: the results that it shows, by the SHA-256 of their file.
SHOWN = "results.json"


def stage(
    run: Path, releases: Path, cards: Path, licence: Path, tag: str | None = None, eval_results: bool = False
) -> Path:
    """Make `releases/<arch>.<tag>` of a run, whole or not at all, and its card as `cards/<arch>.<tag>.md`.

    Args:
        run: A finished run's folder, or a release to be made anew from its own files.
        licence: The licence's text.
        tag: What stands behind the dot of the name; by default the run's.
        eval_results: Write the Hub's `.eval_results` too, a format that is still in the making.

    Returns:
        The release's folder.

    Raises:
        InputError: The run is not finished, was not measured in full, or its results are not those of its weights in
            half precision.
    """
    found = Release.load(run)
    if not (run / LOG).is_file():
        raise InputError(f"{str(run)!r} is no finished run: it lacks {LOG}")
    results = found.results
    if results.partial or results.clean_error is None:
        raise InputError(f"{str(run / RESULTS)!r} is partial; a release needs all 15 x 5 cells")
    with safe_open(run / WEIGHTS, framework="pt") as file:
        if any(file.get_tensor(name).dtype == torch.float32 for name in file.keys()):  # noqa: SIM118
            raise InputError(f"{str(run / WEIGHTS)!r} holds float32 weights; finish the run with --half-weights")
    config = json.loads(json.dumps(found.config))
    if tag:
        config["pretrained_cfg"]["tag"] = tag
    name = _name(config, run)
    make_folder(cards)
    temporary = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=make_folder(releases)))
    try:
        for file in (WEIGHTS, RECIPE, RESULTS, LOG):
            shutil.copyfile(run / file, temporary / file)
        shutil.copyfile(licence, temporary / LICENSE)
        write_file(temporary / CONFIG, json.dumps(config, indent=2) + "\n")
        draw(temporary / RESULTS, temporary / PICTURE)
        write_file(temporary / CARD, "")
        card = Release.load(temporary).render(f"hf-hub:{NAMESPACE}/{name}", PICTURE)
        write_file(temporary / CARD, card)
        if eval_results:
            make_folder((temporary / EVAL_RESULTS).parent)
            write_file(temporary / EVAL_RESULTS, eval_results_yaml(results, name))
        temporary.chmod(0o755)
        replace_folder(temporary, releases / name)
    except OSError as error:
        raise write_error(releases / name, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    write_file(cards / f"{name}.md", beside(card, releases / name, cards))
    return releases / name


def draw(results: Path, picture: Path) -> None:
    """Draw the picture of a results file, which says in its metadata which file it shows."""
    plots.save(robustness_picture(Results.load(results)), picture, {SHOWN: sha256(results)})


def shown_results(picture: Path) -> str | None:
    """SHA-256 of the results file that a picture shows; None if it does not say.

    Raises:
        InputError: It is no picture.
    """
    try:
        with Image.open(picture) as image:
            return image.info.get(SHOWN)
    except UNREADABLE as error:
        raise InputError(f"{str(picture)!r} is no picture: {one_line(error)}") from error


def beside(card: str, release: Path, cards: Path) -> str:
    """A release's card as it reads from the folder of the cards."""
    return card.replace(f"]({PICTURE})", f"]({Path(os.path.relpath(release / PICTURE, cards)).as_posix()})")


def replace_folder(new: Path, old: Path) -> None:
    """Put a folder in another's place; the other one stays until the new one is there."""
    aside = old.with_name(f".{old.name}.old")
    shutil.rmtree(aside, ignore_errors=True)
    if old.exists():
        old.rename(aside)
    new.rename(old)
    shutil.rmtree(aside, ignore_errors=True)
