"""`timm-pushpull plot`: a sub-command per figure."""

from __future__ import annotations

from timm_pushpull.cli.parser import add_command
from timm_pushpull.cli.plot import heatmap_plot, layer_plots, results_plots


def add(commands) -> None:
    parser = add_command(
        commands,
        "plot",
        help="draw figures",
        description="Draw figures, each with a caption.",
        examples=(
            "timm-pushpull plot severity plain.json pushpull.json -o severity.png",
            "timm-pushpull plot FIGURE --help",
        ),
    )
    figures = parser.add_subparsers(dest="figure", required=True, metavar="FIGURE")
    for family in (results_plots, layer_plots, heatmap_plot):
        family.add(figures)
