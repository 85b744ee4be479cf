"""The folder that a set is generated into: which job it belongs to, and which chunks are finished.

Until the set is finished the folder has a `.work` with `job.json`, a record per finished chunk, and temporary files.
The files of the set appear by a rename when they are complete. Several shards may work in the folder at once; where
two processes make the same chunk nevertheless, on a file system without locks, they write the same bytes.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from timm_pushpull.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS
from timm_pushpull.data.corrupted.job import Job
from timm_pushpull.data.corrupted.manifest import (
    MANIFEST,
    DamagedError,
    check_cells,
    read_json,
    read_manifest,
    read_work_file,
)
from timm_pushpull.utils import schema
from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.files import (
    check_within,
    make_folder,
    make_folders,
    open_plain,
    refuse_link,
    remove,
    replace_file,
    sha256,
    write_error,
)
from timm_pushpull.utils.json_text import with_checksum

WORK = ".work"
_JOB = "job.json"
SIDE_SHA256 = "side_sha256"
_FULL = {errno.ENOSPC: "no space left", errno.EDQUOT: "quota exceeded", errno.EFBIG: "file too large"}


@dataclass(frozen=True)
class _Record:
    """The types of a chunk's record; which of them a layout has, its writer says."""

    unreadable: list[schema.Count]
    rows: list[schema.Count] = field(default_factory=list)
    side_sha256: str = ""
    sha256: dict[str, str] = field(default_factory=dict)


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Turn a failure to write `path` into one line; if the disk is full, it says how to continue."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise InputError(
                f"cannot write {str(path)!r}: {_FULL[error.errno]}; make room and run the same command again, "
                f"it continues where it stopped"
            ) from error
        if isinstance(error, FileNotFoundError):
            raise  # another shard may have finished the set: `generate` checks that
        raise write_error(path, error) from error


