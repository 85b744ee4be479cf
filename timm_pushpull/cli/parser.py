"""The parser that every command of the project uses, and the parts that the sub-commands share."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

import yaml

from timm_pushpull.utils.errors import redacted
from timm_pushpull.utils.text import printable
from timm_pushpull.utils.yaml_text import load_yaml


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and whose help keeps the line breaks of its examples."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"formatter_class": HelpFormatter, **kwargs})

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {printable(redacted(' '.join(message.split())))} (see {self.prog} --help)\n")


class HelpFormatter(argparse.HelpFormatter):
    """Wraps paragraphs, but prints lines that are indented as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.split("\n\n")
        return "\n\n".join(
            part
            if part.startswith("  ") or "\n  " in part
            else super(HelpFormatter, self)._fill_text(part, width, indent)
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


class KeyValues(argparse.Action):
    """KEY=VALUE arguments as a dictionary; values are read as in YAML. A repeated option adds to the first."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        mapping: dict[str, Any] = dict(getattr(namespace, self.dest, None) or {}) if values else {}
        for text in values:
            key, equals, value = text.partition("=")
            try:
                mapping[key] = load_yaml(value)
            except yaml.YAMLError:
                value = ""
            if not (key and equals and value):
                parser.error(f"argument {option_string}: {text!r} is not KEY=VALUE")
        setattr(namespace, self.dest, mapping)
