"""Load a split of an image classification dataset: a folder, a Hub id, or scikit-learn's digits."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import yaml
from huggingface_hub.repocard import REGEX_YAML_BLOCK
from PIL import Image

from timm_pushpull.data import columns
from timm_pushpull.data.class_folders import (
    find_split,
    has_images,
    image_files,
    is_image,
    no_split,
    split_name,
    subfolders,
)
from timm_pushpull.data.images import ImageSet, rank_in_class
from timm_pushpull.utils import schema
from timm_pushpull.utils.errors import InputError, one_line, redacted, unknown
from timm_pushpull.utils.hub_client import quiet_hub
from timm_pushpull.utils.yaml_text import MAX_CHARACTERS, load_yaml

if TYPE_CHECKING:
    import datasets

DIGITS = "digits"
DIGITS_ORIGIN = (
    "scikit-learn's copy of the test part of Optical Recognition of Handwritten Digits (Alpaydin and Kaynak, UCI, "
    "1998; CC BY 4.0), 8x8 px enlarged to 32x32; every fifth image of a class is a test image"
)
#: Files by which `datasets` reads a folder of images, and its tables.
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_PACKED = (".zip", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".7z", ".rar")
_ARCHIVES = (*_PACKED, ".tar", ".gz")
_TABLES = (".parquet", ".arrow")
#: Ends of the names of files whose content `datasets` copies into its cache; images stay where they are.
_READ = (*_TABLES, *_METADATA, ".csv", ".jsonl", ".tar", "README.md")
_TEST_SPLITS = ("test", "validation", "valid", "val")


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
        dataset: A folder with a folder of images per class, below a folder per split or without (torchvision's
            `ImageFolder`); a folder or Hub id that `datasets.load_dataset` reads, with Parquet or metadata files; or
            `digits`, the 1,797 handwritten digits that come with scikit-learn.
        split: Its name; by default `train` if `train`, else the first of test, validation, valid, val that exists.
            Class folders without folders for splits are one split.
        train: Whether the training split is the default.
        config: Name of the configuration, if the dataset has several.
        image_column, label_column: Needed only if several columns have a suitable type.

    Raises:
        InputError: No such dataset, split, image or label column; labels outside the classes.
    """
    dataset = str(dataset)
    folder = Path(dataset)
    name = redacted(folder.resolve().name if folder.exists() else dataset)
    _check_texts("the name of the dataset", [name])
    try:
        in_folders, archive = _holds_class_folders(folder), _archive(folder)
        is_digits = dataset == DIGITS and not _holds_data(folder)
        if folder.is_dir() and str(folder) == DIGITS and not is_digits:
            warnings.warn(f"{DIGITS!r} is the folder of this name here, not scikit-learn's digits", stacklevel=2)
        if in_folders:
            return _from_class_folders(folder, name, split, train, config, image_column, label_column)
        if archive:
            raise InputError(f"the images in {archive!r} are packed; unpack it into a folder per class")
        if is_digits:
            _refuse_config(DIGITS, config)
            table, split = _load_digits(split, train)
        else:
            table, split = _load_table(dataset, config, split, train)
    except (InputError, KeyboardInterrupt):
        raise
    except Exception as error:  # any builder, file system or network error: the user can only correct name or data
        raise InputError(f"cannot load dataset {dataset!r}: {one_line(error)}; {_advice(folder)}") from error
    image_column = columns.image_column(table, name, image_column)
    column = columns.label_column(table, name, label_column)
    if label_column is None and column != "label":
        _refuse_class_folders(folder, column)
    labels, classes = columns.labels_and_classes(table, name, column)
    _check_texts("a class name", classes)
    if len(table) == 0:
        raise InputError(f"split {split!r} of {name!r} is empty")
    try:
        files = columns.DatasetFiles(table, image_column)
    except Exception as error:  # whatever the column holds
        raise InputError(f"column {image_column!r} of {name!r} holds no images: {one_line(error)}") from None
    origin = DIGITS_ORIGIN if is_digits else ""
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
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if not names or twice:
        raise InputError(f"{str(path)!r} {f'names class {twice!r} twice' if twice else 'names no class'}")
    return tuple(names)


def _check_texts(what: str, texts: Sequence[str]) -> None:
    """Refuse names that results and manifests cannot hold, before the work and not after it."""
    for text in texts:
        if found := schema.REFUSED_CHARACTERS.search(text):
            raise InputError(f"{what} is {text!r}, which holds the control character {found[0]!r}; rename it")


