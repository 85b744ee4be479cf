"""Odd folders of images: what writes them, and what is to come out when they are read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from timm_pushpull import InputError
from timm_pushpull.data import load_images

Write = Callable[[Path], None]


def images(*names: str) -> Write:
    """Write an image of 8 x 8 px under each of these names."""

    def write(folder: Path) -> None:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(folder / name, "PNG")

    return write


def texts(**contents: str) -> Write:
    """Write text files; `__` in a name stands for a folder, `_dot_` for a dot."""

    def write(folder: Path) -> None:
        for key, content in contents.items():
            path = folder / key.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    return write


def folders(*names: str) -> Write:
    return lambda folder: [(folder / name).mkdir(parents=True) for name in names] and None


def link(name: str, target: str) -> Write:
    return lambda folder: (folder / name).symlink_to(folder / target)


def rename(name: str, other: bytes) -> Write:
    return lambda folder: os.rename(os.fsencode(folder / name), os.fsencode(folder) + b"/" + other)


#: What is written, the arguments, and: split, classes, files (in order) or labels; or the text of the error.
Case = tuple[list[Write], dict, tuple[str, str | tuple[str, ...], str | tuple] | str]


def check_case(tmp_path: Path, case: Case) -> None:
    """Write the folder of a case and read it, or see it refused in one line."""
    writers, arguments, expected = case
    folder = tmp_path / "photos"
    folder.mkdir()
    for write in writers:
        write(folder)
    options = dict(arguments)
    place = folder / options.pop("below", "")
    if isinstance(expected, str):
        with pytest.raises(InputError, match=expected) as error:
            load_images(place, **options)
        assert len(str(error.value).splitlines()) == 1
        return
    found = load_images(place, **options)
    split, classes, files = expected
    assert (found.split, found.classes) == (split, tuple(classes.split()) if isinstance(classes, str) else classes)
    if isinstance(files, tuple) and isinstance(files[0], int):
        assert found.labels.tolist() == list(files)
        return
    files = tuple(files.split()) if isinstance(files, str) else files
    assert tuple(os.path.relpath(path, place) for path in found.files.paths(range(len(found)))) == files
    depth = 1 if files[0].split("/")[0] not in found.classes or split == files[0].split("/")[0] else 0
    assert [found.classes[label] for label in found.labels] == [file.split("/")[depth] for file in files]
