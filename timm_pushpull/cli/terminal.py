"""A comparison for people at a terminal: short headings, improvements in green, never wider than the screen."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich.text import Text

from timm_pushpull.benchmark.comparison import ComparisonRow
from timm_pushpull.cli.formats import Column, cell, columns, name

_GAP = 2
_NARROWEST_NAME = 12


def terminal(compared: Sequence[ComparisonRow], width: int | None = None) -> Text:
    """The comparison as styled text. Groups of corruptions that do not fit beside each other continue below, each part
    beginning with the models; names that are too long are shortened in the middle.

    Args:
        width: Columns of the terminal; None for one part of any width.
    """
    groups = [list(members) for _, members in groupby(columns(compared), lambda column: column.group)]
    sizes = {column.key: _size(compared, column) for group in groups for column in group}
    longest = max(len(name(row)) for row in compared)
    first = longest
    if width is not None:
        widest = max(_extent(group, sizes) for group in groups)
        first = max(min(longest, width - widest), _NARROWEST_NAME)
    parts: list[list[Column]] = [[]]
    for group in groups:
        if parts[-1] and width is not None and first + _extent([*parts[-1], *group], sizes) > width:
            parts.append([])
        parts[-1] += group
    return Text("\n").join(_part(compared, part, sizes, first) for part in parts)


def _part(compared: Sequence[ComparisonRow], part: Sequence[Column], sizes: dict[str, int], first: int) -> Text:
    text = Text()
    if any(column.group for column in part):
        text.append(" " * first)
        for group, members in groupby(part, lambda column: column.group):
            room = _extent(list(members), sizes) - _GAP
            text.append(" " * _GAP + (f" {group} ".center(room, "─") if group else " " * room), "dim")
        text.append("\n")
    text.append("model".ljust(first))
    for column in part:
        text.append(" " * _GAP + column.short.rjust(sizes[column.key]), "bold")
    text.append("\n")
    several = len({row.source for row in compared}) > 1
    for source, rows in groupby(compared, lambda row: row.source):
        text.append(f"{source}\n" if several else "", "italic")
        for row in rows:
            text.append(_shorten(name(row), first).ljust(first), "bold" if row.is_baseline else "")
            for column in part:
                style = "bold green" if column.key in row.improved else "dim" if row.is_baseline else ""
                text.append(" " * _GAP).append(cell(row, column.key).rjust(sizes[column.key]), style)
            text.append("\n")
    return text


def _size(compared: Sequence[ComparisonRow], column: Column) -> int:
    return max(len(column.short), *(len(cell(row, column.key)) for row in compared))


def _extent(part: Sequence[Column], sizes: dict[str, int]) -> int:
    return sum(_GAP + sizes[column.key] for column in part)


def _shorten(text: str, width: int) -> str:
    if len(text) <= width:
        return text
    return f"{text[: width // 2]}…{text[len(text) - (width - width // 2 - 1) :]}"
