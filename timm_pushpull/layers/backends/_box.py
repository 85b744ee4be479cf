"""Box sums: the convolution of an image with ones, summed over the pooling windows."""

from __future__ import annotations

import numpy as np

from timm_pushpull.layers.backends._intrinsics import load
from timm_pushpull.utils.jit import jit_contract


@jit_contract
def _add_row(values, row):
    for i in range(values.size):
        row[i] += values[i]


@jit_contract
def _sum_channels(image, start, step_c, step_w, channels, row):
    """Sum one row of an image, given as its flat memory from `start`, over the channels."""
    if step_c == 1 and step_w == 3 and channels == 3:  # constant strides, so that LLVM vectorises the loop
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


@jit_contract
def _sum_windows(row, taps, stride, dilation, output):
    output[:] = 0
    for k in range(taps):
        part = row[k * dilation :]
        if stride == 1:  # constant strides, as above
            for w in range(output.size):
                output[w] += part[w]
        elif stride == 2:
            for w in range(output.size):
                output[w] += part[2 * w]
        else:
            for w in range(output.size):
                output[w] += part[w * stride]


@jit_contract
def box_image(image, steps, channels, size, kernel, stride, pad, dilation, radius, output):
    """Sum an image over channels and the kernel's windows, then over the pooling windows.

    Args:
        image: Flat memory of the image.
        steps: Strides of `image` along (channel, row, column).
        radius: Of the pooling windows, which have the side 2 * radius + 1.
        output: Shape (height, width).
    """
    (height, width), (out_height, out_width) = size, output.shape
    # A ring buffer of the rows under the kernel: allocating a map of the whole image would cost more time.
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
