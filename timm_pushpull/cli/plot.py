"""`timm-pushpull plot`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from timm_pushpull.cli.measured import load_results
from timm_pushpull.corruptions import PRESETS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def add(commands) -> None:
    parser = commands.add_parser("plot", help="draw figures", description="Draw figures.")
    figures = parser.add_subparsers(dest="figure", required=True, metavar="FIGURE")
    sheet = figures.add_parser(
        "corruptions",
        help="one image under every corruption and severity",
        description="Draw one image under every corruption and severity.",
    )
    sheet.add_argument("image", type=Path, help="a picture")
    sheet.add_argument("--preset", default="imagenet-c", help=f"constants: {', '.join(PRESETS)} (default: %(default)s)")
    sheet.add_argument("--seed", type=int, default=0, help="of the corruptions (default: %(default)s)")
    sheet.add_argument("--frost-dir", type=Path, metavar="DIR", help="the frost textures of ImageNet-C")
    _finish(sheet, _corruptions)
    for name, what, draw in (
        ("severity", "error by severity, a panel per corruption, a line per model", _severity),
        ("tradeoff", "clean error against mCE, with the lines of R_net = 0", _tradeoff),
        ("corruption-bars", "error per corruption relative to the baseline's", _bars),
    ):
        figure = figures.add_parser(name, help=what, description=f"Draw {what}.")
        if draw is not _severity:
            figure.add_argument("baseline", type=Path, help="results file or run folder of the baseline")
        figure.add_argument("results", type=Path, nargs="+", help="results files or run folders")
        _finish(figure, draw)


def _finish(parser: argparse.ArgumentParser, draw) -> None:
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="a .png, .pdf or .svg to write"
    )
    parser.set_defaults(run=_plot, draw=draw)


def _plot(options: argparse.Namespace) -> None:
    from timm_pushpull import plots

    plots.check_output(options.output)
    plots.save(options.draw(options), options.output)
    print(f"written to {options.output}")


def _corruptions(options: argparse.Namespace) -> Figure:
    from timm_pushpull import plots

    image = plots.read_image(options.image, options.preset)
    return plots.corruption_sheet(image, options.preset, options.seed, options.frost_dir)


def _severity(options: argparse.Namespace) -> Figure:
    from timm_pushpull import plots

    return plots.severity_curves(load_results(options.results))


def _tradeoff(options: argparse.Namespace) -> Figure:
    from timm_pushpull import plots

    baseline, *measured = load_results([options.baseline, *options.results])
    return plots.tradeoff(baseline, measured)


def _bars(options: argparse.Namespace) -> Figure:
    from timm_pushpull import plots

    baseline, *measured = load_results([options.baseline, *options.results])
    return plots.corruption_bars(baseline, measured)