def _advice(folder: Path) -> str:
    """What to do about a dataset that cannot be loaded."""
    if not folder.exists():
        return "there is no such folder either"
    if str(folder) == DIGITS:
        return "for scikit-learn's digits, rename the folder, or use another working folder"
    return "expected a folder of images per class, Parquet files, or metadata files"


def _holds_data(folder: Path) -> bool:
    """Whether a folder called digits is meant, and not scikit-learn's: it holds files, not of runs of this recipe."""
    return not _holds_digits_runs(folder) and any(path.is_file() for path in folder.rglob("*"))


def _holds_class_folders(folder: Path) -> bool:
    """Whether a folder is read by the rule of class folders: it has images and no tables that describe them."""
    if not folder.is_dir() or _holds_tables(folder):
        return False
    if _holds_digits_runs(folder):
        return False
    if any(has_images(folder / name) for name in subfolders(folder)):
        return True
    # Images that are in no class folder are refused there; those beside archives are no dataset.
    names = os.listdir(folder)
    return any(map(is_image, names)) and not any(name.endswith(_ARCHIVES) for name in names)


def _holds_digits_runs(folder: Path) -> bool:
    """Whether a folder called digits holds a run, or the runs, of the recipe of this name."""
    return str(folder) == DIGITS and any(any(folder.glob(place)) for place in ("recipe.yaml", "*/recipe.yaml"))


def _holds_tables(folder: Path) -> bool:
    """Whether a folder is for `datasets` to read: it has Parquet files, metadata files or named configurations."""
    if not folder.is_dir():
        return False
    places = [folder, *(folder / name for name in subfolders(folder))]
    if any(name in _METADATA or name.endswith(_TABLES) for place in places for name in os.listdir(place)):
        return True
    return _names_configurations(folder)


def _archive(folder: Path) -> str | None:
    """An archive in a folder that holds no tables. `datasets` would take its name for the class of all its images. Tar
    files may be shards of WebDataset, which it reads."""
    if not folder.is_dir() or _holds_tables(folder) or _holds_digits_runs(folder):
        return None
    places = [folder, *(folder / name for name in subfolders(folder))]
    found = (str(place / name) for place in places for name in sorted(os.listdir(place)) if name.endswith(_PACKED))
    return next(found, None)


def _names_configurations(folder: Path) -> bool:
    readme = folder / "README.md"
    if not readme.is_file():
        return False
    with readme.open("rb") as file:
        return re.search(rb"^configs:", file.read(1 << 20), re.MULTILINE) is not None


def _from_class_folders(
    folder: Path,
    name: str,
    split: str | None,
    train: bool,
    config: str | None,
    image_column: str | None,
    label_column: str | None,
) -> ImageSet:
    """A folder of class folders."""
    _refuse_config(name, config)
    for column, known in ((image_column, "image"), (label_column, "label")):
        if column == "image" != known:
            raise InputError(f"label column 'image' of {name!r} holds images, not class numbers or names")
        if column not in (None, known):
            raise InputError(f"dataset {name!r} has no column {column!r}; it has: image (Image), label (ClassLabel)")
    found = find_split(folder, split, _wanted(None, train))
    _check_texts("a class folder", found.classes)
    return ImageSet(name, found.split, found.files, found.labels, found.classes, np.arange(len(found.labels)))


def _refuse_config(name: str, config: str | None) -> None:
    if config is not None:
        raise InputError(f"dataset {name!r} has no configurations, so none called {config!r}; leave it out")


def _load_table(dataset: str, config: str | None, split: str | None, train: bool) -> tuple[datasets.Dataset, str]:
    """A folder or Hub id, as `datasets` reads it."""
    import datasets

    looks_like_a_path = dataset.startswith((".", "/", "~")) or dataset.count("/") > 1
    if (looks_like_a_path or Path(dataset).exists()) and not Path(dataset).is_dir():
        raise InputError(f"no dataset folder at {dataset!r}")
    cache = cache_folder(dataset)
    with quiet_hub():
        if places := _metadata_splits(Path(dataset)):
            _refuse_config(dataset, config)
            by_folder = {os.path.basename(place): name for name, place in places.items()}
            split = _choose_split(dataset, list(places), by_folder.get(split or "", split), train)
            patterns = {name: f"{glob.escape(place)}/**" for name, place in places.items()}
            table = datasets.load_dataset("imagefolder", data_files=patterns, split=split, cache_dir=cache)
        else:
            refuse_wildcards(dataset)
            check_description(dataset)
            try:
                splits = datasets.get_dataset_split_names(dataset, config, cache_dir=cache)
            except ValueError:
                _check_config(dataset, config)  # only now, because it asks the Hub once more
                raise
            split = _choose_split(dataset, splits, split, train)
            table = datasets.load_dataset(dataset, config, split=split, cache_dir=cache)
    if places:
        _warn_of_missing_rows(places[split], len(table))
    return table, split


