"""The layout of a Hugging Face dataset: a configuration per corruption and a split per severity, on the Hub or in a
folder. It is written as `<corruption>/severity_<s>-<chunk>-of-<chunks>.parquet` with image files in the rows."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
import yaml

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
from timm_pushpull.data.corrupted.folder import OutputFolder, writing
from timm_pushpull.data.corrupted.image_files import encode_image, image_stems, suffix
from timm_pushpull.data.corrupted.job import Job
from timm_pushpull.data.images import ImageSet, read_batches
from timm_pushpull.data.loading import cache_folder, check_description, load_images, refuse_wildcards
from timm_pushpull.utils.errors import InputError, one_line
from timm_pushpull.utils.files import remove, sha256
from timm_pushpull.utils.hub_client import quiet_hub

if TYPE_CHECKING:
    import pyarrow.parquet as pq

_ROW_GROUP = 100  # images that a reader downloads to see one of them


class ParquetSet(CorruptedSet):
    """Splits called `severity_1` to `severity_5`, or `1` to `5`; other configurations and splits are ignored.

    Args:
        place: Hub id or folder. `datasets` keeps a copy of what is read in its cache.
        manifest: Names the corruptions and severities that must be there.

    Raises:
        InputError: The dataset cannot be loaded, has no such splits, or is incomplete.
    """

    def __init__(self, place: str, manifest: Manifest) -> None:
        self.name = place
        if Path(place).is_dir():
            # The working folder may change, and what is no folder then would be taken for a Hub id.
            self.name, place = Path(place).resolve().name, str(Path(place).absolute())
        self.place, self.manifest = place, manifest
        self._splits = _severity_splits(place)
        found = {name: list(splits) for name, splits in self._splits.items()}
        self.severities = check_complete(self.name, found, manifest)
        self.corruptions = in_order(self._splits)
        self._opened: dict[Cell, ImageSet] = {}
        first = self._open(self.corruptions[0], self.severities[0])
        self.classes, self.labels = first.classes, first.labels
        self._length = len(first)

    def __len__(self) -> int:
        return self._length

    def names(self) -> list[str] | None:
        """`<class folder>/<file stem>` of every image, if all rows have a path."""
        first = self._open(self.corruptions[0], self.severities[0])
        stems = image_stems(first)
        return list(stems.values()) if all(first.files.paths(range(len(first)))) else None

    def _read(self, corruption: str, severity: int, batches: list[np.ndarray]) -> Iterator[Batch]:
        images = self._open(corruption, severity)
        if len(images) != len(self):
            raise InputError(
                f"{self.name!r}: {corruption}/{severity} holds {len(images):,} images, "
                f"{self.corruptions[0]}/{self.severities[0]} {len(self):,}"
            )
        rows = np.concatenate(batches) if batches else np.empty(0, np.int64)
        for pixels, indices in read_batches(images, np.asarray, len(batches[0]) if batches else 1, rows):
            yield pixels, images.labels[indices], indices

    def _open(self, corruption: str, severity: int) -> ImageSet:
        cell = corruption, severity
        if cell not in self._opened:
            self._opened[cell] = load_images(self.place, self._splits[corruption][severity], config=corruption)
        return self._opened[cell]


class ParquetWriter(CorruptedSetWriter):
    """Writes a file per chunk and cell, one row group after the other."""

    def __init__(self, folder: OutputFolder, job: Job, contents: SetContents) -> None:
        import datasets

        super().__init__(folder, job, contents)
        self.names = {row: stem.split("/")[1] + suffix(job.jpeg_quality) for row, stem in contents.stems.items()}
        label = datasets.ClassLabel(names=list(contents.classes))
        self.schema = datasets.Features(image=datasets.Image(), label=label).arrow_schema
        self.files: dict[Cell, tuple[Path, IO[bytes], pq.ParquetWriter]] = {}

    def begin(self) -> None:
        """Make the folders."""
        for name in self.job.corruptions:
            self.folder.subfolder(self.folder.path / name)

    def encode(self, cell: Cell, rows: np.ndarray, pixels: np.ndarray) -> list[bytes]:
        """The images of a batch as files."""
        return [encode_image(image, self.job.jpeg_quality) for image in pixels]

    def add(self, cell: Cell, rows: np.ndarray, encoded: list[bytes]) -> None:
        """Append a block's images to the file of the cell."""
        import pyarrow as pa

        paths = [self.names[row] for row in rows.tolist()]
        images = pa.StructArray.from_arrays(
            [pa.array(encoded, pa.binary()), pa.array(paths, pa.string())], names=["bytes", "path"]
        )
        labels = pa.array(self.contents.labels[rows], pa.int64())
        table = pa.Table.from_arrays([images.cast(self.schema.field("image").type), labels], schema=self.schema)
        with writing(self._final(cell, 0)):
            self._writer(cell).write_table(table, row_group_size=_ROW_GROUP)

    def end_chunk(self, chunk: int) -> dict:
        """Give the files of the chunk their names; returns their SHA-256."""
        hashes = {}
        for cell in self.job.cells:
            final = self._final(cell, chunk)
            with writing(final):
                self._writer(cell).close()
                path, file, _ = self.files.pop(cell)
                with file:
                    file.flush()
                    os.fsync(file.fileno())
                hashes[final.relative_to(self.folder.path).as_posix()] = sha256(path)
                self.folder.rename(path, final)
        return {"sha256": hashes}

    def wrote(self, chunk: int, rows: np.ndarray, record: dict) -> bool:
        """Whether the record has the hashes of the chunk's files."""
        files = [self._final(cell, chunk) for cell in self.job.cells]
        names = [file.relative_to(self.folder.path).as_posix() for file in files]
        hashes = record.get("sha256", {})
        with suppress(FileNotFoundError, InputError):  # lost, or replaced by something that is no file
            return set(hashes) == set(names) and all(
                sha256(file, plain=True) == hashes[name] for file, name in zip(files, names, strict=True)
            )
        return False

    def finish(self, records: dict[int, dict], threads: Executor) -> dict[str, str]:
        """Write the README by which `datasets` finds the files; returns all SHA-256."""
        self.folder.write(self.folder.path / "README.md", _readme(self.job))
        hashes = {name: value for record in records.values() for name, value in record["sha256"].items()}
        return dict(sorted(hashes.items()))

    def abort(self) -> None:
        """Remove the files of an interrupted chunk."""
        for path, file, writer in self.files.values():
            with suppress(OSError):
                writer.close()
            with suppress(OSError):
                file.close()
            remove(path, within=self.folder.path)
        self.files.clear()

    def _writer(self, cell: Cell) -> pq.ParquetWriter:
        import pyarrow.parquet as pq

        if cell not in self.files:
            path = Path(self.folder.temporary())
            file = self.folder.open(path, "xb")
            self.files[cell] = path, file, pq.ParquetWriter(file, self.schema, use_dictionary=["label"])
        return self.files[cell][2]

    def _final(self, cell: Cell, chunk: int) -> Path:
        name, severity = cell
        return self.folder.path / name / f"severity_{severity}-{chunk:05d}-of-{self.contents.chunks:05d}.parquet"


