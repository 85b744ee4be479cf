"""What the files of others may hold: names that are paths."""

from __future__ import annotations

from pathlib import Path

import pytest

#: What a file may give as a name.
TEXTS = ["../victim", "..", ".", "", "a/b", "a\\b", "/abs", "../../victim", "fog/../../victim", "fog/", "./fog"]
TEXTS += ["fog\0", "fog\nsnow", "fog\r", "\x1b[2J", "\x9b2J"]
HOSTILE = [*TEXTS, "\ud800", None, 1, ["fog"], {"fog": 1}, True]
NAMES = pytest.mark.parametrize("name", HOSTILE, ids=ascii)
NAMES_IN_YAML = pytest.mark.parametrize("name", TEXTS, ids=ascii)


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Mode and content of everything in a folder."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    }
