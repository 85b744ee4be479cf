"""numba decorators, named for what they allow the compiler to do.

    ================  ==========================================  ==============
    decorator         floating point                              cached on disk
    ================  ==========================================  ==============
    `jit_exact`       exactly as written                          no
    `jit_cached`      exactly as written                          yes
    `jit_contract`    `a * b + c` may become one fused operation  no
    `c_callback`      exactly as written                          yes
    ================  ==========================================  ==============

The corruptions use `jit_exact` for inner functions and `jit_cached` for the functions that Python calls: their results
are compared bit by bit with those of the original generator. The push-pull unit uses `jit_contract`, because a fused
multiply-add is faster and rounds only once, and `c_callback` for the functions that threads run.

numba is not available for a new Python version until months after its release. `jit_cached` functions then raise an
InputError when they are called; everything else in the package works without numba.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from timm_pushpull.utils.errors import InputError

try:
    from numba import cfunc, njit
except ImportError:
    cfunc = njit = None


def jit_exact(function: Callable) -> Callable:
    """Compile a function that other compiled functions call; no operation is reordered or contracted."""
    return njit(nogil=True, error_model="numpy")(function) if njit else function


def jit_contract(function: Callable) -> Callable:
    """Compile a function that other compiled functions call; multiply-adds may be fused, nothing is reordered."""
    return njit(nogil=True, error_model="numpy", fastmath={"contract"})(function) if njit else function


def jit_cached(function: Callable) -> Callable:
    """Compile a function at its first call, as `jit_exact`, and cache it on disk if numba finds a writable folder."""
    if not njit:
        return _needs_numba(function)
    _rename_by_source(function)
    try:
        return njit(nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError:  # numba found no writable folder
        return jit_exact(function)


def c_callback(function: Callable) -> Any:
    """Compile `function(address)` to a C function of one pointer, cached on disk if numba finds a writable folder.

    Returns:
        numba's `CFunc`: `.address` for other C code, `.ctypes` for Python.
    """
    _rename_by_source(function)
    try:
        return cfunc("void(voidptr)", cache=True)(function)
    except RuntimeError:  # numba found no writable folder
        return cfunc("void(voidptr)")(function)


def _rename_by_source(function: Callable) -> None:
    """Add a hash of the source files in the function's folder to its name, which is part of numba's cache key.

    numba checks only the file that a cached function is defined in, not the files of the functions that it calls.
    """
    function.__qualname__ = f"{function.__name__}_{_source_hash(Path(inspect.getfile(function)).parent)}"


@functools.cache
def _source_hash(folder: Path) -> str:
    sources = b"".join(path.read_bytes() for path in (*sorted(folder.glob("*.py")), Path(__file__)))
    return hashlib.sha256(sources).hexdigest()[:16]


def _needs_numba(function: Callable) -> Callable:
    @functools.wraps(function)
    def fail(*arguments, **keywords):
        raise InputError("this function needs numba, which is not installed: pip install numba (Python 3.10 to 3.14)")

    return fail
