"""The computations behind the page: pairs of networks, and their class probabilities at every severity."""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from torch import nn

from timm_pushpull.benchmark.results import Results
from timm_pushpull.corruptions import CORRUPTIONS, corrupt
from timm_pushpull.data.images import UNREADABLE, upright
from timm_pushpull.data.preprocessing import Geometry, model_geometry, normalise
from timm_pushpull.models import NAMESPACE, RELEASES
from timm_pushpull.models.weights import CONFIG, label_names, load_model
from timm_pushpull.utils.errors import InputError, unknown
from timm_pushpull.utils.hub_client import WEIGHTS, download
from timm_pushpull.utils.wordnet import readable

NONE = "none"
UNPAIRED = {"resnet50_pushpull.imagenette"}  # of the baseline only the results are released
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")  # others are decoded before their size is known, or run Ghostscript
MAX_PIXELS, MAX_ASPECT = 16_000_000, 20
_LOADING = threading.Lock()  # so that two visitors do not load the same network twice


@dataclass(frozen=True)
class Network:
    """A release, ready to classify."""

    model: nn.Module
    classes: tuple[str, ...]
    geometry: Geometry

    @torch.inference_mode()
    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Class probabilities, float32 (N, classes), for uint8 images (N, H, W, 3)."""
        cfg = self.model.pretrained_cfg
        return self.model(normalise(images, cfg["mean"], cfg["std"])).softmax(1).numpy()


@dataclass(frozen=True)
class Predictions:
    """Class probabilities of two networks for one image at severities 0 (clean) to 5.

    Attributes:
        images: The input of both networks, uint8 (6, H, W, 3).
        plain, push_pull: Probabilities, float32 (6, classes).
        classes: Class names.
    """

    images: np.ndarray
    plain: np.ndarray
    push_pull: np.ndarray
    classes: tuple[str, ...]

    @property
    def likeliest(self) -> str:
        """The class with the highest sum of both probabilities on the clean image."""
        return self.classes[int((self.plain[0] + self.push_pull[0]).argmax())]


@cache
def pairs() -> dict[str, str]:
    """The push-pull releases whose baselines have released weights, and these; sorted by dataset and name."""
    names = sorted(set(timm.list_pretrained("*_pushpull*")) - UNPAIRED, key=lambda name: name.split(".")[::-1])
    return {name: re.sub(r"(_blurconv\d)?_pushpull\d*", "", name) for name in names}


def releases() -> list[str]:
    """Every release of `pairs()` once, a baseline before the first network that is compared with it."""
    return list(dict.fromkeys(name for pair in pairs().items() for name in reversed(pair)))


def classify(image: Image.Image, push_pull: str, corruption: str, seed: int = 0) -> Predictions:
    """Classify an image under a corruption, with the preset and JPEG quality of the releases' benchmark.

    Both networks get the same pixels, preprocessed as for the push-pull network.

    Args:
        push_pull: One of `pairs()`.
        corruption: One of `CORRUPTIONS`, or `NONE`.

    Raises:
        InputError: An unknown name, an invalid seed, or weights that cannot be downloaded.
    """
    if push_pull not in pairs():
        raise unknown("network", push_pull, pairs())
    network, baseline = load(push_pull), load(pairs()[push_pull])
    how = measured(push_pull)
    clean = network.geometry(image).copy()
    images = np.stack([clean] * 6)
    severities = range(1, 6) if corruption != NONE else ()
    for severity in severities:
        images[severity] = corrupt(clean, corruption, severity, how.preset, seed=seed, jpeg_quality=how.jpeg_quality)
    return Predictions(images, baseline.probabilities(images), network.probabilities(images), network.classes)


def load(name: str) -> Network:
    """Load a release's network in eval mode; cached.

    Raises:
        InputError: As in `release`.
    """
    with _LOADING:
        return _load(name)


@cache
def measured(name: str) -> Results:
    """The results of a release."""
    return Results.load(release(name))


@cache
def release(name: str) -> Path:
    """The folder with a release's weights and results: that of the source checkout if there is one, else a download.

    Raises:
        InputError: The Hub does not have it or cannot be reached.
    """
    if (RELEASES / name).is_dir():
        return RELEASES / name
    files = [download(f"{NAMESPACE}/{name}", file) for file in (CONFIG, WEIGHTS, "results.json")]
    return files[0].parent


def read_image(path: Path | str) -> Image.Image:
    """Read an image file as RGB, rotated as its EXIF data say, on white where it is transparent.

    Raises:
        InputError: It is damaged or not an image, has more than `MAX_PIXELS` px, or one side is more than `MAX_ASPECT`
            times as long as the other.
    """
    try:
        with Image.open(path, formats=FORMATS) as file:
            width, height = file.size
            if width * height > MAX_PIXELS:
                raise InputError(f"the image has {width} x {height} px; use one with up to {MAX_PIXELS:,} px")
            if max(width, height) > MAX_ASPECT * min(width, height):
                raise InputError(f"the image has {width} x {height} px; crop it, because both networks see a square")
            image = upright(file)
            if image.has_transparency_data:
                white = Image.new("RGBA", image.size, "white")
                image = Image.alpha_composite(white, image.convert("RGBA"))
            return image.convert("RGB")
    except InputError:
        raise
    except UNREADABLE:
        raise InputError("the file is damaged or not an image; use a PNG, JPEG or WebP file") from None


def warm_up() -> None:
    """Load the first pair and run every corruption once, because their first use compiles them, which takes seconds."""
    with suppress(InputError):  # shown to the first visitor
        for corruption in CORRUPTIONS:
            classify(Image.new("RGB", (64, 64), "grey"), next(iter(pairs())), corruption)


@cache
def _load(name: str) -> Network:
    model, _ = load_model(f"local-dir:{release(name)}")
    return Network(model, readable(label_names(model)), model_geometry(model))
