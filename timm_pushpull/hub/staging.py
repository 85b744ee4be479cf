"""Staging: a release folder and its card, made from a finished run."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import yaml
from PIL import Image
from safetensors import safe_open

from timm_pushpull import figures
from timm_pushpull.benchmark.results import APACHE, Results
from timm_pushpull.data.images import UNREADABLE
from timm_pushpull.hub.card import HERE, eval_results_yaml, robustness_figure, setting_text
from timm_pushpull.hub.contents import read_file
from timm_pushpull.hub.release import (
    CARD,
    EVAL_RESULTS,
    LICENSE,
    LOG,
    RECIPE,
    RESULTS,
    ROBUSTNESS_IMAGE,
    Release,
)
from timm_pushpull.models import NAMESPACE
from timm_pushpull.models.config import parse_config
from timm_pushpull.models.weights import CONFIG, WEIGHTS, to_half
from timm_pushpull.utils.errors import InputError, one_line
from timm_pushpull.utils.files import (
    check_output,
    copy_file,
    copy_files,
    make_folder,
    new_folder,
    remove_temporary,
    sha256,
    write_error,
    write_file,
)
from timm_pushpull.utils.locks import only_process
from timm_pushpull.utils.provenance import shareable

#: Key of the image's metadata that holds the SHA-256 of the results file that it shows.
SHOWN = "results.json"


def stage(
    run: Path, releases: Path, cards: Path, license_file: Path, tag: str | None = None, eval_results: bool = False
) -> Path:
    """Make `releases/<arch>.<tag>` from a run, and its card `cards/<arch>.<tag>.md`; on an error, neither.

    Args:
        run: Folder of a finished run, or a release, whose card and image are then made again.
        license_file: File with the licence's text.
        tag: Part of the name after the dot; by default the run's.
        eval_results: Also write the Hub's `.eval_results`, a format that is still a draft.

    Returns:
        The release's folder.

    Raises:
        InputError: The run is not finished, was not measured on all 15 x 5 cells, does not have half-precision
            weights, or its results are about other weights; or another process is making this release.
    """
    found = Release.load(run, tag)
    if not (run / LOG).is_file():
        raise InputError(f"{str(run)!r} is not a finished run: it has no {LOG}")
    results = found.results
    if results.partial or results.clean_error is None:
        raise InputError(f"{str(run / RESULTS)!r} is partial; a release needs the clean error and all 15 x 5 cells")
    with safe_open(run / WEIGHTS, framework="pt") as file:
        tensors = [file.get_tensor(name) for name in file.keys()]  # noqa: SIM118
        if any(to_half(tensor) is not tensor for tensor in tensors):
            raise InputError(f"{str(run / WEIGHTS)!r} holds float32 weights; finish the run with --half-weights")
    name = found.name
    make_folder(cards)
    check_output(cards / f"{name}.md")
    with only_process(releases / name):
        with new_folder(releases / name) as folder:
            _copy(found, folder, license_file)
            card = _write_card(folder, f"{NAMESPACE}/{name}")
            if eval_results:
                make_folder((folder / EVAL_RESULTS).parent)
                write_file(folder / EVAL_RESULTS, eval_results_yaml(results, name))
        remove_temporary(cards / f"{name}.md")
        write_file(cards / f"{name}.md", rebase_image(card, releases / name, cards))
    return releases / name


def prepare_upload(run: Release, folder: Path, license_file: Path, repo_id: str) -> Release:
    """Copy a run into an empty folder and add what a Hub repository also holds: image of its errors, licence, card.

    The card's snippets load the model from the Hub. A card that its owner has edited is copied, and the settings in it
    are replaced where the recipe's are (see `shareable`).

    Args:
        run: A run folder, or a release, which is copied.
        folder: Where to write.
        license_file: File with the licence's text.
        repo_id: NAMESPACE/NAME of the repository.

    Raises:
        InputError: The folder cannot be written to.
    """
    try:
        _copy(run, folder, license_file)
        config = parse_config(read_file(run.path, CONFIG), CONFIG)
        # With the tag that it was written with. The card of a release loads from the Hub; none is rendered for it.
        if HERE in run.card and run.card == replace(run, config=config).render():
            _write_card(folder, repo_id)
        else:
            for name in (ROBUSTNESS_IMAGE, EVAL_RESULTS):
                if name in run.files:
                    make_folder((folder / name).parent)
                    copy_file(run.path / name, folder / name)
            card = run.card
            for value in run.recipe.values():
                if (shared := shareable(value)) != value:
                    card = card.replace(setting_text(value), setting_text(shared))
            write_file(folder / CARD, card)
    except OSError as error:
        raise write_error(folder, error) from error
    return Release.load(folder)


def _copy(run: Release, folder: Path, license_file: Path) -> None:
    """Copy the files that a release takes from a run; its config with the tag that the run was loaded with."""
    copy_files(run.path, folder, (WEIGHTS, RECIPE, RESULTS, LOG))
    recipe = {name: shareable(value) for name, value in run.recipe.items()}
    if recipe != run.recipe:  # such as the folder of a dataset
        write_file(folder / RECIPE, yaml.safe_dump(recipe, sort_keys=False, default_flow_style=None))
    write_file(folder / CONFIG, json.dumps(run.config, indent=2) + "\n")
    if run.results.weights_license == APACHE:  # others keep that of the weights they started from
        copy_file(license_file, folder / LICENSE)


def _write_card(folder: Path, repo_id: str) -> str:
    """Write the card, and the image of the errors if any were measured; return the card."""
    image = ROBUSTNESS_IMAGE if Results.load(folder).errors else None
    if image:
        save_robustness_image(folder / RESULTS, folder / ROBUSTNESS_IMAGE)
    write_file(folder / CARD, "")  # Release.load requires one
    card = Release.load(folder).render(f"hf-hub:{repo_id}", image)
    write_file(folder / CARD, card)
    return card


def save_robustness_image(results: Path, image: Path) -> None:
    """Plot the errors in a results file.

    The image's metadata hold the SHA-256 of that file, see `shown_results_sha256`.
    """
    figures.save_figure(robustness_figure(Results.load(results)), image, {SHOWN: sha256(results)})


def shown_results_sha256(image: Path) -> str | None:
    """SHA-256 of the results file that an image shows, from its metadata; None if they do not hold it.

    Raises:
        InputError: The file is not an image.
    """
    try:
        with Image.open(image) as opened:
            return opened.info.get(SHOWN)
    except UNREADABLE as error:
        raise InputError(f"{str(image)!r} is not an image: {one_line(error)}") from error


def rebase_image(card: str, release: Path, cards: Path) -> str:
    """A release's card for the folder `cards`: the link to the image leads from there."""
    return card.replace(
        f"]({ROBUSTNESS_IMAGE})", f"]({Path(os.path.relpath(release / ROBUSTNESS_IMAGE, cards)).as_posix()})"
    )
