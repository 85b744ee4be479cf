"""Labelled images from a folder or a Hub id."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from huggingface_hub.utils import logging as hub_logging
from PIL import Image, ImageOps

from timm_pushpull.utils.errors import InputError, one_line, unknown

DIGITS = "digits"
DIGITS_ORIGIN = (
    "scikit-learn's copy of the test part of Optical Recognition of Handwritten Digits (Alpaydin and Kaynak, UCI, "
    "1998; CC BY 4.0), 8x8 px enlarged to 32x32; every fifth image of a class is a test image"
)
#: What Pillow raises for files that are damaged or no pictures.
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
_TEST_SPLITS = ("test", "validation", "valid", "val")


@dataclass(frozen=True)
class ImageSet:
    """The labelled images of one split, or a selection of them.

    Attributes:
        name: What the data set is called in results and cards: its Hub id, or its folder's name.
        rows: Its table, whose column `image_column` holds undecoded pictures.
        labels: Class of every row, int64 of shape (rows,).
        classes: Names of the classes.
        indices: The selected rows, int64; a corruption's draws depend on them, not on the selection.
        origin: Where the images come from, in words, if known.
    """

    name: str
    split: str
    rows: object
    image_column: str
    labels: np.ndarray
    classes: tuple[str, ...]
    indices: np.ndarray
    origin: str = ""

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, row: int) -> Image.Image:
        """The picture in a row of the table, as RGB.

        Raises:
            InputError: The file is damaged or is no picture.
        """
        return self.decode(self.rows[int(row)][self.image_column], row)

    def decode(self, stored: dict, row: int) -> Image.Image:
        """The picture that row's image column holds, as RGB."""
        try:
            source = stored["path"] if stored["bytes"] is None else io.BytesIO(stored["bytes"])
            with Image.open(source) as picture:
                return ImageOps.exif_transpose(picture).convert("RGB")
        except UNREADABLE as error:
            where = f" ({stored['path']})" if stored["path"] else ""
            reason = str(error).splitlines()[0].split(" <_io")[0]
            raise InputError(
                f"image {row}{where} of {self.name!r}, split {self.split!r}, cannot be read: {reason}; "
                f"replace or remove it"
            ) from None

    def subset(self, count: int | None) -> ImageSet:
        """A fixed, class-balanced selection of `count` images (all of them for None or where there are fewer).

        The selection depends on the labels and `count` alone, and a smaller one is part of every larger one.
        """
        if count is None or count >= len(self):
            return self
        return replace(self, indices=self.indices[balanced_subset(self.labels[self.indices], count)])

    def select_classes(self, names: Sequence[str]) -> ImageSet:
        """The images of some classes; a label is then the class's position in `names`.

        ImageNet-1k's classes may be asked for by their WordNet ids, whatever the data set calls them.

        Raises:
            InputError: The data set has no such class, or no image of any of them.
        """
        known = self.classes if set(names) <= set(self.classes) else _wordnet_ids(self.classes)
        position = {name: index for index, name in enumerate(known)}
        for name in names:
            if name not in position:
                raise InputError(f"data set {self.name!r} lacks it: {unknown('class', name, known)}")
        labels = np.full(len(known) + 1, -1)
        labels[[position[name] for name in names]] = np.arange(len(names))
        labels = labels[self.labels]
        indices = self.indices[labels[self.indices] >= 0]
        if len(indices) == 0:
            raise InputError(f"split {self.split!r} of {self.name!r} has no image of the {len(names)} classes")
        return replace(self, labels=labels, classes=tuple(names), indices=indices)


def read_classes(path: Path | str) -> tuple[str, ...]:
    """Class names from a text file, one a line.

    Raises:
        InputError: It cannot be read, is empty, or names a class twice.
    """
    try:
        names = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the class names in {str(path)!r}: {one_line(error)}") from error
    twice = next((name for name in names if names.count(name) > 1), None)
    if not names or twice:
        raise InputError(f"{str(path)!r} {f'names class {twice!r} twice' if twice else 'names no class'}")
    return tuple(names)


def _wordnet_ids(classes: Sequence[str]) -> Sequence[str]:
    """The WordNet ids of ImageNet-1k's classes where a data set has them under names; else the names themselves."""
    if len(classes) != 1000 or "tench" not in classes[0]:
        return classes
    from timm.data import ImageNetInfo

    return ImageNetInfo("imagenet-1k").label_names()


def balanced_subset(labels: np.ndarray, count: int | None) -> np.ndarray:
    """A fixed, class-balanced selection of positions, int64 in ascending order; all for None or where there are fewer.

    Raises:
        InputError: A count below 1.
    """
    if count is None or count >= len(labels):
        return np.arange(len(labels))
    if count < 1:
        raise InputError(f"the limit is {count}; use at least one image")
    order = np.random.Generator(np.random.Philox(key=0)).permutation(len(labels))
    ranks = _rank_in_class(labels[order])
    return np.sort(order[np.argsort(ranks, kind="stable")[:count]])


def _rank_in_class(labels: np.ndarray) -> np.ndarray:
    """How many images of the same class stand before each image, int64 of the shape of `labels`."""
    ranks = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        members = labels == label
        ranks[members] = np.arange(members.sum())
    return ranks


def read_batches(
    images: ImageSet,
    geometry: Callable[[Image.Image], np.ndarray],
    batch_size: int,
    rows: np.ndarray | None = None,
) -> Iterator[tuple[list[np.ndarray], np.ndarray]]:
    """Decode images in threads, batch by batch.

    Args:
        rows: The rows to read, by default all of the selection.

    Yields:
        (images, rows): a list of uint8 arrays of shape (H, W, 3), as `geometry` made them, and int64 of shape (N,).
    """
    rows = images.indices if rows is None else rows
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for start in range(0, len(rows), batch_size):
            chosen = rows[start : start + batch_size]
            stored = images.rows[chosen.tolist()][images.image_column]
            yield list(threads.map(lambda s, row: geometry(images.decode(s, row)), stored, chosen)), chosen


