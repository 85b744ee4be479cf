"""A setting as a field of a dataclass: its help and bounds, from YAML and from the command line."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import Field, field
from typing import Any

from timm_pushpull.utils.errors import InputError, unknown
from timm_pushpull.utils.text import shortened


def setting(kind: type, default: Any, text: str, many: bool = False, **rules: Any) -> Any:
    """A field with one value, or `many`, of one kind; the default None means: decided by the data or the model.

    Args:
        text: The help text.
        rules: Bounds of a number, `above`, `at_least`, `below` and `at_most`, or the `choices` of a text.
    """
    metadata = {"kind": kind, "help": text, "many": many, **rules}
    if isinstance(default, dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def check_bounds(entry: Field, value: Any) -> None:
    """Raise InputError unless a setting's value is one of its choices, finite, and within its bounds."""
    name, rules = entry.name, entry.metadata
    if value is None:
        return
    for one in value if rules["many"] else [value]:
        if isinstance(one, float) and not math.isfinite(one):
            raise InputError(f"{name} is {one}; use a finite number")
    if "choices" in rules and value not in rules["choices"]:
        raise unknown(name, value, rules["choices"])
    bounds = (
        ("above", operator.gt, "a value above"),
        ("at_least", operator.ge, "at least"),
        ("below", operator.lt, "a value below"),
        ("at_most", operator.le, "at most"),
    )
    wanted = [f"{words} {rules[rule]}" for rule, _, words in bounds if rule in rules]
    if not all(holds(value, rules[rule]) for rule, holds, _ in bounds if rule in rules):
        raise InputError(f"{name} is {value}; use {' and '.join(wanted)}")


def convert(entry: Any, value: Any, source: str) -> Any:
    """A YAML value as the setting's kind; YAML reads 1e-5, without a point, as text."""
    kind, many = entry.metadata["kind"], entry.metadata["many"]
    if value is None and entry.default is None:
        return None
    if kind is dict:
        if not isinstance(value, Mapping):
            raise InputError(f"recipe {source}: {entry.name} is {shortened(value)}; give a mapping")
        return dict(value)
    values = value if many and isinstance(value, (list, tuple)) else [value]
    converted = []
    for one in values:
        try:
            if isinstance(one, bool) != (kind is bool) or (kind is str and not isinstance(one, str)):
                raise ValueError
            if kind is str and not one.isprintable():  # settings are printed
                raise ValueError
            converted.append(kind(one))
        except (TypeError, ValueError, OverflowError):
            wanted = "printable text" if kind is str else f"{kind.__name__} values"
            raise InputError(f"recipe {source}: {entry.name} is {shortened(one)}; give {wanted}") from None
        if kind is int and converted[-1] != one:
            raise InputError(f"recipe {source}: {entry.name} is {shortened(one)}; give a whole number")
    return tuple(converted) if many else converted[0]
