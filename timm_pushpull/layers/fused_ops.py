"""The fused unit as operators of torch, which `torch.compile` keeps as nodes of its graphs.

Not for export: an exported program would need this package where it is loaded, and AOTInductor, ONNX and C++ could not
run it. Not for `torch.func`: the operators have no rules for vmap and forward-mode derivatives.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import grad as conv_grad

from timm_pushpull.layers.backends import ConvGeometry, memory_format, output_size


def input_gradient(
    grad_push: Tensor,
    grad_box: Tensor,
    x: Tensor,
    weight: Tensor,
    geometry: ConvGeometry,
    avg_size: int,
) -> Tensor:
    """Backpropagate the gradients of the push response and of the pooled box sums to the input.

    Args:
        weight: With the dtype of x.
    """
    # In float32 or float64: the two terms partly cancel, and rounding errors would not.
    dtype = grad_box.dtype
    grad = conv_grad.conv2d_input(x.shape, weight.to(dtype), grad_push.to(dtype), *geometry)
    grad_box = grad_box.unsqueeze(1)
    if avg_size:
        grad_box = F.avg_pool2d(grad_box, avg_size, 1, avg_size // 2, divisor_override=1)
    ones = grad_box.new_ones(1, *weight.shape[1:])
    return (grad + conv_grad.conv2d_input(x.shape, ones, grad_box, *geometry)).to(x.dtype)


@torch.library.custom_op("timm_pushpull::push_pull", mutates_args=())
def push_pull(
    x: Tensor,
    weight: Tensor,
    alpha: Tensor,
    scale: Tensor,
    bias: Tensor | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    avg_size: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """`forward` of the backend of the device; feature maps are contiguous in the memory format of `_layout`."""
    geometry = (tuple(stride), tuple(padding), tuple(dilation))
    output, box, push = _backend(x).forward(x, weight, alpha, scale, bias, geometry, avg_size)
    layout = _layout(x, weight)
    return (
        output.contiguous(memory_format=layout),
        box,
        push.contiguous(memory_format=layout) if push.dim() == 4 else push,
    )


@push_pull.register_fake
def _(x, weight, alpha, scale, bias, stride, padding, dilation, avg_size):
    output = _empty_output(x, weight, stride, padding, dilation)
    push = torch.empty_like(output) if x.device.type == "cuda" else output.new_empty(0)  # as the backends return it
    return output, _empty_box(x, weight, stride, padding, dilation), push


@torch.library.custom_op("timm_pushpull::push_pull_backward", mutates_args=())
def push_pull_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    alpha: Tensor,
    scale: Tensor,
    box: Tensor,
    push: Tensor,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    avg_size: int,
    needs_box: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """`backward` of the backend; the gradient of the box sums is empty if it is not needed."""
    geometry = (tuple(stride), tuple(padding), tuple(dilation))
    saved = (box, push)
    output, sums, grad_box = _backend(x).backward(grad, x, weight, alpha, scale, *saved, geometry, avg_size, needs_box)
    output = output.contiguous(memory_format=_layout(x, weight))
    return output, sums.contiguous(), box.new_empty(0) if grad_box is None else grad_box


@push_pull_backward.register_fake
def _(grad, x, weight, alpha, scale, box, push, stride, padding, dilation, avg_size, needs_box):
    sums = box.new_empty(3, len(weight))
    grad_box = torch.empty_like(box) if needs_box else box.new_empty(0)
    return _empty_output(x, weight, stride, padding, dilation), sums, grad_box


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    x, weight, alpha, scale, bias, *ctx.constants = inputs
    ctx.save_for_backward(x, weight, alpha, scale, *output[1:])
    ctx.set_materialize_grads(False)  # of the tensors for the backward pass
    ctx.bias_dtype = None if bias is None else bias.dtype


def _gradients(ctx: Any, grad: Tensor, *_: None) -> tuple[Tensor | None, ...]:
    x, weight, alpha, scale, *saved = ctx.saved_tensors
    *geometry, avg_size = ctx.constants
    needs_x, needs_weight = ctx.needs_input_grad[:2]
    grad_push, sums, grad_box = push_pull_backward(grad, x, weight, alpha, scale, *saved, *geometry, avg_size, needs_x)
    grad_x = grad_weight = None
    if needs_x:
        grad_x = input_gradient(grad_push, grad_box, x, weight, tuple(geometry), avg_size)
    if needs_weight:
        grad_weight = conv_grad.conv2d_weight(x, weight.shape, grad_push, *geometry)
    grad_bias = None if ctx.bias_dtype is None else sums[2].to(ctx.bias_dtype)
    return grad_x, grad_weight, sums[0].to(alpha.dtype), sums[1].to(scale.dtype), grad_bias, None, None, None, None


push_pull.register_autograd(_gradients, setup_context=_save)


def _backend(x: Tensor) -> ModuleType:
    return importlib.import_module(f"timm_pushpull.layers.backends.{x.device.type}")


def _layout(x: Tensor, weight: Tensor) -> torch.memory_format:
    """The memory format of the convolution's output: compiled code relies on it."""
    is_last = torch.channels_last in (memory_format(x), memory_format(weight))
    return torch.channels_last if is_last else torch.contiguous_format


def _empty_output(x: Tensor, weight: Tensor, *geometry: list[int]) -> Tensor:
    shape = (len(x), len(weight), *output_size(x.shape[2:], weight.shape[2:], geometry))
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=_layout(x, weight))


def _empty_box(x: Tensor, weight: Tensor, *geometry: list[int]) -> Tensor:
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    return x.new_empty((len(x), *output_size(x.shape[2:], weight.shape[2:], geometry)), dtype=dtype)
