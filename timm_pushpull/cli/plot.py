"""`timm-pushpull plot`."""

from __future__ import annotations

import argparse
from pathlib import Path

from timm_pushpull.corruptions import PRESETS


def add(commands) -> None:
    parser = commands.add_parser("plot", help="draw figures", description="Draw figures.")
    figures = parser.add_subparsers(dest="figure", required=True, metavar="FIGURE")
    sheet = figures.add_parser(
        "corruptions",
        help="one image under every corruption and severity",
        description="Draw one image under every corruption and severity.",
    )
    sheet.add_argument("image", type=Path, help="a picture")
    sheet.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="a .png, .pdf or .svg to write")
    sheet.add_argument("--preset", default="imagenet-c", help=f"constants: {', '.join(PRESETS)} (default: %(default)s)")
    sheet.add_argument("--seed", type=int, default=0, help="of the corruptions (default: %(default)s)")
    sheet.add_argument("--frost-dir", type=Path, metavar="DIR", help="the frost textures of ImageNet-C")
    sheet.set_defaults(run=_corruptions)


def _corruptions(options: argparse.Namespace) -> None:
    from timm_pushpull import plots

    plots.check_output(options.output)
    image = plots.read_image(options.image, options.preset)
    figure = plots.corruption_sheet(image, options.preset, options.seed, options.frost_dir)
    plots.save(figure, options.output)
    print(f"written to {options.output}")
