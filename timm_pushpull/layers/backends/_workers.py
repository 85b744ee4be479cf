"""C functions for threads, with one argument: the address of a record of sizes and data pointers.

All threads get the same record. Each takes the next task from its atomic counter until no task is left. Every task
writes its own partial sums, which are added afterwards, so results do not depend on which thread ran which task.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numba import carray
from numba.core.ccallback import CFunc

from timm_pushpull.layers.backends._box import box_image
from timm_pushpull.layers.backends._intrinsics import fetch_and_increment, pointer
from timm_pushpull.layers.backends._planes import backward_plane, forward_plane
from timm_pushpull.utils.jit import c_callback, jit_contract


def _record(*fields: str) -> np.dtype:
    return np.dtype([(field, np.int64) for field in fields])


BOX = _record(
    *("counter", "images", "channels", "height", "width", "extent", "step_n", "step_c", "step_h", "step_w"),
    *("kernel_h", "kernel_w", "stride_h", "stride_w", "pad_h", "pad_w", "dilation_h", "dilation_w", "radius"),
    *("out_height", "out_width", "input", "output"),
)
ROWS = _record(
    *("counter", "images", "blocks", "planes", "channels", "height", "width", "radius"),
    *("push", "box", "constants", "output", "grad", "grad_sums", "grad_box"),
)


@cache
def box_worker(stored: type, computed: type) -> CFunc:
    def box(address):
        args = carray(address, 1, BOX)[0]
        images = carray(pointer(args.input), args.extent, stored)
        outputs = carray(pointer(args.output), (args.images, args.out_height, args.out_width), computed)
        image = fetch_and_increment(address)
        while image < args.images:
            box_image(
                images[image * args.step_n :],
                (args.step_c, args.step_h, args.step_w),
                args.channels,
                (args.height, args.width),
                (args.kernel_h, args.kernel_w),
                (args.stride_h, args.stride_w),
                (args.pad_h, args.pad_w),
                (args.dilation_h, args.dilation_w),
                args.radius,
                outputs[image],
            )
            image = fetch_and_increment(address)

    return c_callback(box)


@jit_contract
def _maps(address, args, stored):
    """The array at an address, shape (images, planes, height, width * channels)."""
    return carray(pointer(address), (args.images, args.planes, args.height, args.width * args.channels), stored)


@jit_contract
def _constants(args, computed):
    """The box sums, shape (images, height, width); alpha, scale and bias, shape (3, planes, channels)."""
    box = carray(pointer(args.box), (args.images, args.height, args.width), computed)
    return box, carray(pointer(args.constants), (3, args.planes, args.channels), computed)


@jit_contract
def _rows_of(args, task):
    """The image of a task, its first row, and its last row + 1."""
    image, block = task // args.blocks, task % args.blocks
    return image, args.height * block // args.blocks, args.height * (block + 1) // args.blocks


@cache
def forward_worker(stored: type, computed: type) -> CFunc:
    def forward(address):
        args = carray(address, 1, ROWS)[0]
        push, output = _maps(args.push, args, stored), _maps(args.output, args, stored)
        box, constants = _constants(args, computed)
        task = fetch_and_increment(address)
        while task < args.images * args.blocks:
            image, first, last = _rows_of(args, task)
            for plane in range(args.planes):
                alpha, scale, bias = constants[0, plane], constants[1, plane], constants[2, plane]
                forward_plane(
                    push[image, plane], box[image], alpha, scale, bias, args.radius, first, last, output[image, plane]
                )
            task = fetch_and_increment(address)

    return c_callback(forward)


@cache
def backward_worker(stored: type, computed: type) -> CFunc:
    def backward(address):
        args = carray(address, 1, ROWS)[0]
        push, output, grad = (
            _maps(args.push, args, stored),
            _maps(args.output, args, stored),
            _maps(args.grad, args, stored),
        )
        box, constants = _constants(args, computed)
        sums = (args.images * args.blocks, args.planes, 3, args.channels)
        grad_sums = carray(pointer(args.grad_sums), sums, computed)
        count = args.images if args.grad_box else 0
        grad_box = carray(pointer(args.grad_box), (count, args.height, args.width), computed)
        empty = np.empty((0, 0), computed)  # type: ignore[var-annotated]
        task = fetch_and_increment(address)
        while task < args.images * args.blocks:
            image, first, last = _rows_of(args, task)
            for plane in range(args.planes):
                backward_plane(
                    push[image, plane],
                    box[image],
                    constants[0, plane],
                    constants[1, plane],
                    args.radius,
                    first,
                    last,
                    grad[image, plane],
                    output[image, plane],
                    grad_sums[task, plane],
                    grad_box[image] if count else empty,
                )
            task = fetch_and_increment(address)

    return c_callback(backward)
