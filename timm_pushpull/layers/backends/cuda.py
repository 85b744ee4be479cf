"""The push-pull unit on CUDA: cuDNN's convolution, then Triton kernels that Triton compiles at the first call.

A program of a kernel walks down a strip of a map, a row of columns by channels at a time. It keeps the sums along the
last rows, so that it reads a number once for every column of a pooling window, all but the first time from the cache.
Sums over positions are added per strip, then over the strips in a fixed order: equal inputs give equal gradients of
alpha, scale and bias. Those of weight and input are cuDNN's, which may sum in another order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from timm_pushpull.layers.backends import ConvGeometry, memory_format, output_size

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)

_ROW, _PER_WARP = 1024, 256  # numbers in a row of a strip, and per warp; with more per warp, registers run short
_STEPS = 16  # rows of a strip, at most; it also reads the rows above and below that its windows reach


def forward(
    x: Tensor, weight: Tensor, alpha: Tensor, scale: Tensor, bias: Tensor | None, geometry: ConvGeometry, avg_size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """See `timm_pushpull.layers.backends.cpu.forward`."""
    box = _pooled_box(x, weight.shape[2:], geometry, avg_size)
    push = F.conv2d(x, weight, None, *geometry)
    layout = memory_format(push)
    push = push.contiguous(memory_format=layout)
    output = torch.empty_like(push)
    warps, grid, steps, constants = _strips(push, box, avg_size, layout)
    per_channel = [values.contiguous() for values in (alpha, scale, alpha if bias is None else bias)]
    arguments = (push, box, *per_channel, output, *push.shape[1:], steps)
    _launch(_forward_kernel, grid, warps, *arguments, HAS_BIAS=bias is not None, **constants)
    return output, box, push


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
    """See `timm_pushpull.layers.backends.cpu.backward`.

    The push response is saved, because the convolution takes longer than all kernels of the pass together.

    A position needs the pull responses of its neighbours' windows. Computing them again for each neighbour would take
    longer than a byte per number in memory, which the first kernel writes and the second one reads.
    """
    layout = memory_format(push)
    grad = grad.contiguous(memory_format=layout)
    alpha, scale = alpha.contiguous(), scale.contiguous()
    images, channels, height, width = push.shape
    warps, grid, steps, constants = _strips(push, box, avg_size, layout)
    signs = torch.empty_like(push, dtype=torch.uint8)
    sums = box.new_empty(grid[0], 3, channels)
    grad_box = box.new_empty(grid[1] if needs_box else 0, *box.shape)
    arguments = (push, box, alpha, scale, grad, signs, sums, grad_box, images, channels, height, width, steps)
    _launch(_pull_kernel, grid, warps, *arguments, NEEDS_BOX=needs_box, **constants)
    output = torch.empty_like(push)
    _launch(_push_kernel, grid, warps, grad, signs, alpha, output, channels, height, width, steps, **constants)
    return output, sums.sum(0), grad_box.sum(0) if needs_box else None


def _pooled_box(x: Tensor, kernel: Sequence[int], geometry: ConvGeometry, avg_size: int) -> Tensor:
    """The convolution of x with ones, summed over the pooling windows, shape (N, H', W').

    In float32, because `scale * box - push` cancels: not by cuDNN, which would round float32 to TF32.
    """
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    images, channels, rows, columns = x.shape
    stride, padding, dilation = geometry
    height, width = output_size((rows, columns), kernel, geometry)
    # Along the rows, then along the columns. A tile is wide along the axis that is contiguous in both.
    sums = x.new_empty((images, rows, width), dtype=dtype)
    box = x.new_empty((images, height, width), dtype=dtype)
    for source, output, axis, strides in ((x, sums, 1, x.stride()), (sums, box, 0, (rows * width, 0, width, 1))):
        lines, places, extent = (rows, width, columns) if axis else (width, height, rows)
        line_block, place_block = (16, 64) if axis else (64, 16)
        step_n, step_c, step_h, step_w = strides
        _launch(
            _box_kernel,
            (images, triton.cdiv(lines, line_block), triton.cdiv(places, place_block)),
            8,
            *(source, output, channels if axis else 1, lines, places, extent),
            *(step_n, step_c, *((step_h, step_w) if axis else (step_w, step_h))),
            *((width, 1) if axis else (1, width)),
            *(stride[axis], padding[axis], dilation[axis]),
            TAPS=kernel[axis],
            LINES=line_block,
            PLACES=place_block,
            INDEX=_index_type(source),
        )
    if avg_size > 1:
        box = F.avg_pool2d(box, avg_size, 1, avg_size // 2, divisor_override=1)
    return box


def _strips(
    push: Tensor, box: Tensor, avg_size: int, layout: torch.memory_format
) -> tuple[int, tuple[int, int], int, dict[str, Any]]:
    """How a map is divided: warps per program, the grid of strips, their rows, and constants of the kernels."""
    images, channels, height, width = push.shape
    is_last = layout == torch.channels_last
    lanes = min(64, triton.next_power_of_2(channels)) if is_last else 1
    columns = min(_ROW // lanes if is_last else 128, triton.next_power_of_2(width))
    lanes = min(triton.next_power_of_2(channels), max(lanes, _ROW // columns))
    strips_down = triton.cdiv(height, _STEPS)
    grid = (images * strips_down * triton.cdiv(width, columns), triton.cdiv(channels, lanes))
    constants = {
        "COLUMNS": columns,
        "LANES": lanes,
        "SIZE": max(avg_size, 1),
        "LAST": is_last,
        "SUM": tl.float64 if box.dtype == torch.float64 else tl.float32,
        "INDEX": _index_type(push),
    }
    return max(1, columns * lanes // _PER_WARP), grid, triton.cdiv(height, strips_down), constants


def _index_type(maps: Tensor) -> tl.dtype:
    """The type of offsets within an image."""
    extent = sum((side - 1) * step for side, step in zip(maps.shape[1:], maps.stride()[1:], strict=True))
    return tl.int32 if extent < 2**30 else tl.int64


def _launch(kernel: Any, grid: tuple[int, ...], warps: int, *arguments: Any, **constants: Any) -> None:
    with torch.cuda.device_of(arguments[0]):  # Triton launches on the current device
        kernel[grid](*arguments, num_warps=warps, **constants)


@triton.jit
def _box_kernel(
    source,
    output,
    channels,
    lines,
    places,
    extent,
    step_image,
    step_channel,
    step_line,
    step_place,
    out_step_line,
    out_step_place,
    stride,
    padding,
    dilation,
    TAPS: tl.constexpr,
    LINES: tl.constexpr,
    PLACES: tl.constexpr,
    INDEX: tl.constexpr,
):
    """Sums over channels and along one axis of an image: of `TAPS` numbers, `dilation` apart, every `stride` places."""
    image = tl.program_id(0).to(tl.int64)
    line = (tl.program_id(1) * LINES + tl.arange(0, LINES)).to(INDEX)[:, None]
    place = (tl.program_id(2) * PLACES + tl.arange(0, PLACES)).to(INDEX)[None, :]
    source += image * step_image
    on_map = (line < lines) & (place < places)
    total = tl.zeros((LINES, PLACES), output.dtype.element_ty)
    for _ in range(channels):
        for tap in tl.static_range(TAPS):
            at = place * stride - padding + tap * dilation
            inside = on_map & (at >= 0) & (at < extent)
            values = tl.load(source + line * step_line + at * step_place, mask=inside, other=0)
            total += values.to(output.dtype.element_ty)
        source += step_channel
    output += image * lines * places
    tl.store(output + line * out_step_line + place * out_step_place, total, mask=on_map)


@triton.jit
def _strip(height, width, steps, COLUMNS: tl.constexpr, LANES: tl.constexpr, INDEX: tl.constexpr):
    """Where a program works.

    Returns:
        The image; the first row; columns, shape (COLUMNS, 1); channels, shape (1, LANES).
    """
    across, down = tl.cdiv(width, COLUMNS), tl.cdiv(height, steps)
    program = tl.program_id(0)
    image, program = (program // (across * down)).to(tl.int64), program % (across * down)
    h = (program // across) * steps
    w = (program % across) * COLUMNS + tl.arange(0, COLUMNS)[:, None]
    k = tl.program_id(1) * LANES + tl.arange(0, LANES)[None, :]
    return image, h.to(INDEX), w.to(INDEX), k.to(INDEX)


@triton.jit
def _offset(h, w, k, channels, height, width, LAST: tl.constexpr):
    """The place of positions and channels in an image."""
    if LAST:
        return (h * width + w) * channels + k
    else:
        return (k * height + h) * width + w


@triton.jit
def _load(maps, h, w, k, channels, height, width, LAST: tl.constexpr):
    """The numbers of an image at positions and channels, 0 outside the map."""
    inside = (h >= 0) & (h < height) & (w >= 0) & (w < width) & (k < channels)
    return tl.load(maps + _offset(h, w, k, channels, height, width, LAST), mask=inside, other=0)


@triton.jit
def _share(at, extent, RADIUS: tl.constexpr, SUM: tl.constexpr):
    """1 / the number of positions of a pooling window that lie on the map, along one axis."""
    count = tl.minimum(at + RADIUS, extent - 1) - tl.maximum(at - RADIUS, 0) + 1
    return 1 / tl.maximum(count, 1).to(SUM)


@triton.jit
def _relu(values):
    return tl.where(values < 0, 0, values)  # keeps NaN, unlike a maximum


@triton.jit
def _row_sums(push, h, w, k, channels, height, width, RADIUS: tl.constexpr, LAST: tl.constexpr, SUM: tl.constexpr):
    """The push responses of a row, summed over the columns of the pooling windows."""
    total = _load(push, h, w - RADIUS, k, channels, height, width, LAST).to(SUM)
    for column in tl.static_range(1 - RADIUS, RADIUS + 1):
        total += _load(push, h, w + column, k, channels, height, width, LAST).to(SUM)
    return total


@triton.jit
def _row_gradients(
    grad, signs, h, w, k, channels, height, width, RADIUS: tl.constexpr, LAST: tl.constexpr, SUM: tl.constexpr
):
    """The gradients that the pull responses of a row send to the push responses in their windows, over alpha."""
    total = tl.zeros([w.shape[0], k.shape[1]], SUM)
    for column in tl.static_range(-RADIUS, RADIUS + 1):
        is_inhibited = _load(signs, h, w + column, k, channels, height, width, LAST) >= 2
        given = _load(grad, h, w + column, k, channels, height, width, LAST).to(SUM)
        total += tl.where(is_inhibited, given * _share(w + column, width, RADIUS, SUM), 0)
    return total * _share(h, height, RADIUS, SUM)


@triton.jit
def _append(rows, row):
    return rows + (row,)  # noqa: RUF005 (Triton's compiler does not unpack tuples)


@triton.jit
def _total(rows):
    total = rows[0]
    for row in tl.static_range(1, len(rows)):
        total += rows[row]
    return total


@triton.jit
def _per_channel(values, k, channels, SUM: tl.constexpr):
    return tl.load(values + k, mask=k < channels, other=0).to(SUM)


@triton.jit
def _forward_kernel(
    push,
    box,
    alpha,
    scale,
    bias,
    output,
    channels,
    height,
    width,
    steps,
    HAS_BIAS: tl.constexpr,
    COLUMNS: tl.constexpr,
    LANES: tl.constexpr,
    SIZE: tl.constexpr,
    LAST: tl.constexpr,
    SUM: tl.constexpr,
    INDEX: tl.constexpr,
):
    """`relu(push) - alpha * relu(pull) + bias`."""
    radius: tl.constexpr = SIZE // 2
    image, h, w, k = _strip(height, width, steps, COLUMNS, LANES, INDEX)
    push += image * channels * height * width
    output += image * channels * height * width
    box += image * height * width
    strength = _per_channel(alpha, k, channels, SUM) * _share(w, width, radius, SUM)
    extremes = _per_channel(scale, k, channels, SUM)
    rows = ()
    for row in tl.static_range(-radius, radius):
        rows = _append(rows, _row_sums(push, h + row, w, k, channels, height, width, radius, LAST, SUM))
    for _ in range(steps):
        rows = _append(rows, _row_sums(push, h + radius, w, k, channels, height, width, radius, LAST, SUM))
        on_map = (h < height) & (w < width)
        pull = extremes * tl.load(box + h * width + w, mask=on_map, other=0) - _total(rows)
        excitation = _load(push, h, w, k, channels, height, width, LAST).to(SUM)
        result = _relu(excitation) - strength * _share(h, height, radius, SUM) * _relu(pull)
        if HAS_BIAS:
            result += _per_channel(bias, k, channels, SUM)
        result = result.to(output.dtype.element_ty)
        tl.store(output + _offset(h, w, k, channels, height, width, LAST), result, mask=on_map & (k < channels))
        rows = rows[1:]
        h += 1


@triton.jit
def _pull_kernel(
    push,
    box,
    alpha,
    scale,
    grad,
    signs,
    sums,
    grad_box,
    images,
    channels,
    height,
    width,
    steps,
    NEEDS_BOX: tl.constexpr,
    COLUMNS: tl.constexpr,
    LANES: tl.constexpr,
    SIZE: tl.constexpr,
    LAST: tl.constexpr,
    SUM: tl.constexpr,
    INDEX: tl.constexpr,
):
    """The gradients of alpha, scale and bias per program, that of the box sums, and which responses are positive.

    Args:
        signs: Set to 1 where the push response is positive, plus 2 where the pull response is.
        sums: Shape (programs, 3, channels).
        grad_box: Shape (groups of channels, images, height, width).
    """
    radius: tl.constexpr = SIZE // 2
    image, h, w, k = _strip(height, width, steps, COLUMNS, LANES, INDEX)
    push += image * channels * height * width
    grad += image * channels * height * width
    signs += image * channels * height * width
    box += image * height * width
    grad_box += (tl.program_id(1).to(tl.int64) * images + image) * height * width
    strength, extremes = _per_channel(alpha, k, channels, SUM), _per_channel(scale, k, channels, SUM)
    of_alpha = tl.zeros((COLUMNS, LANES), SUM)
    of_scale = tl.zeros((COLUMNS, LANES), SUM)
    of_bias = tl.zeros((COLUMNS, LANES), SUM)
    rows = ()
    for row in tl.static_range(-radius, radius):
        rows = _append(rows, _row_sums(push, h + row, w, k, channels, height, width, radius, LAST, SUM))
    for _ in range(steps):
        rows = _append(rows, _row_sums(push, h + radius, w, k, channels, height, width, radius, LAST, SUM))
        on_map = (h < height) & (w < width)
        box_sums = tl.load(box + h * width + w, mask=on_map, other=0)
        pull = extremes * box_sums - _total(rows)
        given = _load(grad, h, w, k, channels, height, width, LAST).to(SUM)  # 0 outside the map, as sums need it
        shared = _share(w, width, radius, SUM) * _share(h, height, radius, SUM) * given
        grad_pull = tl.where(pull > 0, -strength * shared, 0)
        of_alpha -= tl.where(on_map, shared * _relu(pull), 0)
        of_scale += grad_pull * box_sums
        of_bias += given
        is_excited = _load(push, h, w, k, channels, height, width, LAST).to(SUM) > 0
        kinds = is_excited.to(tl.uint8) + 2 * (pull > 0).to(tl.uint8)
        tl.store(signs + _offset(h, w, k, channels, height, width, LAST), kinds, mask=on_map & (k < channels))
        if NEEDS_BOX:
            tl.store(grad_box + h * width + w, tl.sum(grad_pull * extremes, 1)[:, None], mask=on_map)
        rows = rows[1:]
        h += 1
    sums += tl.program_id(0).to(tl.int64) * 3 * channels + k
    tl.store(sums, tl.sum(of_alpha, 0)[None, :], mask=k < channels)
    tl.store(sums + channels, tl.sum(of_scale, 0)[None, :], mask=k < channels)
    tl.store(sums + 2 * channels, tl.sum(of_bias, 0)[None, :], mask=k < channels)


@triton.jit
def _push_kernel(
    grad,
    signs,
    alpha,
    output,
    channels,
    height,
    width,
    steps,
    COLUMNS: tl.constexpr,
    LANES: tl.constexpr,
    SIZE: tl.constexpr,
    LAST: tl.constexpr,
    SUM: tl.constexpr,
    INDEX: tl.constexpr,
):
    """The gradient of the push response, from `signs` of `_pull_kernel`."""
    radius: tl.constexpr = SIZE // 2
    image, h, w, k = _strip(height, width, steps, COLUMNS, LANES, INDEX)
    grad += image * channels * height * width
    signs += image * channels * height * width
    output += image * channels * height * width
    strength = _per_channel(alpha, k, channels, SUM)
    rows = ()
    for row in tl.static_range(-radius, radius):
        rows = _append(rows, _row_gradients(grad, signs, h + row, w, k, channels, height, width, radius, LAST, SUM))
    for _ in range(steps):
        rows = _append(rows, _row_gradients(grad, signs, h + radius, w, k, channels, height, width, radius, LAST, SUM))
        is_excited = _load(signs, h, w, k, channels, height, width, LAST) % 2 == 1
        given = _load(grad, h, w, k, channels, height, width, LAST).to(SUM)
        result = (tl.where(is_excited, given, 0) + strength * _total(rows)).to(output.dtype.element_ty)
        on_map = (h < height) & (w < width) & (k < channels)
        tl.store(output + _offset(h, w, k, channels, height, width, LAST), result, mask=on_map)
        rows = rows[1:]
        h += 1
