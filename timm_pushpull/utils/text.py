"""Text from files of others, made safe to print."""

from __future__ import annotations


def printable(text: object) -> str:
    r"""The text on one line, without anything that a terminal would act on.

    Control characters (escape sequences, line breaks), bidirectional and other invisible format characters, and lone
    surrogates become escapes such as `\x1b` and `\u202e`. Letters of any script and emoji stay.

    Example:
        >>> printable("fog\x1b[2J\nblur")
        'fog\\x1b[2J\\nblur'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))
