"""How loops are compiled by numba: the rules of their arithmetic, and keeping them on disk."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from functools import cache
from pathlib import Path

from numba import njit

# Nothing may be reordered or contracted: results are compared with the original generator's to the last bit.
compiled = njit(nogil=True, error_model="numpy")


def kept(function: Callable) -> Callable:
    """Compile a function at its first call and keep it on disk, where numba finds a place to write."""
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


@cache
def _digest(folder: Path) -> str:
    sources = b"".join(path.read_bytes() for path in (*sorted(folder.glob("*.py")), Path(__file__)))
    return hashlib.sha256(sources).hexdigest()[:16]
