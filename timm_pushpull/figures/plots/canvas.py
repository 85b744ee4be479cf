"""Empty figures, what tells models apart on them, and writing them to files."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.files import make_folder, write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "pdf", "svg")
_DPI = 224  # an image of ImageNet is an inch wide

#: Colour maps whose lightness rises evenly, so that they survive a black and white print, made for every colour vision:
#: for magnitudes, and for signed values between symmetric limits, where it runs from blue through grey to yellow.
MAGNITUDES, SIGNED = "viridis", "cividis"
GREY = "#595959"  # of what is beside the data
_CAPTION_SIZE, _CAPTION_MARGIN = 8.5, 0.15  # points, inches

# Okabe and Ito's colours, told apart with every common colour blindness, without yellow, which is faint on paper.
# Markers, dashes and hatches tell the models apart in black and white; the first of each is the first model's.
_COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
_HATCHES = ("", "//", "..", "\\\\", "xx", "--", "oo", "++")


def new_figure(width: float, height: float, layout: str | None = None) -> Figure:
    """An empty white figure, sides in inches, with one of matplotlib's layout engines or none.

    Raises:
        InputError: matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("figures need matplotlib: pip install 'timm-pushpull[plot]'") from None
    return Figure((width, height), facecolor="white", layout=layout)


def line_style(place: int) -> dict[str, object]:
    """Colour, marker and dashes of the model at `place`."""
    return {
        "color": _COLOURS[place % len(_COLOURS)],
        "marker": _MARKERS[place % len(_MARKERS)],
        "linestyle": _DASHES[place % len(_DASHES)],
    }


def bar_style(place: int) -> dict[str, object]:
    """Colour and hatch of the model at `place`; white hatches on the colour."""
    return {"facecolor": _COLOURS[place % len(_COLOURS)], "hatch": _HATCHES[place % len(_HATCHES)]}


def add_caption(figure: Figure, text: str) -> None:
    """Write a text below everything that is on a figure, which grows by its height."""
    width, old = figure.get_size_inches()
    lines = _wrapped(text, width - 2 * _CAPTION_MARGIN)
    room = len(lines) * 1.35 * _CAPTION_SIZE / 72 + 2 * _CAPTION_MARGIN
    new = old + room
    for written in figure.texts:
        written.set_y((written.get_position()[1] * old + room) / new)
    if figure.get_layout_engine() is None:
        for axes in figure.axes:
            place = axes.get_position()
            axes.set_position((place.x0, (place.y0 * old + room) / new, place.width, place.height * old / new))
    else:
        taken = room
        if label := figure.get_supxlabel():  # the engine would put it at the lower edge
            size = next(written.get_size() for written in figure.texts if written.get_text() == label)
            figure.supxlabel(label, y=(room + 0.03) / new, size=size)
            taken += 1.6 * size / 72
        figure.get_layout_engine().set(rect=(0, taken / new, 1, 1 - taken / new))
    figure.set_figheight(new)
    figure.text(
        _CAPTION_MARGIN / width,
        (room - _CAPTION_MARGIN) / new,
        "\n".join(lines),
        size=_CAPTION_SIZE,
        color=GREY,
        va="top",
        linespacing=1.35,
        gid="caption",
    )


def minus(text: str) -> str:
    """A text whose negative numbers have a minus sign instead of a hyphen."""
    return re.sub(r"(?<![\w.)-])-(?=\.?\d)", "−", text)


def decibels(value: float, digits: int = 1, sign: bool = False) -> str:
    """A ratio in dB for people, infinite ones too."""
    if np.isinf(value):
        return "∞ dB" if value > 0 else "−∞ dB"
    return minus(f"{round(value, digits) + 0.0:{'+' if sign else ''}.{digits}f} dB")


def text_width(text: str, size: float) -> float:
    """Inches that a text takes at a size in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    width, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=size), ismath="$" in text)
    return 1.06 * width / 72  # rendered letters have whole pixels


def _wrapped(text: str, width: float) -> list[str]:
    """The lines of a text that is to be no wider than `width` inches."""
    together = re.sub(r" (?=[=<>≤±%]|dB\b|px\b)|(?<=[=<>≤±]) ", "\N{NO-BREAK SPACE}", text)
    lines = [""]
    for word in together.split(" "):
        longer = f"{lines[-1]} {word}".lstrip()
        if not lines[-1] or text_width(longer, _CAPTION_SIZE) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def check_output(path: Path) -> None:
    """Raise InputError unless a figure can be written there: a format by its suffix, a folder that takes files, and
    matplotlib, which is better missed before long work than after it."""
    if path.suffix.lower().lstrip(".") not in FORMATS:
        raise InputError(f"{str(path)!r} does not end in .png, .pdf or .svg")
    if path.is_dir():
        raise InputError(f"{str(path)!r} is a folder; give a file")
    new_figure(1, 1)
    make_folder(path.parent)


def save(figure: Figure, path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write a figure, whole or not at all; the same figure gives the same bytes.

    Args:
        metadata: Texts for the file's own metadata.
    """
    from matplotlib import rc_context

    _settle(figure)
    kind, content = path.suffix.lower().lstrip("."), io.BytesIO()
    no_date = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(kind, {})
    with rc_context({"svg.hashsalt": "timm-pushpull"}):  # else the names inside an SVG are random
        figure.savefig(content, format=kind, dpi=_DPI, metadata=no_date | (metadata or {}))
    write_file(path, content.getvalue())


def _settle(figure: Figure) -> None:
    """Lay out a figure for good. The layout engine's last digits are others every time, and so would be the names of
    clip paths in an SVG, which are made of them."""
    if figure.get_layout_engine() is None:
        return
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_position([round(side, 9) for side in axes.get_position(original=True).bounds])
