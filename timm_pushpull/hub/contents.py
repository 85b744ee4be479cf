"""What the files of a run or a release may hold: they are checked before they are copied, handed over or published."""

from __future__ import annotations

import csv
import io
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from safetensors import safe_open

from timm_pushpull.benchmark.results import Results
from timm_pushpull.data.images import UNREADABLE
from timm_pushpull.models.config import parse_config
from timm_pushpull.utils.errors import InputError, one_line
from timm_pushpull.utils.files import check_plain, check_within, read_plain, refuse_link
from timm_pushpull.utils.json_text import parse_object
from timm_pushpull.utils.yaml_text import load_yaml

_COLUMN = re.compile(r"[A-Za-z]\w{0,63}", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?|nan|[+-]?inf", re.ASCII)


def _text(content: bytes) -> str:
    text = content.decode()
    if "\0" in text:
        raise ValueError("it holds a NUL byte")
    return text


def _config(content: bytes) -> None:
    parse_config(_text(content), "it")


def _json(content: bytes) -> None:
    parse_object(_text(content))


def _yaml(content: bytes) -> None:
    if not isinstance(load_yaml(_text(content)), (dict, list)):
        raise ValueError("it is neither a mapping nor a list")


def _log(content: bytes) -> None:
    """A header of names, then rows of as many numbers."""
    rows = csv.reader(io.StringIO(_text(content), newline=""), strict=True)
    header = next(rows, [])
    if not header or not all(map(_COLUMN.fullmatch, header)) or len(set(header)) < len(header):
        raise ValueError("it does not begin with a header of column names")
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header) or not all(map(_NUMBER.fullmatch, row)):
            raise ValueError(f"row {number} does not have {len(header)} numbers")


def _card(content: bytes) -> None:
    text = _text(content)
    if text and not re.match(r"---\r?\n", text):  # while a release is made, its card is empty
        raise ValueError("it does not begin with a model card's front matter")


def _licence(content: bytes) -> None:
    if not _text(content).lstrip().startswith("Apache License"):
        raise ValueError("it is not the Apache License, which config.json names")


def _png(content: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
                image.verify()
        except UNREADABLE as error:
            raise ValueError("it is not an image in the PNG format") from error


def _journal(content: bytes) -> None:
    for line in content.splitlines(keepends=True):
        if line.endswith(b"\n"):  # else it was being written when the process was killed
            _json(line)


def _weights(path: Path) -> None:
    """The header alone, which accounts for every byte of the file."""
    with safe_open(path, framework="pt") as file:
        file.keys()


_KIB, _MIB, _GIB = 1 << 10, 1 << 20, 1 << 30
_WEIGHTS = "model.safetensors"
#: Every file of a run or a release that may leave its folder: most bytes, and the check of its content. Weights are
#: checked by their path: they may not fit into memory.
_KNOWN: dict[str, tuple[int, Callable[[Any], object]]] = {
    _WEIGHTS: (4 * _GIB, _weights),
    "config.json": (8 * _MIB, _config),
    "README.md": (_MIB, _card),
    "results.json": (8 * _MIB, lambda content: Results.from_json(_text(content))),
    "recipe.yaml": (256 * _KIB, _yaml),
    "log.csv": (16 * _MIB, _log),
    "LICENSE": (64 * _KIB, _licence),
    "robustness.png": (16 * _MIB, _png),
    ".eval_results/timm-pushpull.yaml": (256 * _KIB, _yaml),
    "training.json": (_MIB, _json),
    "results.json.part": (_GIB, _journal),
}


def check_files(folder: Path, names: Iterable[str]) -> None:
    """Check those of these files that a folder holds.

    Raises:
        InputError: The folder or a file is a symbolic link; a file is not a regular one, is too large, or its content
            is not that of a file of its name.
    """
    for name in present(folder, names):
        if name != _WEIGHTS:
            read_file(folder, name)
            continue
        limit, check = _KNOWN[name]
        check_plain(folder / name, limit)
        with _damage(folder, name):
            check(folder / name)


def present(folder: Path, names: Iterable[str]) -> tuple[str, ...]:
    """Those of these names that a folder has an entry of, of whatever kind."""
    refuse_link(folder)
    return tuple(name for name in names if os.path.lexists(folder / name))


def read_file(folder: Path, name: str) -> bytes:
    """A file's content, checked; of weights, only the kind and size of the file.

    Raises:
        InputError: As for `check_files`.
    """
    limit, check = _KNOWN[name]
    check_within(folder / name, folder)
    content = read_plain(folder / name, limit)
    if name != _WEIGHTS:
        with _damage(folder, name):
            check(content)
    return content


@contextmanager
def _damage(folder: Path, name: str) -> Iterator[None]:
    try:
        yield
    except UNREADABLE as error:
        raise InputError(f"{str(folder)!r} holds a damaged file: {name}: {one_line(error)}") from error
