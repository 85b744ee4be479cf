"""The fast form of the push-pull unit: one convolution, then one kernel for everything else.

The pull response needs no convolution of its own: `conv(x, w_pull) = (w_max + w_min) * box(x) - conv(x, w)` for every
input, where `box(x)`, the convolution with ones, is one map for all filters. Nothing but the input and that map is kept
for the backward pass, which computes the push response again.

It steps aside for the plain form of `PushPullConv2d` wherever it cannot run: other devices and types, groups, tracing,
compiling, `torch.func` transforms, a machine without numba. `set_fused(False)` or TIMM_PUSHPULL_FUSED=0 turns it off.
"""

from __future__ import annotations

import functools
import importlib
import logging
import os
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils import _python_dispatch

_DEVICES = ("cpu",)  # those with a module of their name in `kernels`

_enabled = os.environ.get("TIMM_PUSHPULL_FUSED", "1") != "0"


def set_fused(enable: bool = True) -> None:
    """Turn the fast form of all push-pull units on or off; results differ by rounding alone."""
    global _enabled
    _enabled = enable


def push_pull(
    x: Tensor,
    weight: Tensor,
    alpha: Tensor,
    bias: Tensor | None,
    geometry: tuple[tuple[int, int], tuple[int, int], tuple[int, int]],
    avg_size: int,
) -> Tensor | None:
    """The output of a push-pull unit without groups (Eq. 5), or None where the plain form has to compute it.

    Args:
        x: Shape (N, C, H, W).
        weight, alpha, bias: Shapes (K, C, kh, kw), (K,), (K,).
        geometry: Stride, padding and dilation.
    """
    if not _enabled or x.device.type not in _DEVICES or _under_transform():
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
        return None  # the plain form has torch's own words for it
    dtype = x.dtype
    if torch.is_autocast_enabled(x.device.type) and torch.float64 not in (dtype, weight.dtype):
        dtype = torch.get_autocast_dtype(x.device.type)
    elif weight.dtype != dtype:
        return None
    kernels = _kernels(x.device.type, dtype)
    if kernels is None:
        return None
    scale = weight.amax(dim=(1, 2, 3)) + weight.amin(dim=(1, 2, 3))
    return _FusedPushPull.apply(x.to(dtype), weight, alpha, scale, bias, geometry, avg_size, kernels)


def _under_transform() -> bool:
    """Whether something looks on that sees torch's operations only, not what a kernel writes."""
    try:
        return (
            torch.jit.is_tracing()
            or _python_dispatch._get_current_dispatch_mode() is not None
            or torch._C._functorch.peek_interpreter_stack() is not None
            or forward_ad._current_level >= 0
        )
    except AttributeError:  # names that are torch's own and may change: then better slow than wrong
        return True


@functools.cache
def _kernels(device: str, dtype: torch.dtype) -> ModuleType | None:
    """The kernels for a kind of device and a type, or None where they cannot run, as a small trial shows."""
    try:
        kernels = importlib.import_module(f"timm_pushpull.layers.backends.{device}")
        if dtype not in kernels.DTYPES:
            return None
        x, weight = torch.ones(1, 1, 3, 3, device=device, dtype=dtype), torch.ones(1, 1, 1, 1, device=device)
        alpha, scale = weight.new_tensor([[1.5], [3.0]])
        y = _FusedPushPull.forward(None, x, weight, alpha, scale, None, ((1, 1), (0, 0), (1, 1)), 3, kernels)
        if not torch.allclose(y.float(), x.float() - 1.5 * (3 - 1)):
            raise ArithmeticError(f"a trial gave {y.flatten().tolist()}")
    except Exception as error:  # whatever a machine may lack
        logging.getLogger(__name__).info("push-pull units run in their plain form (%s, %s): %s", device, dtype, error)
        return None
    return kernels


