"""Colours, markers and dashes of the models on the report page, the same as in the plots."""

from __future__ import annotations

from timm_pushpull.figures.canvas import line_style

#: The colours of `canvas`, lighter for a dark background, in the same order.
_DARK = ("#e6e6e6", "#5aa9e6", "#ff8a4c", "#3ecf9f", "#e5a3c8", "#f2bd4b", "#a3dcff")
COLOURS = len(_DARK)

# matplotlib's marker to Plotly's name and its outline around (14, 7).
_SYMBOLS = {
    "o": ("circle", "M9.2,7a4.8,4.8 0 1,0 9.6,0a4.8,4.8 0 1,0 -9.6,0z"),
    "s": ("square", "M9.8,2.8h8.4v8.4h-8.4z"),
    "^": ("triangle-up", "M14,1.2l5.4,9.6h-10.8z"),
    "D": ("diamond", "M14,1.2l5.8,5.8l-5.8,5.8l-5.8,-5.8z"),
    "v": ("triangle-down", "M14,12.8l5.4,-9.6h-10.8z"),
    "P": ("cross", "M12.2,2h3.6v3.2h3.2v3.6h-3.2v3.2h-3.6v-3.2h-3.2v-3.6h3.2z"),
    "X": (
        "x",
        "M14,4.5l2.5,-2.5l2.5,2.5l-2.5,2.5l2.5,2.5l-2.5,2.5l-2.5,-2.5l-2.5,2.5l-2.5,-2.5l2.5,-2.5l-2.5,-2.5l2.5,-2.5z",
    ),
    "<": ("triangle-left", "M8.2,7l9.6,-5.4v10.8z"),
    ">": ("triangle-right", "M19.8,7l-9.6,-5.4v10.8z"),
}
# matplotlib's line style to Plotly's name and to SVG's lengths of strokes and gaps.
_DASHES = {"-": ("solid", "none"), "--": ("dash", "6 3"), "-.": ("dashdot", "6 2 1.5 2"), ":": ("dot", "1.5 2.5")}
_LONG_DASHES = ("longdashdot", "9 2 1.5 2")


def symbol(index: int) -> str:
    """Plotly's name of the marker of the model with this index in its group."""
    return _SYMBOLS[line_style(index)["marker"]][0]


def outline(index: int) -> str:
    """The marker as an SVG path in a box of 28 x 14."""
    return _SYMBOLS[line_style(index)["marker"]][1]


def dash(index: int) -> str:
    """Plotly's name of the dashes."""
    return _DASHES.get(line_style(index)["linestyle"], _LONG_DASHES)[0]


def dash_array(index: int) -> str:
    """The dashes as an SVG `stroke-dasharray`."""
    return _DASHES.get(line_style(index)["linestyle"], _LONG_DASHES)[1]


def colour_style() -> str:
    """The colours as CSS variables `--series-0`, ... for the light and the dark colour scheme."""
    light = f"--series-count:{COLOURS};" + "".join(
        f"--series-{index}:{line_style(index)['color']};" for index in range(COLOURS)
    )
    dark = "".join(f"--series-{index}:{colour};" for index, colour in enumerate(_DARK))
    only_dark = "@media screen and (prefers-color-scheme:dark)"
    return f":root{{{light}}}\n{only_dark}{{:root:not([data-print]){{{dark}}}}}\n"
