"""The push-pull response of a plane of a map and its gradients, row by row."""

from __future__ import annotations

import numpy as np

from timm_pushpull.layers.backends._rows import (
    add_inhibited,
    add_products,
    copy,
    grad_pull_row,
    grad_push_row,
    output_row,
    pull_row,
    share,
    shares,
    sum_neighbours,
    sum_rows,
)
from timm_pushpull.utils.jit import jit_contract


@jit_contract
def _factors(box, scale, alpha, row_share, column_shares):
    """The factors of box sums and of pooled responses along a row, each as outer and inner ones."""
    if alpha.size > 1:
        return box, scale, column_shares * row_share, alpha
    return scale, box, alpha * row_share, column_shares


@jit_contract
def forward_plane(push, box, alpha, scale, bias, radius, first, last, output):
    """Rows first to last of `relu(push) - alpha * relu(pull) + bias`; `output` may be `push` itself.

    push, output: (height, width * channels). box: (height, width). alpha, scale, bias: (channels,).
    """
    (height, width), channels, size = box.shape, alpha.size, push.shape[1]
    zeros, halo = np.zeros(size, push.dtype), radius * channels
    column, sums = np.zeros(size + 2 * halo, alpha.dtype), np.empty(size, alpha.dtype)
    column_shares, biases = shares(width, radius, alpha), bias if channels > 1 else np.full(width, bias[0])
    above = np.empty((radius + 1, size), push.dtype)
    for h in range(max(first - radius, 0), first):
        copy(push[h], above[h % len(above)])
    for h in range(first, last):
        # A copy also of this row: LLVM's vector code does not write where it reads.
        own = above[h % len(above)]
        copy(push[h], own)
        sum_rows(push, above, h, radius, zeros, column[halo : halo + size])
        window = 3 if radius == 1 else 1
        if radius > 1:
            sum_neighbours(column, channels, radius, sums)
        pull_sums = sums if radius > 1 else column
        row_share = alpha.dtype.type(share(h, height, radius))
        outer_scale, inner_scale, outer_alpha, inner_alpha = _factors(box[h], scale, alpha, row_share, column_shares)
        output_row(
            pull_sums, channels, window, own, outer_scale, inner_scale, outer_alpha, inner_alpha, biases, output[h]
        )


@jit_contract
def backward_plane(push, box, alpha, scale, radius, first, last, grad, output, grad_sums, grad_box):
    """Rows first to last of the gradient with respect to push, written to `output`, which may be `push` itself.

    grad: as push. grad_sums: (3, channels), the gradients of alpha, scale and bias, added to. grad_box: (height, width)
    or empty, added to. The rest as in `_forward_plane`.
    """
    (height, width), channels, size = box.shape, alpha.size, push.shape[1]
    zeros, halo, window = np.zeros(size, push.dtype), radius * channels, 2 * radius + 1
    column, sums = np.zeros(size + 2 * halo, alpha.dtype), np.empty(size, alpha.dtype)
    pull, own = np.empty(size, alpha.dtype), np.empty(size, push.dtype)
    column_shares, inner = shares(width, radius, alpha), channels if channels > 1 else width
    outer_ones, inner_ones = np.ones(size // inner, alpha.dtype), np.ones(inner, alpha.dtype)
    totals = np.zeros((3, inner), alpha.dtype)
    # The gradient of a row needs the gradients of the pull responses around it. Rows are not needed again once it is
    # written, so here everything is read where it lies.
    ring, no_row = np.zeros((window, size), alpha.dtype), np.zeros(size, alpha.dtype)
    for q in range(first - radius, last + radius):
        grad_pull = ring[q % window]
        if 0 <= q < height:
            sum_rows(push, push, q, radius, zeros, column[halo : halo + size])
            if radius > 0:
                sum_neighbours(column, channels, radius, sums)
            row_share = alpha.dtype.type(share(q, height, radius))
            outer_scale, inner_scale, outer_alpha, inner_alpha = _factors(
                box[q], scale, alpha, row_share, column_shares
            )
            if channels > 1:
                outer_share, outer_box, inner_box = outer_alpha, box[q], inner_ones
            else:
                outer_share, outer_box, inner_box = outer_ones * row_share, outer_ones, box[q]
            pull_row(sums if radius > 0 else column, outer_scale, inner_scale, pull)
            grad_pull_row(pull, grad[q], outer_alpha, inner_alpha, grad_pull)
            if first <= q < last:
                add_inhibited(pull, grad[q], outer_share, totals[0])
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
        grad_sums[0, channel] -= totals[0, i] * (1 if channels > 1 else column_shares[i])
        grad_sums[1, channel] -= totals[1, i]
        grad_sums[2, channel] += totals[2, i]
