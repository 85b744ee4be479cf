"""The push-pull unit on the CPU: torch's convolution, then kernels compiled by numba; no compiler is needed.

A batch is worked on in chunks whose push responses stay in cache: the convolution of a chunk, then all the rest of the
unit in one pass that reads them once and writes the output once. So no second map of the batch ever exists; fresh
memory costs more than the arithmetic.
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
from torch import Tensor

from timm_pushpull.kernels import _planes

# numba does not know bfloat16: its bits travel as uint16 and are computed with as float32.
_TYPES = {
    torch.float32: (np.float32, np.float32),
    torch.float64: (np.float64, np.float64),
    torch.bfloat16: (np.uint16, np.float32),
}
DTYPES = tuple(_TYPES)

Geometry = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]  # stride, padding, dilation

_CHUNK_BYTES = 2**21  # of push responses per thread: about a second-level cache
_GRAIN = 32768  # numbers below which a second thread costs more than it brings, as in ATen
_BLOCK_ROWS = 8  # fewest rows of a task when an image is split among threads


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
    constants = _constants(box.dtype, alpha, scale, bias)
    output = None
    for start, stop in _chunks(x, box, len(weight)):
        push = F.conv2d(x[start:stop], weight, None, *geometry)
        push = push.contiguous(memory_format=_memory_format(push))
        if output is None:
            output = _like(push, len(x))
        _tail(_planes.forward_worker, push, box[start:stop], constants, avg_size, output=output[start:stop])
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
    constants = _constants(box.dtype, alpha, scale, None)
    grad_box = torch.zeros_like(box) if needs_box else None
    output, sums = None, box.new_zeros(3, len(weight))
    for start, stop in _chunks(x, box, len(weight)):
        push = F.conv2d(x[start:stop], weight, None, *geometry)
        push = push.contiguous(memory_format=_memory_format(push))
        if output is None:
            output = _like(push, len(x))
            grad = grad.contiguous(memory_format=_memory_format(push))
        sums += _tail(
            _planes.backward_worker,
            push,
            box[start:stop],
            constants,
            avg_size,
            output=output[start:stop],
            grad=grad[start:stop],
            grad_box=None if grad_box is None else grad_box[start:stop],
        )
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
        _planes.box_worker(*_TYPES[x.dtype]),
        _planes.BOX,
        _threads(x, tasks=n),
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
    worker: Callable,
    push: Tensor,
    box: Tensor,
    constants: Tensor,
    avg_size: int,
    output: Tensor,
    grad: Tensor | None = None,
    grad_box: Tensor | None = None,
) -> Tensor:
    """Run a worker of `_planes` on the push responses of some images; the sums of the backward one."""
    images, channels, height, width = push.shape
    plane_per_channel = _memory_format(push) == torch.contiguous_format
    threads = _threads(push, tasks=images * max(height // _BLOCK_ROWS, 1))
    # As many blocks of rows per image as make the tasks a multiple of the threads.
    blocks = min(threads // math.gcd(images, threads), max(height // _BLOCK_ROWS, 1))
    planes, lanes = (channels, 1) if plane_per_channel else (1, channels)
    sums = box.new_zeros((images * blocks, planes, 3, lanes) if grad is not None else 0)
    _launch(
        worker(*_TYPES[push.dtype]),
        _planes.TAIL,
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
    return sums.sum(0).transpose(0, 1).reshape(3, -1) if grad is not None else sums


def _chunks(x: Tensor, box: Tensor, channels: int) -> list[tuple[int, int]]:
    per_image = box[0].numel() * channels * x.element_size()
    size = max(1, torch.get_num_threads() * _CHUNK_BYTES // per_image)
    return [(start, min(start + size, len(x))) for start in range(0, len(x), size)]


def _memory_format(maps: Tensor) -> torch.memory_format:
    is_last = maps.is_contiguous(memory_format=torch.channels_last) and not maps.is_contiguous()
    return torch.channels_last if is_last else torch.contiguous_format


def _like(push: Tensor, images: int) -> Tensor:
    shape = (images, *push.shape[1:])
    return torch.empty(shape, dtype=push.dtype, device=push.device, memory_format=_memory_format(push))


def _constants(dtype: torch.dtype, alpha: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    constants = alpha.new_zeros(3, len(alpha), dtype=dtype)
    for row, values in zip(constants, (alpha, scale, bias), strict=True):
        if values is not None:
            row.copy_(values)
    return constants


def _threads(maps: Tensor, tasks: int) -> int:
    return max(1, min(torch.get_num_threads(), tasks, maps.numel() // _GRAIN))


def _launch(worker: Callable, record: np.dtype, threads: int, **arguments: int) -> None:
    args = np.zeros(1, record)
    for name, value in arguments.items():
        args[name] = value
    if threads == 1:
        worker(args.ctypes.data)
    elif region := _parallel_region():
        region(ctypes.cast(worker, ctypes.c_void_p), args.ctypes.data, threads, 0)
    else:
        # Threads of this call alone: a kept pool would hang after a fork.
        with ThreadPoolExecutor(threads - 1) as pool:
            others = [pool.submit(worker, args.ctypes.data) for _ in range(threads - 1)]
            worker(args.ctypes.data)
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
