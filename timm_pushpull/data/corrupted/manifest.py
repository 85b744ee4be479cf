"""`manifest.json` of a corrupted set, checked before anything that it says becomes a path."""

from __future__ import annotations

import json
import os
from pathlib import Path

from timm_pushpull.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS
from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.files import read_plain

MANIFEST = "manifest.json"
_LIMIT = 256 << 20  # bytes; the manifest lists a hash per Parquet file, and unreadable images


def read_manifest(folder: Path) -> dict | None:
    """What `timm-pushpull corrupt` says about a finished set; None where it did not make the folder.

    Raises:
        InputError: It names something that is no corruption or severity, or is not a plain file.
    """
    path = folder / MANIFEST
    content = read_json(path)
    if content is None or "rows_sha256" not in content:
        return None
    return check_cells(content, path)


def read_json(path: Path) -> dict | None:
    """A JSON file's content; None where there is none, or no mapping.

    Raises:
        InputError: It is a symbolic link, not a regular file, or too large.
    """
    if not os.path.lexists(path):
        return None
    try:
        content = json.loads(read_plain(path, _LIMIT))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError) and os.path.lexists(path):
            raise
        return None  # cut off, of something else, or removed by another process just now
    return content if isinstance(content, dict) else None


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
                f"{str(path)!r} does not describe a corrupted set: {strange[0]!r} among its {key}; remove the folder "
                f"by hand, or make the set again in another one"
            )
    return content
