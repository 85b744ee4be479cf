"""Which clean image each image of a corrupted set was made from: by file name, else by row where the labels agree."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np

from timm_pushpull.data.corrupted import CorruptedSet
from timm_pushpull.data.corrupted.image_files import image_stems, unique_stems
from timm_pushpull.data.corrupted.job import rows_hash
from timm_pushpull.data.images import ImageSet
from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.wordnet import wordnet_ids

_ADVICE = "give the clean images that it was made from"


def pair(clean: ImageSet, corrupted: CorruptedSet) -> np.ndarray:
    """The row of the clean image for every image of a corrupted set, int64 of shape (N,).

    Images with file names are paired by these, with or without the class folder. Others are paired in their order, if
    both have as many. The labels are compared in any case.

    Raises:
        InputError: Other classes, file names, numbers or labels.
    """
    labels = _labels(clean, corrupted)
    made_from, split = corrupted.manifest.get("dataset"), corrupted.manifest.get("split", clean.split)
    if made_from == clean.name and split != clean.split:  # whose files may have the same names
        raise InputError(
            f"{corrupted.name!r} was made from split {split!r} of {made_from!r}, not from {clean.split!r}; choose it "
            f"with --split {split}"
        )
    names = corrupted.names()
    rows = None if names is None else _by_name(clean, corrupted, names)
    rows = _by_order(clean, corrupted) if rows is None else rows
    wrong = np.flatnonzero(labels[rows] != corrupted.labels)
    if len(wrong):
        raise InputError(
            f"{len(wrong):,} of {len(rows):,} images of {corrupted.name!r} have other labels than the images of "
            f"{clean.name!r}, split {clean.split!r}, the first in row {wrong[0]}; {_ADVICE}, in the same order"
        )
    return rows


def _labels(clean: ImageSet, corrupted: CorruptedSet) -> np.ndarray:
    """The labels of all clean rows as numbers of the classes of the corrupted set; -1 for classes that it lacks."""
    theirs, ours = corrupted.classes, clean.classes
    if theirs is not None and set(theirs).isdisjoint(ours):
        ours = tuple(wordnet_ids(ours))
        theirs = tuple(wordnet_ids(theirs))
    if theirs is None or (set(theirs) != set(ours) and (_numbers(theirs) or _numbers(ours))):
        return clean.labels
    if set(theirs).isdisjoint(ours):
        raise InputError(
            f"the classes of {corrupted.name!r} ({', '.join(theirs[:3])}, ...) are not those of {clean.name!r} "
            f"({', '.join(ours[:3])}, ...); {_ADVICE}"
        )
    position = {name: number for number, name in enumerate(theirs)}
    return np.array([position.get(name, -1) for name in ours], np.int64)[clean.labels]


def _numbers(classes: Sequence[str]) -> bool:
    """Whether classes are named by their own numbers, that is, not at all."""
    return tuple(classes) == tuple(map(str, range(len(classes))))


def _by_name(clean: ImageSet, corrupted: CorruptedSet, names: Sequence[str]) -> np.ndarray | None:
    """Pairs by file name; None where the clean images have no names of their own."""
    made_from = clean.subset(corrupted.manifest.get("rows"))
    is_original = corrupted.manifest.get("rows_sha256") == rows_hash(made_from)
    # Elsewhere, which of several images of one name is meant is not known.
    stems = image_stems(made_from) if is_original else unique_stems(clean)
    rows = {stem: row for row, stem in stems.items()}
    missing = [name for name in names if name not in rows]
    if missing:
        by_file: dict[str, list[int]] = {}
        for stem, row in rows.items():
            by_file.setdefault(_file(stem), []).append(row)
        rows = {file: found[0] for file, found in by_file.items() if len(found) == 1}
        names = [_file(name) for name in names]
        missing = [name for name in names if name not in rows]
    if not missing:
        found = np.array([rows[name] for name in names], np.int64)
        if len(np.unique(found)) == len(found):
            return found
        raise InputError(f"{corrupted.name!r} has several images of one name; {_ADVICE}")
    if any(clean.files.paths(clean.indices[:1].tolist())):
        raise InputError(
            f"{clean.name!r}, split {clean.split!r}, lacks {len(missing):,} of the {len(names):,} images of "
            f"{corrupted.name!r}, such as {missing[0]!r}, or has several of that name; {_ADVICE}"
        )
    return None


def _file(stem: str) -> str:
    """The stem of a file without its class folder, nor the WordNet id that copies of ImageNet append."""
    return re.sub(r"_n\d{8}$", "", PurePosixPath(stem).name)


def _by_order(clean: ImageSet, corrupted: CorruptedSet) -> np.ndarray:
    """The clean rows in their order, without those that could not be read when the set was made."""
    if (name := corrupted.manifest.get("dataset", clean.name)) != clean.name:
        warnings.warn(
            f"{corrupted.name!r} was made from {name!r}, and its images have no names to compare with those of "
            f"{clean.name!r}; they are paired in their order",
            stacklevel=2,
        )
    made_from = clean.subset(corrupted.manifest.get("rows"))
    unreadable = [entry["row"] for entry in corrupted.manifest.get("unreadable", [])]
    rows = made_from.indices[~np.isin(made_from.indices, unreadable)]
    if len(rows) != len(corrupted):
        raise InputError(
            f"{clean.name!r} has {len(rows):,} images and {corrupted.name!r} {len(corrupted):,}; {_ADVICE}"
        )
    return rows
