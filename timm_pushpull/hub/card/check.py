"""Whether the numbers in a card, which may have been edited, are those of its release."""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import zip_longest
from types import NoneType
from typing import Any

import yaml

from timm_pushpull.utils.errors import one_line
from timm_pushpull.utils.yaml_text import load_yaml

Row = tuple[str, ...]

_FRONT = re.compile(r"\s*---\n(.*?\n)---\n", re.S)
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_DELIMITERS = re.compile(r"\|?(\s*:?-+:?\s*\|)+(\s*:?-+:?)?")  # of a line without spaces around it
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*|\.\d+")
_FIGURE = re.compile(rf"({_NUMBER.pattern})\s*(%)?")
_ADDRESS = re.compile(r"https?://\S+")


def discrepancies(card: str, expected: str) -> list[str]:
    """Numbers in a card that its release does not give.

    The card may be reworded and extended freely. But outside of code blocks and URLs, every number with a decimal
    point or a percent sign must be one that the release gives.

    Args:
        card: The card to check.
        expected: The card that `model_card` renders for the release.

    Returns:
        A line for each wrong number; empty if there is none.
    """
    card = card.replace("\r\n", "\n")
    try:
        metadata, body = _front_matter(card)
    except ValueError as error:
        return [str(error)]
    right_metadata, right_body = _front_matter(expected)
    right_tables, right_text = _split(right_body)
    right_tables = [(header, rows) for header, rows in right_tables if re.search(r"\d", str(rows))]
    tables, text = _split(body, [header for header, _ in right_tables])
    return [
        *_false_metadata(metadata, right_metadata),
        *_false_cells(tables, right_tables),
        *_false_text(text, right_text, set(_figures(expected))),
    ]


def _front_matter(card: str) -> tuple[dict[str, Any], str]:
    """The metadata, and the text after it."""
    block = _FRONT.match(card)
    try:
        content = load_yaml(block[1]) if block else None
    except yaml.YAMLError as error:
        raise ValueError(f"the card's front matter is not YAML: {one_line(error)}") from None
    if not isinstance(content, dict):
        raise ValueError("the card's front matter is not YAML: the block between two lines of --- is missing or empty")
    return content, card[block.end() :] if block else card


def _false_metadata(found: dict[str, Any], right: dict[str, Any]) -> list[str]:
    lines = [
        f"metadata, {name}: the card says {found.get(name)!r}, the release {right[name]!r}"
        for name in ("license", "library_name")
        if found.get(name) != right[name]
    ]
    tags = found.get("tags")
    missing = [tag for tag in right["tags"] if tag not in (tags if isinstance(tags, list) else [])]
    lines += [f"metadata, tags: the card lacks {', '.join(missing)}"] if missing else []
    try:
        entries = _entries(found)
    except (AttributeError, KeyError, TypeError) as error:
        return [*lines, f"metadata, model-index: it is not in the Hub's form ({one_line(error)})"]
    values = dict(_entries(right))
    for key, value in entries:
        place = f"metadata, {', '.join(str(part) for part in key if part is not None)}"
        if key not in values:
            lines.append(f"{place}: the card says {value}, the results nothing")
        elif value != values[key]:
            lines.append(f"{place}: the card says {value}, the results {values[key]}")
    absent = values.keys() - {key for key, _ in entries}
    return lines + [f"metadata, {', '.join(filter(None, key))}: not in the card" for key in values if key in absent]


def _entries(metadata: dict[str, Any]) -> list[tuple[tuple[str | None, ...], Any]]:
    """Dataset and metric of every entry in `model-index`, with its value."""
    entries = [
        ((*map(result["dataset"].get, ("name", "type", "config", "split")), metric["type"]), metric["value"])
        for model in metadata.get("model-index") or []
        for result in model["results"]
        for metric in result["metrics"]
    ]
    for part in (part for key, _ in entries for part in key):
        if not isinstance(part, (str, NoneType)):
            raise TypeError(f"{part!r} is not text")
    return entries


def _split(body: str, headers: Collection[Row] | None = None) -> tuple[list[tuple[Row, list[Row]]], list[str]]:
    """The tables with one of these headers (None: all tables) and the other lines, without code blocks."""
    lines: list[str] = []
    fence: str | None = None
    for line in body.split("\n"):
        mark = _FENCE.match(line)
        if fence is None and mark:
            fence = mark[1]
        elif fence is None:
            lines.append(line)
        elif mark and mark[1].startswith(fence) and not line[mark.end() :].strip():
            fence = None
    tables: list[tuple[Row, list[Row]]] = []
    text: list[str] = []
    rows: list[Row] | None = None
    for line, following in zip_longest(lines, lines[1:], fillvalue=""):
        if rows is not None and line.strip():
            rows.append(_cells(line))
            continue
        rows = None
        if "|" in line and _DELIMITERS.fullmatch(following.strip()) and (headers is None or _cells(line) in headers):
            rows = []
            tables.append((_cells(line), rows))
        else:
            text.append(line)
    return [(header, rows[1:]) for header, rows in tables], text  # without the delimiter row


def _cells(line: str) -> Row:
    """The cells of a table row, without emphasis."""
    line = re.sub(r"^\s*\||(?<!\\)\|\s*$", "", line)
    return tuple(cell.strip(" \t*") for cell in re.split(r"(?<!\\)\|", line))


def _false_cells(tables: list[tuple[Row, list[Row]]], right_tables: list[tuple[Row, list[Row]]]) -> list[str]:
    lines = []
    for header, right_rows in right_tables:
        right = {row[0]: row for row in right_rows}
        copies = [rows for other, rows in tables if other == header]
        if not copies:
            lines.append(f"table {header[0]!r}: not in the card, or with another header")
        for rows in copies:
            for row in rows:
                place = f"table {header[0]!r}, row {row[0]!r}"
                if row[0] not in right:
                    lines.append(f"{place}: not in the results")
                    continue
                for column, said, true in zip_longest(header, row, right[row[0]], fillvalue="nothing"):
                    if said != true:
                        lines.append(f"{place}, column {column!r}: the card says {said}, the results {true}")
            present = {row[0] for row in rows}
            lines += [f"table {header[0]!r}, row {name!r}: not in the card" for name in right if name not in present]
    return lines


def _false_text(text: list[str], right_text: list[str], given: Collection[str]) -> list[str]:
    # A sentence of the release with another number is wrong, even if some other line gives that number.
    same_words = {_NUMBER.sub("#", line.strip()): line for line in right_text}
    lines = []
    for line in map(str.strip, text):
        original = same_words.get(_NUMBER.sub("#", line))
        if original is None:
            wrong = [(figure, "which is not in the results") for figure in _figures(line) if figure not in given]
        else:
            pairs = zip(_NUMBER.findall(line), _NUMBER.findall(original), strict=True)
            wrong = [(said, f"the release {true}") for said, true in pairs if said != true]
        lines += [f"the card's text says {figure}, {truth}: {line[:120]!r}" for figure, truth in wrong]
    return lines


def _figures(text: str) -> list[str]:
    """The numbers with a decimal point or a percent sign; without the sign, which a table may have in its header."""
    found = _FIGURE.findall(_ADDRESS.sub("", text))
    return [number for number, sign in found if sign or "." in number]
