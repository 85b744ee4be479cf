"""Lock files: one process at a time works on a folder or file. A dead process does not keep its locks."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.files import open_plain

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_WAIT = 1.0  # seconds between two tries


@contextmanager
def lock_file(path: Path, stop: threading.Event | None = None, *, shared: bool = False) -> Iterator[IO[str] | None]:
    """Hold the lock of a file, which is free again when its holders are dead.

    Where the system or the file system has no locks, every process gets it.

    Args:
        stop: Wait for the lock until this is set; without it, do not wait.
        shared: Let others hold it too that share it.

    Yields:
        The open file; None where another process holds the lock.

    Raises:
        OSError: The file cannot be created.
    """
    while True:
        with open_plain(path, "ab") as binary, io.TextIOWrapper(binary, encoding="utf-8") as file:
            if not _lock(file, shared):
                if stop is None or stop.wait(_WAIT):
                    yield None
                    return
            elif _is_at(file, path):
                yield file
                return
            # Else its holder removed it, after it was opened here: the next process would lock a new one.


def _lock(file: IO[str], shared: bool = False) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


@contextmanager
def only_process(place: Path, part: str | None = None) -> Iterator[None]:
    """Be the only process that works on a file or folder, by a lock file beside it, which is removed at the end.

    Where that file cannot be written, as beside a mounted folder, there is no protection.

    Args:
        part: Be the only one that works on this part of it, such as `shard-1-of-4`; others may work on other parts.

    Raises:
        InputError: Another process works on it.
    """
    itself = place.resolve()
    with ExitStack() as stack:
        stack.enter_context(_beside(itself.parent / f".{itself.name}.lock", place, shared=part is not None))
        if part is not None:
            stack.enter_context(_beside(itself.parent / f".{itself.name}.{part}.lock", place))
        yield


@contextmanager
def _beside(path: Path, place: Path, shared: bool = False) -> Iterator[None]:
    """Hold the lock file `path` of `place`."""
    with ExitStack() as stack:
        protected = True
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context(lock_file(path, shared=shared))
        except OSError:
            protected = False
        if protected and lock is None:
            raise InputError(f"another process is working on {str(place)!r}; wait for it, or stop it")
        try:
            yield
        finally:
            # The last of those that share it removes it: only then can it be had alone.
            if protected and lock is not None and (not shared or _lock(lock)):
                with suppress(OSError):  # while it is locked: afterwards, it may be another process's
                    path.unlink()
