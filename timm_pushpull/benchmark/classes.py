"""Whether a model's classes are those of a data set."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from torch import Tensor

from timm_pushpull.errors import InputError


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


def check_logits(logits: Tensor, classes: int, name: str, severity: int) -> None:
    """Raise InputError for logits of another number of classes, or that are not finite, naming the cell."""
    if logits.ndim != 2 or logits.shape[1] != classes:
        raise InputError(
            f"the model gives {tuple(logits.shape)[1:]} outputs per image, the data set has {classes} "
            f"classes; use a model trained on these classes"
        )
    if not logits.isfinite().all():
        raise InputError(
            f"the model gives logits that are not finite on {name}, severity {severity}; "
            f"try --precision fp32, or mend the weights"
        )
