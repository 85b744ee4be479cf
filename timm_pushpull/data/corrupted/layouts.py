"""The layouts there are, and which one a folder has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from timm_pushpull.data.corrupted import imagefolder, npy, parquet
from timm_pushpull.data.corrupted.base import CorruptedSet, Layout
from timm_pushpull.data.corrupted.folder import WORK
from timm_pushpull.data.corrupted.manifest import read_manifest
from timm_pushpull.utils.errors import InputError

#: Layouts by name. A folder without a manifest has the first one that matches.
LAYOUTS: dict[str, Layout] = {layout.name: layout for layout in (npy.LAYOUT, parquet.LAYOUT, imagefolder.LAYOUT)}


def open_corrupted(place: Path | str) -> CorruptedSet:
    """Open a corrupted set, whatever its layout; no images are read yet.

    Args:
        place: A folder, or the Hub id of a dataset with a configuration per corruption.

    Raises:
        InputError: No such place, none of the layouts, or files that are missing or damaged.
    """
    folder = Path(place)
    if not folder.is_dir():
        if folder.exists() or str(place).startswith((".", "/", "~")) or str(place).count("/") > 1:
            raise InputError(f"no folder of corrupted images at {str(place)!r}; give one, or a Hub id")
        return parquet.LAYOUT.reader(str(place), {})
    if (folder / WORK).is_dir():
        raise InputError(f"{str(folder)!r} is not finished; run the command that makes it once more")
    manifest = read_manifest(folder) or {}
    layout = LAYOUTS.get(str(manifest.get("format", "")))
    for candidate in LAYOUTS.values():
        layout = layout or (candidate if candidate.matches(folder) else None)
    if layout is None:
        expected = ", or ".join(candidate.description for candidate in LAYOUTS.values())
        raise InputError(f"{str(folder)!r} holds no corrupted images; expected {expected}")
    corrupted = layout.reader(str(folder), manifest)
    if len(corrupted) != (number := manifest.get("num_images", len(corrupted))):
        raise InputError(f"{str(folder)!r} holds {len(corrupted):,} images, its manifest says {number:,}; restore it")
    return corrupted


def set_entries(corruptions: Sequence[str]) -> list[str]:
    """The names at the top of a folder that a set of these corruptions may have, in any layout."""
    return list(dict.fromkeys(name for layout in LAYOUTS.values() for name in layout.entries(corruptions)))
