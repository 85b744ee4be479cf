"""Tables of images and labels that `datasets` reads: which column is what, and classes from labels of any type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from timm_pushpull.data.images import EncodedImage
from timm_pushpull.utils.errors import InputError

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

_TEXT = ("string", "large_string")
_MOST_CLASSES = 1 << 20  # larger numbers are ids, not classes


class DatasetFiles:
    """The image files in a column of a Hugging Face dataset; they are not decoded.

    Attributes:
        column: Name of the column.
    """

    def __init__(self, dataset: datasets.Dataset, column: str) -> None:
        import datasets

        self.column = column
        self._dataset = dataset.select_columns([column]).cast_column(column, datasets.Image(decode=False))

    def read(self, rows: Sequence[int]) -> list[EncodedImage]:
        """The files in these rows."""
        missing: EncodedImage = {"bytes": None, "path": None}
        return [missing if file is None else file for file in self._dataset[list(rows)][self.column]]

    def paths(self, rows: Sequence[int]) -> list[str | None]:
        """The paths of the files in these rows, without their content."""
        import pyarrow.compute as pc

        column = self._dataset.with_format("arrow")[:][self.column]
        return pc.struct_field(column, "path").take(np.asarray(rows)).to_pylist()


def image_column(table: datasets.Dataset, name: str, given: str | None) -> str:
    """The given column, or the only one of images.

    Raises:
        InputError: There is no such column, or several.
    """
    import datasets

    if given is not None:
        return _given(table, name, given)
    found = [column for column, feature in table.features.items() if isinstance(feature, datasets.Image)]
    if len(found) != 1:
        raise _undecided(table, name, "image", found)
    return found[0]


def label_column(table: datasets.Dataset, name: str, given: str | None) -> str:
    """The given column; or the only one of class labels; or the one called label; or the only one of whole numbers,
    text or booleans.

    Raises:
        InputError: There is no such column, or several; or a value of its own in every row, like names and captions, or
            whole numbers beyond the number of rows, like years.
    """
    import datasets

    if given is not None:
        return _given(table, name, given)
    features = table.features
    found = [column for column, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    if not found:
        scalars = {column: f.dtype for column, f in features.items() if isinstance(f, datasets.Value)}
        found = [column for column, kind in scalars.items() if "int" in kind or kind in (*_TEXT, "bool")]
        if "label" in scalars:
            return "label"
        if len(found) == 1 and _is_no_class(table, found[0]):
            found = []
    if len(found) != 1:
        raise _undecided(table, name, "label", found)
    return found[0]


def _is_no_class(table: datasets.Dataset, column: str) -> bool:
    """Whether a column looks like names, captions, years or ids, and not like classes."""
    values = set(table.with_format(None)[column]) - {None}
    if values and all(isinstance(value, int) for value in values):
        return max(values) >= max(len(table), 2)
    return 3 <= len(table) == len(values)


def _given(table: datasets.Dataset, name: str, column: str) -> str:
    if column not in table.features:
        raise InputError(f"dataset {name!r} has no column {column!r}; it has: {_described(table)}")
    return column


def _undecided(table: datasets.Dataset, name: str, kind: str, found: Sequence[str]) -> InputError:
    """The error for no suitable column, or several."""
    if found:
        return InputError(
            f"dataset {name!r} has {len(found)} {kind} columns; choose one with --{kind}-column: {', '.join(found)}"
        )
    return InputError(
        f"dataset {name!r} holds no {kind}s; its columns are: {_described(table)}; choose one with --{kind}-column"
    )


def _described(table: datasets.Dataset) -> str:
    kinds = {column: getattr(feature, "dtype", "") for column, feature in table.features.items()}
    return ", ".join(
        f"{column} ({kinds[column] if type(feature).__name__ == 'Value' else type(feature).__name__})"
        for column, feature in table.features.items()
    )


def labels_and_classes(table: datasets.Dataset, name: str, column: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class of every row, int64 of shape (N,), and the names of the classes.

    Whole numbers without names are the classes 0 to the largest one. Texts are classes in sorted order.

    Raises:
        InputError: Values that are no classes, or missing ones.
    """
    import pyarrow as pa

    values = table.select_columns([column]).with_format("arrow")[:][column]
    values, kind, where = values.combine_chunks(), values.type, f"label column {column!r} of {name!r}"
    if values.null_count:
        row = int(np.argmax(values.is_null().to_numpy(zero_copy_only=False)))
        raise _blank(where, row)
    if pa.types.is_boolean(kind):
        return values.to_numpy(zero_copy_only=False).astype(np.int64), ("False", "True")
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        texts = values.to_pylist()
        if blank := [row for row, text in enumerate(texts) if not text.strip()]:
            raise _blank(where, blank[0])
        classes = tuple(sorted(set(texts)))
        numbers = {text: number for number, text in enumerate(classes)}
        return np.array([numbers[text] for text in texts], np.int64), classes
    if not pa.types.is_integer(kind):
        raise InputError(
            f"{where} holds {_kind(kind)}, not class numbers or names; write whole numbers or text, or choose another "
            f"with --label-column"
        )
    labels = values.to_numpy(zero_copy_only=False)
    least, most = (int(labels.min()), int(labels.max())) if len(labels) else (0, -1)
    names = getattr(table.features[column], "names", None)
    count = len(names) if names else most + 1
    if len(labels) and not (0 <= least <= most < count):
        raise InputError(
            f"{where} has labels from {least} to {most} for {max(count, 0)} classes; is this split unlabelled?"
        )
    if count > _MOST_CLASSES:
        raise InputError(
            f"{where} has labels up to {most:,}, which are no class numbers; choose another --label-column"
        )
    return labels.astype(np.int64), tuple(names or map(str, range(count)))


def _blank(where: str, row: int) -> InputError:
    return InputError(f"{where} has no value in row {row}, counted from 0; fill it in, or remove the row")


def _kind(kind: pa.DataType) -> str:
    import pyarrow as pa

    if pa.types.is_floating(kind):
        return "decimal numbers"
    return "several values per image" if pa.types.is_list(kind) or pa.types.is_large_list(kind) else str(kind)[:40]
