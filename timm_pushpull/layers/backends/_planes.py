"""The push-pull output of one plane of a feature map and its gradients, row by row."""

from __future__ import annotations

import numpy as np

from timm_pushpull.layers.backends._rows import (
    add_alpha_grad,
    add_products,
    copy,
    grad_pull_row,
    grad_push_row,
    output_row,
    pull_row,
    sum_neighbours,
    sum_rows,
    window_weight,
    window_weights,
)
from timm_pushpull.utils.jit import jit_contract


@jit_contract
def _factors(box, scale, alpha, row_weight, column_weights):
    """Outer and inner factors of the box sums, then of the pooled pull response, along a row (see `_rows`)."""
    if alpha.size > 1:
        return box, scale, column_weights * row_weight, alpha
    return scale, box, alpha * row_weight, column_weights


@jit_contract
def forward_plane(push, box, alpha, scale, bias, radius, first, last, output):
    """Compute the rows first to last - 1 of `relu(push) - alpha * relu(pull) + bias`.

    Args:
        push: Shape (height, width * channels).
        box: Pooled box sums, shape (height, width).
        alpha, scale, bias: Shape (channels,).
        output: As `push`; may be the same memory.
    """
    (height, width), channels, size = box.shape, alpha.size, push.shape[1]
    zeros, halo = np.zeros(size, push.dtype), radius * channels
    column, sums = np.zeros(size + 2 * halo, alpha.dtype), np.empty(size, alpha.dtype)
    column_weights, biases = window_weights(width, radius, alpha), bias if channels > 1 else np.full(width, bias[0])
    above = np.empty((radius + 1, size), push.dtype)
    for h in range(max(first - radius, 0), first):
        copy(push[h], above[h % len(above)])
    for h in range(first, last):
        # Copy this row too: LLVM does not vectorise loops that write to the array they read.
        own = above[h % len(above)]
        copy(push[h], own)
        sum_rows(push, above, h, radius, zeros, column[halo : halo + size])
        window = 3 if radius == 1 else 1
        if radius > 1:
            sum_neighbours(column, channels, radius, sums)
        pull_sums = sums if radius > 1 else column
        row_weight = alpha.dtype.type(window_weight(h, height, radius))
        outer_scale, inner_scale, outer_alpha, inner_alpha = _factors(box[h], scale, alpha, row_weight, column_weights)
        output_row(
            pull_sums, channels, window, own, outer_scale, inner_scale, outer_alpha, inner_alpha, biases, output[h]
        )


@jit_contract
def backward_plane(push, box, alpha, scale, radius, first, last, grad, output, grad_sums, grad_box):
    """Compute the rows first to last - 1 of the gradient with respect to the push response.

    Args:
        push, box, alpha, scale: As in `forward_plane`.
        grad: Gradient with respect to the output, as `push`.
        output: Gradient with respect to the push response, as `push`; may be the same memory.
        grad_sums: Gradients of alpha, scale and bias, shape (3, channels); added to.
        grad_box: Gradient of the pooled box sums, shape (height, width), or empty; added to.
    """
    (height, width), channels, size = box.shape, alpha.size, push.shape[1]
    zeros, halo, window = np.zeros(size, push.dtype), radius * channels, 2 * radius + 1
    column, sums = np.zeros(size + 2 * halo, alpha.dtype), np.empty(size, alpha.dtype)
    pull, own = np.empty(size, alpha.dtype), np.empty(size, push.dtype)
    column_weights, inner = window_weights(width, radius, alpha), channels if channels > 1 else width
    outer_ones, inner_ones = np.ones(size // inner, alpha.dtype), np.ones(inner, alpha.dtype)
    totals = np.zeros((3, inner), alpha.dtype)
    # The gradient of row h needs the pull gradients of the rows around it, which a ring buffer holds. Row h of `push`
    # is not needed after it is written, so `push` is read in place.
    ring, no_row = np.zeros((window, size), alpha.dtype), np.zeros(size, alpha.dtype)
    for q in range(first - radius, last + radius):
        grad_pull = ring[q % window]
        if 0 <= q < height:
            sum_rows(push, push, q, radius, zeros, column[halo : halo + size])
            if radius > 0:
                sum_neighbours(column, channels, radius, sums)
            row_weight = alpha.dtype.type(window_weight(q, height, radius))
            outer_scale, inner_scale, outer_alpha, inner_alpha = _factors(
                box[q], scale, alpha, row_weight, column_weights
            )
            if channels > 1:
                outer_weight, outer_box, inner_box = outer_alpha, box[q], inner_ones
            else:
                outer_weight, outer_box, inner_box = outer_ones * row_weight, outer_ones, box[q]
            pull_row(sums if radius > 0 else column, outer_scale, inner_scale, pull)
            grad_pull_row(pull, grad[q], outer_alpha, inner_alpha, grad_pull)
            if first <= q < last:
                add_alpha_grad(pull, grad[q], outer_weight, totals[0])
                add_products(grad_pull, outer_box, inner_box, totals[1])
                add_products(grad[q], outer_ones, inner_ones, totals[2])
                if grad_box.size:
                    for i in range(size):
                        grad_box[q, i // channels] -= grad_pull[i] * scale[i % channels]
        else:
            grad_pull[:] = 0
        h = q - radius
        if h >= first:
            sum_rows(ring, ring, radius, radius, no_row, column[halo : halo + size])
            if radius > 1:
                sum_neighbours(column, channels, radius, sums)
            copy(push[h], own)
            around = sums if radius > 1 else column
            grad_push_row(around, channels, 3 if radius == 1 else 1, own, grad[h], output[h])
    for i in range(inner):
        channel = i % channels
        grad_sums[0, channel] -= totals[0, i] * (1 if channels > 1 else column_weights[i])
        grad_sums[1, channel] -= totals[1, i]
        grad_sums[2, channel] += totals[2, i]
