"""Image folders with a sub-folder per class, read by the rule of torchvision's `ImageFolder`: the classes are the
sub-folders in sorted order, and every image below one belongs to it.

The class folders lie in the folder itself, which is then one split, or in a folder per split. Tiny ImageNet is read as
its archive unpacks.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from timm_pushpull.data.images import EncodedImage
from timm_pushpull.utils.errors import InputError, one_line

#: Suffixes of image files. A fixed list, so that the rows of a folder do not depend on what a machine can decode: a
#: file that Pillow cannot read is named when it is read.
IMAGE_SUFFIXES = (
    *(".apng", ".avif", ".avifs", ".bmp", ".bw", ".cur", ".dcx", ".dds", ".dib", ".gif", ".heic", ".heif", ".icb"),
    *(".icns", ".ico", ".im", ".j2c", ".j2k", ".jfif", ".jp2", ".jpc", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".jxl"),
    *(".mpo", ".msp", ".pbm", ".pcx", ".pfm", ".pgm", ".png", ".pnm", ".ppm", ".psd", ".pxr", ".qoi", ".ras", ".rgb"),
    *(".rgba", ".sgi", ".tga", ".tif", ".tiff", ".vda", ".vst", ".webp", ".xbm", ".xpm"),
)
#: Names of splits that mean the same, as in `datasets`; the first is the one in results.
SPLIT_NAMES = (
    ("train", "training"),
    ("validation", "valid", "val", "dev"),
    ("test", "testing", "eval", "evaluation"),
)
#: Folders that file managers, synchronisation and archives leave behind. Hidden ones are left out, too.
_SYSTEM_FOLDERS = (
    *("@eaDir", "@Recycle", "#recycle", "#snapshot", "$RECYCLE.BIN", "System Volume Information", "__MACOSX"),
    *("__pycache__", "lost+found"),
)
_ANNOTATIONS = "val_annotations.txt"  # of Tiny ImageNet


class FolderFiles:
    """Image files below a folder.

    Attributes:
        column: Name that the images would have as a column.
    """

    column = "image"

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._folder = os.path.abspath(folder)
        # Bytes in one array: a list of a million strings would be copied into every worker process.
        self._names = np.array([os.fsencode(name) for name in names])

    def read(self, rows: Sequence[int]) -> list[EncodedImage]:
        """The paths of the files in these rows; their content is read when it is decoded."""
        return [{"bytes": None, "path": path} for path in self.paths(rows)]

    def paths(self, rows: Sequence[int]) -> list[str | None]:
        """The paths of the files in these rows."""
        return [os.path.join(self._folder, os.fsdecode(name)) for name in self._names[list(rows)].tolist()]


@dataclass(frozen=True)
class ClassFolders:
    """The images of a split.

    Attributes:
        split: Its name.
        files: The image files.
        labels: Class of every image, int64 of shape (N,).
        classes: Names of the classes.
    """

    split: str
    files: FolderFiles
    labels: np.ndarray
    classes: tuple[str, ...]


def is_image(name: str) -> bool:
    """Whether a file is an image by its name; hidden files are not."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")


def subfolders(folder: Path | str) -> list[str]:
    """Names of the sub-folders, links to folders included, in sorted order; without hidden and system folders.

    This is the order of classes everywhere: in datasets, and in corrupted sets on disk.

    Raises:
        InputError: A link that leads nowhere. It may be a class, without which all later classes had other numbers.
    """
    shown = [e for e in os.scandir(folder) if not e.name.startswith(".") and e.name not in _SYSTEM_FOLDERS]
    for entry in shown:
        if entry.is_symlink() and not os.path.exists(entry.path) and not is_image(entry.name):
            raise InputError(
                f"{entry.path!r} is a link to {os.readlink(entry.path)!r}, which is not there; restore it, or remove "
                f"the link"
            )
    return sorted(entry.name for entry in shown if entry.is_dir())


def image_files(folder: Path | str) -> list[str]:
    """Paths of all images below a folder, relative to it, in the order of torchvision's `make_dataset`."""
    return [os.path.join(place, name) for place, names in sorted(_walk(folder)) for name in sorted(names)]


def has_images(folder: Path | str) -> bool:
    """Whether there is an image below a folder."""
    return any(names for _, names in _walk(folder))


def find_split(folder: Path, split: str | None, wanted: Sequence[str]) -> ClassFolders:
    """One split of an image folder.

    Args:
        split: Its name; None for the first of `wanted` that exists. A folder without folders for splits is one split,
            called train, or as the folder is if that is the name of a split.
        wanted: Names of splits.

    Raises:
        InputError: No such split; images that are in no class folder; class folders without images.
    """
    if (folder / _ANNOTATIONS).is_file():
        return _one_split(folder, split_name(folder.resolve().name) or "validation", split, _tiny_imagenet)
    found = _splits(folder)
    if not found and split is not None and _holds_classes(folder / split) and split in subfolders(folder):
        found = {split: split}  # a name of the user's own
    if not found:
        _check_flat(folder, split)
        return _one_split(folder, split_name(folder.resolve().name) or "train", split, _read)
    name = _choose(folder, found, split, wanted)
    place = folder / found.get(name, name)
    if (place / _ANNOTATIONS).is_file():
        return _tiny_imagenet(place, name, subfolders(folder / "train") if (folder / "train").is_dir() else None)
    return _read(place, name)


