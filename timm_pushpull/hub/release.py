"""A release: the folder that becomes a model's Hub repository, read and checked."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub.utils import validate_repo_id
from timm.models import is_model

from timm_pushpull.benchmark.results import Results
from timm_pushpull.hub.card import HERE, card_of
from timm_pushpull.hub.contents import check_files, present, read_file
from timm_pushpull.models import NAMESPACE
from timm_pushpull.models.config import parse_config
from timm_pushpull.models.convert import network_name
from timm_pushpull.models.weights import CONFIG, WEIGHTS, load_model
from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.files import sha256
from timm_pushpull.utils.text import shortened
from timm_pushpull.utils.yaml_text import load_yaml

CARD, RESULTS, RECIPE, LOG, LICENSE = "README.md", "results.json", "recipe.yaml", "log.csv", "LICENSE"
ROBUSTNESS_IMAGE = "robustness.png"
EVAL_RESULTS = ".eval_results/timm-pushpull.yaml"
REQUIRED = (WEIGHTS, CONFIG, CARD, RESULTS, RECIPE)
#: The only files that are published. A run folder also holds the training state.
FILES = (*REQUIRED, LOG, LICENSE, ROBUSTNESS_IMAGE, EVAL_RESULTS)
#: What timm writes into a config.json. transformers acts on others: `auto_map` and `attn_implementation` name programs.
_TIMM_ENTRIES = frozenset(
    (
        *("architecture", "num_classes", "num_features", "global_pool", "pretrained_cfg", "model_args"),
        *("label_names", "label_descriptions"),
    )
)
_PREPROCESSING = ("input_size", "interpolation", "crop_pct", "mean", "std")
_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_-]+)?")  # of a folder and of a repository


@dataclass(frozen=True)
class Release:
    """The folder of a finished run, or a staged release.

    Attributes:
        path: The folder.
        name: Architecture (see `network_name`) and tag, such as `resnet18_cifar.cifar10`.
        config, recipe, results, card: Content of `config.json`, `recipe.yaml`, `results.json`, `README.md`.
    """

    path: Path
    name: str
    config: Mapping[str, Any]
    recipe: Mapping[str, Any]
    results: Results
    card: str

    @classmethod
    def load(cls, path: Path | str, tag: str | None = None) -> Release:
        """Read a folder.

        Args:
            tag: In place of the one in its config.

        Raises:
            InputError: A file is missing, damaged, a symbolic link, or not about the others.
        """
        path = Path(path)
        if not path.is_dir():
            raise InputError(f"{str(path)!r} is not a folder; give the folder of a finished run, or a release")
        held = present(path, FILES)
        missing = [name for name in REQUIRED if name not in held]
        if missing:
            raise InputError(
                f"{str(path)!r} is not a finished run: it lacks {', '.join(missing)}; repeat its training command with "
                f"--resume, and without --skip-benchmark"
            )
        check_files(path, held)
        texts = {name: read_file(path, name).decode() for name in (CONFIG, RECIPE, RESULTS, CARD)}
        config, recipe, card = (
            with_tag(parse_config(texts[CONFIG], repr(str(path / CONFIG))), tag),
            load_yaml(texts[RECIPE]),
            texts[CARD],
        )
        results = Results.from_json(texts[RESULTS], str(path / RESULTS))
        name = release_name(config, path)
        if not isinstance(recipe, dict):
            raise InputError(f"{str(path / RECIPE)!r} is not a recipe: it holds no settings")
        if results.model != (architecture := network_name(config["architecture"], config.get("model_args", {}))):
            raise InputError(
                f"{str(path)!r} holds files of two models: {CONFIG} is about {architecture}, {RESULTS} about "
                f"{results.model}; measure these weights"
            )
        if sha256(path / WEIGHTS) != results.weights_sha256:
            raise InputError(
                f"{str(path / WEIGHTS)!r} does not hold the weights that {RESULTS} is about; measure them again"
            )
        return cls(path, name, config, recipe, results, card)

    @property
    def tag(self) -> str:
        """The part of the name after the dot."""
        return self.config["pretrained_cfg"]["tag"]

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files that are published."""
        return present(self.path, FILES)

    def read(self) -> dict[str, bytes]:
        """The content of the files that are published, each read once and checked.

        Raises:
            InputError: A file is a symbolic link, too large or damaged, or the weights are no longer those of the
                results.
        """
        content = {name: read_file(self.path, name) for name in self.files}
        if hashlib.sha256(content[WEIGHTS]).hexdigest() != self.results.weights_sha256:
            raise InputError(f"{str(self.path / WEIGHTS)!r} has changed since it was read; run the command again")
        return content

    def render(self, source: str = HERE, image: str | None = None) -> str:
        """Render the card from the other files.

        Args:
            source: What the snippets load, such as `hf-hub:NAMESPACE/NAME`.
            image: Path of the plot of the errors relative to the card; None for none.
        """
        model, _ = load_model(f"local-dir:{self.path}")
        return card_of(model, results=self.results, recipe=self.recipe, config=self.config, source=source, image=image)

    def card_for(self, repo_id: str) -> str:
        """The card, with snippets that load the model from this repository."""
        card = self.card.replace(f'"{HERE}"', f'"hf-hub:{repo_id}"')
        for prefix in ("hf-hub:", ""):  # in snippets only; base_model may have the same name
            card = card.replace(f'"{prefix}{NAMESPACE}/{self.name}"', f'"{prefix}{repo_id}"')
        return card


