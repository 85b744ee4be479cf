"""`timm-pushpull plot`: figures of corruptions and of results files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from timm_pushpull.cli.measured import add_compared_arguments, load_compared, load_results
from timm_pushpull.cli.options import add_frost_option
from timm_pushpull.cli.plot.shared import add_figure, add_seed
from timm_pushpull.corruptions import CORRUPTIONS, PRESETS
from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.json_text import parse_object

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from timm_pushpull.benchmark.results import Results


def add(commands) -> None:
    sheet = add_figure(
        commands,
        "corruptions",
        "one image under every corruption and severity",
        _corruptions,
        example="cat.png -o corruptions.png",
    )
    sheet.add_argument("image", type=Path, help="image file")
    sheet.add_argument("--preset", default="imagenet-c", help=f"constants: {', '.join(PRESETS)} (default: %(default)s)")
    add_seed(sheet, "the corruptions")
    sheet.add_argument(
        "--corruptions", nargs="+", default=CORRUPTIONS, metavar="NAME", help="names (default: the 15 test corruptions)"
    )
    add_frost_option(sheet)
    severity = add_figure(
        commands,
        "severity",
        "error by severity, a panel per corruption, a line per model",
        _severity,
        example="plain.json pushpull.json -o severity.png",
    )
    severity.add_argument("results", type=Path, nargs="+", help="results files or run folders")
    tradeoff = add_figure(
        commands,
        "tradeoff",
        "clean error against mCE, with the lines of R_net = 0",
        _tradeoff,
        example="plain.json pushpull.json -o tradeoff.png",
    )
    add_compared_arguments(tradeoff)
    tradeoff.add_argument(
        "--series",
        nargs="+",
        action="append",
        default=[],
        metavar=("LABEL", "RESULTS"),
        help="results whose points a line connects, such as one network with growing alpha; run folders with a fixed "
        "alpha are sorted by alpha and labelled with it; may be repeated (default: none)",
    )
    bars = add_figure(
        commands,
        "corruption-bars",
        "error per corruption relative to the baseline",
        _bars,
        example="plain.json pushpull.json -o bars.png",
    )
    add_compared_arguments(bars)


def _corruptions(options: argparse.Namespace) -> Figure:
    from timm_pushpull import figures

    image = figures.read_preset_image(options.image, options.preset)
    return figures.plot_corruption_sheet(image, options.preset, options.seed, options.frost_dir, options.corruptions)


def _severity(options: argparse.Namespace) -> Figure:
    from timm_pushpull import figures

    return figures.plot_severity_curves(load_results(options.results), caption=True)


def _tradeoff(options: argparse.Namespace) -> Figure:
    from timm_pushpull import figures

    series: dict[str, list[tuple[float | None, Results]]] = {}
    for label, *paths in options.series:
        if not paths:
            raise InputError(f"--series {label!r} has no results; give a label, then results files or run folders")
        if label in series:
            raise InputError(f"--series {label!r} is given twice; give all its results at once, or another label")
        _, *found = load_results([options.baseline, *map(Path, paths)])
        alphas = [_fixed_alpha(Path(path)) for path in paths]
        members = list(zip(alphas, found, strict=True))
        series[label] = members if None in alphas else sorted(members, key=lambda member: member[0] or 0.0)
    paths = [options.baseline, *options.results]
    baseline, *measured = load_results(paths) if series else load_compared(paths, "the trade-off")
    return figures.plot_tradeoff(baseline, measured, series)


def _fixed_alpha(path: Path) -> float | None:
    """The alpha that the network of a run folder was created with, if it was fixed and a single number."""
    try:
        arguments = parse_object((path / "config.json").read_bytes())["model_args"]
        return None if arguments.get("trainable_alpha", True) else float(arguments["alpha"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _bars(options: argparse.Namespace) -> Figure:
    from timm_pushpull import figures

    baseline, *measured = load_compared([options.baseline, *options.results], "a plot of relative errors")
    return figures.plot_corruption_bars(baseline, measured)
