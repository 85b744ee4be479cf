"""A folder as the Hub repository of a model holds it: read, and checked for what every other step relies on."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub.utils import validate_repo_id
from safetensors import SafetensorError, safe_open
from timm.models import is_model

from timm_pushpull.benchmark.results import Results
from timm_pushpull.hub.card import HERE, card_of
from timm_pushpull.models import NAMESPACE
from timm_pushpull.models.weights import CONFIG, WEIGHTS, load_model
from timm_pushpull.utils.errors import InputError, one_line
from timm_pushpull.utils.files import sha256

CARD, RESULTS, RECIPE, LOG, LICENSE = "README.md", "results.json", "recipe.yaml", "log.csv", "LICENSE"
PICTURE = "robustness.png"
EVAL_RESULTS = ".eval_results/timm-pushpull.yaml"
REQUIRED = (WEIGHTS, CONFIG, CARD, RESULTS, RECIPE)
#: All that is ever published; a run folder also holds a training's state, which is nobody else's business.
FILES = (*REQUIRED, LOG, LICENSE, PICTURE, EVAL_RESULTS)
_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_-]+)?")  # becomes a folder's and a repository's name


@dataclass(frozen=True)
class Release:
    """A finished run's folder or a staged release.

    Attributes:
        path: The folder.
        name: Architecture and tag, such as `resnet18_cifar.cifar10`.
        config, recipe, results, card: The content of its files.
    """

    path: Path
    name: str
    config: Mapping[str, Any]
    recipe: Mapping[str, Any]
    results: Results
    card: str

    @classmethod
    def load(cls, path: Path | str) -> Release:
        """Read a folder.

        Raises:
            InputError: A file is missing, damaged, or not about the others.
        """
        path = Path(path)
        missing = [name for name in REQUIRED if not (path / name).is_file()]
        if missing:
            raise InputError(f"{str(path)!r} is no finished run: it lacks {', '.join(missing)}")
        try:
            with safe_open(path / WEIGHTS, framework="pt") as weights:
                weights.keys()
            config = json.loads((path / CONFIG).read_text(encoding="utf-8"))
            recipe = yaml.safe_load((path / RECIPE).read_text(encoding="utf-8"))
            card = (path / CARD).read_text(encoding="utf-8")
        except (SafetensorError, OSError, ValueError, yaml.YAMLError) as error:
            raise InputError(f"{str(path)!r} holds a damaged file: {one_line(error)}") from error
        results = Results.load(path)
        name = release_name(config, path)
        if not isinstance(recipe, dict):
            raise InputError(f"{str(path / RECIPE)!r} is no recipe: it holds no settings")
        if results.model != config["architecture"]:
            raise InputError(
                f"{str(path)!r} mixes two models: {CONFIG} is about {config['architecture']}, {RESULTS} about "
                f"{results.model}; measure these weights"
            )
        if sha256(path / WEIGHTS) != results.weights_sha256:
            raise InputError(f"{str(path / WEIGHTS)!r} are not the weights that {RESULTS} is about; measure them again")
        return cls(path, name, config, recipe, results, card)

    @property
    def tag(self) -> str:
        """What stands behind the dot of the name."""
        return self.config["pretrained_cfg"]["tag"]

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files that are published."""
        return tuple(name for name in FILES if (self.path / name).is_file())

    def render(self, source: str = HERE, picture: str | None = None) -> str:
        """The card that follows from the other files.

        Args:
            source: What its snippets load.
            picture: Path of the picture of errors, as seen from the card; None for none.
        """
        model, _ = load_model(f"local-dir:{self.path}")
        return card_of(
            model, results=self.results, recipe=self.recipe, config=self.config, source=source, picture=picture
        )

    def card_for(self, repo_id: str) -> str:
        """The card with snippets that load from a repository, whatever they load now."""
        return self.card.replace(f'"{HERE}"', f'"hf-hub:{repo_id}"').replace(f"{NAMESPACE}/{self.name}", repo_id)


def release_name(config: Any, path: Path) -> str:
    """The release's name by its config.

    Raises:
        InputError: The config is not timm's, or would name another folder.
    """
    place = f"{str(path / CONFIG)!r}"
    if not isinstance(config, dict) or not isinstance(config.get("pretrained_cfg"), dict):
        raise InputError(f"{place} is not a timm model's: it lacks pretrained_cfg")
    architecture, tag = config.get("architecture"), config["pretrained_cfg"].get("tag")
    if not isinstance(architecture, str) or not is_model(architecture):
        raise InputError(f"{place} names the architecture {architecture!r}, which is not registered")
    name = f"{architecture}.{tag}"
    if not _NAME.fullmatch(name):
        raise InputError(f"{place} has the tag {tag!r}; use letters, digits, '-' and '_'")
    if "num_classes" in config.get("model_args", {}):
        raise InputError(f"{place} has num_classes in model_args too, which transformers cannot load; remove it there")
    return name


def check_repo_id(repo_id: str) -> str:
    """The id itself.

    Raises:
        InputError: It is not NAMESPACE/NAME in the Hub's spelling.
    """
    try:
        validate_repo_id(repo_id)
        valid = repo_id.count("/") == 1
    except ValueError:
        valid = False
    if not valid:
        raise InputError(f"repository id {repo_id!r} is not NAMESPACE/NAME (letters, digits, '-', '_', '.')")
    return repo_id
