"""One image under every corruption and severity (paper, Fig. 9)."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from timm_pushpull.corruptions import CORRUPTIONS, corrupt, frost_source, get_preset
from timm_pushpull.data.images import decode_image
from timm_pushpull.data.preprocessing import preset_geometry
from timm_pushpull.figures.canvas import add_caption, new_figure
from timm_pushpull.metrics import GROUPS
from timm_pushpull.utils.errors import InputError, unknown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GROUP_COLOURS = {"Noise": "#4c6fa5", "Blur": "#5b8a5a", "Weather": "#b07d3b", "Digital": "#8a5a85"}
# Inches: width of an image, gaps between images and between groups, left margin for labels, top margin for headings.
_SIDE, _GAP, _GROUP_GAP, _LEFT, _TOP = 1.0, 0.04, 0.14, 1.75, 0.72


def plot_corruption_sheet(
    image: np.ndarray,
    preset: str = "imagenet-c",
    seed: int = 0,
    frost_dir: Path | str | None = None,
    corruptions: Sequence[str] = CORRUPTIONS,
) -> Figure:
    """Plot one image under corruptions at every severity: a row per corruption, columns for the clean image and
    severities 1 to 5.

    Args:
        image: uint8 of shape (H, W, 3).
        corruptions: Names among `CORRUPTIONS`.

    Raises:
        InputError: matplotlib is not installed, or the image, preset or a name is not valid.
    """
    for name in corruptions:
        if name not in CORRUPTIONS:
            raise unknown("corruption", name, CORRUPTIONS)
    groups = {group: shown for group, names in GROUPS.items() if (shown := [n for n in names if n in corruptions])}
    images = {
        name: [
            image,
            *(corrupt(image, name, severity, preset, seed=seed, frost_dir=frost_dir) for severity in range(1, 6)),
        ]
        for name in corruptions
    }
    row_height = _SIDE * image.shape[0] / image.shape[1]
    width = _LEFT + 6 * (_SIDE + _GAP) + 0.2
    height = _TOP + len(images) * (row_height + _GAP) + (len(groups) - 1) * _GROUP_GAP + 0.12
    figure = new_figure(width, height)

    def add_axes(x: float, y: float, w: float, h: float) -> Axes:
        """Axes at a position in inches from the upper left corner."""
        return figure.add_axes((x / width, 1 - (y + h) / height, w / width, h / height))

    def write(x: float, y: float, text: str, **style) -> None:
        figure.text(x / width, 1 - y / height, text, va="center", **style)

    title = f"Common corruptions, preset {preset}, seed {seed}"
    if "frost" in images and frost_source(frost_dir).startswith("procedural"):
        title += "; procedural frost"
    write(0.15, 0.24, title, size=11, weight="bold")
    for column, label in enumerate(("clean", "severity 1", "2", "3", "4", "5")):
        write(_LEFT + column * (_SIDE + _GAP) + _SIDE / 2, _TOP - 0.12, label, size=9, ha="center")
    y = _TOP
    for group, names in groups.items():
        bar = add_axes(0.15, y, 0.2, len(names) * (row_height + _GAP) - _GAP)
        bar.patch.set_facecolor(_GROUP_COLOURS[group])
        bar.set(xticks=[], yticks=[])
        bar.spines[:].set_visible(False)
        bar.text(0.5, 0.5, group, rotation=90, color="white", size=9, ha="center", va="center")
        for name in names:
            for column, pixels in enumerate(images[name]):
                axes = add_axes(_LEFT + column * (_SIDE + _GAP), y, _SIDE, row_height)
                axes.axis("off")
                axes.imshow(pixels, interpolation="nearest" if image.shape[1] < 100 else "antialiased", aspect="auto")
            write(_LEFT - 0.1, y + row_height / 2, name.replace("_", " "), size=9, ha="right")
            y += row_height + _GAP
        y += _GROUP_GAP
    add_caption(
        figure,
        f"One image of {image.shape[1]} x {image.shape[0]} px, clean and under {len(images)} of the {len(CORRUPTIONS)} "
        f"corruptions at 5 severities, with the constants of preset {preset} and seed {seed}.",
    )
    return figure


def read_preset_image(file: Path | str | io.BytesIO, preset: str) -> np.ndarray:
    """Read an image file at the published size of a preset, uint8 of shape (H, W, 3).

    Raises:
        InputError: The preset is unknown, or the file is not a readable image.
    """
    return read_image(file, preset_geometry(preset, get_preset(preset).image_size))


def read_image(file: Path | str | io.BytesIO, geometry: Callable[[Image.Image], np.ndarray]) -> np.ndarray:
    """Read an image file, resize and crop it, uint8 of shape (H, W, 3).

    Raises:
        InputError: The file is not a readable image.
    """
    try:
        image = decode_image(file)
    except InputError as error:
        raise InputError(f"{str(file)!r} is not a readable image: {error}") from None
    return geometry(image)
