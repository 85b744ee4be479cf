"""`InputError`, `Interrupted`, and texts for error messages of one line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input from the user. The message is one line that names the value and the fix.

    Commands print it and exit with code 2; library callers can catch it as a `ValueError`.
    """


class Interrupted(KeyboardInterrupt):
    """A signal ends the process cleanly, as Ctrl-C does.

    Attributes:
        signal: Its number. Commands exit with 128 + this.
        message: What to print; nothing if it is empty, `terminated` or `interrupted` if it is None.
    """

    def __init__(self, signal: int, message: str | None = None) -> None:
        super().__init__(message or "")
        self.signal, self.message = signal, message


_COMPARED = 100  # characters of an unknown name
_LISTED = 30  # known names, at most, that an error lists


def one_line(error: BaseException) -> str:
    """The first 200 characters of an error's message on one line, or its class if it has no message."""
    return redacted(" ".join(str(error).split()))[:200] or type(error).__name__


_NAMED = (
    r"(?:token|passw(?:or)?d|passphrase|\bpwd|secret(?:_\w{1,40})?|api[_-]?key|credential|\bcookie|\bsig(?:nature)?"
    r"|X-Amz-\w{1,40})"
)
_VALUE = r"""(?:"[^"]*"|'[^']*'|[^\s&,;'"]+)"""
#: What may be secret in a text, and what stands in its place. None takes longer than its text is long, because error
#: messages of libraries repeat what a file holds.
_SECRETS = (
    (  # tokens that can be known by their form
        re.compile(
            # Without separators where tokens have none: datasets are called hf_birds_of_europe, too.
            r"(?<![A-Za-z0-9])(?:(?:hf_|api_org_|gh[pousr]_|npm_|sk[_-])[A-Za-z0-9]{16,}"
            r"|(?:github_pat_|glpat-|xox[abprs]-|sk-(?:proj|ant)-|sk_(?:live|test)_|pypi-Ag|ya29\.)[\w-]{16,}"
            r"|A(?:KI|SI)A[0-9A-Z]{16}|AIza[\w-]{35}|eyJ[\w-]{8,}\.[\w-]+\.[\w-]+)",
            re.ASCII,
        ),
        "***",
    ),
    (re.compile(r"((?:\bauthorization\W{1,4}\w{1,20}|\bbearer) )[^\s'\"]+", re.IGNORECASE), r"\1***"),
    # user:password@host; a path joins the two slashes.
    (re.compile(r"(\w:/{1,2})(?:[^\s/]*|[^\s/:@]*:[^\s@]{0,200})@"), r"\1***@"),
    (  # the query of a URL
        re.compile(r"(\w:/{1,2}[^\s?#'\"]*)(\?[^\s'\"]+)?"),
        lambda found: f"{found[1]}?***" if found[2] else found[0],
    ),
    (re.compile(rf"({_NAMED}['\"]?\s?[=:]\s?)(?!(?:true|false|none|null)\b){_VALUE}", re.IGNORECASE), r"\1***"),
    (re.compile(rf"((?<![\w-])--[\w-]{{0,40}}{_NAMED} ){_VALUE}", re.IGNORECASE), r"\1***"),
)


def redacted(text: str, token: str | None = None) -> str:
    """Replace tokens, passwords and the queries of URLs in a text, because logs and results are often shared.

    Args:
        token: A token to replace as well, whatever its form.

    >>> redacted("cannot read https://me:pass@host/data?sig=1 with hf_abcdefghijklmnopqrst")
    'cannot read https://***@host/data?*** with ***'
    """
    text = text.replace(token, "***") if token else text
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def unknown(kind: str, value: object, known: Iterable[str], where: str = "") -> InputError:
    """The error for an unknown name, with the nearest known name as a hint; of many known names, the nearest five.

    Args:
        where: What lists all known names, in words.

    >>> str(unknown("corruption", "foog", ["fog", "snow"]))
    "unknown corruption 'foog'; did you mean 'fog'?"
    """
    known, given = list(known), str(value)[:_COMPARED]
    shown = repr(value) if len(repr(value)) <= _COMPARED else f"{repr(value)[:_COMPARED]}..."
    if near := difflib.get_close_matches(given, known, n=1, cutoff=0.4):
        hint = f"did you mean {near[0]!r}?"
    elif len(known) <= _LISTED:
        hint = "known: " + (", ".join(sorted(known)) or "none")
    else:
        nearest = ", ".join(difflib.get_close_matches(given, known, n=5, cutoff=0))
        hint = f"the nearest of {len(known):,} are {nearest}" + (f"; {where} has them all" if where else "")
    return InputError(f"unknown {kind} {shown}; {hint}")
