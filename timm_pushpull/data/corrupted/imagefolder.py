"""The layout of ImageNet-C: `<corruption>/<severity>/<class>/<file>.JPEG`, or the same below a folder per group, such
as `blur/defocus_blur/...` in the published archives."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np

from timm_pushpull.corruptions import SEVERITIES
from timm_pushpull.data.class_folders import image_files, subfolders
from timm_pushpull.data.corrupted.base import (
    Batch,
    Cell,
    CorruptedSet,
    CorruptedSetWriter,
    Layout,
    Manifest,
    SetContents,
    check_complete,
    in_order,
)
from timm_pushpull.data.corrupted.folder import SIDE_SHA256, OutputFolder
from timm_pushpull.data.corrupted.image_files import class_folders, encode_image, suffix
from timm_pushpull.data.corrupted.job import Job
from timm_pushpull.data.images import decode_image
from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.files import sha256


class ImageFolderSet(CorruptedSet):
    """Image files; images are ordered by class folder and file name.

    Args:
        place: The folder of the set.
        manifest: Names the classes, which are the class folders in alphabetical order otherwise.

    Raises:
        InputError: A corruption, a severity or all images are missing, or a class folder is not in the manifest.
    """

    def __init__(self, place: str, manifest: Manifest) -> None:
        folder = Path(place).absolute()  # the working folder may change
        self.manifest, self.name = manifest, folder.resolve().name
        self._folders = _corruption_folders(folder)
        self.severities = check_complete(
            self.name, {name: _severities(path) for name, path in self._folders.items()}, manifest
        )
        self.corruptions = in_order(self._folders)
        self._files = self._list(self.corruptions[0], self.severities[0])
        held = sorted({name.split("/")[0] for name in self._files})
        if not held:
            raise InputError(f"{self.name!r} holds no images in {self.corruptions[0]}/{self.severities[0]}")
        self.classes = tuple(manifest.get("classes", held))
        numbers = {name: number for number, name in enumerate(class_folders(self.classes) if manifest else held)}
        empty = [name for name in subfolders(self._place(self.corruptions[0], self.severities[0])) if name not in held]
        if empty and not manifest:  # else the manifest numbers the classes
            raise InputError(
                f"{self.name!r}: the class folder {empty[0]!r} in {self.corruptions[0]}/{self.severities[0]} holds no "
                f"images; restore them, or remove the folder if it is no class"
            )
        strange = [name for name in held if name not in numbers]
        if strange:
            raise InputError(f"{self.name!r} has a class folder {strange[0]!r} that is not in its manifest")
        self.labels = np.array([numbers[name.split("/")[0]] for name in self._files], np.int64)

    def __len__(self) -> int:
        return len(self._files)

    def names(self) -> list[str]:
        """`<class folder>/<file stem>` of every image."""
        return [os.path.splitext(name)[0] for name in self._files]

    def _read(self, corruption: str, severity: int, batches: list[np.ndarray]) -> Iterator[Batch]:
        files = self._list(corruption, severity)
        if files != self._files:
            odd = sorted(set(files) ^ set(self._files))
            raise InputError(
                f"{self.name!r}: {corruption}/{severity} holds {len(files):,} images, "
                f"{self.corruptions[0]}/{self.severities[0]} {len(self):,}; only one of the two has {odd[0]!r}"
            )
        place = self._place(corruption, severity)
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for indices in batches:
                images = list(threads.map(_decode, [place / files[index] for index in indices.tolist()]))
                yield images, self.labels[indices], indices

    def _list(self, corruption: str, severity: int) -> list[str]:
        """`<class>/<file>`, or deeper, of every image of a corruption and severity, in order."""
        place = self._place(corruption, severity)
        return [f"{folder}/{file}" for folder in subfolders(place) for file in image_files(place / folder)]

    def _place(self, corruption: str, severity: int) -> Path:
        return self._folders[corruption] / str(severity)


class ImageFolderWriter(CorruptedSetWriter):
    """Writes a file per image and cell, and keeps its SHA-256 for the manifest."""

    def __init__(self, folder: OutputFolder, job: Job, contents: SetContents) -> None:
        super().__init__(folder, job, contents)
        self.names = {row: stem + suffix(job.jpeg_quality) for row, stem in contents.stems.items()}
        self.digests: dict[Cell, list[bytes]] = {cell: [] for cell in job.cells}
        self.written: list[int] = []

    def begin(self) -> None:
        """Make the folders."""
        classes = {name.split("/")[0] for name in self.names.values()}
        for name, severity in self.job.cells:
            for folder in classes:
                self.folder.subfolder(self.folder.path / name / str(severity) / folder)

    def encode(self, cell: Cell, rows: np.ndarray, pixels: np.ndarray) -> list[bytes]:
        """Write the files of a batch; returns their SHA-256."""
        digests = []
        for row, image in zip(rows.tolist(), pixels, strict=True):
            content = encode_image(image, self.job.jpeg_quality)
            # `end_chunk` flushes all files of a chunk at once; without `os.sync`, each is flushed here.
            self.folder.write(self._file(cell, row), content, sync=not hasattr(os, "sync"))
            digests.append(hashlib.sha256(content).digest())
        return digests

    def add(self, cell: Cell, rows: np.ndarray, encoded: list[bytes]) -> None:
        """Keep the hashes of the images, in the order of the rows."""
        self.digests[cell] += encoded
        if cell == self.job.cells[0]:
            self.written += rows.tolist()

    def end_chunk(self, chunk: int) -> dict:
        """Flush the files to the disk; their hashes are kept beside the record of the chunk."""
        content = b"".join(digest for cell in self.job.cells for digest in self.digests[cell])
        self.folder.write(self.folder.side_file(chunk), content)
        if hasattr(os, "sync"):
            os.sync()
        written = self.written
        self.digests, self.written = {cell: [] for cell in self.job.cells}, []
        return {"rows": written, SIDE_SHA256: hashlib.sha256(content).hexdigest()}

    def wrote(self, chunk: int, rows: np.ndarray, record: dict) -> bool:
        """Whether the record and the file beside it have a hash per readable image and cell, those of the files."""
        written = record.get("rows", [])
        if SIDE_SHA256 not in record or sorted(written + record["unreadable"]) != sorted(rows.tolist()):
            return False
        # An image is lost or no file any more, or another shard has completed the set.
        with suppress(FileNotFoundError, InputError):
            content = self.folder.side_file(chunk).read_bytes()
            files = [self._file(cell, row) for cell in self.job.cells for row in written]
            return len(content) == 32 * len(files) and all(
                sha256(file, plain=True) == content[32 * number : 32 * (number + 1)].hex()
                for number, file in enumerate(files)
            )
        return False

    def finish(self, records: dict[int, dict], threads: Executor) -> dict[str, str]:
        """One SHA-256 per `<corruption>/<severity>`: of the list of its files that sha256sum prints, in the order of
        their names (`cd gaussian_noise/1; find * -type f | LC_ALL=C sort | xargs sha256sum | sha256sum`)."""
        names = [self.names[row].encode() for record in records.values() for row in record["rows"]]
        order = sorted(range(len(names)), key=names.__getitem__)
        files = []
        for chunk, record in records.items():
            content = np.fromfile(self.folder.side_file(chunk), np.uint8)
            files.append(content.reshape(len(self.job.cells), len(record["rows"]), 32))
        hashes = {}
        for number, (name, severity) in enumerate(self.job.cells):
            digests = np.concatenate([chunk[number] for chunk in files])
            lines = hashlib.sha256()
            for position in order:
                lines.update(digests[position].tobytes().hex().encode() + b"  " + names[position] + b"\n")
            hashes[f"{name}/{severity}"] = lines.hexdigest()
        return hashes

    def _file(self, cell: Cell, row: int) -> str:
        return f"{self.folder.path}/{cell[0]}/{cell[1]}/{self.names[row]}"


def _corruption_folders(folder: Path) -> dict[str, Path]:
    """Folders with a sub-folder per severity, by name, in `folder` or one level below."""
    found: dict[str, Path] = {}
    for place in (folder / name for name in subfolders(folder)):
        # A class may be called 1, too: nothing below a corruption is looked at.
        candidates = [place] if _severities(place) else [place / name for name in subfolders(place)]
        for candidate in candidates:
            if _severities(candidate) and found.setdefault(candidate.name, candidate) != candidate:
                raise InputError(
                    f"{str(found[candidate.name])!r} and {str(candidate)!r} are one corruption; remove one"
                )
    return found


def _severities(place: Path) -> list[int]:
    """The severities for which a folder has sub-folders."""
    return [severity for severity in SEVERITIES if (place / str(severity)).is_dir()]


def _decode(path: Path) -> np.ndarray:
    try:
        return np.asarray(decode_image(path))
    except InputError as error:
        raise InputError(f"{str(path)!r} cannot be read: {error}; restore it") from None


def _entries(corruptions: Sequence[str]) -> list[str]:
    return list(corruptions)


LAYOUT = Layout(
    name="imagefolder",
    description="<corruption>/<severity>/<class>/<file>",
    arrays=False,
    reader=ImageFolderSet,
    writer=ImageFolderWriter,
    matches=lambda folder: bool(_corruption_folders(folder)),
    entries=_entries,
)
