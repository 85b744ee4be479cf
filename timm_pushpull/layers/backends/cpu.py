"""The push-pull unit on the CPU: torch's convolution, then kernels compiled by numba; no compiler is needed.

After the convolution one pass reads the push response row by row and writes the result in its place, so that no second
map ever exists: fresh memory costs more than the arithmetic.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numba.core.ccallback import CFunc
from torch import Tensor

from timm_pushpull.layers.backends import _workers

# numba does not know bfloat16: its bits travel as uint16 and are computed with as float32.
_TYPES = {
    torch.float32: (np.float32, np.float32),
    torch.float64: (np.float64, np.float64),
    torch.bfloat16: (np.uint16, np.float32),
}
DTYPES = tuple(_TYPES)

Geometry = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]  # stride, padding, dilation

_GRAIN = 32768  # numbers below which a second thread costs more than it brings, as in ATen


def forward(
    x: Tensor, weight: Tensor, alpha: Tensor, scale: Tensor, bias: Tensor | None, geometry: Geometry, avg_size: int
) -> tuple[Tensor, Tensor]:
    """`relu(push) - alpha * relu(avg(scale * box(x) - push)) + bias` with `push = conv(x, weight)`.

    Args:
        x: Shape (N, C, H, W), of one of `DTYPES`.
        weight: Shape (K, C, kh, kw), of the type of x.
        alpha, scale, bias: Shape (K,), of any floating type.

    Returns:
        The output (N, K, H', W') in the type and memory format of the convolution, and the sums of box(x) over the
        pooling windows (N, H', W') in float32 (float64 for float64), for `backward`.
    """
    box = _pooled_box(x, weight.shape[2:], geometry, avg_size)
    push = F.conv2d(x, weight, None, *geometry)
    output, _ = _tail(_workers.forward_worker, push, box, _constants(box.dtype, alpha, scale, bias), avg_size)
    return output, box


def backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    alpha: Tensor,
    scale: Tensor,
    box: Tensor,
    geometry: Geometry,
    avg_size: int,
    needs_box: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The gradients of `forward`, which computes the push response again.

    Args:
        grad: With respect to the output.

    Returns:
        The gradients with respect to the push response (N, K, H', W'), to alpha, scale and bias (3, K) and, if needed,
        to the box sums (N, H', W'); the latter two in float32 (float64 for float64).
    """
    grad_box = torch.zeros_like(box) if needs_box else None
    push = F.conv2d(x, weight, None, *geometry)
    constants = _constants(box.dtype, alpha, scale, None)
    output, sums = _tail(_workers.backward_worker, push, box, constants, avg_size, grad, grad_box)
    return output, sums, grad_box


def _pooled_box(x: Tensor, kernel: tuple[int, int], geometry: Geometry, avg_size: int) -> Tensor:
    """The convolution of x with ones, summed over the pooling windows."""
    if any(step <= 0 for step in x.stride()):
        x = x.contiguous()
    stride, padding, dilation = geometry
    (n, c, h, w), (sn, sc, sh, sw) = x.shape, x.stride()
    height, width = (
        (side + 2 * pad - spread * (taps - 1) - 1) // step + 1
        for side, pad, spread, taps, step in zip((h, w), padding, dilation, kernel, stride, strict=True)
    )
    box = x.new_empty((n, height, width), dtype=torch.float64 if x.dtype == torch.float64 else torch.float32)
    _launch(
        _workers.box_worker(*_TYPES[x.dtype]),
        _workers.BOX,
        max(1, min(torch.get_num_threads(), n, x.numel() // _GRAIN)),
        images=n,
        channels=c,
        height=h,
        width=w,
        extent=(n - 1) * sn + (c - 1) * sc + (h - 1) * sh + (w - 1) * sw + 1,
        step_n=sn,
        step_c=sc,
        step_h=sh,
        step_w=sw,
        kernel_h=kernel[0],
        kernel_w=kernel[1],
        stride_h=stride[0],
        stride_w=stride[1],
        pad_h=padding[0],
        pad_w=padding[1],
        dilation_h=dilation[0],
        dilation_w=dilation[1],
        radius=avg_size // 2,
        out_height=height,
        out_width=width,
        input=x.data_ptr(),
        output=box.data_ptr(),
    )
    return box


def _tail(
    worker: Callable[..., CFunc],
    push: Tensor,
    box: Tensor,
    constants: Tensor,
    avg_size: int,
    grad: Tensor | None = None,
    grad_box: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Run a worker of `_workers` over the push response, whose memory may be reused: its output, and its sums."""
    layout = _memory_format(push)
    push = push.contiguous(memory_format=layout)
    grad = None if grad is None else grad.contiguous(memory_format=layout)
    images, channels, height, width = push.shape
    threads = max(1, min(torch.get_num_threads(), push.numel() // _GRAIN))
    # Few images are split among the threads; then the result cannot take the place of what others still read.
    blocks = 1 if images % threads == 0 or images >= 4 * threads else threads // math.gcd(images, threads)
    blocks = min(blocks, height)
    output = push if blocks == 1 else torch.empty_like(push)
    planes, lanes = (channels, 1) if layout == torch.contiguous_format else (1, channels)
    sums = box.new_zeros(images * blocks, planes, 3, lanes) if grad is not None else box.new_zeros(0)
    _launch(
        worker(*_TYPES[push.dtype]),
        _workers.TAIL,
        threads,
        images=images,
        blocks=blocks,
        planes=planes,
        channels=lanes,
        height=height,
        width=width,
        radius=avg_size // 2,
        push=push.data_ptr(),
        box=box.data_ptr(),
        constants=constants.data_ptr(),
        output=output.data_ptr(),
        grad=0 if grad is None else grad.data_ptr(),
        grad_sums=sums.data_ptr(),
        grad_box=0 if grad_box is None else grad_box.data_ptr(),
    )
    return output, sums if grad is None else sums.sum(0).transpose(0, 1).reshape(3, -1)


def _memory_format(maps: Tensor) -> torch.memory_format:
    is_last = maps.is_contiguous(memory_format=torch.channels_last) and not maps.is_contiguous()
    return torch.channels_last if is_last else torch.contiguous_format


def _constants(dtype: torch.dtype, alpha: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    constants = alpha.new_zeros(3, len(alpha), dtype=dtype)
    for row, values in zip(constants, (alpha, scale, bias), strict=True):
        if values is not None:
            row.copy_(values)
    return constants


def _launch(worker: CFunc, record: np.dtype, threads: int, **arguments: int) -> None:
    args = np.zeros(1, record)
    for name, value in arguments.items():
        args[name] = value
    address = args.ctypes.data
    if threads == 1:
        worker.ctypes(address)
    elif region := _parallel_region():
        region(worker.address, address, threads, 0)
    else:
        # Threads of this call alone: a kept pool would hang after a fork.
        with ThreadPoolExecutor(threads - 1) as pool:
            others = [pool.submit(worker.ctypes, address) for _ in range(threads - 1)]
            worker.ctypes(address)
        for other in others:
            other.result()


@cache
def _parallel_region() -> Callable | None:
    """The entry into torch's own OpenMP threads, which would otherwise spin on the cores that ours need."""
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        region = library.GOMP_parallel  # of GNU's runtime; LLVM's and Intel's have it too, for compatibility
    except (OSError, AttributeError):
        return None
    region.restype, region.argtypes = None, (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
    return region
