"""The push-pull response of a plane and its gradients, row by row, compiled by numba.

A row of a map is `outer.size` times `inner.size` numbers. With the channels last, the positions are outer and the
channels inner; otherwise a plane is one channel, which is outer, and the positions are inner. What depends on both
channel and position is a product of both: box sum times scale, share of the pooling window times alpha. So one set of
loops serves both layouts. LLVM makes vector code of the inner loops as long as each touches few arrays.

The functions at the end are what threads run: C functions of one argument, the address of a record of addresses and
sizes. All threads of a parallel region get the same record and take tickets from it until no task is left. Sums over
an image are written per task and added up afterwards, so it makes no difference which thread took which task.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from numba import carray, cfunc, njit
from numba.core.ccallback import CFunc

from timm_pushpull.kernels import _numba
from timm_pushpull.kernels._numba import load, narrow, pointer, take_ticket


def _record(*fields: str) -> np.dtype:
    return np.dtype([(field, np.int64) for field in fields])


BOX = _record(
    *("ticket", "images", "channels", "height", "width", "extent", "step_n", "step_c", "step_h", "step_w"),
    *("kernel_h", "kernel_w", "stride_h", "stride_w", "pad_h", "pad_w", "dilation_h", "dilation_w", "radius"),
    *("out_height", "out_width", "input", "output"),
)
TAIL = _record(
    *("ticket", "images", "blocks", "planes", "channels", "height", "width", "radius"),
    *("push", "box", "constants", "output", "grad", "grad_sums", "grad_box"),
)

# Products and sums may be contracted, which rounds once instead of twice; nothing else may be reordered.
_compiled = njit(nogil=True, error_model="numpy", fastmath={"contract"})


# --- Rows ---


@_compiled
def _copy(values, row):
    for i in range(row.size):
        row[i] = values[i]


@_compiled
def _sum_rows(rows, above, h, radius, zeros, total):
    """The sum of the rows around row h; rows beyond the border are zero.

    Row h and those before it come from `above`, a ring, for where the result has taken their place.
    """
    a = above[h % len(above)]
    if radius == 0:
        for i in range(total.size):
            total[i] = load(a[i])
        return
    b, c = above[(h - 1) % len(above)] if h > 0 else zeros, rows[h + 1] if h + 1 < len(rows) else zeros
    for i in range(total.size):
        total[i] = load(a[i]) + load(b[i]) + load(c[i])
    for k in range(2, radius + 1):
        a, b = above[(h - k) % len(above)] if h >= k else zeros, rows[h + k] if h + k < len(rows) else zeros
        for i in range(total.size):
            total[i] += load(a[i]) + load(b[i])


@_compiled
def _sum_neighbours(padded, step, radius, total):
    """The sum of the neighbours along a row, `step` apart; `padded` has `radius` of them in zeros at either end."""
    a, b, c = padded[(radius - 1) * step :], padded[radius * step :], padded[(radius + 1) * step :]
    for i in range(total.size):
        total[i] = a[i] + b[i] + c[i]
    for k in range(2, radius + 1):
        a, b = padded[(radius - k) * step :], padded[(radius + k) * step :]
        for i in range(total.size):
            total[i] += a[i] + b[i]


@_compiled
def _share(i, size, radius):
    """One over the number of positions of the pooling window around i that lie on the map."""
    return 1 / (min(i + radius, size - 1) - max(i - radius, 0) + 1)


@_compiled
def _shares(size, radius, like):
    shares = np.empty(size, like.dtype)
    for i in range(size):
        shares[i] = _share(i, size, radius)
    return shares


@_compiled
def _output_row(sums, step, window, push, outer_scale, inner_scale, outer_alpha, inner_alpha, inner_bias, output):
    """`relu(push) - alpha * relu(scale * box - sums) + bias`, where `sums` may still lack the last three terms."""
    stored, zero, size = output[0], sums.dtype.type(0), inner_scale.size
    for j in range(outer_scale.size):
        scale, alpha, start = outer_scale[j], outer_alpha[j], j * size
        own, out, left = push[start : start + size], output[start : start + size], sums[start : start + size]
        if window == 1:
            for i in range(size):
                excitation, pull = load(own[i]), scale * inner_scale[i] - left[i]
                excitation, inhibition = zero if zero > excitation else excitation, zero if zero > pull else pull
                out[i] = narrow(excitation - alpha * inner_alpha[i] * inhibition + inner_bias[i], stored)
        else:
            middle, right = sums[start + step :], sums[start + 2 * step :]
            for i in range(size):
                excitation, pull = load(own[i]), scale * inner_scale[i] - (left[i] + middle[i] + right[i])
                excitation, inhibition = zero if zero > excitation else excitation, zero if zero > pull else pull
                out[i] = narrow(excitation - alpha * inner_alpha[i] * inhibition + inner_bias[i], stored)


@_compiled
def _pull_row(sums, outer_scale, inner_scale, pull):
    size = inner_scale.size
    for j in range(outer_scale.size):
        scale, part, out = outer_scale[j], sums[j * size : (j + 1) * size], pull[j * size : (j + 1) * size]
        for i in range(size):
            out[i] = scale * inner_scale[i] - part[i]


@_compiled
def _grad_pull_row(pull, grad, outer_alpha, inner_alpha, grad_pull):
    """Minus the gradient with respect to the pull sums."""
    size, zero = inner_alpha.size, pull.dtype.type(0)
    for j in range(outer_alpha.size):
        span = slice(j * size, (j + 1) * size)
        alpha, part, grad_part, out = outer_alpha[j], pull[span], grad[span], grad_pull[span]
        for i in range(size):
            out[i] = alpha * inner_alpha[i] * load(grad_part[i]) if part[i] > zero else zero


@_compiled
def _add_inhibited(pull, grad, outer_share, total):
    """Add gradient times inhibition, which is what alpha multiplies."""
    size, zero = total.size, pull.dtype.type(0)
    for j in range(outer_share.size):
        share, part, grad_part = outer_share[j], pull[j * size : (j + 1) * size], grad[j * size : (j + 1) * size]
        for i in range(size):
            total[i] += share * load(grad_part[i]) * (zero if zero > part[i] else part[i])


@_compiled
def _add_products(values, outer, inner, total):
    size = total.size
    for j in range(outer.size):
        factor, part = outer[j], values[j * size : (j + 1) * size]
        for i in range(size):
            total[i] += factor * inner[i] * load(part[i])


@_compiled
def _grad_push_row(sums, step, window, push, grad, output):
    stored, zero = output[0], sums.dtype.type(0)
    if window == 1:
        for i in range(output.size):
            output[i] = narrow((load(grad[i]) if load(push[i]) > zero else zero) + sums[i], stored)
    else:
        left, middle, right = sums, sums[step:], sums[2 * step :]
        for i in range(output.size):
            excited = load(grad[i]) if load(push[i]) > zero else zero
            output[i] = narrow(excited + (left[i] + middle[i] + right[i]), stored)


# --- Planes ---


@_compiled
def _forward_plane(push, box, alpha, scale, bias, radius, first, last, output):
    """Rows first to last of `relu(push) - alpha * relu(pull) + bias`; `output` may be `push` itself.

    push, output: (height, width * channels). box: (height, width). alpha, scale, bias: (channels,).
    """
    (height, width), channels, size = box.shape, alpha.size, push.shape[1]
    zeros, halo = np.zeros(size, push.dtype), radius * channels
    column, sums = np.zeros(size + 2 * halo, alpha.dtype), np.empty(size, alpha.dtype)
    shares, biases = _shares(width, radius, alpha), bias if channels > 1 else np.full(width, bias[0])
    above = np.empty((radius + 1, size), push.dtype)
    for h in range(max(first - radius, 0), first):
        _copy(push[h], above[h % len(above)])
    for h in range(first, last):
        # A copy also of this row: LLVM's vector code does not write where it reads.
        own = above[h % len(above)]
        _copy(push[h], own)
        _sum_rows(push, above, h, radius, zeros, column[halo : halo + size])
        window = 3 if radius == 1 else 1
        if radius > 1:
            _sum_neighbours(column, channels, radius, sums)
        pull_sums = sums if radius > 1 else column
        share = alpha.dtype.type(_share(h, height, radius))
        if channels > 1:
            outer_scale, inner_scale, outer_alpha, inner_alpha = box[h], scale, shares * share, alpha
        else:
            outer_scale, inner_scale, outer_alpha, inner_alpha = scale, box[h], alpha * share, shares
        _output_row(
            pull_sums, channels, window, own, outer_scale, inner_scale, outer_alpha, inner_alpha, biases, output[h]
        )


@_compiled
def _backward_plane(push, box, alpha, scale, radius, first, last, grad, output, grad_sums, grad_box):
    """Rows first to last of the gradient with respect to push, written to `output`, which may be `push` itself.

    grad: as push. grad_sums: (3, channels), the gradients of alpha, scale and bias, added to. grad_box: (height, width)
    or empty, added to. The rest as in `_forward_plane`.
    """
    (height, width), channels, size = box.shape, alpha.size, push.shape[1]
    zeros, halo, window = np.zeros(size, push.dtype), radius * channels, 2 * radius + 1
    column, sums = np.zeros(size + 2 * halo, alpha.dtype), np.empty(size, alpha.dtype)
    pull, own = np.empty(size, alpha.dtype), np.empty(size, push.dtype)
    shares, inner = _shares(width, radius, alpha), channels if channels > 1 else width
    outer_ones, inner_ones = np.ones(size // inner, alpha.dtype), np.ones(inner, alpha.dtype)
    totals = np.zeros((3, inner), alpha.dtype)
    # The gradient of a row needs the gradients of the pull responses around it. Rows are not needed again once it is
    # written, so here everything is read where it lies.
    ring, no_row = np.zeros((window, size), alpha.dtype), np.zeros(size, alpha.dtype)
    for q in range(first - radius, last + radius):
        grad_pull = ring[q % window]
        if 0 <= q < height:
            _sum_rows(push, push, q, radius, zeros, column[halo : halo + size])
            if radius > 0:
                _sum_neighbours(column, channels, radius, sums)
            share = alpha.dtype.type(_share(q, height, radius))
            if channels > 1:
                outer_scale, inner_scale, outer_alpha, inner_alpha = box[q], scale, shares * share, alpha
                outer_share, outer_box, inner_box = shares * share, box[q], inner_ones
            else:
                outer_scale, inner_scale, outer_alpha, inner_alpha = scale, box[q], alpha * share, shares
                outer_share, outer_box, inner_box = outer_ones * share, outer_ones, box[q]
            _pull_row(sums if radius > 0 else column, outer_scale, inner_scale, pull)
            _grad_pull_row(pull, grad[q], outer_alpha, inner_alpha, grad_pull)
            if first <= q < last:
                _add_inhibited(pull, grad[q], outer_share, totals[0])
                _add_products(grad_pull, outer_box, inner_box, totals[1])
                _add_products(grad[q], outer_ones, inner_ones, totals[2])
                if grad_box.size:
                    for i in range(size):
                        grad_box[q, i // channels] -= grad_pull[i] * scale[i % channels]
        else:
            grad_pull[:] = 0
        h = q - radius
        if h >= first:
            _sum_rows(ring, ring, radius, radius, no_row, column[halo : halo + size])
            if radius > 1:
                _sum_neighbours(column, channels, radius, sums)
            _copy(push[h], own)
            around = sums if radius > 1 else column
            _grad_push_row(around, channels, 3 if radius == 1 else 1, own, grad[h], output[h])
    for i in range(inner):
        channel = i % channels
        grad_sums[0, channel] -= totals[0, i] * (1 if channels > 1 else shares[i])
        grad_sums[1, channel] -= totals[1, i]
        grad_sums[2, channel] += totals[2, i]


@_compiled
def _add_row(values, row):
    for i in range(values.size):
        row[i] += values[i]


@_compiled
def _sum_channels(image, start, step_c, step_w, channels, row):
    """The sum over the channels of one row of an image, given as it lies in memory."""
    if step_c == 1 and step_w == 3 and channels == 3:  # constants, of which LLVM can make vector code
        line = image[start:]
        for w in range(row.size):
            row[w] = load(line[3 * w]) + load(line[3 * w + 1]) + load(line[3 * w + 2])
        return
    row[:] = 0
    for channel in range(channels):
        line = image[start + channel * step_c :]
        if step_w == 1:
            for w in range(row.size):
                row[w] += load(line[w])
        else:
            for w in range(row.size):
                row[w] += load(line[w * step_w])


@_compiled
def _sum_windows(row, taps, stride, dilation, output):
    output[:] = 0
    for k in range(taps):
        part = row[k * dilation :]
        if stride == 1:  # constants here too
            for w in range(output.size):
                output[w] += part[w]
        elif stride == 2:
            for w in range(output.size):
                output[w] += part[2 * w]
        else:
            for w in range(output.size):
                output[w] += part[w * stride]


@_compiled
def _box_image(image, steps, channels, size, kernel, stride, pad, dilation, radius, output):
    """Sums of an image over the kernel's windows, all channels, summed in turn over the pooling windows.

    image: its numbers as they lie in memory, `steps` apart along (channel, row, column). output: (height, width).
    """
    (height, width), (out_height, out_width) = size, output.shape
    # The rows under the kernel alone: an array of the whole image would be fresh memory each time.
    reach = (kernel[0] - 1) * dilation[0] + 1
    ring, summed = np.empty((reach, width), output.dtype), 0
    box, column = np.empty(output.shape, output.dtype), np.zeros(width + 2 * pad[1], output.dtype)
    inside = column[pad[1] : pad[1] + width]
    for h in range(out_height):
        top = h * stride[0] - pad[0]
        while summed < min(top + reach, height):
            _sum_channels(image, summed * steps[1], steps[0], steps[2], channels, ring[summed % reach])
            summed += 1
        inside[:] = 0
        for k in range(kernel[0]):
            if 0 <= top + k * dilation[0] < height:
                _add_row(ring[(top + k * dilation[0]) % reach], inside)
        _sum_windows(column, kernel[1], stride[1], dilation[1], box[h])
    padded = np.zeros(out_width + 2 * radius, output.dtype)
    for h in range(out_height):
        padded[:] = 0
        for q in range(max(h - radius, 0), min(h + radius, out_height - 1) + 1):
            _add_row(box[q], padded[radius:])
        _sum_windows(padded, 2 * radius + 1, 1, 1, output[h])


# --- What the threads run ---


@cache
def box_worker(stored: type, computed: type) -> CFunc:
    def box(address):
        args = carray(address, 1, BOX)[0]
        images = carray(pointer(args.input), args.extent, stored)
        outputs = carray(pointer(args.output), (args.images, args.out_height, args.out_width), computed)
        image = take_ticket(address)
        while image < args.images:
            _box_image(
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
            image = take_ticket(address)

    return _c_function(box)


@cache
def forward_worker(stored: type, computed: type) -> CFunc:
    def forward(address):
        args = carray(address, 1, TAIL)[0]
        maps = (args.images, args.planes, args.height, args.width * args.channels)
        push, output = carray(pointer(args.push), maps, stored), carray(pointer(args.output), maps, stored)
        box = carray(pointer(args.box), (args.images, args.height, args.width), computed)
        constants = carray(pointer(args.constants), (3, args.planes, args.channels), computed)
        task = take_ticket(address)
        while task < args.images * args.blocks:
            image, block = task // args.blocks, task % args.blocks
            first, last = args.height * block // args.blocks, args.height * (block + 1) // args.blocks
            for plane in range(args.planes):
                alpha, scale, bias = constants[0, plane], constants[1, plane], constants[2, plane]
                _forward_plane(
                    push[image, plane], box[image], alpha, scale, bias, args.radius, first, last, output[image, plane]
                )
            task = take_ticket(address)

    return _c_function(forward)


@cache
def backward_worker(stored: type, computed: type) -> CFunc:
    def backward(address):
        args = carray(address, 1, TAIL)[0]
        maps = (args.images, args.planes, args.height, args.width * args.channels)
        push, output = carray(pointer(args.push), maps, stored), carray(pointer(args.output), maps, stored)
        grad = carray(pointer(args.grad), maps, stored)
        box = carray(pointer(args.box), (args.images, args.height, args.width), computed)
        constants = carray(pointer(args.constants), (3, args.planes, args.channels), computed)
        sums = (args.images * args.blocks, args.planes, 3, args.channels)
        grad_sums = carray(pointer(args.grad_sums), sums, computed)
        wanted = args.images if args.grad_box else 0
        grad_box = carray(pointer(args.grad_box), (wanted, args.height, args.width), computed)
        nothing = np.empty((0, 0), computed)
        task = take_ticket(address)
        while task < args.images * args.blocks:
            image, block = task // args.blocks, task % args.blocks
            first, last = args.height * block // args.blocks, args.height * (block + 1) // args.blocks
            for plane in range(args.planes):
                _backward_plane(
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
                    grad_box[image] if wanted else nothing,
                )
            task = take_ticket(address)

    return _c_function(backward)


def _c_function(function: Callable) -> CFunc:
    """The function compiled for this machine; kept on disk where numba finds a place to write."""
    # numba would take a kept function for current as long as this file is unchanged, whatever the function calls.
    sources = b"".join(Path(module.__file__).read_bytes() for module in (sys.modules[__name__], _numba))
    function.__qualname__ = f"{function.__name__}_{hashlib.sha256(sources).hexdigest()[:16]}"
    try:
        return cfunc("void(voidptr)", cache=True)(function)
    except RuntimeError:  # nowhere to write
        return cfunc("void(voidptr)")(function)
