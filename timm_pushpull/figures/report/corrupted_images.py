"""The images of the corruption viewer as data URIs: clean, and under every corruption and severity."""

from __future__ import annotations

import base64
import importlib.util
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from timm_pushpull.corruptions import CORRUPTIONS, SEVERITIES, corrupt, frost_source
from timm_pushpull.figures.corruption_sheet import read_preset_image

_LOSSLESS_BELOW = 100  # px; larger images are stored as lossy WebP
_QUALITY = 80  # of lossy WebP


@dataclass(frozen=True)
class CorruptionSettings:
    """How images are corrupted: constants of a preset, seed, and the corruptions to show."""

    preset: str
    seed: int = 0
    corruptions: tuple[str, ...] = CORRUPTIONS


@dataclass(frozen=True)
class CorruptedImage:
    """An image under every corruption.

    Attributes:
        name: Name of the image.
        credit: Its author and licence, or an empty string.
        settings: How it was corrupted.
        size: Height and width, px.
        frost: `corruptions.frost_source()`.
        clean: Data URI of the clean image.
        corrupted: Corruption to five data URIs, one per severity.
    """

    name: str
    credit: str
    settings: CorruptionSettings
    size: tuple[int, int]
    frost: str
    clean: str
    corrupted: dict[str, list[str]]

    @property
    def lossless(self) -> bool:
        """Whether the data URIs hold the exact pixels."""
        return _is_lossless(self.size)


def corrupted_images(
    paths: Sequence[Path], settings: Sequence[CorruptionSettings], frost_dir: Path | str | None = None
) -> list[CorruptedImage]:
    """Corrupt every image with every setting, at the size of the preset. Image i gets the random draws of index i.

    Args:
        paths: Image files; if empty, an image that is always available.

    Raises:
        InputError: A file is not a readable image, a preset is unknown, or frost textures are incomplete.
    """
    sources: list[tuple[Path | io.BytesIO, str, str]] = [(path, path.name, "") for path in paths]
    sources = sources or [_default_image()]
    return [
        _corrupt_image(source, name, credit, index, setting, frost_dir)
        for index, (source, name, credit) in enumerate(sources)
        for setting in settings
    ]


def _corrupt_image(
    source: Path | io.BytesIO,
    name: str,
    credit: str,
    index: int,
    settings: CorruptionSettings,
    frost_dir: Path | str | None,
) -> CorruptedImage:
    preset, seed = settings.preset, settings.seed
    image = read_preset_image(source, preset)
    corrupted = {
        corruption: [
            _data_uri(corrupt(image, corruption, severity, preset, seed=seed, index=index, frost_dir=frost_dir))
            for severity in SEVERITIES
        ]
        for corruption in settings.corruptions
    }
    height, width = image.shape[:2]
    return CorruptedImage(name, credit, settings, (height, width), frost_source(frost_dir), _data_uri(image), corrupted)


def _data_uri(image: np.ndarray) -> str:
    content = io.BytesIO()
    height, width = image.shape[:2]
    options = {"lossless": True} if _is_lossless((height, width)) else {"quality": _QUALITY}
    Image.fromarray(image).save(content, "webp", method=4, **options)
    return "data:image/webp;base64," + base64.b64encode(content.getvalue()).decode()


def _is_lossless(size: tuple[int, int]) -> bool:
    return max(size) < _LOSSLESS_BELOW


def _default_image() -> tuple[Path | io.BytesIO, str, str]:
    """A photograph that scikit-learn contains, or a test chart where scikit-learn is not installed."""
    found = importlib.util.find_spec("sklearn")
    if found and found.origin:
        photo = Path(found.origin).parent / "datasets" / "images" / "china.jpg"
        if photo.is_file():
            return photo, photo.name, "Photo: danielbuechele, CC BY 2.0, cropped and corrupted here."
    content = io.BytesIO()
    Image.fromarray(_test_chart()).save(content, "png")
    content.seek(0)
    return content, "test chart", ""


def _test_chart(side: int = 256) -> np.ndarray:
    """A star of 36 rays on a colour gradient, with edges of every direction, uint8 of shape (side, side, 3)."""
    y, x = np.mgrid[0:side, 0:side] / (side - 1)
    rays = np.sin(36 * np.arctan2(y - 0.5, x - 0.5)) > 0
    star = np.hypot(y - 0.5, x - 0.5) < 0.36
    gradient = np.stack([x, y, 1 - (x + y) / 2], axis=-1)
    chart = np.where(star[..., None], np.where(rays, 0.95, 0.08)[..., None], gradient)
    return (255 * chart).round().astype(np.uint8)
