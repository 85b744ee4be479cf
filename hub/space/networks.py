"""What the page shows, without the page: pairs of networks, and what both say about a picture at every severity."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image, ImageOps
from timm.data import ImageNetInfo
from torch import nn

from timm_pushpull.benchmark.results import Results
from timm_pushpull.corruptions import CORRUPTIONS, corrupt
from timm_pushpull.data.images import UNREADABLE
from timm_pushpull.data.preprocessing import ResizeCenterCrop, model_geometry, normalise
from timm_pushpull.models import NAMESPACE, RELEASES
from timm_pushpull.models.weights import CONFIG, label_names, load_model
from timm_pushpull.utils.errors import InputError, unknown
from timm_pushpull.utils.hub_client import WEIGHTS, download

NONE = "none"
MAX_PIXELS, MAX_ASPECT = 50_000_000, 20
_LOADING = threading.Lock()  # two visitors who want the same network wait for one loading of it


@dataclass(frozen=True)
class Network:
    """A release, ready to classify."""

    model: nn.Module
    classes: tuple[str, ...]
    geometry: ResizeCenterCrop

    @torch.inference_mode()
    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Of every class, float32 (N, classes), for uint8 images (N, H, W, 3)."""
        cfg = self.model.pretrained_cfg
        return self.model(normalise(images, cfg["mean"], cfg["std"])).softmax(1).numpy()


@dataclass(frozen=True)
class Comparison:
    """What two networks say about one picture, severity by severity; row 0 is the clean picture.

    Attributes:
        images: What both networks see, uint8 (6, H, W, 3).
        plain, push_pull: Their probabilities, float32 (6, classes).
        classes: The classes' names.
    """

    images: np.ndarray
    plain: np.ndarray
    push_pull: np.ndarray
    classes: tuple[str, ...]

    @property
    def likeliest(self) -> str:
        """The class that both together find in the clean picture."""
        return self.classes[int((self.plain[0] + self.push_pull[0]).argmax())]


@cache
def pairs() -> dict[str, str]:
    """Every push-pull release and the plain one that it is compared with, by data set and name."""
    names = sorted(timm.list_pretrained("*_pushpull*"), key=lambda name: name.split(".")[::-1])
    return {name: re.sub(r"(_blurconv\d)?_pushpull\d*", "", name) for name in names}


def releases() -> list[str]:
    """Every release of `pairs()` once, a baseline before the first that is compared with it."""
    return list(dict.fromkeys(name for pair in pairs().items() for name in reversed(pair)))


def compare(picture: Image.Image, push_pull: str, corruption: str, seed: int = 0) -> Comparison:
    """Classify a picture under a corruption, as the releases were measured: with their preset and JPEG quality.

    Both networks see the same pixels, those of the push-pull network's geometry.

    Args:
        push_pull: One of `pairs()`.
        corruption: One of `CORRUPTIONS`, or `NONE`.

    Raises:
        InputError: An unknown name, a seed that is none, or weights out of reach.
    """
    if push_pull not in pairs():
        raise unknown("network", push_pull, pairs())
    network, baseline = load(push_pull), load(pairs()[push_pull])
    how = measured(push_pull)
    clean = network.geometry(picture).copy()
    images = np.stack([clean] * 6)
    severities = range(1, 6) if corruption != NONE else ()
    for severity in severities:
        images[severity] = corrupt(clean, corruption, severity, how.preset, seed=seed, jpeg_quality=how.jpeg_quality)
    return Comparison(images, baseline.probabilities(images), network.probabilities(images), network.classes)


def load(name: str) -> Network:
    """A release's network, in eval mode; loaded once.

    Raises:
        InputError: As in `release`.
    """
    with _LOADING:
        return _load(name)


@cache
def measured(name: str) -> Results:
    """A release's errors, and how they were measured."""
    return Results.load(release(name))


@cache
def release(name: str) -> Path:
    """The folder with a release's weights and results: the source checkout's where there is one, else the Hub's.

    Raises:
        InputError: The Hub does not have it or is out of reach.
    """
    if (RELEASES / name).is_dir():
        return RELEASES / name
    files = [download(f"{NAMESPACE}/{name}", file) for file in (CONFIG, WEIGHTS, "results.json")]
    return files[0].parent


def read_picture(path: Path | str) -> Image.Image:
    """A picture file as RGB, upright, on white where it is transparent.

    Raises:
        InputError: It is damaged or no picture, has over `MAX_PIXELS`, or is over `MAX_ASPECT` times as long as wide.
    """
    try:
        with Image.open(path) as file:
            width, height = file.size
            if width * height > MAX_PIXELS:
                raise InputError(f"the picture has {width} x {height} px; use one with up to {MAX_PIXELS:,} px")
            if max(width, height) > MAX_ASPECT * min(width, height):
                raise InputError(f"the picture has {width} x {height} px; crop it, for both networks see a square")
            picture = ImageOps.exif_transpose(file)
            if picture.has_transparency_data:
                white = Image.new("RGBA", picture.size, "white")
                picture = Image.alpha_composite(white, picture.convert("RGBA"))
            return picture.convert("RGB")
    except InputError:
        raise
    except UNREADABLE:
        raise InputError("the file is damaged or no picture; use a PNG, JPEG or WebP file") from None


def warm_up() -> None:
    """Load the first pair and run every corruption once: the very first use compiles for seconds."""
    with suppress(InputError):  # whoever asks for the networks is told
        for corruption in CORRUPTIONS:
            compare(Image.new("RGB", (64, 64), "grey"), next(iter(pairs())), corruption)


@cache
def _load(name: str) -> Network:
    model, _ = load_model(f"local-dir:{release(name)}")
    return Network(model, readable(label_names(model)), model_geometry(model))


def readable(classes: Sequence[str]) -> tuple[str, ...]:
    """Class names with words for WordNet ids; an id behind words that are not unique."""
    if not all(re.fullmatch(r"n\d{8}", name) for name in classes):
        return tuple(classes)
    info = ImageNetInfo("imagenet-22k")
    words = [info.label_name_to_description(name).split(",")[0] for name in classes]
    return tuple(
        word if words.count(word) == 1 else f"{word} ({name})" for word, name in zip(words, classes, strict=True)
    )
