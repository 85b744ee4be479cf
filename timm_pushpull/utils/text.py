"""Text from files of others, made safe to print."""

from __future__ import annotations

from timm_pushpull.utils.errors import redacted

_LONGEST = 2000  # characters that are printed of a text


def printable(text: object) -> str:
    r"""The text on one line, without anything that a terminal would act on.

    Control characters (escape sequences, line breaks), bidirectional and other invisible format characters, and lone
    surrogates become escapes such as `\x1b` and `\u202e`. Letters of any script and emoji stay. A text of more than
    2,000 characters is cut off.

    Examples:
        >>> printable("fog\x1b[2J\nblur")
        'fog\\x1b[2J\\nblur'
    """
    whole = str(text)
    return escaped(whole if len(whole) <= _LONGEST else f"{whole[: _LONGEST - 1]}…")


def escaped(text: str) -> str:
    """The whole text as `printable` writes it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def say(line: str) -> None:
    """Print a line at once, without secrets, and with what a terminal would act on escaped."""
    print(printable(redacted(line)), flush=True)


def shortened(value: object, length: int = 200) -> str:
    """The `repr` of a value from a file, in ASCII and at most `length` characters."""
    text = ascii(value)
    return text if len(text) <= length else f"{text[: length - 3]}..."


def duration(seconds: float) -> str:
    """A time in the unit that suits it.

    Examples:
        >>> duration(45), duration(120), duration(9000)
        ('45 seconds', '2.0 minutes', '2.5 hours')
    """
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.1f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
