"""The command `timm-pushpull`: a module per sub-command, and what all commands of the project share."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from typing import NoReturn

from timm_pushpull.cli import benchmark, compare, corrupt, info, plot, report
from timm_pushpull.cli.tables import print_comparison
from timm_pushpull.utils.errors import InputError

__all__ = ["Parser", "main", "print_comparison", "run"]


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def run(command: Callable[[], int | None], name: str) -> NoReturn:
    """Run a command's body and exit with the code it returns, 0 for None.

    Bad input ends it with one line on stderr and exit code 2.
    """
    warnings.formatwarning = lambda message, *_, **__: f"{name}: warning: {message}\n"
    try:
        code = command()
    except InputError as error:
        print(f"{name}: error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        sys.exit(130)
    sys.exit(code or 0)


def command_line() -> Parser:
    """The parser of all sub-commands."""
    parser = Parser(prog="timm-pushpull", description="Measure and compare robustness to image corruptions.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (benchmark, corrupt, compare, info, plot, report):
        command.add(commands)
    return parser


def main(arguments: list[str] | None = None) -> NoReturn:
    options = command_line().parse_args(arguments)
    run(lambda: options.run(options), f"timm-pushpull {options.command}")
