"""Options and output that all sub-commands of `timm-pushpull plot` share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from timm_pushpull.cli.parser import add_command
from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.text import say

if TYPE_CHECKING:
    from torch import nn


def add_figure(
    commands, name: str, what: str, draw: Callable[[argparse.Namespace], Any], *, example: str, arrays: bool = False
) -> argparse.ArgumentParser:
    """Add a sub-command that draws a figure.

    Args:
        what: The figure, in words.
        draw: Function from the options to the figure; with `arrays`, to the figure and its arrays by name.
        example: Arguments, for the help.
        arrays: Add `--data`, which writes the arrays.
    """
    parser = add_command(
        commands, name, help=what, description=f"Draw {what}.", examples=(f"timm-pushpull plot {name} {example}",)
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="a .png, .pdf or .svg to write"
    )
    if arrays:
        parser.add_argument("--data", type=Path, metavar="FILE", help="also write the arrays, as .npz (default: no)")
    parser.set_defaults(run=_plot, draw=draw, data=None)
    return parser


def add_seed(parser: argparse.ArgumentParser, of: str) -> None:
    """Add the option `--seed`."""
    parser.add_argument("--seed", type=int, default=0, help=f"seed of {of} (default: %(default)s)")


def add_model(parser: argparse.ArgumentParser, several: bool = False) -> None:
    """Add the options `--model` and `--weights`; with `several` they can be repeated."""
    model, weights = (
        "a registered name, local-dir:FOLDER or hf-hub:ID",
        "a safetensors file, a checkpoint (.pth), local-dir:FOLDER or hf-hub:ID (default: those of --model)",
    )
    if several:
        parser.add_argument("--model", required=True, action="append", help=f"{model}; repeat it")
        parser.add_argument("--weights", action="append", default=[], help=f"{weights}; one for every --model, or none")
    else:
        parser.add_argument("--model", required=True, help=model)
        parser.add_argument("--weights", help=weights)


def load_named(name: str, weights: str | None) -> tuple[nn.Module, str]:
    """Load a model as `weights.load_model` does, and return it with its name in figures."""
    from timm_pushpull.models.weights import load_model, name_of

    model, _ = load_model(name, weights)
    architecture, tag = name_of(model), pretrained_cfg(model).get("tag")
    if weights and ":" not in weights:
        return model, f"{architecture} ({Path(weights).name})"
    return model, f"{architecture}.{tag}" if tag else architecture


def pretrained_cfg(model: nn.Module) -> dict[str, Any]:
    """The `pretrained_cfg` of a timm model: architecture, tag, mean, std and more."""
    return cast(dict[str, Any], model.pretrained_cfg)


def _plot(options: argparse.Namespace) -> None:
    from timm_pushpull import figures
    from timm_pushpull.utils.files import check_output

    figures.check_output(options.output)
    if options.data:
        if options.data.suffix != ".npz":
            raise InputError(f"--data {str(options.data)!r} does not end in .npz")
        check_output(options.data)
    if getattr(options, "seed", 0) < 0:
        raise InputError(f"--seed is {options.seed}; use 0 or more")
    drawn = options.draw(options)
    figure, arrays = drawn if isinstance(drawn, tuple) else (drawn, None)
    figures.save_figure(figure, options.output)
    say(f"written to {options.output}")
    if options.data:
        _save_arrays(arrays, options.data)
        say(f"arrays written to {options.data}")


def _save_arrays(arrays: Mapping[str, Any], path: Path) -> None:
    import io

    import numpy as np

    from timm_pushpull.utils.files import write_file

    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    write_file(path, content.getvalue())
