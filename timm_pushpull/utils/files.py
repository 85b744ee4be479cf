"""Reading, writing and removing files safely: whole or not at all, only plain files, never through a symbolic link."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

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
_ABANDONED = 3600  # seconds after which a temporary file belongs to a killed process
# A pipe is opened without waiting for its other end, so that it can be refused. Windows has neither flag.
_PLAIN = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def write_error(path: Path | str, error: OSError) -> InputError:
    """The error that says why `path` could not be written."""
    return InputError(
        f"cannot write {str(path)!r}: {_PLACE.get(error.errno or 0, error.strerror or str(error))}; "
        f"free or choose another place"
    )


def check_name(name: object, what: str) -> str:
    """A name read from a file, before it becomes part of a path.

    Args:
        what: What the name is, for the error, such as `the study's row`.

    Raises:
        InputError: It is not the name of an entry of a folder: empty, `.`, `..`, with a separator or a control
            character, or not encodable.
    """
    if isinstance(name, str) and name not in ("", ".", "..") and not re.search(r"[/\\\x00-\x1f\x7f-\x9f]", name):
        with contextlib.suppress(UnicodeEncodeError):
            if os.fsencode(name) and Path(name).name == name:  # on Windows, `C:x` is a path too
                return name
    raise InputError(f"{what} is {name!r}, which is not a plain file name; correct the file that names it")


def refuse_link(path: Path | str) -> None:
    """Raise InputError if `path` is a symbolic link."""
    if os.path.islink(path):
        raise InputError(
            f"{str(path)!r} is a symbolic link, which is not followed; put the file or folder itself there"
        )


def check_within(path: Path | str, folder: Path | str) -> None:
    """Check that writing or removing `path` stays within `folder`.

    `folder` itself may be reached through links, as the user chose it; nothing below it may.

    Raises:
        InputError: `path` is not below `folder`, or a folder between the two is a symbolic link.
    """
    try:
        parts = Path(path).relative_to(folder).parts
    except ValueError:
        parts = ()
    if not parts:
        raise InputError(f"{str(path)!r} is not in the folder {str(folder)!r}")
    for part in parts:
        check_name(part, f"part of the path {str(path)!r}")
    place = Path(folder)
    for part in parts[:-1]:
        place /= part
        refuse_link(place)


def open_plain(path: Path | str, mode: str = "rb", *, create: bool = False) -> IO[bytes]:
    """`open` in binary for regular files only; never through a symbolic link.

    Args:
        mode: `rb`, `r+b`, `ab`, or `xb` for a file that does not exist yet.
        create: With `r+b`: create the file where it does not exist; what is there is not truncated.

    Raises:
        InputError: A symbolic link, a pipe, a device.
        OSError: As for `open`.
    """

    def opener(name: str, flags: int) -> int:
        number = os.open(name, flags | _PLAIN | (os.O_CREAT if create else 0), 0o666)
        if stat.S_ISREG(os.fstat(number).st_mode):
            return number
        os.close(number)
        raise OSError(errno.ENXIO, "not a regular file")

    refuse_link(path)
    try:
        return open(path, mode, opener=opener)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link made just now; a pipe without a reader, a socket
            raise InputError(f"{str(path)!r} is not a regular file") from error
        raise


def read_plain(path: Path | str, limit: int) -> bytes:
    """A regular file's content.

    Args:
        limit: Most bytes that it may have.

    Raises:
        InputError: A symbolic link, not a regular file, too large, or it cannot be read.
    """
    check_plain(path, limit)
    try:
        with open_plain(path) as file:
            return file.read(limit)
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror or error}") from error


def check_plain(path: Path | str, limit: int) -> None:
    """Check what can be checked of a file without reading it.

    Raises:
        InputError: A symbolic link, not a regular file, more than `limit` bytes, or it cannot be opened.
    """
    try:
        with open_plain(path) as file:
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r}: {error.strerror or error}") from error
    if size > limit:
        raise InputError(f"{str(path)!r} has {size:,} bytes; at most {limit:,} are expected of such a file")


def check_output(path: Path) -> None:
    """Check that a file can be written to `path`, so that errors come before long work; make its folder.

    Raises:
        InputError: A folder, a pipe or a device is in its place, or its folder cannot be created or written to.
    """
    if path.is_dir():
        raise InputError(f"{str(path)!r} is a folder; give a file")
    _refuse_special(path)
    make_folder(path.parent)


def _refuse_special(path: Path) -> None:
    """Raise InputError for a pipe or a device, such as /dev/null or /dev/stdout: renaming a file would replace it."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise InputError(f"{str(path)!r} is a pipe or a device; give a file")


def make_folder(path: Path | str, *, within: Path | str | None = None) -> Path:
    """Create a folder and its parents, where they do not exist.

    Args:
        within: A folder above it; no folder below that may be a symbolic link.

    Raises:
        InputError: It cannot be created or written to, or is not within that folder.
    """
    path = Path(path)
    try:
        if within is None:
            path.mkdir(parents=True, exist_ok=True)
        else:
            make_folders(path, within)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as error:
        raise write_error(path, error) from error


