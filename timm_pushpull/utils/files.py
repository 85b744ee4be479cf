"""Write files and folders completely or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from timm_pushpull.utils.errors import InputError

# Errors that the user can fix by choosing another place.
_PLACE = {
    errno.ENOSPC: "no space left",
    errno.EDQUOT: "quota exceeded",
    errno.EFBIG: "file too large",
    errno.EACCES: "permission denied",
    errno.EPERM: "not permitted",
    errno.EROFS: "read-only file system",
    errno.ENOTDIR: "part of the path is a file",
    errno.EEXIST: "a file is in the way",
    errno.ENOENT: "no such folder",
    errno.EISDIR: "a folder is in the way",
    errno.EIO: "input/output error",
    errno.ENAMETOOLONG: "the name is too long",
}


def write_error(path: Path | str, error: OSError) -> InputError:
    """The error that says why `path` could not be written."""
    return InputError(
        f"cannot write {str(path)!r}: {_PLACE.get(error.errno or 0, error.strerror or str(error))}; "
        f"free or choose another place"
    )


def make_folder(path: Path | str) -> Path:
    """Create a folder and its parents if they do not exist.

    Raises:
        InputError: The folder cannot be created or is not writable.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as error:
        raise write_error(path, error) from error


def write_file(path: Path | str, content: str | bytes) -> None:
    """Replace the content of a file atomically.

    Raises:
        InputError: The file cannot be written or the disk is full; no temporary file is left.
    """
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            with open(temporary, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise write_error(path, error) from error


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """An empty folder that takes `path`'s place, and name, at the end of the context, and is gone if that fails.

    Raises:
        InputError: The place cannot be written to, or is full; what was there stays.
    """
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=make_folder(path.parent)))
    try:
        yield temporary
        temporary.chmod(0o755)
        aside = path.with_name(f".{path.name}.old")
        shutil.rmtree(aside, ignore_errors=True)
        if path.exists():
            path.rename(aside)
        temporary.rename(path)
        shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def copy_files(source: Path, target: Path, names: Iterable[str]) -> None:
    """Copy those of these files that a folder holds into another one."""
    for name in names:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def sha256(path: Path | str) -> str:
    """SHA-256 of a file's content, as `sha256sum` prints it."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()
