"""The layout of ImageNet-C: `<corruption>/<severity>/<class>/<file>.JPEG`."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import Executor

import numpy as np

from timm_pushpull.data.generate.folder import Folder, writing
from timm_pushpull.data.generate.job import Job
from timm_pushpull.data.generate.pictures import encode, suffix
from timm_pushpull.data.generate.writer import Cell


class ImageFolderWriter:
    """Writes a file per image and cell, and keeps its SHA-256 for the manifest.

    Args:
        stems: `<class>/<file stem>` of every row of the job.
    """

    def __init__(self, folder: Folder, job: Job, stems: dict[int, str]) -> None:
        self.folder, self.job = folder, job
        self.names = {row: stem + suffix(job.settings["jpeg_quality"]) for row, stem in stems.items()}
        self.digests: dict[Cell, list[bytes]] = {cell: [] for cell in job.cells}
        self.written: list[int] = []

    def begin(self) -> None:
        """Make the folders."""
        classes = {name.split("/")[0] for name in self.names.values()}
        for name, severity in self.job.cells:
            for folder in classes:
                path = self.folder.path / name / str(severity) / folder
                with writing(path):
                    path.mkdir(parents=True, exist_ok=True)

    def encode(self, cell: Cell, rows: np.ndarray, pixels: np.ndarray) -> list[bytes]:
        """Write a batch's files; returns their SHA-256."""
        name, severity = cell
        place = f"{self.folder.path}/{name}/{severity}/"
        digests = []
        for row, image in zip(rows.tolist(), pixels, strict=True):
            content = encode(image, self.job.settings["jpeg_quality"])
            self.folder.write(place + self.names[row], content)
            digests.append(hashlib.sha256(content).digest())
        return digests

    def add(self, cell: Cell, rows: np.ndarray, encoded: list[bytes]) -> None:
        """Keep the hashes of a cell's images, in the order of the rows."""
        self.digests[cell] += encoded
        if cell == self.job.cells[0]:
            self.written += rows.tolist()

    def end_chunk(self, chunk: int) -> dict:
        """Make the chunk's files outlast a crash of the machine; keep their hashes beside its record."""
        content = b"".join(digest for cell in self.job.cells for digest in self.digests[cell])
        self.folder.write(self.folder.side_file(chunk), content)
        if hasattr(os, "sync"):
            os.sync()
        written = self.written
        self.digests, self.written = {cell: [] for cell in self.job.cells}, []
        return {"rows": written}

    def finish(self, records: dict[int, dict], threads: Executor) -> dict[str, str]:
        """One SHA-256 per `<corruption>/<severity>`: that of the list of its files that sha256sum prints, in the order
        of their names (`cd gaussian_noise/1; find * -type f | LC_ALL=C sort | xargs sha256sum | sha256sum`)."""
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

    def abort(self) -> None:
        """An interrupted chunk leaves nothing behind but files that its next run replaces."""
