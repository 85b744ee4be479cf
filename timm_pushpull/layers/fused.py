"""The fused push-pull unit: one convolution, then one pass over its output.

The pull response needs no second convolution: `conv(x, w_pull) = (w_max + w_min) * box(x) - conv(x, w)`, where `box(x)`
is the convolution with ones and the same for all filters. The backward pass saves the input, the pooled `box(x)` and,
on CUDA, the push response, which CPUs compute again.

`torch.compile` gets the same kernels as operators (`fused_ops`).

`push_pull` returns None if it does not support a case: other devices and dtypes, groups, tracing, export, `torch.func`
transforms, Python without numba (CPU) or Triton (CUDA). `PushPullConv2d` then runs `plain_forward`.
`set_fused(False)` or the environment variable TIMM_PUSHPULL_FUSED=0 turns the fused unit off.
"""

from __future__ import annotations

import importlib
import logging
import math
import os
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import grad as conv_grad
from torch.utils import _python_dispatch

from timm_pushpull.layers import fused_ops
from timm_pushpull.layers.backends import ConvGeometry

_logger = logging.getLogger(__name__)

_DEVICES = ("cpu", "cuda")  # device types with a module in `backends`

_backends: dict[tuple[str, torch.dtype, bool], ModuleType | None] = {}  # what `_backend` has found

_enabled = os.environ.get("TIMM_PUSHPULL_FUSED", "1") != "0"


def set_fused(enable: bool = True) -> None:
    """Turn the fused implementation of all push-pull units on or off. Results differ by rounding only."""
    global _enabled
    _enabled = enable


def push_pull(
    x: Tensor,
    weight: Tensor,
    alpha: Tensor,
    bias: Tensor | None,
    geometry: ConvGeometry,
    avg_size: int,
) -> Tensor | None:
    """The output of a push-pull unit without groups (Eq. 5), or None if `plain_forward` has to compute it.

    Args:
        x: Shape (N, C, H, W).
        weight: Shape (K, C, kh, kw).
        alpha, bias: Shape (K,).
        geometry: Stride, padding and dilation.
        avg_size: As in `PushPullConv2d`.

    Returns:
        Tensor of shape (N, K, H', W') with the dtype of `x`, or the autocast dtype.
    """
    compiles = torch.compiler.is_compiling()
    if not _enabled or x.device.type not in _DEVICES or (not compiles and _under_transform()):
        return None
    if x.dim() != 4 or x.numel() == 0 or weight.shape[1] != x.shape[1]:
        return None
    given = [tensor for tensor in (x, weight, alpha, bias) if tensor is not None]
    if any(type(tensor) not in (Tensor, nn.Parameter) or tensor.device != x.device for tensor in given):
        return None
    if any(
        side + 2 * pad < spread * (taps - 1) + 1
        for side, taps, pad, spread in zip(x.shape[2:], weight.shape[2:], *geometry[1:], strict=True)
    ):
        return None  # plain_forward then raises torch's own error
    dtype = x.dtype
    if torch.is_autocast_enabled(x.device.type) and torch.float64 not in (dtype, weight.dtype):
        dtype = torch.get_autocast_dtype(x.device.type)
    elif weight.dtype != dtype:
        return None
    trains = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given)
    backend = (_compiles if compiles else _backend)(x.device.type, dtype, trains)
    if not backend:
        return None
    scale = weight.amax(dim=(1, 2, 3)) + weight.amin(dim=(1, 2, 3))
    if compiles:
        own, constants = (x.to(dtype), weight.to(dtype)), [list(numbers) for numbers in geometry]
        return fused_ops.push_pull(*own, alpha, scale, bias, *constants, avg_size)[0]
    return _FusedPushPull.apply(x.to(dtype), weight, alpha, scale, bias, geometry, avg_size, backend)


@torch.compiler.assume_constant_result
def is_exporting() -> bool:
    """Whether `torch.export` traces. Asked outside of the graph: inside, PyTorch 2.11 says so of all compiled code."""
    return bool(torch.compiler.is_exporting())


def _is_batched(tensor: Tensor) -> bool:
    """Whether vmap made a tensor, which then has no memory of its own."""
    try:
        return torch._C._functorch.is_batchedtensor(tensor) or torch._C._functorch.is_legacy_batchedtensor(tensor)
    except AttributeError:  # as below
        return True


def _under_transform() -> bool:
    """Whether a tracer, dispatch mode or transform is active, which would see torch operations only."""
    try:
        return (
            torch.jit.is_tracing()
            or _python_dispatch._get_current_dispatch_mode() is not None
            or torch._C._functorch.peek_interpreter_stack() is not None
            or forward_ad._current_level >= 0
        )
    except AttributeError:  # private names of torch may change; slow is better than wrong
        return True


@torch.compiler.assume_constant_result
def _compiles(device: str, dtype: torch.dtype, trains: bool) -> bool:
    """Whether the graph that is being compiled can have the fused operators; runs outside of the graph."""
    return not _under_transform() and _backend(device, dtype, trains) is not None


def _backend(device: str, dtype: torch.dtype, trains: bool) -> ModuleType | None:
    """The backend for a device type and a dtype, or None if it cannot be imported or fails on a small trial.

    Args:
        trains: Whether gradients are needed. The trial then includes them.
    """
    if (case := (device, dtype, trains)) in _backends:
        return _backends[case]
    found = None
    try:
        backend = importlib.import_module(f"timm_pushpull.layers.backends.{device}")
        if dtype in backend.DTYPES:
            if device == "cuda" and torch.cuda.is_current_stream_capturing():
                return None  # for now: the trial waits for the device, which would end the capture of the graph
            _try(backend, device, dtype, trains)
            found = backend
    except Exception as error:  # a missing or broken numba, LLVM, OpenMP or Triton raises many kinds of errors
        _logger.info("push-pull units run without fused operations (%s, %s): %s", device, dtype, error)
        if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
            return None  # for now, too
    _backends[case] = found
    return found