def load_images(
    dataset: str | Path,
    split: str | None = None,
    *,
    train: bool = False,
    config: str | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
) -> ImageSet:
    """Load one split of an image classification data set.

    Args:
        dataset: A folder or Hub id that `datasets.load_dataset` reads, or `digits`, the 1,797 handwritten digits that
            scikit-learn carries.
        split: Its name; by default `train` to train, else the first of test, validation, valid, val that exists.
        config: Name of the data set's configuration, where it has several.
        image_column, label_column: Needed only where the feature types leave a choice.

    Raises:
        InputError: No such data set, split, image or label column; labels outside the classes.
    """
    dataset = str(dataset)
    name = Path(dataset).resolve().name if Path(dataset).exists() else dataset
    try:
        rows, split = _digits_split(split, train) if dataset == DIGITS else _load_split(dataset, config, split, train)
    except (InputError, KeyboardInterrupt):
        raise
    except Exception as error:  # whatever builder, file system or network: the user can only mend the name or the data
        raise InputError(f"cannot load data set {dataset!r}: {one_line(error)}") from error
    image_column, label_column = _columns(rows, name, image_column, label_column)
    labels, classes = _labels(rows, name, label_column)
    if len(rows) == 0:
        raise InputError(f"split {split!r} of {name!r} is empty")
    import datasets

    rows = rows.select_columns([image_column]).cast_column(image_column, datasets.Image(decode=False))
    origin = DIGITS_ORIGIN if dataset == DIGITS else ""
    return ImageSet(name, split, rows, image_column, labels, classes, np.arange(len(labels)), origin)


def _load_split(dataset: str, config: str | None, split: str | None, train: bool):
    import datasets

    looks_like_a_path = dataset.startswith((".", "/", "~")) or dataset.count("/") > 1
    if looks_like_a_path and not Path(dataset).is_dir():
        raise InputError(f"no data set folder at {dataset!r}")
    with quiet_hub():
        splits = datasets.get_dataset_split_names(dataset, config)
        split = _choose_split(dataset, splits, split, train)
        return datasets.load_dataset(dataset, config, split=split), split


@contextmanager
def quiet_hub() -> Iterator[None]:
    """Without the Hub client's log of every retry: where they all fail, its error says so once."""
    logger = hub_logging.get_logger("huggingface_hub")
    level = logger.level
    logger.setLevel("ERROR")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _choose_split(dataset: str, splits: Sequence[str], split: str | None, train: bool) -> str:
    wanted = (split,) if split else ("train",) if train else _TEST_SPLITS
    for candidate in wanted:
        if candidate in splits:
            return candidate
    raise InputError(f"data set {dataset!r} has no split {' or '.join(wanted)}; it has: {', '.join(splits)}")


def _digits_split(split: str | None, train: bool):
    """scikit-learn's digits as 32x32 RGB; every fifth image of a class, in the order of the file, is a test image."""
    import datasets

    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise InputError("the digits data set needs scikit-learn: pip install 'timm-pushpull[train]'") from None
    split = _choose_split(DIGITS, ("train", "test"), split, train)
    digits = load_digits()
    chosen = (_rank_in_class(digits.target) % 5 == 4) == (split == "test")
    grey = np.round(digits.images[chosen] * (255 / 16)).astype(np.uint8)
    pictures = [Image.fromarray(g).resize((32, 32), Image.Resampling.BICUBIC).convert("RGB") for g in grey]
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=[str(d) for d in range(10)]))
    return datasets.Dataset.from_dict({"image": pictures, "label": digits.target[chosen]}, features=features), split


def _columns(rows, name: str, image_column: str | None, label_column: str | None) -> tuple[str, str]:
    import datasets

    features = rows.features
    described = ", ".join(f"{column} ({type(feature).__name__})" for column, feature in features.items())

    def choose(kind: str, given: str | None, flag: str, *kinds: Callable[[object], bool]) -> str:
        if given is not None:
            if given not in features:
                raise InputError(f"data set {name!r} has no column {given!r}; it has: {described}")
            return given
        for fits in kinds:
            found = [column for column, feature in features.items() if fits(feature)]
            if len(found) == 1:
                return found[0]
            if found:
                raise InputError(
                    f"data set {name!r} has {len(found)} {kind} columns; choose one with {flag}: {', '.join(found)}"
                )
        raise InputError(f"data set {name!r} holds no {kind}s; its columns are: {described}")

    return (
        choose("image", image_column, "--image-column", lambda feature: isinstance(feature, datasets.Image)),
        choose(
            "label",
            label_column,
            "--label-column",
            lambda feature: isinstance(feature, datasets.ClassLabel),
            lambda feature: isinstance(feature, datasets.Value) and "int" in str(feature.dtype),
        ),
    )


def _labels(rows, name: str, column: str) -> tuple[np.ndarray, tuple[str, ...]]:
    labels = np.asarray(rows.select_columns([column]).with_format("numpy")[:][column])
    feature = rows.features[column]
    if not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"label column {column!r} of {name!r} holds {labels.dtype}, not class numbers")
    classes = tuple(getattr(feature, "names", None) or (str(c) for c in range(int(labels.max(initial=-1)) + 1)))
    if len(labels) and not 0 <= labels.min() <= labels.max() < len(classes):
        raise InputError(
            f"label column {column!r} of {name!r} has labels from {labels.min()} to {labels.max()} for "
            f"{len(classes)} classes; is this split unlabelled?"
        )
    return labels.astype(np.int64), classes
