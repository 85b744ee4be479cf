"""GitHub's Markdown, in which text from files of others stays text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# Letters, digits and punctuation without a meaning in Markdown or HTML; an underscore only inside of a word.
_SPECIAL = re.compile(r"[^\w\s.,:;()/+@%=?'\"-]|(?<![^\W_])_|_(?![^\W_])")


def plain(text: object) -> str:
    """Text on one line, with character references in place of anything that Markdown or HTML would interpret.

    Examples:
        >>> plain("a|b *c* snake_case")
        'a&#124;b &#42;c&#42; snake_case'
    """
    return _SPECIAL.sub(lambda found: f"&#{ord(found[0])};", " ".join(str(text).split()))


def code(text: object) -> str:
    """Text as inline code: in backticks where that is safe, also in a table cell, else as `<code>`."""
    line = " ".join(str(text).split())
    return f"<code>{plain(line)}</code>" if not line or re.search(r"[`|\\<>&]", line) else f"`{line}`"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1, aligned: bool = False) -> str:
    """A table.

    Args:
        header, rows: Cells, in Markdown; `plain` and `code` make it of text.
        words: Number of columns aligned left, for words; the others are aligned right, for numbers.
        aligned: Pad the cells with spaces, for a terminal.

    Examples:
        >>> print(table(["model", "mCE"], [["plain", "0.5"]], aligned=True))
        | model | mCE |
        | ----- | --: |
        | plain | 0.5 |
    """
    rows = [list(row) for row in rows]
    if not aligned:
        rule = f"|{'---|' * words}{'---:|' * (len(header) - words)}"
        return "\n".join([_line(header), rule, *map(_line, rows)])
    widths = [max(3, *map(len, column)) for column in zip(header, *rows, strict=True)]
    rule_cells = ["-" * width if place < words else "-" * (width - 1) + ":" for place, width in enumerate(widths)]
    sides = [str.ljust if place < words else str.rjust for place in range(len(header))]
    return "\n".join(
        _line([side(cell, width) for side, cell, width in zip(sides, row, widths, strict=True)])
        for row in (header, rule_cells, *rows)
    )


def percent(value: float | None, places: int = 2) -> str:
    """A fraction in percent, `-` for None."""
    return "-" if value is None else f"{value:.{places}%}"


def percentage(value: float | None, interval: tuple[float, float] | None = None) -> str:
    """A fraction in percent for a column whose heading has the unit, with its interval; `-` for None.

    Examples:
        >>> percentage(0.158, (0.15, 0.165))
        '15.8 [15.0, 16.5]'
    """
    if value is None:
        return "-"
    return f"{100 * value:.1f}" + (f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]" if interval else "")


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