def _try(backend: ModuleType, device: str, dtype: torch.dtype, trains: bool) -> None:
    """Raise ArithmeticError unless the backend agrees with torch operations in float64 on the CPU."""

    def numbers(*shape: int) -> Tensor:  # small integers, so that rounding turns no response around
        return (torch.arange(math.prod(shape), device="cpu") * 7 % 5 - 2.0).double().view(shape).requires_grad_()

    x, weight = numbers(2, 2, 6, 5), numbers(3, 2, 3, 2)
    alpha, scale, bias = (numbers(15).detach()[5 * i : 5 * i + 3].requires_grad_() for i in range(3))
    inputs = [x, weight, alpha, scale, bias]
    geometry, avg_size = ((2, 1), (1, 1), (1, 1)), 3
    # Hooks of its own, or gradient checkpointing around the first call would count what the trial saves.
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor)
    with torch.inference_mode(False), torch.set_grad_enabled(trains), hooks:
        expected = [_plain_output(x, weight, alpha, scale, bias, geometry, avg_size)]
        grad = numbers(*expected[0].shape).detach()
        if trains:
            expected += torch.autograd.grad(expected[0], inputs, grad)
        for layout in (torch.contiguous_format, torch.channels_last):
            first = x.detach().to(device, dtype, memory_format=layout).requires_grad_()
            own = [first, *(tensor.detach().to(device, torch.float32).requires_grad_() for tensor in inputs[1:])]
            found = [_FusedPushPull.apply(*own, geometry, avg_size, backend)]
            if trains:
                found += torch.autograd.grad(found[0], own, grad.to(device, dtype))
            for mine, true in zip(found, expected, strict=True):
                error = (mine.detach().double().cpu() - true.detach()).abs().max() / true.detach().abs().max()
                if not error < 0.02:
                    raise ArithmeticError(f"the trial is off by {error:.1%}")


class _FusedPushPull(torch.autograd.Function):
    """`relu(push) - alpha * relu(avg(scale * box(x) - push)) + bias` with `push = conv(x, weight)`.

    `x` has the dtype of the output. `weight` has its own, which under autocast has a higher precision.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        alpha: Tensor,
        scale: Tensor,
        bias: Tensor | None,
        geometry: ConvGeometry,
        avg_size: int,
        backend: ModuleType,
    ) -> Tensor:
        output, box, push = backend.forward(x, weight.to(x.dtype), alpha, scale, bias, geometry, avg_size)
        ctx.save_for_backward(x, weight, alpha, scale, bias, box, push)
        ctx.geometry, ctx.avg_size, ctx.backend = geometry, avg_size, backend
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, alpha, scale, bias, box, push = ctx.saved_tensors
        needs = ctx.needs_input_grad[:5]
        if torch.is_grad_enabled() or _is_batched(grad):  # create_graph=True, is_grads_batched=True
            return *_plain_gradients(ctx, grad, needs), None, None, None
        weight_x = weight.to(x.dtype)
        grad_push, sums, grad_box = ctx.backend.backward(
            grad, x, weight_x, alpha, scale, box, push, ctx.geometry, ctx.avg_size, needs[0]
        )
        grad_x = grad_weight = None
        if needs[0]:
            grad_x = fused_ops.input_gradient(grad_push, grad_box, x, weight_x, ctx.geometry, ctx.avg_size)
        if needs[1]:
            grad_weight = conv_grad.conv2d_weight(x, weight.shape, grad_push, *ctx.geometry).to(weight.dtype)
        grad_alpha, grad_scale, grad_bias = sums
        grad_bias = None if bias is None else grad_bias.to(bias.dtype)
        return grad_x, grad_weight, grad_alpha.to(alpha.dtype), grad_scale.to(scale.dtype), grad_bias, None, None, None


def _plain_gradients(ctx: Any, grad: Tensor, needs: tuple[bool, ...]) -> list[Tensor | None]:
    """The gradients by torch operations, so that they can be differentiated again, and `grad` can be a batch."""
    again = torch.is_grad_enabled()
    with torch.enable_grad(), torch.autocast(grad.device.type, enabled=False):
        # Views make weight and scale independent here. The caller's graph has the dependence of scale on weight.
        *tensors, bias = ctx.saved_tensors[:5]
        x, weight, alpha, scale = (tensor.view_as(tensor) for tensor in tensors)
        bias = None if bias is None else bias.view_as(bias)
        output = _plain_output(x, weight, alpha, scale, bias, ctx.geometry, ctx.avg_size)
        inputs = [tensor for tensor, needed in zip((x, weight, alpha, scale, bias), needs, strict=True) if needed]
        gradients = iter(torch.autograd.grad(output, inputs, grad, create_graph=again))
    return [next(gradients) if needed else None for needed in needs]


def _plain_output(
    x: Tensor,
    weight: Tensor,
    alpha: Tensor,
    scale: Tensor,
    bias: Tensor | None,
    geometry: ConvGeometry,
    avg_size: int,
) -> Tensor:
    """The output of the fused unit by torch operations."""
    weight = weight.to(x.dtype)
    push = F.conv2d(x, weight, None, *geometry)
    pull = F.conv2d(x, scale.to(x.dtype).view(-1, 1, 1, 1) - weight, None, *geometry)
    if avg_size:
        pull = F.avg_pool2d(pull, avg_size, 1, avg_size // 2, count_include_pad=False)
    output = push.relu() - alpha.to(x.dtype).view(-1, 1, 1) * pull.relu()
    return output if bias is None else output + bias.to(x.dtype).view(-1, 1, 1)
