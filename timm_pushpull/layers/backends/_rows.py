"""Loops over one row of a feature map. Each touches few arrays, so that LLVM can vectorise it.

A row has `outer.size * inner.size` numbers. In the channels-last memory format, outer runs over positions and inner
over channels. In the contiguous format, a plane is one channel: outer has this one channel, and inner runs over
positions. Each factor is a product of one that depends on the channel and one that depends on the position (scale times
box sum, alpha times the weight of the pooling window), so the same loops serve both formats.
"""

from __future__ import annotations

import numpy as np

from timm_pushpull.layers.backends._intrinsics import load, store
from timm_pushpull.utils.jit import jit_contract


@jit_contract
def copy(values, row):
    for i in range(row.size):
        row[i] = values[i]


@jit_contract
def sum_rows(rows, above, h, radius, zeros, total):
    """The sum of the rows h - radius to h + radius; rows outside the map are zero.

    Row h and the rows before it are read from `above`, a ring buffer, because `rows` may be overwritten there.
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


@jit_contract
def sum_neighbours(padded, step, radius, total):
    """The sum of the 2 * radius + 1 neighbours along a row, `step` apart; `padded` has `radius` zeros at both ends."""
    a, b, c = padded[(radius - 1) * step :], padded[radius * step :], padded[(radius + 1) * step :]
    for i in range(total.size):
        total[i] = a[i] + b[i] + c[i]
    for k in range(2, radius + 1):
        a, b = padded[(radius - k) * step :], padded[(radius + k) * step :]
        for i in range(total.size):
            total[i] += a[i] + b[i]


@jit_contract
def window_weight(i, size, radius):
    """1 / the number of positions of the pooling window around i that lie on the map."""
    return 1 / (min(i + radius, size - 1) - max(i - radius, 0) + 1)


@jit_contract
def window_weights(size, radius, like):
    weights = np.empty(size, like.dtype)
    for i in range(size):
        weights[i] = window_weight(i, size, radius)
    return weights


@jit_contract
def output_row(sums, step, window, push, outer_scale, inner_scale, outer_alpha, inner_alpha, inner_bias, output):
    """`relu(push) - alpha * relu(scale * box - sums) + bias`.

    Args:
        window: 1 if `sums` is complete, 3 if the sum over three neighbours is still missing.
    """
    stored, zero, size = output[0], sums.dtype.type(0), inner_scale.size
    for j in range(outer_scale.size):
        scale, alpha, start = outer_scale[j], outer_alpha[j], j * size
        own, out, left = push[start : start + size], output[start : start + size], sums[start : start + size]
        if window == 1:
            for i in range(size):
                excitation, pull = load(own[i]), scale * inner_scale[i] - left[i]
                excitation, inhibition = zero if zero > excitation else excitation, zero if zero > pull else pull
                out[i] = store(excitation - alpha * inner_alpha[i] * inhibition + inner_bias[i], stored)
        else:
            middle, right = sums[start + step :], sums[start + 2 * step :]
            for i in range(size):
                excitation, pull = load(own[i]), scale * inner_scale[i] - (left[i] + middle[i] + right[i])
                excitation, inhibition = zero if zero > excitation else excitation, zero if zero > pull else pull
                out[i] = store(excitation - alpha * inner_alpha[i] * inhibition + inner_bias[i], stored)


@jit_contract
def pull_row(sums, outer_scale, inner_scale, pull):
    size = inner_scale.size
    for j in range(outer_scale.size):
        scale, part, out = outer_scale[j], sums[j * size : (j + 1) * size], pull[j * size : (j + 1) * size]
        for i in range(size):
            out[i] = scale * inner_scale[i] - part[i]


@jit_contract
def grad_pull_row(pull, grad, outer_alpha, inner_alpha, grad_pull):
    """The negative gradient with respect to the pull response."""
    size, zero = inner_alpha.size, pull.dtype.type(0)
    for j in range(outer_alpha.size):
        span = slice(j * size, (j + 1) * size)
        alpha, part, grad_part, out = outer_alpha[j], pull[span], grad[span], grad_pull[span]
        for i in range(size):
            out[i] = alpha * inner_alpha[i] * load(grad_part[i]) if part[i] > zero else zero


@jit_contract
def add_alpha_grad(pull, grad, outer_weight, total):
    """Add `grad * relu(pull)` to `total`, for the gradient of alpha."""
    size, zero = total.size, pull.dtype.type(0)
    for j in range(outer_weight.size):
        weight, part, grad_part = outer_weight[j], pull[j * size : (j + 1) * size], grad[j * size : (j + 1) * size]
        for i in range(size):
            total[i] += weight * load(grad_part[i]) * (zero if zero > part[i] else part[i])


@jit_contract
def add_products(values, outer, inner, total):
    size = total.size
    for j in range(outer.size):
        factor, part = outer[j], values[j * size : (j + 1) * size]
        for i in range(size):
            total[i] += factor * inner[i] * load(part[i])


@jit_contract
def grad_push_row(sums, step, window, push, grad, output):
    stored, zero = output[0], sums.dtype.type(0)
    if window == 1:
        for i in range(output.size):
            output[i] = store((load(grad[i]) if load(push[i]) > zero else zero) + sums[i], stored)
    else:
        left, middle, right = sums, sums[step:], sums[2 * step :]
        for i in range(output.size):
            excited = load(grad[i]) if load(push[i]) > zero else zero
            output[i] = store(excited + (left[i] + middle[i] + right[i]), stored)
