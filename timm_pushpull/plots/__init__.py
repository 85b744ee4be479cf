"""Figures, drawn with matplotlib, which only this package needs."""

from timm_pushpull.plots.canvas import FORMATS, check_output, save
from timm_pushpull.plots.results import corruption_bars, severity_curves, tradeoff
from timm_pushpull.plots.sheet import corruption_sheet, read_image

__all__ = [
    "FORMATS",
    "check_output",
    "corruption_bars",
    "corruption_sheet",
    "read_image",
    "save",
    "severity_curves",
    "tradeoff",
]
