"""`timm-pushpull compare`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from timm_pushpull.cli.measured import add_compared_arguments, load_compared
from timm_pushpull.cli.parser import add_command
from timm_pushpull.cli.tables import retrieval_note
from timm_pushpull.utils.errors import InputError, unknown
from timm_pushpull.utils.files import check_output, write_file
from timm_pushpull.utils.text import printable, say

if TYPE_CHECKING:
    from timm_pushpull.benchmark.comparison import ComparisonRow

FORMATS = ("table", "markdown", "latex", "csv")


def add(commands) -> None:
    parser = add_command(
        commands,
        "compare",
        help="compare results with a baseline's",
        description="Print clean error (E), mCE, mrCE, R_net and the relative error per corruption in percent, in the "
        "layout of the paper's Table 1 (retrieval: Table 5). Values better than the baseline's are green, or bold in "
        "Markdown and LaTeX.",
        examples=(
            "timm-pushpull compare plain.json pushpull.json",
            "timm-pushpull compare plain.json pushpull.json --paper table1 -o table.tex",
        ),
    )
    add_compared_arguments(parser)
    parser.add_argument(
        "--format", help=f"{', '.join(FORMATS)} (default: by the suffix of -o, else table on a terminal, else markdown)"
    )
    parser.add_argument(
        "--paper",
        metavar="TABLE",
        help="add the published rows of table1 or table2, for retrieval of table5 or (absolute errors) table8 "
        "(default: none)",
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="file to write (default: print)")
    parser.set_defaults(run=_compare)


def _compare(options: argparse.Namespace) -> None:
    from timm_pushpull.benchmark import paper
    from timm_pushpull.benchmark.comparison import (
        ABSOLUTE,
        MCE,
        RELATIVE,
        caveats,
        compare,
        interval_note,
        published,
        require_errors,
    )

    if options.format not in (None, *FORMATS):
        raise unknown("format", options.format, FORMATS)
    if options.paper not in (None, *paper.TABLES):
        raise InputError(f"--paper is {options.paper!r}; use {' or '.join(paper.TABLES)}")
    paths = [options.baseline, *options.results]
    measured = load_compared(paths, None if options.paper else "a comparison")
    require_errors(measured[0])
    task = measured[0].task
    if options.paper and paper.TABLES[options.paper] != task:
        fitting = [table for table, of in paper.TABLES.items() if of == task]
        raise InputError(
            f"--paper {options.paper} is about {paper.TABLES[options.paper]}, but these are results of {task}; use "
            f"{' or '.join(fitting)}"
        )
    rows, notes = compare(measured, absolute=options.paper == ABSOLUTE), []
    if measured[0].retrieval:
        notes.append(retrieval_note(measured[0]))
    by_corruption = "errors" if options.paper == ABSOLUTE else "errors divided by the baseline's"
    notes.append(f"All figures in percent. {MCE} {RELATIVE} By corruption: {by_corruption}.")
    notes += filter(None, [interval_note(rows)])
    notes += map(str, caveats(*measured))
    if options.paper:
        rows += published(options.paper)
        notes.append(
            "Published rows are as printed, beside the paper's own baselines; only R_net is computed here, from the "
            "printed E and mCE."
        )
        notes += [f"In print: {note}" for note in paper.NOTES[options.paper]]
    _write(rows, notes, options.format or _default_format(options.output), options.output)


def _default_format(output: Path | None) -> str:
    if output:
        return {".tex": "latex", ".csv": "csv"}.get(output.suffix.lower(), "markdown")
    return "table" if sys.stdout.isatty() else "markdown"


def _write(rows: list[ComparisonRow], notes: list[str], kind: str, output: Path | None) -> None:
    from rich.console import Console

    from timm_pushpull.cli import formats
    from timm_pushpull.cli.terminal import terminal

    if kind == "table" and not output:
        console = Console(highlight=False)
        console.print(terminal(rows, console.width if console.is_terminal else None), soft_wrap=True, end="")
        for note in notes:
            console.print(f"\n{printable(note)}", style="dim", markup=False)
        return
    text = {
        "table": lambda rows: terminal(rows).plain,
        "markdown": formats.markdown,
        "latex": formats.latex,
        "csv": formats.to_csv,
    }[kind](rows)
    if kind != "csv":
        text += "".join(f"{'% ' if kind == 'latex' else chr(10)}{printable(note)}\n" for note in notes)
    if output:
        check_output(output)
        write_file(output, text)
        say(f"written to {output}")
    else:
        print(text, end="")
