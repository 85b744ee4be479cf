"""Fused implementations of the push-pull unit, one module per device type with torch's name for it.

A backend has `DTYPES`, `forward` and `backward` with the signatures of `timm_pushpull.layers.backends.cpu`.
`timm_pushpull.layers.fused` does not use a backend that cannot be imported or that fails on a small trial.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

ConvGeometry = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]  # stride, padding, dilation


def output_size(size: Sequence[int], kernel: Sequence[int], geometry: Sequence[Sequence[int]]) -> tuple[int, int]:
    """Height and width of a convolution's output."""
    height, width = (
        (side + 2 * pad - spread * (taps - 1) - 1) // step + 1
        for side, taps, step, pad, spread in zip(size, kernel, *geometry, strict=True)
    )
    return height, width


def memory_format(maps: Tensor) -> torch.memory_format:
    is_last = maps.is_contiguous(memory_format=torch.channels_last) and not maps.is_contiguous()
    return torch.channels_last if is_last else torch.contiguous_format