def _check_flat(folder: Path, split: str | None) -> None:
    """Refuse folders that are splits without class folders; say so where they may be classes."""
    names = subfolders(folder)
    flat = [name for name in names if split_name(name) and _direct_images(folder / name)]
    asked = [name for name in flat if split is not None and split in (name, split_name(name))]
    if asked or (flat and len(flat) == len(names)):
        place = (asked or flat)[0]
        hint = "; if it is a class, leave the split out" if asked else ""
        raise InputError(
            f"the images in {str(folder / place)!r} are not in class folders; put those of each class into a folder, "
            f"such as {place}/CLASS/1.png{hint}"
        )
    if flat:
        warnings.warn(
            f"the classes of {str(folder)!r} are {', '.join(map(repr, names[:5]))}; if {flat[0]!r} is a split, its "
            f"images are in no class folder: put those of each class into one",
            stacklevel=2,
        )


def _splits(folder: Path) -> dict[str, str]:
    """The folders that hold class folders and are named like splits: name of the split to that of the folder."""
    groups: dict[str, list[str]] = {}
    named = {name: canonical for name in subfolders(folder) if (canonical := split_name(name))}
    holding = {name for name in named if _holds_folders(folder / name)}
    for name, canonical in named.items():
        # A single folder with images of its own may be a class that is called so; several are splits with stray images.
        is_split = name in holding and (len(holding) > 1 or not _direct_images(folder / name))
        if is_split or (folder / name / _ANNOTATIONS).is_file():
            groups.setdefault(canonical, []).append(name)
    if (folder / "val" / _ANNOTATIONS).is_file():
        groups.pop("test", None)  # Tiny ImageNet's test images have no labels
    return {canonical if len(names) == 1 else name: name for canonical, names in groups.items() for name in names}


def _choose(folder: Path, found: dict[str, str], split: str | None, wanted: Sequence[str]) -> str:
    """The name of the split that is asked for."""
    for candidate in wanted if split is None else (split,):
        if name := _match(candidate, found):
            if split is None:
                _check_beside(folder, found)
            return name
    if split is not None and split in subfolders(folder) and _holds_classes(folder / split):
        if (folder / "val" / _ANNOTATIONS).is_file():
            raise InputError(f"the images of split {split!r} of {str(folder)!r} have no labels; use train or val")
        return split
    places = ", ".join(sorted(found.values(), key=_order))
    raise InputError(no_split(str(folder), wanted if split is None else (split,), places))


def no_split(dataset: str, wanted: Sequence[str], known: str) -> str:
    """The message for splits that a dataset lacks."""
    return f"dataset {dataset!r} has no split {' or '.join(wanted)}; it has: {known}; choose one of these"


def _match(candidate: str, found: dict[str, str]) -> str | None:
    """The split of this name, or whose folder has it."""
    by_folder = {place: name for name, place in found.items()}
    return candidate if candidate in found else by_folder.get(candidate)


def _check_beside(folder: Path, found: dict[str, str]) -> None:
    """Refuse a single folder that may be a split or a class, such as `train` beside `boat`; say what is left out beside
    several splits."""
    beside = [name for name in subfolders(folder) if name not in found.values() and _direct_images(folder / name)]
    classes = [name for name in beside if not split_name(name)]
    if classes and len(found) == 1:
        (only,) = found.values()
        raise InputError(
            f"{str(folder)!r} holds {only!r} with class folders and, beside it, {classes[0]!r} with images; choose "
            f"--split {only} if that is a split, else put its images directly into it"
        )
    if beside:
        warnings.warn(
            f"{str(folder)!r} holds splits ({', '.join(found.values())}) and, beside them, {beside[0]!r} with images "
            f"in no class folder; left out",
            stacklevel=2,
        )


def _one_split(folder: Path, name: str, split: str | None, read) -> ClassFolders:
    """The whole folder as a split of this name."""
    if split not in (None, name, folder.resolve().name):
        raise InputError(
            f"dataset {str(folder)!r} has no split {split}; its class folders are one split, {name!r}: leave the "
            f"split out, or give the folder of the split"
        )
    return read(folder, name)


