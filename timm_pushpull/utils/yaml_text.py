"""YAML that may come from others: without aliases, which multiply, and bounded in size and depth."""

from __future__ import annotations

from typing import Any

import yaml

MAX_CHARACTERS = 1 << 20
MAX_DEPTH = 20
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load_yaml(text: str) -> Any:
    """The content of a YAML document, of plain types only.

    Raises:
        yaml.YAMLError: Not YAML, an alias (`*name`), too long or too deep, or a value that Python cannot hold, such as
            the date 2026-02-31.

    >>> load_yaml("epochs: 30")
    {'epochs': 30}
    """
    if len(text) > MAX_CHARACTERS:
        raise yaml.YAMLError(f"it has {len(text):,} characters; at most {MAX_CHARACTERS:,} are accepted")
    depth = 0
    for event in yaml.parse(text, _LOADER):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError(f"line {_line(event)} has the alias *{event.anchor}; write its value out")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise yaml.YAMLError(f"line {_line(event)} is nested more than {MAX_DEPTH} levels deep")
    try:
        return yaml.load(text, _LOADER)
    except (ValueError, OverflowError) as error:
        raise yaml.YAMLError(str(error)) from error


def _line(event: yaml.Event) -> int:
    """The line of an event, counted from 1."""
    return event.start_mark.line + 1 if event.start_mark else 1
