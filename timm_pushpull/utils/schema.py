"""Dataclasses from JSON files of others: every value is checked once, on reading, against the dataclass's own types.

A field's type says what a value may be: str, int, float, a `Literal`, `X | None`, list, tuple, dict, another dataclass,
or one of these in `Annotated` with a `Bounds` or a `Length`. Metadata of a field:

- `key`: its key in the file, where that is not its name
- `flatten`: the dict holds all keys of the file's object that are no other field's
- `omit_none`: None is written by leaving the key out
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
import reprlib
import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NoReturn, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.text import printable

T = TypeVar("T")

MAX_BYTES = 16 << 20
MAX_TEXT = 10_000
_MAX_INT = (1 << 64) - 1
_MAX_COUNT = (1 << 63) - 1
#: Control characters but tab and newline, and halves of surrogate pairs, which cannot be written anywhere.
REFUSED_CHARACTERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclasses.dataclass(frozen=True)
class Bounds:
    """Of a number, both ends included."""

    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Length:
    """Number of a list's items."""

    count: int


#: From 0 to 1.
Fraction = Annotated[float, Bounds(0, 1)]
Count = Annotated[int, Bounds(0, _MAX_COUNT)]
Positive = Annotated[int, Bounds(1, _MAX_COUNT)]
Seconds = Annotated[float, Bounds(0, 1e12)]


class _RefusedError(ValueError):
    """A value that is not what its place needs, in words."""


def load(cls: type[T], text: str | bytes, source: str, kind: str) -> T:
    """The dataclass that a JSON text holds. Unknown keys are ignored.

    Args:
        source: Where the text comes from, for the error.
        kind: What it should be, such as `results file`.

    Raises:
        InputError: Not JSON, a missing key, or a value of the wrong type or out of its bounds; one line that names
            `source`, the place and the value.
    """
    try:
        if len(text) > MAX_BYTES:
            raise _RefusedError(f"it has over {MAX_BYTES >> 20} MiB")
        return _build(cls, _parse(text), "")
    except _RefusedError as error:
        raise InputError(f"{source} is not a {kind}: {error}") from error


def check(cls: type[T], content: object, source: str, kind: str) -> T:
    """The dataclass that parsed JSON holds; as `load`, for files whose text is larger or parsed already."""
    try:
        return _build(cls, content, "")
    except _RefusedError as error:
        raise InputError(f"{source} is not a {kind}: {error}") from error


