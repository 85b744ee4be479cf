"""`InputError`, and texts for error messages of one line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input from the user. The message is one line that names the value and the fix.

    Commands print it and exit with code 2; library callers can catch it as a `ValueError`.
    """


def one_line(error: BaseException) -> str:
    """The first 200 characters of an error's message on one line, or its class if it has no message."""
    return redacted(" ".join(str(error).split()))[:200] or type(error).__name__


def redacted(text: str, token: str | None = None) -> str:
    """Replace tokens and signatures of the Hub in a text, because logs are often shared."""
    text = text.replace(token, "***") if token else text
    return re.sub(r"\bhf_[A-Za-z0-9]{20,}|(?<=Bearer )\S+|(?<=[?&])(X-Amz-\w+|Signature|token)=[^&\s]+", "***", text)


def unknown(kind: str, value: object, known: Iterable[str]) -> InputError:
    """The error for an unknown name, with the nearest known name as a hint."""
    known = list(known)
    near = difflib.get_close_matches(str(value), known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else "known: " + (", ".join(sorted(known)) or "none")
    return InputError(f"unknown {kind} {value!r}; {hint}")
