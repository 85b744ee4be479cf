"""The folder a set is generated into: whose it is, what is finished in it, and what a full disk leaves behind.

While a set is being made its folder has a `.work` with `job.json`, a record per finished chunk, and files that are
being written; the set's own files only ever appear whole, by a rename. There are no locks: whatever two processes do at
the same time, they write the same bytes.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from timm_pushpull.data.generate.job import Job
from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.files import make_folder, write_error

MANIFEST = "manifest.json"
_FULL = {errno.ENOSPC: "no space left", errno.EDQUOT: "quota exceeded", errno.EFBIG: "file too large"}


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Put the failure to write `path` on one line; where the place is full, it says how to go on."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise InputError(
                f"cannot write {str(path)!r}: {_FULL[error.errno]}; make room and run the same command again, "
                f"it goes on where it stopped"
            ) from error
        if isinstance(error, FileNotFoundError):
            raise  # another shard may have finished the set: `generate` looks
        raise write_error(path, error) from error


class Folder:
    """The folder of one job.

    Args:
        path: The folder; it is created.

    Raises:
        InputError: It cannot be created, is a file, holds something else or another job.
    """

    def __init__(self, path: Path | str, job: Job, *, overwrite: bool = False) -> None:
        self.path = Path(path)
        self.work = self.path / ".work"
        self._temporary, self._numbers = f"{self.work}/{uuid.uuid4().hex}", itertools.count()
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{str(path)!r} is a file; give a folder")
        make_folder(self.path)
        if overwrite:
            self._empty()
        self._claim(job)

    @property
    def manifest(self) -> dict | None:
        """The manifest of a finished set, else None."""
        return _read(self.path / MANIFEST)

    def write(self, path: Path | str, content: bytes | str) -> None:
        """Write a file whole, by way of `.work`."""
        data = content.encode() if isinstance(content, str) else content
        temporary = self.temporary()
        with writing(path):
            try:
                with open(temporary, "wb") as file:
                    file.write(data)
                os.replace(temporary, path)
            except OSError:
                with suppress(OSError):
                    os.unlink(temporary)
                raise

    def temporary(self) -> str:
        """A name in `.work` that no other thread, process or machine uses."""
        return f"{self._temporary}-{next(self._numbers)}.tmp"

    def record(self, chunk: int, content: dict) -> None:
        """Note that a chunk is finished."""
        self.write(self._record(chunk), json.dumps(content) + "\n")

    def records(self, chunks: int) -> dict[int, dict]:
        """The records of the finished ones among `chunks` chunks."""
        found = ((chunk, _read(self._record(chunk))) for chunk in range(chunks))
        return {chunk: content for chunk, content in found if content is not None}

    def side_file(self, chunk: int) -> Path:
        """Where a writer keeps what is too much for a chunk's record."""
        return self.work / f"chunk-{chunk:05d}.bin"

    def finish(self, manifest: dict) -> None:
        """Write the manifest, which makes the set finished, and remove the traces of its making."""
        self.write(self.path / MANIFEST, json.dumps(manifest, indent=2) + "\n")
        self.sweep()

    def sweep(self) -> None:
        """Remove the traces of a finished set's making."""
        for partial in self.path.glob(".*.npy.partial"):
            partial.unlink(missing_ok=True)
        shutil.rmtree(self.work, ignore_errors=True)

    def _record(self, chunk: int) -> Path:
        return self.work / f"chunk-{chunk:05d}.json"

    def _claim(self, job: Job) -> None:
        """Make the folder this job's, unless it is another's; of several processes at once, one writes `job.json`."""
        self._refuse_others(job)
        self.work.mkdir(exist_ok=True)
        temporary, claim = Path(self.temporary()), self.work / "job.json"
        if not claim.exists():
            with writing(claim):
                try:
                    temporary.write_text(job.to_json())
                    try:
                        os.link(temporary, claim)
                    except FileExistsError:
                        pass
                    except OSError:  # a file system without links
                        os.replace(temporary, claim)
                finally:
                    temporary.unlink(missing_ok=True)
        self._refuse_others(job)
        stored = _read(claim)
        self.origin = stored["origin"] if stored else job.origin
        if self.manifest:
            self.sweep()

    def _refuse_others(self, job: Job) -> None:
        # In this order: who sees another shard's files, or no job any more, then sees its job or its manifest.
        others = sorted({entry.name for entry in self.path.iterdir()} - {self.work.name})
        stored = _read(self.work / "job.json")
        finished = self.manifest
        held = finished or (stored and stored["settings"])
        if held:
            difference = job.difference(held)
            if difference:
                raise InputError(
                    f"{str(self.path)!r} holds another {'finished' if finished else 'unfinished'} set: {difference}; "
                    f"choose another folder, or --overwrite"
                )
            return
        if others:
            raise InputError(
                f"{str(self.path)!r} holds something else, such as {others[0]!r}; choose a new or an empty folder"
            )

    def _empty(self) -> None:
        """Remove a set, finished or not, in an order that leaves it known as an unfinished one until the end."""
        finished, stored = self.manifest, _read(self.work / "job.json")
        settings = finished or (stored and stored["settings"])
        if not settings:
            return
        with writing(self.path):
            self.work.mkdir(exist_ok=True)
            for record in self.work.glob("chunk-*"):
                record.unlink()
            if not stored:
                self.write(self.work / "job.json", json.dumps({"settings": settings, "origin": {}}))
            (self.path / MANIFEST).unlink(missing_ok=True)
            for name in settings["corruptions"]:
                shutil.rmtree(self.path / name, ignore_errors=True)
                for file in (f"{name}.npy", f".{name}.npy.partial"):
                    (self.path / file).unlink(missing_ok=True)
            for file in ("labels.npy", "README.md"):
                (self.path / file).unlink(missing_ok=True)
            shutil.rmtree(self.work)


def _read(path: Path) -> dict | None:
    """A JSON file's content; None where there is none, or it is not one of ours."""
    with suppress(FileNotFoundError, NotADirectoryError, ValueError):
        content = json.loads(path.read_text())
        return content if isinstance(content, dict) and (path.name != MANIFEST or "rows_sha256" in content) else None
    return None
