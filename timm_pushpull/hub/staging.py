"""A release made of a finished run, and its card for people."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from PIL import Image
from safetensors import safe_open

from timm_pushpull import figures
from timm_pushpull.benchmark.results import Results
from timm_pushpull.data.images import UNREADABLE
from timm_pushpull.hub.card import eval_results_yaml, robustness_picture
from timm_pushpull.hub.folder import (
    CARD,
    EVAL_RESULTS,
    LICENSE,
    LOG,
    PICTURE,
    RECIPE,
    RESULTS,
    Release,
    release_name,
)
from timm_pushpull.models import NAMESPACE
from timm_pushpull.models.weights import CONFIG, WEIGHTS, halved
from timm_pushpull.utils.errors import InputError, one_line
from timm_pushpull.utils.files import copy_files, make_folder, new_folder, sha256, write_error, write_file

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
        tensors = [file.get_tensor(name) for name in file.keys()]  # noqa: SIM118
        if any(halved(tensor) is not tensor for tensor in tensors):
            raise InputError(f"{str(run / WEIGHTS)!r} holds float32 weights; finish the run with --half-weights")
    config = {**found.config, "pretrained_cfg": {**found.config["pretrained_cfg"], "tag": tag or found.tag}}
    name = release_name(config, run)
    make_folder(cards)
    with new_folder(releases / name) as folder:
        _copy(run, folder, licence)
        write_file(folder / CONFIG, json.dumps(config, indent=2) + "\n")
        card = _write_card(folder, f"{NAMESPACE}/{name}")
        if eval_results:
            make_folder((folder / EVAL_RESULTS).parent)
            write_file(folder / EVAL_RESULTS, eval_results_yaml(results, name))
    write_file(cards / f"{name}.md", beside(card, releases / name, cards))
    return releases / name


def dress(run: Release, folder: Path, licence: Path, repo_id: str) -> Release:
    """A run as its page on the Hub shall be, in an empty folder: with a picture of its errors, the licence, and a card
    that loads from there. A card that its owner has edited stays as it is.

    Raises:
        InputError: The folder cannot be written to.
    """
    try:
        _copy(run.path, folder, licence)
        if run.card == run.render():
            _write_card(folder, repo_id)
        else:
            write_file(folder / CARD, run.card)
    except OSError as error:
        raise write_error(folder, error) from error
    return Release.load(folder)


def _copy(run: Path, folder: Path, licence: Path) -> None:
    """What a release takes over from a run."""
    copy_files(run, folder, (WEIGHTS, CONFIG, RECIPE, RESULTS, LOG))
    shutil.copyfile(licence, folder / LICENSE)


def _write_card(folder: Path, repo_id: str) -> str:
    """Draw the errors, where some were measured, and write the card."""
    picture = PICTURE if Results.load(folder).errors else None
    if picture:
        draw(folder / RESULTS, folder / PICTURE)
    write_file(folder / CARD, "")  # a release has one; its text follows from the rest
    card = Release.load(folder).render(f"hf-hub:{repo_id}", picture)
    write_file(folder / CARD, card)
    return card


def draw(results: Path, picture: Path) -> None:
    """Draw the picture of a results file, which says in its metadata which file it shows."""
    figures.save_figure(robustness_picture(Results.load(results)), picture, {SHOWN: sha256(results)})


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