class _FusedPushPull(torch.autograd.Function):
    """`relu(push) - alpha * relu(avg(scale * box(x) - push)) + bias` with `push = conv(x, weight)`.

    x has the type of the output, weight its own: under autocast the wider one of the parameter.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        alpha: Tensor,
        scale: Tensor,
        bias: Tensor | None,
        geometry: tuple[tuple[int, int], ...],
        avg_size: int,
        kernels: ModuleType,
    ) -> Tensor:
        output, box = kernels.forward(x, weight.to(x.dtype), alpha, scale, bias, geometry, avg_size)
        if ctx is not None:
            ctx.save_for_backward(x, weight, alpha, scale, bias, box)
            ctx.geometry, ctx.avg_size, ctx.kernels = geometry, avg_size, kernels
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, alpha, scale, bias, box = ctx.saved_tensors
        needs = ctx.needs_input_grad[:5]
        if torch.is_grad_enabled():  # the gradient is to be differentiated in turn
            return *_plain_gradients(ctx, grad, needs), None, None, None
        narrow = weight.to(x.dtype)
        grad_push, sums, grad_box = ctx.kernels.backward(
            grad, x, narrow, alpha, scale, box, ctx.geometry, ctx.avg_size, needs[0]
        )
        grad_x = grad_weight = None
        if needs[0]:
            # In the wider type: the two terms cancel in part, and their rounding would not.
            grad_x = torch.nn.grad.conv2d_input(x.shape, narrow.to(box.dtype), grad_push.to(box.dtype), *ctx.geometry)
            grad_x += _grad_of_box(grad_box, x.shape, weight.shape, ctx.geometry, ctx.avg_size)
            grad_x = grad_x.to(x.dtype)
        if needs[1]:
            grad_weight = torch.nn.grad.conv2d_weight(x, weight.shape, grad_push, *ctx.geometry).to(weight.dtype)
        grad_alpha, grad_scale, grad_bias = sums
        grad_bias = None if bias is None else grad_bias.to(bias.dtype)
        return grad_x, grad_weight, grad_alpha.to(alpha.dtype), grad_scale.to(scale.dtype), grad_bias, None, None, None


def _grad_of_box(grad: Tensor, x_shape, weight_shape, geometry, avg_size: int) -> Tensor:
    """The gradient with respect to x of its box sums, where `grad` (N, H', W') is theirs."""
    grad = grad.unsqueeze(1)
    if avg_size:
        grad = F.avg_pool2d(grad, avg_size, 1, avg_size // 2, divisor_override=1)
    ones = grad.new_ones(1, *weight_shape[1:])
    return torch.nn.grad.conv2d_input(x_shape, ones, grad, *geometry)


def _plain_gradients(ctx: Any, grad: Tensor, needs: tuple[bool, ...]) -> list[Tensor | None]:
    """The gradients by torch's own operations, so that they can be differentiated."""
    # Views, so that weight and scale count as independent here: how scale depends on weight is the caller's graph.
    x, weight, alpha, scale, bias = (None if t is None else t.view_as(t) for t in ctx.saved_tensors[:5])
    narrow = weight.to(x.dtype)
    push = F.conv2d(x, narrow, None, *ctx.geometry)
    pull = F.conv2d(x, scale.to(x.dtype).view(-1, 1, 1, 1) - narrow, None, *ctx.geometry)
    if ctx.avg_size:
        pull = F.avg_pool2d(pull, ctx.avg_size, 1, ctx.avg_size // 2, count_include_pad=False)
    output = push.relu() - alpha.to(x.dtype).view(-1, 1, 1) * pull.relu()
    if bias is not None:
        output = output + bias.to(x.dtype).view(-1, 1, 1)
    inputs = [tensor for tensor, needed in zip((x, weight, alpha, scale, bias), needs, strict=True) if needed]
    gradients = iter(torch.autograd.grad(output, inputs, grad, create_graph=True))
    return [next(gradients) if needed else None for needed in needs]
