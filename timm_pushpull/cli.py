"""The command `timm-pushpull`."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import torch

from timm_pushpull import benchmark, corruptions, metrics
from timm_pushpull.corruptions import AVAILABLE, PRESETS
from timm_pushpull.data import load_images
from timm_pushpull.errors import InputError
from timm_pushpull.files import make_folder
from timm_pushpull.hardware import choose_device, choose_precision, describe
from timm_pushpull.preprocess import model_geometry
from timm_pushpull.results import Results
from timm_pushpull.weights import label_names, load_model


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def run(command: Callable[[], None], name: str) -> NoReturn:
    """Run a command's body; bad input ends it with one line on stderr and exit code 2."""
    warnings.formatwarning = lambda message, *_, **__: f"{name}: warning: {message}\n"
    try:
        command()
    except InputError as error:
        print(f"{name}: error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)


def main(arguments: list[str] | None = None) -> NoReturn:
    parser = Parser(prog="timm-pushpull", description="Measure and compare robustness to image corruptions.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (_add_benchmark, _add_compare, _add_info):
        add(commands)
    options = parser.parse_args(arguments)
    run(lambda: options.run(options), f"timm-pushpull {options.command}")


def _add_benchmark(commands) -> None:
    parser = commands.add_parser(
        "benchmark",
        help="measure a model on clean and corrupted images",
        description="Measure the top-1 error of a timm model on clean and corrupted images, corrupted on the fly.",
    )
    parser.add_argument("--model", required=True, help="a registered name, local-dir:FOLDER or hf-hub:ID")
    parser.add_argument("--weights", help="a safetensors file, local-dir:FOLDER or hf-hub:ID (default: the registered)")
    parser.add_argument("--dataset", required=True, help="a folder or Hub id of an image data set, or digits")
    parser.add_argument("--split", help="default: the first of test, validation, valid, val")
    parser.add_argument("--image-column", help="needed only where there are several")
    parser.add_argument("--label-column", help="needed only where there are several")
    parser.add_argument(
        "--preset", default="imagenet-c", help=f"constants: {', '.join(PRESETS)} (default: %(default)s)"
    )
    parser.add_argument(
        "--corruptions", nargs="+", default=list(AVAILABLE), metavar="NAME", help=f"default: {' '.join(AVAILABLE)}"
    )
    parser.add_argument("--severities", nargs="+", type=int, default=[1, 2, 3, 4, 5], metavar="1..5")
    parser.add_argument("--limit", type=int, metavar="N", help="a fixed, class-balanced selection of N images")
    parser.add_argument("--seed", type=int, default=0, help="of the corruptions (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, metavar="N", help="default: 64 on a CPU, else 512")
    parser.add_argument("--precision", default="auto", help="auto, bf16 or fp32 (default: %(default)s)")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="results file to write, JSON")
    parser.set_defaults(run=_benchmark)


def _benchmark(options: argparse.Namespace) -> None:
    if options.batch_size is not None and options.batch_size < 1:
        raise InputError(f"--batch-size is {options.batch_size}; use 1 or more")
    options.corruptions = list(dict.fromkeys(options.corruptions))
    options.severities = sorted(set(options.severities))
    for name in options.corruptions:
        for severity in options.severities:
            corruptions.check(name, severity, options.preset)
    if options.output.is_dir():
        raise InputError(f"--output {str(options.output)!r} is a folder; give a file, such as results.json")
    make_folder(options.output.parent)
    device = choose_device()
    precision = choose_precision(options.precision, device)
    model, weights_sha256 = load_model(options.model, options.weights)
    images = load_images(
        options.dataset,
        options.split,
        image_column=options.image_column,
        label_column=options.label_column,
    ).limited(options.limit)
    benchmark.check_classes(label_names(model), images)
    config = model.pretrained_cfg
    clean_error, errors = benchmark.evaluate(
        model.to(device, memory_format=torch.channels_last),
        images,
        model_geometry(model),
        mean=config["mean"],
        std=config["std"],
        preset=options.preset,
        corruptions=options.corruptions,
        severities=options.severities,
        seed=options.seed,
        batch_size=options.batch_size,
        device=device,
        precision=precision,
    )
    results = Results(
        model=config["architecture"],
        weights_sha256=weights_sha256,
        dataset=images.name,
        split=images.split,
        preset=options.preset,
        seed=options.seed,
        num_images=len(images),
        clean_error=clean_error,
        errors=errors,
        precision=precision,
        hardware=describe(device),
    )
    results.save(options.output)
    _print_results(results)
    print(f"written to {options.output}")


def _add_compare(commands) -> None:
    parser = commands.add_parser(
        "compare",
        help="put results beside a baseline's",
        description="Print clean error, mCE, mrCE and the relative error per corruption, as a Markdown table.",
    )
    parser.add_argument("baseline", type=Path, help="results file or run folder of the baseline")
    parser.add_argument("results", type=Path, nargs="+", help="results files or run folders")
    parser.set_defaults(run=_compare)


def _compare(options: argparse.Namespace) -> None:
    measured = [Results.load(path) for path in (options.baseline, *options.results)]
    for results in measured:
        results.comparable_with(measured[0])
        metrics.relative_corruption_errors(results.errors, measured[0].errors)
    print_comparison(measured)


def _add_info(commands) -> None:
    parser = commands.add_parser(
        "info",
        help="show what a results file holds and where it came from",
        description="Show what a results file holds and where it came from.",
    )
    parser.add_argument("results", type=Path, help="results file or run folder")
    parser.set_defaults(run=_info)


def _info(options: argparse.Namespace) -> None:
    results = Results.load(options.results)
    _print_results(results)
    for name in ("weights_sha256", "precision", "hardware", "command", "commit"):
        print(f"{name}: {getattr(results, name)}")
    print("versions: " + ", ".join(f"{name} {number}" for name, number in results.versions.items()))


def _print_results(results: Results) -> None:
    print(
        f"{results.model} on {results.num_images:,} images of {results.dataset}, split {results.split}; "
        f"preset {results.preset}, seed {results.seed}\n"
    )
    rows = [["error in %", "1", "2", "3", "4", "5", "mean"], ["clean", *[""] * 5, f"{100 * results.clean_error:.2f}"]]
    for corruption, errors in results.errors.items():
        cells = ["" if error is None else f"{100 * error:.2f}" for error in errors]
        rows.append([corruption, *cells, f"{100 * metrics.mean_error(errors):.2f}"])
    if results.errors:
        rows.append(["mCE (partial)" if results.partial else "mCE", *[""] * 5, f"{100 * results.mce:.2f}"])
    _print_table(rows)


def print_comparison(measured: list[Results]) -> None:
    """Clean error, mCE, mrCE and relative errors per corruption, as Markdown; the first results are the baseline.

    Relative errors are left open where the baseline makes no error on a corruption.
    """
    baseline = measured[0]
    rows = [["model", "E", "mCE", "mrCE", *baseline.errors]]
    for results in measured:
        relative, mrce = results.relative_to(baseline) or ({}, None)
        cells = [f"{relative[name]:.2f}" if relative else "-" for name in baseline.errors]
        mrce = f"{mrce:.3f}" if relative else "-"
        rows.append([results.model, f"{results.clean_error:.4f}", f"{results.mce:.4f}", mrce, *cells])
    _print_table(rows)
    if baseline.partial:
        print("\npartial: not all of the 15 x 5 cells were measured; mCE and mrCE are means over those that were")


def _print_table(rows: list[list[str]]) -> None:
    """Markdown, its columns aligned for the terminal."""
    widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    for row in (rows[0], rule, *rows[1:]):
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        print(f"| {' | '.join([first.strip().ljust(widths[0]), *others])} |")


if __name__ == "__main__":
    main()