def make_folders(path: Path, within: Path | str) -> None:
    """Create the folders from `within` down to `path`.

    Raises:
        InputError: One of them is a symbolic link, or `path` is not within that folder.
        OSError: One cannot be created.
    """
    check_within(path, within)
    refuse_link(path)
    path.mkdir(parents=True, exist_ok=True)


def replace_file(path: Path | str, data: bytes, temporary: Path | str, *, sync: bool = True) -> None:
    """Replace a file's content by way of a new file on the same file system, which is gone afterwards.

    A symbolic link at `path` is itself replaced; its target stays as it is.

    Args:
        sync: Have the content on the disk before the file gets its name; else the caller sees to that.
    """
    with open_plain(temporary, "xb") as file:  # before the try: a file that was there already is not ours to remove
        try:
            file.write(data)
            file.flush()
            if sync:
                os.fsync(file.fileno())
            file.close()
            os.replace(temporary, path)
        except BaseException:
            file.close()
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise


def write_file(path: Path | str, content: str | bytes, *, within: Path | str | None = None) -> None:
    """Replace a file's content: it holds the old or the new one at any moment, never a part.

    Args:
        within: A folder above it; no folder between the two may be a symbolic link.

    Raises:
        InputError: The place cannot be written to, is full, is not within that folder, or is a pipe or a device;
            nothing is left behind.
    """
    path = Path(path)
    if within is not None:
        check_within(path, within)
    _refuse_special(path)
    data = content.encode() if isinstance(content, str) else content
    with contextlib.suppress(OSError, InputError):  # such as another user's file
        remove_temporary(path, older_than=_ABANDONED)
    try:
        replace_file(path, data, path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp"))
    except OSError as error:
        raise write_error(path, error) from error


def is_temporary(name: str) -> bool:
    """Whether `write_file` gives such a name to a file before it is complete; after a kill, the file stays."""
    return re.fullmatch(r"\..+\.[0-9a-f]{16}\.tmp", name) is not None


def remove_temporary(path: Path, older_than: float = 0) -> None:
    """Remove what killed processes have left of `write_file(path, ...)`.

    Args:
        older_than: Seconds since they were written; 0 requires that no other process is at work on the file.
    """
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with contextlib.suppress(FileNotFoundError):  # it has just been renamed, or removed
            if is_temporary(left.name) and time.time() - left.lstat().st_mtime >= older_than:
                remove(left, within=path.parent)


def remove(path: Path | str, *, within: Path | str) -> None:
    """Remove a file or a folder with all that it holds, if it is there. Of a symbolic link, the target stays.

    Raises:
        InputError: It is not within that folder, a folder between the two is a symbolic link, or it cannot be removed.
    """
    check_within(path, within)
    try:
        if stat.S_ISDIR(os.lstat(path).st_mode):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    except OSError as error:
        if os.path.lexists(path):  # else another process was faster
            raise InputError(f"cannot remove {str(path)!r}: {error.strerror or error}; remove it by hand") from error


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """An empty folder that takes `path`'s place, and name, at the end of the context, and is gone if that fails.

    The caller must hold the lock of `path`, `only_process`: what killed processes have left here is removed, and what
    they have moved aside is put back.

    Raises:
        InputError: The place cannot be written to, or is full; what was there stays.
    """
    parent, aside = make_folder(path.parent), path.with_name(f".{path.name}.old")
    try:
        for left in parent.glob(f".{glob.escape(path.name)}.*.tmp"):
            if re.fullmatch(r"[a-z0-9_]{8}\.tmp", left.name[len(path.name) + 2 :]):
                remove(left, within=parent)
        # A kill between the two renames below has left it.
        if aside.is_dir() and not aside.is_symlink() and not os.path.lexists(path):
            aside.rename(path)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=parent))
    except OSError as error:
        raise write_error(path, error) from error
    try:
        yield temporary
        temporary.chmod(0o755)
        remove(aside, within=parent)
        if os.path.lexists(path):
            path.rename(aside)
        temporary.rename(path)
        with contextlib.suppress(InputError):  # the new folder is in place
            remove(aside, within=parent)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def copy_files(source: Path, target: Path, names: Iterable[str]) -> None:
    """Copy those of these files that a folder holds into another one, which holds none of them.

    Raises:
        InputError: One is a symbolic link, or not a regular file.
    """
    for name in names:
        check_within(source / name, source)
        if os.path.lexists(source / name):
            copy_file(source / name, target / name)


def copy_file(source: Path, target: Path) -> None:
    """Copy a regular file to a new one.

    Raises:
        InputError: `source` is a symbolic link, or not a regular file.
        OSError: It cannot be read, or `target` exists or cannot be written.
    """
    with open_plain(source) as original, open_plain(target, "xb") as copy:
        shutil.copyfileobj(original, copy, 1 << 20)
        copy.flush()
        os.fsync(copy.fileno())  # before the folder around it gets its name


def sha256(path: Path | str, *, plain: bool = False) -> str:
    """SHA-256 of a file's content, as `sha256sum` prints it.

    Args:
        plain: Open it as `open_plain` does.
    """
    digest = hashlib.sha256()
    with open_plain(path) if plain else open(path, "rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()
