"""The layout of CIFAR-10-C: an array per corruption, its severities one after the other, and `labels.npy`."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path

import numpy as np

from timm_pushpull.data.corrupted.base import (
    Batch,
    Cell,
    CorruptedSet,
    CorruptedSetWriter,
    Layout,
    Manifest,
    SetContents,
    in_order,
)
from timm_pushpull.data.corrupted.folder import OutputFolder, writing
from timm_pushpull.data.corrupted.job import Job
from timm_pushpull.utils.errors import InputError, one_line
from timm_pushpull.utils.files import open_plain, refuse_link, sha256

_LABELS = "labels.npy"


class NpySet(CorruptedSet):
    """Arrays that stay on disk; the rows of a batch are copied into memory.

    Args:
        place: A folder with `<corruption>.npy`, uint8 of shape (severities * N, H, W, 3), and `labels.npy`, integers of
            shape (severities * N,) or (N,).
        manifest: Names the severities, by default 1 to 5, and the classes.

    Raises:
        InputError: A file is missing, damaged, or has another type or shape.
    """

    def __init__(self, place: str, manifest: Manifest) -> None:
        self.folder, self.manifest = Path(place).absolute(), manifest  # the working folder may change
        self.name = self.folder.resolve().name
        self.severities = tuple(manifest.get("severities", (1, 2, 3, 4, 5)))
        self.classes = tuple(manifest["classes"]) if "classes" in manifest else None
        held = {path.stem for path in self.folder.glob("[!.]*.npy") if path.name != _LABELS}
        self.corruptions = in_order({*held, *manifest.get("corruptions", ())})
        if not self.corruptions:
            raise InputError(f"{place!r} holds no <corruption>.npy; is this a folder like CIFAR-10-C?")
        rows = self._check_arrays()
        self._length = rows // len(self.severities)
        self._labels = self._open(_LABELS)
        if not np.issubdtype(self._labels.dtype, np.integer) or self._labels.shape not in ((rows,), (len(self),)):
            raise InputError(
                f"{str(self.folder / _LABELS)!r} holds {self._labels.dtype} of shape {self._labels.shape}; expected a "
                f"class number for each of the {rows:,} rows"
            )
        self.labels = self._labels[: self._length].astype(np.int64)

    def __len__(self) -> int:
        return self._length

    def _check_arrays(self) -> int:
        """The number of rows that all arrays have."""
        rows = 0
        for name in self.corruptions:
            images, path = self._open(f"{name}.npy"), self.folder / f"{name}.npy"
            if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
                raise InputError(
                    f"{path} holds {images.dtype} of shape {images.shape}; expected uint8 of shape (N, H, W, 3)"
                )
            rows = rows or len(images)
            if len(images) != rows:
                raise InputError(f"{path} has {len(images):,} rows, {self.corruptions[0]}.npy {rows:,}")
        if rows % len(self.severities):
            raise InputError(
                f"{self.folder / self.corruptions[0]!s}.npy has {rows:,} rows, which is not a multiple of its "
                f"{len(self.severities)} severities; restore the file"
            )
        return rows

    def _read(self, corruption: str, severity: int, batches: list[np.ndarray]) -> Iterator[Batch]:
        images = self._open(f"{corruption}.npy")
        start = self.severities.index(severity) * len(self)
        for indices in batches:
            labels = self._labels[(start + indices) % len(self._labels)]
            yield images[start + indices], labels.astype(np.int64), indices

    def _open(self, name: str) -> np.ndarray:
        path = self.folder / name
        if path.exists() and not path.is_file():  # reading a pipe would wait for its other end
            raise InputError(f"{str(path)!r} is not a file; restore it")
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            raise InputError(f"{str(self.folder)!r} lacks {name}; restore it") from None
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{str(path)!r} is cut off or not an array: {one_line(error)}; restore it") from error


class NpyWriter(CorruptedSetWriter):
    """Writes every batch to its place in `.<corruption>.npy.partial`; the files are renamed at the end."""

    def __init__(self, folder: OutputFolder, job: Job, contents: SetContents) -> None:
        super().__init__(folder, job, contents)
        if contents.shape is None:
            raise ValueError("the shape of the images is not known")
        images, severities = len(contents.rows), job.severities
        self.image_bytes = int(np.prod(contents.shape))
        described = {"descr": "|u1", "fortran_order": False, "shape": (len(severities) * images, *contents.shape)}
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, described)
        self.header = header.getvalue()
        self.starts = {s: len(self.header) + i * images * self.image_bytes for i, s in enumerate(severities)}
        self.size = len(self.header) + len(severities) * images * self.image_bytes
        self.digests: dict[Cell, list[bytes]] = {cell: [] for cell in job.cells}

    def begin(self) -> None:
        """Make the files at full length. Shards may do so at once; what another has written is not truncated."""
        for name in self.job.corruptions:
            path, final = self._partial(name), self._final(name)
            refuse_link(final)
            with writing(path), suppress(FileNotFoundError):
                if not path.exists():  # complete, but a chunk is to be made anew, because its images were damaged
                    self.folder.rename(final, path)
            with writing(path), self.folder.open(path, create=True) as file:
                file.write(self.header)
                file.flush()
                if os.fstat(file.fileno()).st_size < self.size:
                    file.truncate(self.size)

    def encode(self, cell: Cell, rows: np.ndarray, pixels: np.ndarray) -> list[bytes]:
        """Write a batch to its place; returns the SHA-256 of the images."""
        pixels = np.ascontiguousarray(pixels)
        path = self._partial(cell[0])
        with writing(path), self.folder.open(path) as file:
            file.seek(self._start(cell, rows))
            file.write(pixels.data)
        return [hashlib.sha256(image.data).digest() for image in pixels]

    def add(self, cell: Cell, rows: np.ndarray, encoded: list[bytes]) -> None:
        """Keep the hashes of the images, in the order of the rows."""
        self.digests[cell] += encoded

    def end_chunk(self, chunk: int) -> dict:
        """Flush the chunk to the disk; returns a hash per corruption and severity."""
        for name in self.job.corruptions:
            path = self._partial(name)
            with writing(path), self.folder.open(path) as file:
                os.fsync(file.fileno())
        hashes = {_key(cell): _joint(self.digests[cell]) for cell in self.job.cells}
        self.digests = {cell: [] for cell in self.job.cells}
        return {"sha256": hashes}

    def wrote(self, chunk: int, rows: np.ndarray, record: dict) -> bool:
        """Whether the arrays hold the images whose hashes the record has."""
        return all(self._hash(cell, rows) == record.get("sha256", {}).get(_key(cell)) for cell in self.job.cells)

    def _hash(self, cell: Cell, rows: np.ndarray) -> str | None:
        """The hash of a chunk's images in the file of a cell, complete or not; None where they are missing."""
        for path in (self._partial(cell[0]), self._final(cell[0])):
            with suppress(FileNotFoundError), open_plain(path) as file:
                file.seek(self._start(cell, rows))
                return _joint([hashlib.sha256(file.read(self.image_bytes)).digest() for _ in rows])
        return None

    def _start(self, cell: Cell, rows: np.ndarray) -> int:
        """Where the first of some consecutive images lies in the file of a cell."""
        return self.starts[cell[1]] + int(np.searchsorted(self.contents.rows, rows[0])) * self.image_bytes

    def finish(self, records: dict[int, dict], threads: Executor) -> dict[str, str]:
        """Give the files their names; returns their SHA-256."""
        path, file = self.folder.path / _LABELS, io.BytesIO()
        labels = self.contents.labels[self.contents.rows]
        labels = labels.astype(np.uint8 if len(self.contents.classes) <= 256 else np.int64)
        np.save(file, np.tile(labels, len(self.job.severities)))
        self.folder.write(path, file.getvalue())
        hashes = threads.map(self._rename, self.job.corruptions)
        return {f"{name}.npy": value for name, value in zip(self.job.corruptions, hashes, strict=True)} | {
            _LABELS: sha256(path)
        }

    def _rename(self, name: str) -> str:
        partial, final = self._partial(name), self._final(name)
        refuse_link(final)
        with writing(final):
            if not final.exists():  # else another process was faster
                with suppress(FileNotFoundError):
                    self.folder.rename(partial, final)
            return sha256(final)

    def _partial(self, name: str) -> Path:
        return self.folder.path / f".{name}.npy.partial"

    def _final(self, name: str) -> Path:
        return self.folder.path / f"{name}.npy"


def _key(cell: Cell) -> str:
    return f"{cell[0]}/{cell[1]}"


def _joint(digests: list[bytes]) -> str:
    return hashlib.sha256(b"".join(digests)).hexdigest()


def _entries(corruptions: Sequence[str]) -> list[str]:
    return [_LABELS, *(entry for name in corruptions for entry in (f"{name}.npy", f".{name}.npy.partial"))]


LAYOUT = Layout(
    name="npy",
    description="<corruption>.npy and labels.npy",
    arrays=True,
    reader=NpySet,
    writer=NpyWriter,
    matches=lambda folder: any(folder.glob("*.npy")),
    entries=_entries,
)
