"""The pictures of the corruption viewer: every corruption and severity, as data URIs."""

from __future__ import annotations

import base64
import importlib.util
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from timm_pushpull.corruptions import CORRUPTIONS, corrupt, frost_source
from timm_pushpull.figures.corruption_sheet import read_preset_image

_SMALL = 100  # px; smaller images are kept to the bit
_QUALITY = 80  # of WebP for larger ones


@dataclass(frozen=True)
class Setting:
    """How pictures are corrupted: the constants of a preset, the seed, and the corruptions to show."""

    preset: str
    seed: int = 0
    corruptions: tuple[str, ...] = CORRUPTIONS


@dataclass(frozen=True)
class Corrupted:
    """A picture under every corruption.

    Attributes:
        name: What the picture is called.
        credit: Who made it, where that has to be said; else empty.
        size: Height and width, px.
        frost: `corruptions.frost_source()`.
        clean: Data URI of the picture itself.
        images: Corruption to five data URIs, one per severity.
    """

    name: str
    credit: str
    setting: Setting
    size: tuple[int, int]
    frost: str
    clean: str
    images: dict[str, list[str]]

    @property
    def lossless(self) -> bool:
        return _lossless(self.size)


def corrupted_pictures(
    paths: Sequence[Path], settings: Sequence[Setting], frost_dir: Path | str | None = None
) -> list[Corrupted]:
    """Every picture under every setting; without paths, one that is at hand.

    Picture i is corrupted as the image of index i, at the preset's size.

    Raises:
        InputError: No picture, no preset, or frost textures that are incomplete.
    """
    sources = [(path, Path(path).name, "") for path in paths] or [_picture_at_hand()]
    return [
        _corrupted(source, name, credit, index, setting, frost_dir)
        for index, (source, name, credit) in enumerate(sources)
        for setting in settings
    ]


def _corrupted(
    source: Path | io.BytesIO, name: str, credit: str, index: int, how: Setting, frost_dir: Path | str | None
) -> Corrupted:
    image = read_preset_image(source, how.preset)
    images = {
        corruption: [
            _data_uri(corrupt(image, corruption, severity, how.preset, seed=how.seed, index=index, frost_dir=frost_dir))
            for severity in (1, 2, 3, 4, 5)
        ]
        for corruption in how.corruptions
    }
    return Corrupted(name, credit, how, image.shape[:2], frost_source(frost_dir), _data_uri(image), images)


def _data_uri(image: np.ndarray) -> str:
    content = io.BytesIO()
    quality = {"lossless": True} if _lossless(image.shape[:2]) else {"quality": _QUALITY}
    Image.fromarray(image).save(content, "webp", method=4, **quality)
    return "data:image/webp;base64," + base64.b64encode(content.getvalue()).decode()


def _lossless(size: tuple[int, int]) -> bool:
    return max(size) < _SMALL


def _picture_at_hand() -> tuple[Path | io.BytesIO, str, str]:
    """scikit-learn's photograph of a temple, or a test chart where scikit-learn is not installed."""
    found = importlib.util.find_spec("sklearn")
    if found and found.origin:
        photo = Path(found.origin).parent / "datasets" / "images" / "china.jpg"
        if photo.is_file():
            return photo, photo.name, "photo: danielbuechele, CC BY 2.0, cropped and corrupted here"
    content = io.BytesIO()
    Image.fromarray(_test_chart()).save(content, "png")
    content.seek(0)
    return content, "test chart", ""


def _test_chart(side: int = 256) -> np.ndarray:
    """Colours, fine detail and edges of every direction: a star of 36 rays on a gradient, uint8 (side, side, 3)."""
    y, x = np.mgrid[0:side, 0:side] / (side - 1)
    rays = np.sin(36 * np.arctan2(y - 0.5, x - 0.5)) > 0
    star = np.hypot(y - 0.5, x - 0.5) < 0.36
    gradient = np.stack([x, y, 1 - (x + y) / 2], axis=-1)
    chart = np.where(star[..., None], np.where(rays, 0.95, 0.08)[..., None], gradient)
    return (255 * chart).round().astype(np.uint8)
