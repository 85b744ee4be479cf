"""Markdown that text from a stranger's files cannot break out of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# Letters, digits and punctuation without a meaning in Markdown or HTML; an underscore only inside of a word.
_SPECIAL = re.compile(r"[^\w\s.,:;()/+@%=?'\"-]|(?<![^\W_])_|_(?![^\W_])")


def plain(text: object) -> str:
    """Text on one line, as it is read: whatever would be markup becomes a character reference."""
    return _SPECIAL.sub(lambda found: f"&#{ord(found[0])};", " ".join(str(text).split()))


def code(text: object) -> str:
    """Text in the typewriter face. Backticks where they are safe in every place, a table's cell too."""
    line = " ".join(str(text).split())
    return f"<code>{plain(line)}</code>" if not line or re.search(r"[`|\\<>&]", line) else f"`{line}`"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """A table of cells that are Markdown; the first `words` columns hold words, the others figures, set right."""
    head = f"| {' | '.join(header)} |\n|{'---|' * words}{'---:|' * (len(header) - words)}"
    return "\n".join([head, *(f"| {' | '.join(row)} |" for row in rows)])


def percent(value: float | None, places: int = 2) -> str:
    """A fraction in percent, `-` for none."""
    return "-" if value is None else f"{value:.{places}%}"


def number(value: float | None, places: int = 3) -> str:
    """A number, `-` for none."""
    return "-" if value is None else f"{value:.{places}f}"
