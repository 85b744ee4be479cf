"""What numba lacks: bfloat16, pointers from addresses, an atomic counter."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload


@intrinsic
def pointer(typing_context, address):
    """Convert an address, int64, to a pointer for `carray`."""

    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())

    return types.voidptr(types.int64), generate


@intrinsic
def fetch_and_increment(typing_context, counter):
    """Atomically add one to the int64 at a pointer and return its previous value."""

    def generate(context, builder, signature, arguments):
        counter = builder.bitcast(arguments[0], ir.IntType(64).as_pointer())
        return builder.atomic_rmw("add", counter, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(types.voidptr), generate


@intrinsic
def _float_of_bits(typing_context, bits):
    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.uint32), generate


@intrinsic
def _bits_of_float(typing_context, value):
    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.uint32(types.float32), generate


def load(value):
    """Convert a stored number to the dtype of the arithmetic: bfloat16, stored as uint16 bits, to float32."""


def store(value, stored):
    """Convert a computed number to the storage format of `stored`, rounded to nearest even."""


@overload(load)
def _(value):
    if value == types.uint16:
        return lambda value: _float_of_bits(np.uint32(value) << np.uint32(16))
    return lambda value: value


@overload(store)
def _(value, stored):
    if stored != types.uint16:
        return lambda value, stored: value

    def to_bfloat16(value, stored):
        # NaN stays NaN: the low bits of a NaN from arithmetic or from a bfloat16 are zero, so nothing carries over.
        bits = _bits_of_float(value)
        return np.uint16((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16))

    return to_bfloat16
