"""The layout of a Hugging Face data set: a configuration per corruption, a split per severity, pictures in Parquet."""

from __future__ import annotations

import os
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from timm_pushpull.data.generate.folder import Folder, writing
from timm_pushpull.data.generate.job import Job
from timm_pushpull.data.generate.pictures import encode, suffix
from timm_pushpull.data.generate.writer import Cell
from timm_pushpull.utils.files import sha256

_ROW_GROUP = 100  # images that a reader fetches to see one of them


class ParquetWriter:
    """Writes `<corruption>/severity_<s>-<chunk>-of-<chunks>.parquet`, one row group after the other.

    Args:
        stems: `<class>/<file stem>` of every row of the job.
        labels: Class of every row of the data set, int64.
        classes: Names of the classes.
    """

    def __init__(
        self, folder: Folder, job: Job, stems: dict[int, str], labels: np.ndarray, classes: tuple[str, ...], chunks: int
    ) -> None:
        self.folder, self.job, self.labels, self.chunks = folder, job, labels, chunks
        ending = suffix(job.settings["jpeg_quality"])
        self.names = {row: stem.split("/")[1] + ending for row, stem in stems.items()}
        features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=list(classes)))
        self.schema = features.arrow_schema
        self.files: dict[Cell, tuple[Path, pq.ParquetWriter]] = {}

    def begin(self) -> None:
        """Make the folders."""
        for name in self.job.settings["corruptions"]:
            with writing(self.folder.path / name):
                (self.folder.path / name).mkdir(exist_ok=True)

    def encode(self, cell: Cell, rows: np.ndarray, pixels: np.ndarray) -> list[bytes]:
        """A batch's pictures as files."""
        return [encode(image, self.job.settings["jpeg_quality"]) for image in pixels]

    def add(self, cell: Cell, rows: np.ndarray, encoded: list[bytes]) -> None:
        """Append a block's pictures to the cell's file."""
        paths = [self.names[row] for row in rows.tolist()]
        pictures = pa.StructArray.from_arrays(
            [pa.array(encoded, pa.binary()), pa.array(paths, pa.string())], names=["bytes", "path"]
        )
        labels = pa.array(self.labels[rows], pa.int64())
        table = pa.Table.from_arrays([pictures.cast(self.schema.field("image").type), labels], schema=self.schema)
        with writing(self._final(cell, 0)):
            self._file(cell).write_table(table, row_group_size=_ROW_GROUP)

    def end_chunk(self, chunk: int) -> dict:
        """Give the chunk's files their names; returns their SHA-256."""
        hashes = {}
        for cell in self.job.cells:
            final = self._final(cell, chunk)
            with writing(final):
                self._file(cell).close()
                path, _ = self.files.pop(cell)
                with open(path, "r+b") as file:
                    os.fsync(file.fileno())
                hashes[final.relative_to(self.folder.path).as_posix()] = sha256(path)
                os.replace(path, final)
        return {"sha256": hashes}

    def finish(self, records: dict[int, dict], threads: Executor) -> dict[str, str]:
        """Write the README by which `datasets` finds the files; returns all SHA-256."""
        self.folder.write(self.folder.path / "README.md", self._readme())
        hashes = {name: value for record in records.values() for name, value in record["sha256"].items()}
        return dict(sorted(hashes.items()))

    def abort(self) -> None:
        """Remove what an interrupted chunk has begun."""
        for path, file in self.files.values():
            with suppress(OSError):
                file.close()
            path.unlink(missing_ok=True)
        self.files.clear()

    def _file(self, cell: Cell) -> pq.ParquetWriter:
        if cell not in self.files:
            path = Path(self.folder.temporary())
            self.files[cell] = path, pq.ParquetWriter(path, self.schema, use_dictionary=["label"])
        return self.files[cell][1]

    def _final(self, cell: Cell, chunk: int) -> Path:
        name, severity = cell
        return self.folder.path / name / f"severity_{severity}-{chunk:05d}-of-{self.chunks:05d}.parquet"

    def _readme(self) -> str:
        settings = self.job.settings
        configs = [
            {
                "config_name": name,
                "data_files": [
                    {"split": f"severity_{severity}", "path": f"{name}/severity_{severity}-*.parquet"}
                    for severity in settings["severities"]
                ],
            }
            for name in settings["corruptions"]
        ]
        header = yaml.safe_dump({"task_categories": ["image-classification"], "configs": configs}, sort_keys=False)
        name, severity = self.job.cells[0]
        return (
            f"---\n{header}---\n\n"
            f"# {settings['dataset']}, corrupted\n\n"
            f"The split `{settings['split']}` of `{settings['dataset']}` under {len(settings['corruptions'])} "
            f"corruptions, made by timm-pushpull with preset `{settings['preset']}` and seed {settings['seed']}. "
            f"`manifest.json` says the rest.\n\n"
            f"```python\nfrom datasets import load_dataset\n\n"
            f'images = load_dataset(FOLDER, "{name}", split="severity_{severity}")\n```\n'
        )
