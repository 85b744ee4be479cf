"""Whether a model's classes are those of a data set."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence

from timm_pushpull.data.images import ImageSet
from timm_pushpull.utils.errors import InputError


def of_model(images: ImageSet, names: Sequence[str] | None) -> ImageSet:
    """The images that a model is measured on: those of its classes, where it knows some of the data set's only.

    Args:
        names: The model's classes, if it has names for them. Names that are no classes of the data set change nothing,
            for `check_classes` says it better.
    """
    if names and len(names) < len(images.classes):
        with contextlib.suppress(InputError):
            return images.select_classes(names)
    return images


def check_classes(names: Sequence[str] | None, classes: Sequence[str], dataset: str) -> None:
    """Compare the class names that came with a model, if any, to those of a data set.

    Names that agree only in part, or in another order, would count right answers as wrong. Names with nothing in common
    may be two spellings of the same classes (WordNet ids and words), so they only draw a warning.

    Raises:
        InputError: Another number of classes; names that agree in part or in another order.
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
    warnings.warn(f"{described}; errors mean nothing unless they are the same under other names", stacklevel=2)