def _severity_splits(place: str) -> dict[str, dict[int, str]]:
    """The name of each severity's split, for every configuration that has such splits."""
    import datasets

    found: dict[str, dict[int, str]] = {}
    refuse_wildcards(place)
    check_description(place)
    try:
        with quiet_hub():
            cache = cache_folder(place)
            for config in datasets.get_dataset_config_names(place):
                names = datasets.get_dataset_split_names(place, config, cache_dir=cache)
                matches = [re.fullmatch(r"(?:severity_?)?([1-5])", name) for name in names]
                splits = {int(match[1]): match[0] for match in matches if match}
                if splits:
                    found[config] = splits
    except Exception as error:  # any builder, file system or network error, as in `load_images`
        advice = "" if Path(place).exists() else "; there is no such folder either"
        raise InputError(f"cannot load dataset {place!r}: {one_line(error)}{advice}") from error
    if not found:
        raise InputError(
            f"{place!r} holds no corrupted images; expected a configuration per corruption with splits severity_1 to "
            f"severity_5"
        )
    return found


def _readme(job: Job) -> str:
    configs = [
        {
            "config_name": name,
            "data_files": [
                {"split": f"severity_{severity}", "path": f"{name}/severity_{severity}-*.parquet"}
                for severity in job.severities
            ],
        }
        for name in job.corruptions
    ]
    header = yaml.safe_dump({"task_categories": ["image-classification"], "configs": configs}, sort_keys=False)
    name, severity = job.cells[0]
    return (
        f"---\n{header}---\n\n"
        f"# {job.dataset}, corrupted\n\n"
        f"The split `{job.split}` of `{job.dataset}` under {len(job.corruptions)} corruptions, made by timm-pushpull "
        f"with preset `{job.preset}` and seed {job.seed}. `manifest.json` says the rest.\n\n"
        f"```python\nfrom datasets import load_dataset\n\n"
        f'images = load_dataset(FOLDER, "{name}", split="severity_{severity}")\n```\n'
    )


def _entries(corruptions: Sequence[str]) -> list[str]:
    return [*corruptions, "README.md"]


LAYOUT = Layout(
    name="parquet",
    description="Parquet files in a folder per corruption",
    arrays=False,
    reader=ParquetSet,
    writer=ParquetWriter,
    matches=lambda folder: any(folder.glob("*/*.parquet")),
    entries=_entries,
)
