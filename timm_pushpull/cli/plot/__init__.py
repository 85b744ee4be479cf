"""`timm-pushpull plot`: a sub-command per figure."""

from __future__ import annotations

from timm_pushpull.cli.plot import heatmap, layers, measured


def add(commands) -> None:
    parser = commands.add_parser("plot", help="draw figures", description="Draw figures, each with a caption.")
    figures = parser.add_subparsers(dest="figure", required=True, metavar="FIGURE")
    for family in (measured, layers, heatmap):
        family.add(figures)
