"""The classes of a model and those of a dataset."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence

from timm_pushpull.data.images import ImageSet
from timm_pushpull.utils.errors import InputError


def restrict_to_classes(images: ImageSet, names: Sequence[str] | None) -> ImageSet:
    """The images of a model's classes, if it knows only some classes of the dataset, else all images.

    Args:
        names: The model's class names; None if it has none. Names that are not in the dataset leave the images as they
            are; `check_classes` reports them.
    """
    if names and len(names) < len(images.classes):
        with contextlib.suppress(InputError):
            return images.select_classes(names)
    return images


def check_classes(names: Sequence[str] | None, classes: Sequence[str], dataset: str) -> None:
    """Compare the class names of a model, if it has any, with those of a dataset.

    With names that agree only in part, or in another order, correct predictions would count as wrong. Names with
    nothing in common may denote the same classes (WordNet ids and words), so they only cause a warning.

    Raises:
        InputError: The numbers of classes differ, or the names agree in part or in another order.
    """
    if not names or list(names) == list(classes):
        return
    if len(names) != len(classes):
        raise InputError(
            f"the model has {len(names)} classes, {dataset!r} has {len(classes)}; use a model trained on these classes"
        )
    theirs, ours = (", ".join(map(str, entries[:3])) for entries in (names, classes))
    described = f"the model's classes ({theirs}, ...) are not those of {dataset!r} ({ours}, ...)"
    if set(names) & set(classes):
        raise InputError(f"{described}; use a model trained on these classes, in this order")
    warnings.warn(f"{described}; the errors are meaningless unless both name the same classes", stacklevel=2)
