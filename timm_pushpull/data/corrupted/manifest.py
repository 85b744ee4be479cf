"""`manifest.json` of a corrupted set, checked before anything that it says becomes a path."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from timm_pushpull.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS
from timm_pushpull.corruptions.functional import check_uint64
from timm_pushpull.utils import schema
from timm_pushpull.utils.errors import InputError, one_line
from timm_pushpull.utils.files import read_plain
from timm_pushpull.utils.json_text import CHECKSUM, check_checksum, parse_object
from timm_pushpull.utils.text import shortened

MANIFEST = "manifest.json"
_LIMIT = 256 << 20  # bytes; the manifest lists a hash per Parquet file, and unreadable images


class DamagedError(InputError):
    """A file that was cut off or changed since it was written."""


@dataclass(frozen=True)
class _Unreadable:
    row: schema.Count
    file: str


@dataclass(frozen=True)
class _Types:
    """What is read of a manifest beside its corruptions and severities. Sets made by hand may lack any of it."""

    rows_sha256: str
    format: str = ""
    preset: str = ""
    frost: str | None = None
    jpeg_quality: Annotated[int, schema.Bounds(1, 100)] | None = None
    dataset: str = ""
    dataset_config: str | None = None
    split: str = ""
    num_images: schema.Count = 0
    unreadable: list[_Unreadable] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)


def read_manifest(folder: Path) -> dict | None:
    """What `timm-pushpull corrupt` says about a finished set; None where it did not make the folder.

    Raises:
        InputError: It is damaged, has a value of a wrong type, names something that is no corruption or severity, or is
            not a plain file.
    """
    path = folder / MANIFEST
    try:
        content = read_json(path)
    except DamagedError as error:
        raise InputError(
            f"{error}; restore it, or remove the folder and make the set again; if you changed it on purpose, remove "
            f"its entry {CHECKSUM!r}"
        ) from error
    if content is None or "rows_sha256" not in content:
        return None
    check_cells(content, path)
    schema.check(_Types, content, repr(str(path)), "manifest of a corrupted set")
    try:
        check_uint64("seed", content.get("seed", 0))
    except InputError as error:
        raise InputError(f"{str(path)!r} is not a manifest of a corrupted set: {one_line(error)}") from error
    return content


def read_json(path: Path, *, checksum: bool = False) -> dict | None:
    """The object that a JSON file holds; None where there is no file.

    Args:
        checksum: Whether it must have a checksum.

    Raises:
        InputError: It is a symbolic link, not a regular file, or too large.
        DamagedError: It does not hold a JSON object, or its checksum does not fit, if it has one.
    """
    if not os.path.lexists(path):
        return None
    try:
        text = read_plain(path, _LIMIT)
    except InputError:
        if os.path.lexists(path):
            raise
        return None  # removed by another process just now
    try:
        content = parse_object(text)
        if checksum or CHECKSUM in content:
            check_checksum(content)
        return content
    except ValueError as error:
        raise DamagedError(f"{str(path)!r} is damaged ({one_line(error)})") from error


def read_work_file(path: Path) -> dict | None:
    """The object of a JSON file in `.work` that can be made anew, without its checksum; None for none or a damaged one.

    Raises:
        InputError: It is a symbolic link, or not a regular file.
    """
    try:
        content = read_json(path, checksum=True)
    except DamagedError:
        return None
    return content and {name: value for name, value in content.items() if name != CHECKSUM}


def check_cells(settings: object, path: Path) -> dict:
    """A set's settings, whose corruptions and severities are parts of the paths of its files.

    Args:
        path: The file that they are from.

    Raises:
        InputError: A corruption or severity that does not exist, or none.
    """
    content = settings if isinstance(settings, dict) else {}
    held = {"corruptions": content.get("corruptions"), "severities": content.get("severities", [1])}
    for key, known in (("corruptions", CORRUPTIONS + EXTRA_CORRUPTIONS), ("severities", (1, 2, 3, 4, 5))):
        entries, kind = held[key], type(known[0])
        if not entries or not isinstance(entries, list):
            strange = [entries]
        else:
            strange = [entry for entry in entries if type(entry) is not kind or entry not in known]
        if strange:
            raise InputError(
                f"{str(path)!r} does not describe a corrupted set: {shortened(strange[0])} among its {key}; remove the "
                f"folder by hand, or make the set again in another one"
            )
    return content
