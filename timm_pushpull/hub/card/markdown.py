"""Markdown in which text from files of others stays text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# Letters, digits and punctuation without a meaning in Markdown or HTML; an underscore only inside of a word.
_SPECIAL = re.compile(r"[^\w\s.,:;()/+@%=?'\"-]|(?<![^\W_])_|_(?![^\W_])")


def plain(text: object) -> str:
    """Text on one line, with character references in place of anything that Markdown or HTML would interpret."""
    return _SPECIAL.sub(lambda found: f"&#{ord(found[0])};", " ".join(str(text).split()))


def code(text: object) -> str:
    """Text as inline code: in backticks where that is safe, also in a table cell, else as `<code>`."""
    line = " ".join(str(text).split())
    return f"<code>{plain(line)}</code>" if not line or re.search(r"[`|\\<>&]", line) else f"`{line}`"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """A table.

    Args:
        header, rows: Cells, in Markdown.
        words: Number of columns aligned left, for words; the others are aligned right, for numbers.
    """
    head = f"| {' | '.join(header)} |\n|{'---|' * words}{'---:|' * (len(header) - words)}"
    return "\n".join([head, *(f"| {' | '.join(row)} |" for row in rows)])


def percent(value: float | None, places: int = 2) -> str:
    """A fraction in percent; `-` for None."""
    return "-" if value is None else f"{value:.{places}%}"


def number(value: float | None, places: int = 3) -> str:
    """A number; `-` for None."""
    return "-" if value is None else f"{value:.{places}f}"
