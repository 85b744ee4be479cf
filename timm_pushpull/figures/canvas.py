"""What all figures share: empty figures, styles of models, captions, legends, and writing files."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from timm_pushpull.utils import files
from timm_pushpull.utils.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "pdf", "svg")
_DPI = 224  # an image of ImageNet is an inch wide

#: Colour maps with monotonic lightness, which stay readable in black and white and with colour blindness: one for
#: magnitudes, and one for signed values between symmetric limits (blue below 0, grey at 0, yellow above).
MAGNITUDES, SIGNED = "viridis", "cividis"
GREY = "#595959"  # for everything that is not data
_CAPTION_SIZE, _CAPTION_MARGIN = 8.5, 0.15  # points, inches
_LEGEND_SIZE = 9  # points

# The colours of Okabe and Ito, which differ under every common colour blindness. Their yellow is too faint on paper
# and left out. Markers, dashes and hatches differ in black and white. The first of each is for the first model.
_COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
_HATCHES = ("", "//", "..", "\\\\", "xx", "--", "oo", "++")


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = None) -> Figure:
    """Create an empty white figure.

    Args:
        width, height: Inches.
        layout: The layout engine of matplotlib, or None.

    Raises:
        InputError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("figures need matplotlib: pip install 'timm-pushpull[plot]'") from None
    return Figure((width, height), facecolor="white", layout=layout)


def line_style(index: int) -> dict[str, Any]:
    """Colour, marker and dashes of the model with this index."""
    return {
        "color": _COLOURS[index % len(_COLOURS)],
        "marker": _MARKERS[index % len(_MARKERS)],
        "linestyle": _DASHES[index % len(_DASHES)],
    }


def bar_style(index: int) -> dict[str, Any]:
    """Colour and hatch of the model with this index."""
    return {"facecolor": _COLOURS[index % len(_COLOURS)], "hatch": _HATCHES[index % len(_HATCHES)]}


def add_caption(figure: Figure, text: str) -> None:
    """Write a caption below a figure. The figure grows by its height."""
    width, old = figure.get_size_inches()
    lines = _wrapped(text, width - 2 * _CAPTION_MARGIN)
    room = len(lines) * 1.35 * _CAPTION_SIZE / 72 + 2 * _CAPTION_MARGIN
    new = old + room
    for written in figure.texts:
        written.set_y((written.get_position()[1] * old + room) / new)
    engine = figure.get_layout_engine()
    if engine is None:
        for axes in figure.axes:
            box = axes.get_position()
            axes.set_position((box.x0, (box.y0 * old + room) / new, box.width, box.height * old / new))
    else:
        used = room
        if label := figure.get_supxlabel():  # the engine would put it at the lower edge
            size = next(written.get_fontsize() for written in figure.texts if written.get_text() == label)
            figure.supxlabel(label, y=(room + 0.03) / new, size=size)
            used += 1.6 * float(size) / 72
        engine.set(rect=(0, used / new, 1, 1 - used / new))  # type: ignore[call-arg]
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
    """Replace the hyphen of negative numbers by a minus sign."""
    return re.sub(r"(?<![\w.)-])-(?=\.?\d)", "−", text)


def decibels(value: float, digits: int = 1, sign: bool = False) -> str:
    """Format a ratio in dB, which may be infinite."""
    if np.isinf(value):
        return "∞ dB" if value > 0 else "−∞ dB"
    return minus(f"{round(value, digits) + 0.0:{'+' if sign else ''}.{digits}f} dB")


def text_width(text: str, size: float) -> float:
    """Width of a text in inches at a font size in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    width, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=size), ismath="$" in text)
    return 1.06 * width / 72  # rendered letters are rounded up to whole pixels


def _wrapped(text: str, width: float) -> list[str]:
    """Break a text into lines of at most `width` inches."""
    together = re.sub(
        r" (?=[=<>≤±%]|dB\b|px\b)|(?<=[=<>≤±]) |(?<=\bseed) (?=\d)|(?<=\bmrCE) (?=\d)|(?<=\bfilter) (?=\d)",
        "\N{NO-BREAK SPACE}",
        text,
    )
    lines = [""]
    for word in together.split(" "):
        longer = f"{lines[-1]} {word}".lstrip()
        if not lines[-1] or text_width(longer, _CAPTION_SIZE) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def figure_with_legend(width: float, height: float, labels: Sequence[str]) -> Figure:
    """Create a figure with room for a legend above it; it is wider or higher than given where the labels need it."""
    figure = new_figure(width, height, "constrained")
    figure.set_figwidth(max(width, _label_width(labels)))
    rows = -(-len(labels) // _columns(figure, labels))
    figure.set_figheight(height + 0.15 + 0.2 * rows)
    return figure


def draw_legend(figure: Figure, axes: Axes) -> None:
    """Draw the legend of `axes` above the figure, where it covers no data."""
    handles, labels = axes.get_legend_handles_labels()
    columns = _columns(figure, labels)
    figure.legend(
        handles, labels, loc="outside upper center", ncols=columns, frameon=False, fontsize=_LEGEND_SIZE, handlelength=3
    )


def tidy(axes: Axes, grid: str = "both") -> None:
    """Remove the upper and right spine and draw a faint grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="#e5e5e5", lw=0.6)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def _columns(figure: Figure, labels: Sequence[str]) -> int:
    return max(1, min(int(figure.get_figwidth() / _label_width(labels)), len(labels)))


def _label_width(labels: Sequence[str]) -> float:
    """Width of the widest label with its handle and gaps, in inches."""
    return 0.8 + max(text_width(label, _LEGEND_SIZE) for label in labels)


def check_output(path: Path) -> None:
    """Check that a figure can be written to `path`, so that errors come before long work.

    Raises:
        InputError: The suffix is no known format, no file can be written there, or matplotlib is not installed.
    """
    if path.suffix.lower().lstrip(".") not in FORMATS:
        raise InputError(f"{str(path)!r} does not end in .png, .pdf or .svg")
    new_figure(1, 1)
    files.check_output(path)


def save_figure(figure: Figure, path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write a figure atomically. The same figure gives the same bytes.

    Args:
        metadata: Additional entries for the metadata of the file.
    """
    from matplotlib import rc_context

    _freeze_layout(figure)
    kind, content = path.suffix.lower().lstrip("."), io.BytesIO()
    no_date: dict[str, Any] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(kind, {})
    with rc_context({"svg.hashsalt": "timm-pushpull"}):  # otherwise the ids in an SVG are random
        figure.savefig(content, format=kind, dpi=_DPI, metadata=no_date | (metadata or {}))
    files.write_file(path, content.getvalue())


def _freeze_layout(figure: Figure) -> None:
    """Run the layout engine once and round its result.

    The last digits of its positions differ from run to run, and the ids of clip paths in an SVG are made from them.
    """
    engine = figure.get_layout_engine()
    if engine is None:
        return
    engine.execute(figure)
    figure.set_layout_engine("none")
    for axes in figure.axes:
        x, y, width, height = (round(side, 9) for side in axes.get_position(original=True).bounds)
        axes.set_position((x, y, width, height))