class OutputFolder:
    """The folder of one job.

    Args:
        path: The folder; it is created.
        entries: The names that a set of some corruptions may have at the top of the folder; hidden ones are temporary.
        overwrite: Remove the set that the folder holds.

    Raises:
        InputError: It cannot be created, is a file, holds something else or another job, or what it holds names
            something that is no corruption.
    """

    def __init__(
        self, path: Path | str, job: Job, entries: Callable[[Sequence[str]], list[str]], *, overwrite: bool = False
    ) -> None:
        self.path = Path(path)
        self.work = self.path / WORK
        self._entries = entries
        self._temporary, self._numbers = f"{self.work}/{uuid.uuid4().hex}", itertools.count()
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{str(path)!r} is a file; give a folder")
        refuse_link(self.work)
        make_folder(self.path)
        if overwrite:
            self._empty()
        self._claim(job)

    @property
    def manifest(self) -> dict[str, Any] | None:
        """The manifest of a finished set, else None."""
        return read_manifest(self.path)

    def write(self, path: Path | str, content: bytes | str, *, sync: bool = True) -> None:
        """Write a file of this folder atomically, by way of `.work`.

        Args:
            sync: Flush the content to the disk before the file gets its name.

        Raises:
            InputError: It is not in this folder, or a folder on the way to it is a symbolic link.
        """
        data = content.encode() if isinstance(content, str) else content
        temporary = self.temporary()
        check_within(path, self.path)
        check_within(temporary, self.path)
        with writing(path):
            replace_file(path, data, temporary, sync=sync)

    def subfolder(self, path: Path) -> None:
        """Make a folder below this one.

        Raises:
            InputError: A folder on the way to it, or itself, is a symbolic link.
        """
        with writing(path):
            make_folders(path, self.path)

    def open(self, path: Path, mode: str = "r+b", *, create: bool = False) -> IO[bytes]:
        """Open a file of this folder to write to it, as `open_plain` does; never through a symbolic link.

        Raises:
            InputError: It is a symbolic link, or not in this folder.
        """
        check_within(path, self.path)
        return open_plain(path, mode, create=create)

    def rename(self, path: Path | str, final: Path) -> None:
        """Give a file of this folder its final name.

        Raises:
            InputError: One of the two is not in this folder, or a folder on the way to it is a symbolic link.
        """
        check_within(path, self.path)
        check_within(final, self.path)
        os.replace(path, final)

    def temporary(self) -> str:
        """A path in `.work` that no other thread, process or machine uses."""
        return f"{self._temporary}-{next(self._numbers)}.tmp"

    def record(self, chunk: int, content: dict[str, Any]) -> None:
        """Record that a chunk is finished."""
        self.write(self._record(chunk), json.dumps(with_checksum(content)) + "\n")

    def records(self, chunks: Iterable[int]) -> dict[int, dict[str, Any]]:
        """The records of the finished ones among some chunks, without damaged ones, whose chunks are made anew."""
        found = {}
        for chunk in chunks:
            content = read_work_file(self._record(chunk))
            if content is None:
                continue
            with suppress(InputError):  # values of wrong types
                schema.check(_Record, content, "the record", "record of a chunk")
                if self._is_whole(chunk, content):
                    found[chunk] = content
        return found

    def side_file(self, chunk: int) -> Path:
        """Where a writer keeps what is too large for a chunk's record, which has its hash as SIDE_SHA256."""
        return self.work / f"chunk-{chunk:05d}.bin"

    def finish(self, manifest: dict[str, Any]) -> None:
        """Write the manifest, which makes the set finished, and remove temporary files."""
        self.write(self.path / MANIFEST, json.dumps(manifest, indent=2) + "\n")
        self.remove_temporary()

    def remove_temporary(self) -> None:
        """Remove the temporary files of a finished set."""
        for name in self._entries((self.manifest or {}).get("corruptions", ())):
            if name.startswith("."):
                remove(self.path / name, within=self.path)
        with suppress(InputError):  # another process may remove it at the same time
            remove(self.work, within=self.path)

    def _is_whole(self, chunk: int, record: dict[str, Any]) -> bool:
        """Whether a chunk's side file, if its record names one, is as it was written."""
        if SIDE_SHA256 not in record:
            return True
        path = self.side_file(chunk)
        refuse_link(path)
        with suppress(FileNotFoundError):
            return sha256(path) == record[SIDE_SHA256]
        return False

    def _record(self, chunk: int) -> Path:
        return self.work / f"chunk-{chunk:05d}.json"

    def _claim(self, job: Job) -> None:
        """Make this the job of the folder, unless it has another; of several processes, one writes `job.json`."""
        self._refuse_others(job)
        self.subfolder(self.work)
        temporary, claim = Path(self.temporary()), self.work / _JOB
        if not claim.exists():
            with writing(claim):
                try:
                    with self.open(temporary, "xb") as file:
                        file.write(job.to_json().encode())
                        file.flush()
                        os.fsync(file.fileno())
                    try:
                        os.link(temporary, claim)
                    except FileExistsError:
                        pass
                    except OSError:  # a file system without links
                        os.replace(temporary, claim)
                finally:
                    temporary.unlink(missing_ok=True)
        self._refuse_others(job)
        stored, finished = self._held()
        origin = stored.get("origin") if stored else None
        # Nothing but these: the rest of the manifest is this job's own.
        known = isinstance(origin, dict) and origin
        self.origin = {name: known.get(name) for name in job.origin} if known else job.origin
        if finished:
            self.remove_temporary()

    def _refuse_others(self, job: Job) -> None:
        # In this order: a process that sees another shard's files, or no job any more, then sees its job or manifest.
        others = sorted({entry.name for entry in self.path.iterdir()} - {self.work.name})
        stored, finished = self._held()
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
        finished = self.manifest
        try:
            stored = self._stored()
            settings = finished or (stored and stored["settings"])
        except DamagedError:  # its folder is that of a set; of which corruptions, is not known
            stored, settings = None, finished or {"corruptions": [*CORRUPTIONS, *EXTRA_CORRUPTIONS]}
        if not settings:
            return
        with writing(self.path):
            self.subfolder(self.work)
            for record in self.work.glob("chunk-*"):
                remove(record, within=self.path)
            if not stored:
                self.write(self.work / _JOB, json.dumps({"settings": settings, "origin": {}}))
            # The corruptions are known names: `read_manifest` and `_stored` check that.
            for name in (MANIFEST, *self._entries(settings["corruptions"]), self.work.name):
                remove(self.path / name, within=self.path)

    def _held(self) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        """What `job.json` holds, and the manifest of a finished set, which makes a damaged `job.json` unimportant."""
        try:
            stored = self._stored()
        except DamagedError as error:
            if finished := self.manifest:
                return None, finished
            raise InputError(f"{error}; --overwrite makes the set anew") from error
        return stored, self.manifest

    def _stored(self) -> dict[str, Any] | None:
        """What `job.json` holds; None where there is none.

        Raises:
            InputError: It does not describe a set.
            DamagedError: It was cut off or changed.
        """
        stored = read_json(self.work / _JOB)
        if stored is not None:
            check_cells(stored.get("settings"), self.work / _JOB)
        return stored
