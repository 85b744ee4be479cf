"""The contact sheet of corruptions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from timm_pushpull.corruptions import PRESETS, corrupt, frost_source
from timm_pushpull.data.images import UNREADABLE
from timm_pushpull.data.preprocessing import ResizeCenterCrop
from timm_pushpull.figures.plots.canvas import add_caption, new_figure
from timm_pushpull.metrics import GROUPS
from timm_pushpull.utils.errors import InputError, one_line, unknown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_GEOMETRY = {
    "imagenet-c": ResizeCenterCrop(224, 256),
    "cifar10-c": ResizeCenterCrop(32, 32),
    "tiny-imagenet-c": ResizeCenterCrop(64, 64),
}
_GROUP_COLOURS = {"Noise": "#4c6fa5", "Blur": "#5b8a5a", "Weather": "#b07d3b", "Digital": "#8a5a85"}


def corruption_sheet(
    image: np.ndarray, preset: str = "imagenet-c", seed: int = 0, frost_dir: Path | str | None = None
) -> Figure:
    """One image under every corruption and severity, as in the paper's Fig. 9: a row per corruption, columns for the
    clean image and severities 1 to 5.

    Args:
        image: uint8 of shape (H, W, 3).

    Raises:
        InputError: matplotlib is missing, or the image or preset does not suit.
    """
    rows = [(group, name) for group, names in GROUPS.items() for name in names]
    cells = [
        [image, *(corrupt(image, name, s, preset, seed=seed, frost_dir=frost_dir) for s in (1, 2, 3, 4, 5))]
        for _, name in rows
    ]
    side, gap, left, top, between = 1.0, 0.04, 1.75, 0.72, 0.14
    height_of = side * image.shape[0] / image.shape[1]
    groups = list(dict.fromkeys(group for group, _ in rows))
    width = left + 6 * (side + gap) + 0.2
    height = top + len(rows) * (height_of + gap) + (len(groups) - 1) * between + 0.12
    figure = new_figure(width, height)

    def draw(x: float, y: float, w: float, h: float):
        """Axes at a place in inches from the top left."""
        axes = figure.add_axes((x / width, 1 - (y + h) / height, w / width, h / height))
        axes.axis("off")
        return axes

    def write(x: float, y: float, text: str, **style) -> None:
        figure.text(x / width, 1 - y / height, text, **style)

    title = f"Common corruptions, preset {preset}, seed {seed}"
    if frost_source(frost_dir).startswith("procedural"):
        title += "; procedural frost"
    write(0.15, 0.24, title, size=11, weight="bold", va="center")
    for column, label in enumerate(("clean", "severity 1", "2", "3", "4", "5")):
        write(left + column * (side + gap) + side / 2, top - 0.12, label, size=9, ha="center", va="center")
    y, starts = top, {}
    for (group, name), images in zip(rows, cells, strict=True):
        if group not in starts:
            y += between if starts else 0
            starts[group] = y
        for column, pixels in enumerate(images):
            axes = draw(left + column * (side + gap), y, side, height_of)
            axes.imshow(pixels, interpolation="nearest" if image.shape[1] < 100 else "antialiased", aspect="auto")
        write(left - 0.1, y + height_of / 2, name.replace("_", " "), size=9, ha="right", va="center")
        y += height_of + gap
        end = y - gap
        if (group, name) == [row for row in rows if row[0] == group][-1]:
            bar = draw(0.15, starts[group], 0.2, end - starts[group])
            bar.patch.set_facecolor(_GROUP_COLOURS[group])
            bar.set_axis_on()
            bar.set(xticks=[], yticks=[])
            bar.spines[:].set_visible(False)
            bar.text(0.5, 0.5, group, rotation=90, color="white", size=9, ha="center", va="center")
    add_caption(
        figure,
        f"One image of {image.shape[1]} x {image.shape[0]} px, clean and under the {len(rows)} corruptions at their 5 "
        f"severities ({5 * len(rows)} in all), as the preset {preset} defines them for the draws of seed {seed}.",
    )
    return figure


def read_image(path: Path | str, preset: str) -> np.ndarray:
    """A picture file at the size of a preset, uint8 of shape (H, W, 3)."""
    if preset not in _GEOMETRY:
        raise unknown("preset", preset, PRESETS)
    return read_picture(path, _GEOMETRY[preset])


def read_picture(path: Path | str, geometry: ResizeCenterCrop) -> np.ndarray:
    """A picture file, resized and cropped, uint8 of shape (H, W, 3).

    Raises:
        InputError: It is no picture that can be read.
    """
    try:
        with Image.open(path) as picture:
            return geometry(ImageOps.exif_transpose(picture).convert("RGB"))
    except UNREADABLE as error:
        raise InputError(f"{str(path)!r} is no picture that can be read: {one_line(error)}") from None
