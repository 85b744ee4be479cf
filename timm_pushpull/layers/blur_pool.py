"""Blur pooling (Zhang, ICML 2019), alone and right after a convolution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import timm.layers
import torch
from torch import Tensor, nn

from timm_pushpull.layers.push_pull import PushPullConv2d


class BlurPool2d(timm.layers.BlurPool2d):
    """timm's blur pooling with the padding of Zhang (2019): an even filter pads one position more after than before.

    timm pads an even filter equally on both sides, which shifts the feature map and makes one of even size longer.

        >>> BlurPool2d(8, filt_size=4, stride=2)(torch.zeros(1, 8, 32, 32)).shape
        torch.Size([1, 8, 16, 16])

    Args:
        channels: Number of channels.
        filt_size: Side of the binomial filter.
        stride: Stride of the output.
    """

    def __init__(self, channels: int, filt_size: int, stride: int = 2, device=None, dtype=None) -> None:
        super().__init__(channels, filt_size, stride, device=device, dtype=dtype)
        before, after = (filt_size - 1) // 2, filt_size // 2
        self.padding = [before, after, before, after]


class _Blurred(nn.Conv2d):
    """A convolution with blur pooling after it."""

    if TYPE_CHECKING:  # TorchScript would try to read the annotation
        blur: BlurPool2d

    def reset_parameters(self) -> None:
        super().reset_parameters()
        if hasattr(self, "blur"):  # nn.Conv2d calls this before there is one
            self.blur.reset_parameters()


class BlurredConv2d(_Blurred):
    """A convolution of stride 1, followed by blur pooling with the given stride.

    `weight` has the name and shape of a strided convolution's. Blur pooling adds nothing to the state dict.

    Args:
        stride: Stride of the blur pooling.
        filt_size: Side of the blur filter.
        in_channels, out_channels, kernel_size, padding, dilation, groups, bias, device, dtype: As in `nn.Conv2d`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | str = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = False,
        *,
        filt_size: int = 5,
        device=None,
        dtype=None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, 1, padding, dilation, groups, bias, device=device, dtype=dtype
        )
        self.blur = blur_pool_after(self, filt_size, stride)

    def forward(self, input: Tensor) -> Tensor:
        return self.blur(self._conv_forward(input, self.weight, self.bias))


class BlurredPushPullConv2d(_Blurred, PushPullConv2d):
    """A push-pull unit of stride 1, followed by blur pooling with the given stride.

    Args:
        stride: Stride of the blur pooling.
        filt_size: Side of the blur filter.
        args, kwargs: As in `PushPullConv2d`.
    """

    convertible = (PushPullConv2d,)

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        *args: Any,
        filt_size: int = 5,
        **kwargs: Any,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, 1, *args, **kwargs)
        self.blur = blur_pool_after(self, filt_size, stride)

    def forward(self, input: Tensor) -> Tensor:
        if torch.jit.is_scripting():  # TorchScript does not support super()
            return self.blur(self.plain_forward(input))
        else:
            return self.blur(super().forward(input))


def blur_pool_after(conv: nn.Conv2d, filt_size: int, stride: int | tuple[int, int] = 2) -> BlurPool2d:
    """Blur pooling for the output of a convolution, with its device and dtype."""
    stride = stride if isinstance(stride, int) else stride[0]
    weight = conv.weight
    return BlurPool2d(conv.out_channels, filt_size, stride, device=weight.device, dtype=weight.dtype)
