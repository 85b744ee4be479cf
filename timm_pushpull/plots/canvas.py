"""Empty figures, what tells models apart on them, and writing them to files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from timm_pushpull.errors import InputError
from timm_pushpull.files import make_folder, write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "pdf", "svg")
_DPI = 224  # an image of ImageNet is an inch wide

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


def check_output(path: Path) -> None:
    """Raise InputError unless a figure can be written there: a format by its suffix, a folder that takes files."""
    if path.suffix.lower().lstrip(".") not in FORMATS:
        raise InputError(f"{str(path)!r} does not end in .png, .pdf or .svg")
    if path.is_dir():
        raise InputError(f"{str(path)!r} is a folder; give a file")
    make_folder(path.parent)


def save(figure: Figure, path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write a figure, whole or not at all; the same figure gives the same bytes.

    Args:
        metadata: Texts for the file's own metadata.
    """
    from matplotlib import rc_context

    kind, content = path.suffix.lower().lstrip("."), io.BytesIO()
    no_date = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(kind, {})
    with rc_context({"svg.hashsalt": "timm-pushpull"}):  # else the names inside an SVG are random
        figure.savefig(content, format=kind, dpi=_DPI, metadata=no_date | (metadata or {}))
    write_file(path, content.getvalue())
