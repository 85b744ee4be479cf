"""JSON objects that may come from others or be damaged: bounded in depth and numbers, and with a checksum if wanted."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn

CHECKSUM = "checksum"
MAX_DEPTH = 50
_MAX_DIGITS = 20  # of an unsigned integer of 64 bits, such as a seed


def parse_object(text: str | bytes) -> dict[str, Any]:
    """The object that a JSON text holds.

    Raises:
        ValueError: Not UTF-8 or not JSON, no object, nested more than 50 levels deep, a number that is not finite or an
            integer of more than 64 bits; on one line.

    >>> parse_object('{"epochs": 30}')
    {'epochs': 30}
    """
    try:
        content = json.loads(
            text if isinstance(text, str) else text.decode(),
            parse_constant=_refuse_constant,
            parse_int=_integer,
            parse_float=_number,
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    if not isinstance(content, dict):
        raise ValueError("it is not a JSON object")
    _check_depth(content)
    return content


def with_checksum(entries: Mapping[str, Any]) -> dict[str, Any]:
    """The entries, which must be plain JSON, and their checksum; one that they hold is replaced.

    >>> with_checksum({"start": 0})["checksum"][:8]
    '569217ff'
    """
    return {**entries, CHECKSUM: _checksum(entries)}


def check_checksum(entries: Mapping[str, Any]) -> dict[str, Any]:
    """The entries without their checksum.

    Raises:
        ValueError: It is missing, or is not that of the other entries.
    """
    if entries.get(CHECKSUM) != _checksum(entries):
        raise ValueError("its checksum does not fit its content")
    return {name: value for name, value in entries.items() if name != CHECKSUM}


def _checksum(entries: Mapping[str, Any]) -> str:
    """SHA-256 of the other entries as JSON with sorted keys."""
    content = {name: value for name, value in entries.items() if name != CHECKSUM}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _check_depth(content: dict[str, Any]) -> None:
    level: list[Any] = [content]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below += value.values()
            elif isinstance(value, list):
                below += value
        if not below:
            return
        level = below
    raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}, which is no number")


def _integer(digits: str) -> int:
    if len(digits.lstrip("-")) > _MAX_DIGITS or abs(int(digits)) >= 1 << 64:
        raise ValueError("it holds an integer of more than 64 bits")
    return int(digits)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("it holds a number that is too large")
    return value
