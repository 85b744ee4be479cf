"""The parser that every command of the project uses, and the parts that the sub-commands share."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from timm_pushpull.utils.text import printable


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and whose help keeps the line breaks of its examples."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"formatter_class": HelpFormatter, **kwargs})

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {printable(' '.join(message.split()))} (see {self.prog} --help)\n")


class HelpFormatter(argparse.HelpFormatter):
    """Wraps paragraphs, but prints lines that are indented as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.split("\n\n")
        return "\n\n".join(
            part if "\n  " in part else super(HelpFormatter, self)._fill_text(part, width, indent)
            for part in paragraphs
        )


def add_command(
    commands: Any, name: str, *, help: str, description: str, examples: tuple[str, ...], **options: Any
) -> Parser:
    """Add a sub-command.

    Args:
        commands: What `add_subparsers` returned.
        help: The line in the list of commands.
        description: What its own help says, above the options.
        examples: Whole commands, printed below the options.
    """
    lines = "\n".join(f"  {example}" for example in examples)
    return commands.add_parser(name, help=help, description=description, epilog=f"examples:\n{lines}", **options)