def with_tag(config: dict[str, Any], tag: str | None) -> dict[str, Any]:
    """The content of a `config.json` with another tag; unchanged for None."""
    known = config.get("pretrained_cfg")
    return config if tag is None or not isinstance(known, dict) else {**config, "pretrained_cfg": {**known, "tag": tag}}


def release_name(config: Any, path: Path) -> str:
    """Architecture and tag as named in a `config.json`, such as `resnet18_cifar.cifar10`.

    Args:
        config: Its content.
        path: Its folder, for errors.

    Raises:
        InputError: It is not in timm's form, or the name could not be that of a folder.
    """
    place = f"{str(path / CONFIG)!r}"
    known = config.get("pretrained_cfg") if isinstance(config, dict) else None
    if not isinstance(known, dict):
        raise InputError(f"{place} is not the config of a timm model: it lacks pretrained_cfg")
    lacking = [name for name in ("num_classes", "num_features") if config.get(name) is None]
    lacking += [f"pretrained_cfg.{name}" for name in _PREPROCESSING if known.get(name) is None]
    if lacking:
        raise InputError(f"{place} lacks {', '.join(lacking)}; save the model again")
    if foreign := sorted(config.keys() - _TIMM_ENTRIES):
        raise InputError(f"{place} has the entry {shortened(foreign[0])}, which timm does not write; remove it")
    architecture, tag = config.get("architecture"), known.get("tag")
    if not isinstance(architecture, str) or not is_model(architecture):
        raise InputError(f"{place} names the architecture {shortened(architecture)}, which is not registered")
    name = f"{network_name(architecture, config.get('model_args', {}))}.{tag}"
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{place} has the tag {shortened(tag)}; use letters, digits, '-' and '_', or give another --tag"
        )
    if "num_classes" in config.get("model_args", {}):
        raise InputError(f"{place} has num_classes also in model_args, which transformers cannot load; remove it there")
    return name


def check_repo_id(repo_id: str) -> str:
    """Return the id if it is a valid NAMESPACE/NAME.

    Raises:
        InputError: It is not.
    """
    try:
        validate_repo_id(repo_id)
        valid = repo_id.count("/") == 1
    except ValueError:
        valid = False
    if not valid:
        raise InputError(f"repository id {repo_id!r} is not NAMESPACE/NAME (letters, digits, '-', '_', '.')")
    return repo_id
