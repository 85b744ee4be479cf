"""Load a split of an image classification dataset: a folder, a Hub id, or scikit-learn's digits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from timm_pushpull.data.images import EncodedImage, ImageSet, rank_in_class
from timm_pushpull.utils.errors import InputError, one_line, unknown
from timm_pushpull.utils.hub_client import quiet_hub

if TYPE_CHECKING:
    import datasets

DIGITS = "digits"
DIGITS_ORIGIN = (
    "scikit-learn's copy of the test part of Optical Recognition of Handwritten Digits (Alpaydin and Kaynak, UCI, "
    "1998; CC BY 4.0), 8x8 px enlarged to 32x32; every fifth image of a class is a test image"
)
_TEST_SPLITS = ("test", "validation", "valid", "val")


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
        return self._dataset[list(rows)][self.column]

    def paths(self, rows: Sequence[int]) -> list[str | None]:
        """The paths of the files in these rows, without their content."""
        import pyarrow.compute as pc

        column = self._dataset.with_format("arrow")[:][self.column]
        return pc.struct_field(column, "path").take(np.asarray(rows)).to_pylist()


def load_images(
    dataset: str | Path,
    split: str | None = None,
    *,
    train: bool = False,
    config: str | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
) -> ImageSet:
    """Load one split of an image classification dataset.

    Args:
        dataset: A folder or Hub id that `datasets.load_dataset` reads, or `digits`, the 1,797 handwritten digits that
            come with scikit-learn.
        split: Its name; by default `train` if `train`, else the first of test, validation, valid, val that exists.
        train: Whether the training split is the default.
        config: Name of the configuration, if the dataset has several.
        image_column, label_column: Needed only if several columns have a suitable type.

    Raises:
        InputError: No such dataset, split, image or label column; labels outside the classes.
    """
    dataset = str(dataset)
    name = Path(dataset).resolve().name if Path(dataset).exists() else dataset
    try:
        table, split = _load_digits(split, train) if dataset == DIGITS else _load_split(dataset, config, split, train)
    except (InputError, KeyboardInterrupt):
        raise
    except Exception as error:  # any builder, file system or network error: the user can only correct name or data
        raise InputError(f"cannot load dataset {dataset!r}: {one_line(error)}") from error
    image_column = _image_column(table, name, image_column)
    labels, classes = _labels(table, name, _label_column(table, name, label_column))
    if len(table) == 0:
        raise InputError(f"split {split!r} of {name!r} is empty")
    origin = DIGITS_ORIGIN if dataset == DIGITS else ""
    files = DatasetFiles(table, image_column)
    return ImageSet(name, split, files, labels, classes, np.arange(len(labels)), origin, config)


def read_classes(path: Path | str) -> tuple[str, ...]:
    """Class names from a text file, one per line.

    Raises:
        InputError: The file cannot be read, is empty, or names a class twice.
    """
    try:
        names = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the class names in {str(path)!r}: {one_line(error)}") from error
    twice = next((name for name in names if names.count(name) > 1), None)
    if not names or twice:
        raise InputError(f"{str(path)!r} {f'names class {twice!r} twice' if twice else 'names no class'}")
    return tuple(names)


def _load_split(dataset: str, config: str | None, split: str | None, train: bool) -> tuple[datasets.Dataset, str]:
    """A folder or Hub id, as `datasets` reads it."""
    import datasets

    looks_like_a_path = dataset.startswith((".", "/", "~")) or dataset.count("/") > 1
    if looks_like_a_path and not Path(dataset).is_dir():
        raise InputError(f"no dataset folder at {dataset!r}")
    with quiet_hub():
        _check_config(dataset, config)
        split = _choose_split(dataset, datasets.get_dataset_split_names(dataset, config), split, train)
        return datasets.load_dataset(dataset, config, split=split), split


def _check_config(dataset: str, config: str | None) -> None:
    """Raise InputError unless the dataset has this configuration, or None is enough to choose one."""
    import datasets

    known = datasets.get_dataset_config_names(dataset)
    if config is not None and config not in known:
        raise InputError(f"dataset {dataset!r} lacks it: {unknown('configuration', config, known)}")
    if config is None and len(known) > 1 and datasets.get_dataset_default_config_name(dataset) is None:
        raise InputError(
            f"dataset {dataset!r} has {len(known)} configurations; choose one with --dataset-config: {', '.join(known)}"
        )


def _load_digits(split: str | None, train: bool) -> tuple[datasets.Dataset, str]:
    """scikit-learn's digits as 32x32 RGB; every fifth image of a class, in the order of the file, is a test image."""
    import datasets

    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise InputError("the digits dataset needs scikit-learn: pip install 'timm-pushpull[train]'") from None
    split = _choose_split(DIGITS, ("train", "test"), split, train)
    digits = load_digits()
    chosen = (rank_in_class(digits.target) % 5 == 4) == (split == "test")
    grey = np.round(digits.images[chosen] * (255 / 16)).astype(np.uint8)
    images = [Image.fromarray(g).resize((32, 32), Image.Resampling.BICUBIC).convert("RGB") for g in grey]
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=[str(d) for d in range(10)]))
    return datasets.Dataset.from_dict({"image": images, "label": digits.target[chosen]}, features=features), split


def _choose_split(dataset: str, splits: Sequence[str], split: str | None, train: bool) -> str:
    wanted = (split,) if split else ("train",) if train else _TEST_SPLITS
    for candidate in wanted:
        if candidate in splits:
            return candidate
    raise InputError(f"dataset {dataset!r} has no split {' or '.join(wanted)}; it has: {', '.join(splits)}")


def _image_column(table: datasets.Dataset, name: str, given: str | None) -> str:
    import datasets

    return _column(table, name, "image", given, lambda feature: isinstance(feature, datasets.Image))


def _label_column(table: datasets.Dataset, name: str, given: str | None) -> str:
    """The column of class labels, or else the column of integers."""
    import datasets

    return _column(
        table,
        name,
        "label",
        given,
        lambda feature: isinstance(feature, datasets.ClassLabel),
        lambda feature: isinstance(feature, datasets.Value) and "int" in str(feature.dtype),
    )


def _column(
    table: datasets.Dataset, name: str, kind: str, given: str | None, *suitable: Callable[[object], bool]
) -> str:
    """The given column, or the only one whose type is suitable; the first test that any column passes decides."""
    features = table.features
    described = ", ".join(f"{column} ({type(feature).__name__})" for column, feature in features.items())
    if given is not None:
        if given not in features:
            raise InputError(f"dataset {name!r} has no column {given!r}; it has: {described}")
        return given
    for test in suitable:
        found = [column for column, feature in features.items() if test(feature)]
        if len(found) == 1:
            return found[0]
        if found:
            raise InputError(
                f"dataset {name!r} has {len(found)} {kind} columns; choose one with --{kind}-column: {', '.join(found)}"
            )
    raise InputError(f"dataset {name!r} holds no {kind}s; its columns are: {described}")


def _labels(table: datasets.Dataset, name: str, column: str) -> tuple[np.ndarray, tuple[str, ...]]:
    labels = np.asarray(table.select_columns([column]).with_format("numpy")[:][column])
    feature = table.features[column]
    if not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"label column {column!r} of {name!r} holds {labels.dtype}, not class numbers")
    classes = tuple(getattr(feature, "names", None) or (str(c) for c in range(int(labels.max(initial=-1)) + 1)))
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(classes):
        raise InputError(
            f"label column {column!r} of {name!r} has labels from {labels.min()} to {labels.max()} for "
            f"{len(classes)} classes; is this split unlabelled?"
        )
    return labels.astype(np.int64), classes
