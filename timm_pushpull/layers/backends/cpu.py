"""The push-pull unit on CPUs: torch's convolution, then loops that numba compiles at the first call.

One pass over the push response computes the output row by row in the same memory. Allocating a second feature map would
cost more time than the arithmetic.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numba.core.ccallback import CFunc
from torch import Tensor

from timm_pushpull.layers.backends import ConvGeometry, _workers, memory_format, output_size

# (storage, arithmetic): numba has no bfloat16, so its bits are stored as uint16 and converted to float32.
_TYPES = {
    torch.float32: (np.float32, np.float32),
    torch.float64: (np.float64, np.float64),
    torch.bfloat16: (np.uint16, np.float32),
}
DTYPES = tuple(_TYPES)

_GRAIN = 32768  # numbers per thread, at least; ATen's internal::GRAIN_SIZE


def forward(
    x: Tensor, weight: Tensor, alpha: Tensor, scale: Tensor, bias: Tensor | None, geometry: ConvGeometry, avg_size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """`relu(push) - alpha * relu(avg(scale * box(x) - push)) + bias` with `push = conv(x, weight)`.

    Args:
        x: Shape (N, C, H, W), with one of `DTYPES`.
        weight: Shape (K, C, kh, kw), with the dtype of x.
        alpha, scale, bias: Shape (K,), with any floating-point dtype.

    Returns:
        The output, shape (N, K, H', W'), with the dtype and memory format of the convolution's output. For `backward`,
        the sums of box(x) over the pooling windows, shape (N, H', W'), float32 (float64 if x is float64); and the push
        response, or an empty tensor where `backward` computes it again.
    """
    box = _pooled_box(x, weight.shape[2:], geometry, avg_size)
    push = F.conv2d(x, weight, None, *geometry)
    output, _ = _run_rows(_workers.forward_worker, push, box, _constants(box.dtype, alpha, scale, bias), avg_size)
    return output, box, push.new_empty(0)


def backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    alpha: Tensor,
    scale: Tensor,
    box: Tensor,
    push: Tensor,
    geometry: ConvGeometry,
    avg_size: int,
    needs_box: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The gradients of `forward`. The push response is computed again: its memory would be a second feature map.

    Args:
        grad: Gradient with respect to the output.
        x, weight, alpha, scale, geometry, avg_size: As in `forward`.
        box, push: The second and third result of `forward`.
        needs_box: Whether to compute the gradient of the box sums.

    Returns:
        The gradients of the push response, shape (N, K, H', W'); of alpha, scale and bias, shape (3, K); and of the box
        sums, shape (N, H', W'), or None. The last two are float32 (float64 if x is float64).
    """
    grad_box = torch.zeros_like(box) if needs_box else None
    with torch.autocast("cpu", enabled=False):  # the dtypes are those of the forward pass
        push = F.conv2d(x, weight, None, *geometry)
    constants = _constants(box.dtype, alpha, scale, None)
    output, sums = _run_rows(_workers.backward_worker, push, box, constants, avg_size, grad, grad_box)
    return output, sums, grad_box


def _pooled_box(x: Tensor, kernel: Sequence[int], geometry: ConvGeometry, avg_size: int) -> Tensor:
    """The convolution of x with ones, summed over the pooling windows, shape (N, H', W')."""
    if any(step <= 0 for step in x.stride()):
        x = x.contiguous()
    stride, padding, dilation = geometry
    (n, c, h, w), (sn, sc, sh, sw) = x.shape, x.stride()
    height, width = output_size((h, w), kernel, geometry)
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


def _run_rows(
    worker: Callable[..., CFunc],
    push: Tensor,
    box: Tensor,
    constants: Tensor,
    avg_size: int,
    grad: Tensor | None = None,
    grad_box: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Run `forward_worker` or `backward_worker` over the push response, whose memory may be reused.

    Returns:
        The worker's output, and the gradients of alpha, scale and bias, shape (3, K), empty without `grad`.
    """
    layout = memory_format(push)
    push = push.contiguous(memory_format=layout)
    grad = None if grad is None else grad.contiguous(memory_format=layout)
    images, channels, height, width = push.shape
    threads = max(1, min(torch.get_num_threads(), push.numel() // _GRAIN))
    # A few large images are split into blocks of rows. The output then needs its own memory, because a thread reads
    # rows of the neighbouring block.
    blocks = 1 if images % threads == 0 or images >= 4 * threads else threads // math.gcd(images, threads)
    blocks = min(blocks, height)
    output = push if blocks == 1 else torch.empty_like(push)
    planes, lanes = (channels, 1) if layout == torch.contiguous_format else (1, channels)
    sums = box.new_zeros(images * blocks, planes, 3, lanes) if grad is not None else box.new_zeros(0)
    _launch(
        worker(*_TYPES[push.dtype]),
        _workers.ROWS,
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
        # New threads per call: a permanent pool would deadlock after a fork.
        with ThreadPoolExecutor(threads - 1) as pool:
            others = [pool.submit(worker.ctypes, address) for _ in range(threads - 1)]
            worker.ctypes(address)
        for other in others:
            other.result()


@cache
def _parallel_region() -> Callable | None:
    """OpenMP's entry point in torch, to reuse its threads. Other threads would compete with torch's waiting ones."""
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        region = library.GOMP_parallel  # a function of GNU's runtime that LLVM's and Intel's also have
    except (OSError, AttributeError):
        return None
    region.restype, region.argtypes = None, (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)
    return region