def cache_folder(dataset: str) -> str | None:
    """Where `datasets` keeps its copy of a local folder as the files in it are now; None, its default, for a Hub id.

    Its own key leaves out the files that a README names, and of others all but the time: it would go on giving what
    such a folder held before.
    """
    if not Path(dataset).is_dir():
        return None
    import datasets

    digest, seen = hashlib.sha256(os.fsencode(os.path.realpath(dataset))), set()
    for place, folders, names in os.walk(dataset, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if real not in seen else []
        seen.add(real)
        for path in (os.path.join(place, name) for name in sorted(names) if name.endswith(_READ)):
            with contextlib.suppress(FileNotFoundError):  # a link that leads nowhere
                status = os.stat(path)
                digest.update(f"{status.st_ino} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_size}".encode())
                digest.update(os.fsencode(path) + b"\0")
    return os.path.join(datasets.config.HF_DATASETS_CACHE, "timm-pushpull", digest.hexdigest()[:32])


def check_description(dataset: str) -> None:
    """Check what a local folder says of itself before `datasets` reads it: its YAML has no limits, its paths are URLs.

    Raises:
        InputError: YAML with aliases, too large or too deep; or files in another place than this machine.
    """
    for name in ("README.md", ".huggingface.yaml"):
        if not (path := Path(dataset, name)).is_file():
            continue
        with path.open("rb") as file:
            text = file.read(2 * MAX_CHARACTERS).decode(errors="replace")
        if name == "README.md":
            block = REGEX_YAML_BLOCK.search(text)
            text = block[2] if block else ""
        try:
            content = load_yaml(text)
        except yaml.YAMLError as error:
            raise InputError(f"{str(path)!r} cannot be read: {one_line(error)}") from error
        described = str(content.get("configs")) if isinstance(content, dict) else ""
        if "://" in described:
            raise InputError(f"{str(path)!r} names files on another machine; download them, and name those")


def refuse_wildcards(dataset: str) -> None:
    """Raise InputError for a folder in whose path `datasets` would take characters for wildcards."""
    if Path(dataset).is_dir() and (found := re.search(r"[][*?]", os.path.abspath(dataset))):
        raise InputError(f"datasets cannot read a folder with {found[0]!r} in its path, {dataset!r}; rename it")


def _metadata_splits(folder: Path) -> dict[str, str]:
    """The folder of each split of a folder with metadata files, by the names of its folders alone: `datasets` would
    also guess splits from the names of images. Empty for other folders."""
    if not folder.is_dir() or _names_configurations(folder):
        return {}
    here = os.path.abspath(folder)
    if any((folder / name).is_file() for name in _METADATA):
        if splits := [name for name in subfolders(folder) if split_name(name) and has_images(folder / name)]:
            raise InputError(
                f"{str(folder)!r} holds a metadata file beside the folder {splits[0]!r} of a split; give every split a "
                f"metadata file in its own folder"
            )
        return {"train": here}
    held = [name for name in subfolders(folder) if any((folder / name / file).is_file() for file in _METADATA)]
    return {split_name(name) or name: os.path.join(here, name) for name in held}


def _refuse_class_folders(folder: Path, column: str) -> None:
    """Refuse a guessed label column of a metadata file where class folders may hold the labels as well."""
    if not folder.is_dir():
        return
    for place in _metadata_splits(folder).values():
        held = [name for name in subfolders(place) if has_images(os.path.join(place, name))]
        if len(held) > 1:
            raise InputError(
                f"{place!r} holds folders such as {held[0]!r} and a metadata file with the column {column!r}; choose "
                f"--label-column {column}, or remove the metadata file if the folders are the classes"
            )


def _warn_of_missing_rows(folder: str, rows: int) -> None:
    """`datasets` leaves out images that no metadata file names."""
    if (images := len(image_files(folder))) > rows:
        warnings.warn(
            f"{images - rows:,} of {images:,} images in {folder!r} have no row in a metadata file; left out",
            stacklevel=2,
        )


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


def _wanted(split: str | None, train: bool) -> tuple[str, ...]:
    return (split,) if split else ("train",) if train else _TEST_SPLITS


def _choose_split(dataset: str, splits: Sequence[str], split: str | None, train: bool) -> str:
    wanted = _wanted(split, train)
    for candidate in wanted:
        if candidate in splits:
            return candidate
    raise InputError(no_split(dataset, wanted, ", ".join(splits)))
