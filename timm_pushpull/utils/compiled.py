"""How loops are compiled by numba: the rules of their arithmetic, and keeping them on disk."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path

from timm_pushpull.utils.errors import InputError

try:
    from numba import njit
except ImportError:  # numba comes months after a new Python
    njit = None


def compiled(function: Callable) -> Callable:
    """Compile a function for the use of other compiled ones.

    Nothing is reordered or contracted: results are compared with the original generator's to the last bit.
    """
    return njit(nogil=True, error_model="numpy")(function) if njit else function


def kept(function: Callable) -> Callable:
    """Compile a function at its first call and keep it on disk, where numba finds a place to write."""
    if not njit:
        return _missing(function)
    name_by_sources(function)
    try:
        return njit(nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError:  # nowhere to write
        return compiled(function)


def name_by_sources(function: Callable) -> None:
    """Give a function a name that changes with the sources of its package.

    numba would take a kept function for current as long as its file is unchanged, whatever the function calls.
    """
    function.__qualname__ = f"{function.__name__}_{_digest(Path(inspect.getfile(function)).parent)}"


@functools.cache
def _digest(folder: Path) -> str:
    sources = b"".join(path.read_bytes() for path in (*sorted(folder.glob("*.py")), Path(__file__)))
    return hashlib.sha256(sources).hexdigest()[:16]


def _missing(function: Callable) -> Callable:
    @functools.wraps(function)
    def refuse(*arguments, **keywords):
        raise InputError("corruptions need numba, which this Python lacks: pip install numba (Python 3.10 to 3.14)")

    return refuse