def _read(folder: Path, split: str) -> ClassFolders:
    """The class folders of a split."""
    classes = subfolders(folder)
    files = {name: image_files(folder / name) for name in classes}
    _check_classes(folder, files)
    _warn_of_deeper_classes(folder, files)
    names = [os.path.join(name, file) for name in classes for file in files[name]]
    labels = np.repeat(np.arange(len(classes)), [len(files[name]) for name in classes])
    if stray := _direct_images(folder):
        warnings.warn(
            f"{len(stray):,} images in {str(folder)!r}, such as {stray[0]!r}, are in no class folder; left out",
            stacklevel=2,
        )
    return ClassFolders(split, FolderFiles(folder, names), labels.astype(np.int64), tuple(classes))


def _check_classes(folder: Path, files: dict[str, list[str]]) -> None:
    """Raise InputError unless these are class folders with their images."""
    if not files:
        raise InputError(f"the images in {str(folder)!r} are not in class folders; put those of each class into one")
    for name, held in files.items():
        if name.encode(errors="surrogateescape").decode(errors="replace") != name:
            raise InputError(
                f"the class folder {os.fsencode(name)!r} in {str(folder)!r} is not named in UTF-8; rename it"
            )
        if not held:
            texts = any((folder / name).rglob("*.txt"))
            hint = " (it holds text files; labels for object detection are not read)" if texts else ""
            raise InputError(
                f"the class folder {str(folder / name)!r} holds no images{hint}; add images, or remove the folder"
            )
    if len(files) == 1:
        ((name, held),) = files.items()
        inner = {file.split(os.sep)[0] for file in held if os.sep in file}
        if len(inner) > 1 and all(os.sep in file for file in held):
            raise InputError(
                f"{str(folder)!r} has one class folder, {name!r}, which holds folders; if those are the classes, give "
                f"{str(folder / name)!r}"
            )


def _warn_of_deeper_classes(folder: Path, files: dict[str, list[str]]) -> None:
    """Say so where each class folder holds the same folders: it may be a split, or a domain."""
    inner = [frozenset(file.split(os.sep)[0] if os.sep in file else "" for file in held) for held in files.values()]
    if len(inner) > 1 and len(set(inner)) == 1 and len(inner[0]) > 1 and "" not in inner[0]:
        first = next(iter(files))
        warnings.warn(
            f"the classes of {str(folder)!r} are {', '.join(map(repr, list(files)[:3]))}, and each of them holds the "
            f"same folders, such as {min(inner[0])!r}; if those are the classes, give {str(folder / first)!r} alone",
            stacklevel=2,
        )


def _tiny_imagenet(folder: Path, split: str, classes: Sequence[str] | None = None) -> ClassFolders:
    """The validation images of Tiny ImageNet: `images/` and a table of their classes.

    Args:
        classes: Those of the training images; by default those in the table.
    """
    path = folder / _ANNOTATIONS
    try:
        rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        table = {row[0]: row[1] for row in rows}
    except (OSError, UnicodeDecodeError, IndexError) as error:
        raise InputError(f"{str(path)!r} cannot be read: {one_line(error)}; unpack the archive again") from error
    known = sorted(set(table.values())) if classes is None else list(classes)
    numbers = {name: number for number, name in enumerate(known)}
    files = [name for name in image_files(folder / "images") if os.sep not in name]
    for odd in (*(name for name in files if table.get(name) not in numbers), *sorted(set(table) - set(files))):
        raise InputError(f"{str(path)!r} and images/ do not agree about {odd!r}; unpack the archive again")
    labels = np.array([numbers[table[name]] for name in files], np.int64)
    return ClassFolders(split, FolderFiles(folder / "images", files), labels, tuple(known))


def split_name(name: str) -> str | None:
    """The name that a split has in results, if this is a name of splits."""
    return next((group[0] for group in SPLIT_NAMES if name.casefold() in group), None)


def _order(name: str) -> tuple[int, str]:
    canonical = split_name(name)
    return next((number for number, group in enumerate(SPLIT_NAMES) if group[0] == canonical), 9), name


def _holds_classes(folder: Path) -> bool:
    """Whether a folder has sub-folders with images and no images of its own."""
    return folder.is_dir() and not _direct_images(folder) and _holds_folders(folder)


def _holds_folders(folder: Path) -> bool:
    """Whether a folder has sub-folders with images."""
    return any(has_images(folder / name) for name in subfolders(folder))


def _direct_images(folder: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder) if is_image(entry.name) and not entry.is_dir())


def _walk(folder: Path | str) -> Iterator[tuple[str, list[str]]]:
    """(path relative to the folder, names of the images in it) of the folder and all below it, through links. A link
    that leads back is not followed."""
    pending: list[tuple[str, tuple[str, ...]]] = [("", ())]
    while pending:
        place, above = pending.pop()
        here = os.path.join(folder, place)
        real = os.path.realpath(here)
        if real not in above:
            yield place, [entry.name for entry in os.scandir(here) if is_image(entry.name) and not entry.is_dir()]
            pending += [(os.path.join(place, name), (*above, real)) for name in subfolders(here)]
