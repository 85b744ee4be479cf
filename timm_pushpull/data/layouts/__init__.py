"""Readers of corrupted sets that lie on a disk or on the Hub: CIFAR-10-C's arrays, ImageNet-C's folders, and Hugging
Face data sets with a configuration per corruption.

    >>> corrupted = open_corrupted("CIFAR-10-C")
    >>> for images, labels, indices in corrupted.batches("fog", severity=3, batch_size=64): ...
"""

from __future__ import annotations

from pathlib import Path

from timm_pushpull.data.layouts.base import CorruptedSet, read_manifest
from timm_pushpull.data.layouts.folders import FolderSet
from timm_pushpull.data.layouts.hub import HubSet
from timm_pushpull.data.layouts.npy import NpySet
from timm_pushpull.utils.errors import InputError

__all__ = ["CorruptedSet", "open_corrupted"]


def open_corrupted(place: Path | str) -> CorruptedSet:
    """Open a corrupted set, whatever its layout; no images are read yet.

    Args:
        place: A folder, or the Hub id of a data set with a configuration per corruption.

    Raises:
        InputError: No such place, none of the three layouts, or one with files missing or damaged.
    """
    folder = Path(place)
    if not folder.is_dir():
        if folder.exists() or str(place).startswith((".", "/", "~")) or str(place).count("/") > 1:
            raise InputError(f"no folder of corrupted images at {str(place)!r}; give one, or a Hub id")
        return HubSet(str(place))
    if (folder / ".work").is_dir():
        raise InputError(f"{str(folder)!r} is not finished; run the command that makes it once more")
    manifest = read_manifest(folder)
    layout = manifest.get("format")
    if layout == "npy" or any(folder.glob("*.npy")):
        return NpySet(folder, manifest)
    if layout == "parquet" or any(folder.glob("*/*.parquet")):
        return HubSet(str(folder), manifest)
    return FolderSet(folder, manifest)