def dump(value: Any) -> Any:
    """A dataclass as `json.dumps` takes it; the inverse of `load`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        content: dict[str, Any] = {}
        for entry in dataclasses.fields(value):
            part = getattr(value, entry.name)
            if entry.metadata.get("flatten"):
                content |= dump(part)
            elif part is not None or not entry.metadata.get("omit_none"):
                content[key(entry)] = dump(part)
        return content
    if isinstance(value, Mapping):
        return {name: dump(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [dump(part) for part in value]
    return value


def _parse(text: str | bytes) -> object:
    def refuse(constant: str) -> NoReturn:
        raise _RefusedError(f"it holds {constant}, which is no number")

    try:
        return json.loads(text if isinstance(text, str) else text.decode(), parse_constant=refuse)
    except RecursionError:
        raise _RefusedError("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise _RefusedError("it is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise _RefusedError(f"it is not JSON ({error})") from None
    except _RefusedError:
        raise
    except ValueError:  # an integer of thousands of digits
        raise _RefusedError("it holds a number that is too long") from None


def _build(kind: Any, value: object, place: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _bounded(_build(arguments[0], value, place), arguments[1:], place)
    if origin in (Union, types.UnionType):
        return _optional(arguments, value, place)
    if origin is Literal:
        if type(value) is not str or value not in arguments:
            _refuse(place, value, " or ".join(map(str, arguments)))
        return value
    if dataclasses.is_dataclass(kind):
        return _dataclass(cast(Any, kind), value, place)
    if origin in (dict, Mapping):
        if type(value) is not dict:
            _refuse(place, value, "an object")
        return {_text(name, place): _build(arguments[1], part, _join(place, name)) for name, part in value.items()}
    if origin in (list, Sequence, tuple):
        if type(value) is not list:
            _refuse(place, value, "a list")
        if origin is tuple and len(value) != len(arguments):
            _refuse(place, value, f"a list of {len(arguments)}")
        of = arguments if origin is tuple else arguments * len(value)
        parts = [
            _build(one, part, f"{place}[{number}]") for number, (one, part) in enumerate(zip(of, value, strict=True))
        ]
        return tuple(parts) if origin is tuple else parts
    return _scalar(kind, value, place)


def _dataclass(cls: type[T], value: object, place: str) -> T:
    if type(value) is not dict:
        _refuse(place, value, "an object")
    content = {_text(name, place): part for name, part in value.items()}
    hints, entries = _hints(cls), dataclasses.fields(cls)  # type: ignore[arg-type]
    required = [
        key(e) for e in entries if e.default is dataclasses.MISSING and e.default_factory is dataclasses.MISSING
    ]
    rest = next((entry.name for entry in entries if entry.metadata.get("flatten")), None)
    if missing := sorted(set(required) - set(content) - {rest}):
        raise _RefusedError(f"{f'{place} ' if place else 'it '}lacks {', '.join(missing)}")
    found: dict[str, Any] = {}
    for entry in entries:
        if (name := key(entry)) in content and entry.name != rest:
            found[entry.name] = _build(hints[entry.name], content.pop(name), _join(place, name))
    if rest:
        found[rest] = _build(hints[rest], content, place)
    return cls(**found)


def _scalar(kind: Any, value: object, place: str) -> Any:
    if kind is str:
        return _text(value, place)
    if kind is bool:
        if type(value) is not bool:
            _refuse(place, value, "true or false")
        return value
    if kind is int:
        if type(value) is not int or abs(value) > _MAX_INT:
            _refuse(place, value, "an integer of 64 bits")
        return value
    if kind is float:
        # The comparison is exact for integers of any length, which float() would not take.
        if not (type(value) is int and abs(value) <= _MAX_INT) and not (type(value) is float and math.isfinite(value)):
            _refuse(place, value, "a finite number")
        return float(value)
    raise TypeError(f"{place}: {kind} is no type of a JSON value")


def _optional(kinds: tuple[Any, ...], value: object, place: str) -> Any:
    others = [kind for kind in kinds if kind is not types.NoneType]
    if value is None and len(others) < len(kinds):
        return None
    (kind,) = others
    return _build(kind, value, place)


def _bounded(value: Any, limits: tuple[object, ...], place: str) -> Any:
    for limit in limits:
        if isinstance(limit, Bounds) and not limit.low <= value <= limit.high:
            high = "more" if limit.high >= _MAX_COUNT else f"up to {limit.high:g}"
            _refuse(place, value, f"a number from {limit.low:g} {'or ' if high == 'more' else ''}{high}")
        if isinstance(limit, Length) and len(value) != limit.count:
            _refuse(place, value, f"a list of {limit.count}")
    return value


def _text(value: object, place: str) -> str:
    if not isinstance(value, str):
        _refuse(place, value, "a string")
    if len(value) > MAX_TEXT:
        _refuse(place, value, f"at most {MAX_TEXT} characters")
    if REFUSED_CHARACTERS.search(value):
        _refuse(place, value, "text without control characters")
    return value


def _refuse(place: str, value: object, expected: str) -> NoReturn:
    raise _RefusedError(f"{place or 'the whole'} is {_short(value)}, but must be {expected}")


def _short(value: object) -> str:
    if isinstance(value, (list, dict)):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    shortener = reprlib.Repr()
    shortener.maxstring = shortener.maxlong = shortener.maxother = 60
    return shortener.repr(value)  # escapes whatever cannot be printed


def _join(place: str, name: str) -> str:
    name = printable(name if len(name) <= 60 else f"{name[:59]}…")
    return f"{place}.{name}" if place else name


def key(entry: dataclasses.Field[Any]) -> str:
    """The key of a field in a file."""
    return entry.metadata.get("key", entry.name)


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)
