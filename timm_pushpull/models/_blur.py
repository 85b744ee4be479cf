"""Anti-aliased ResNets, which stride over blurred maps: BlurConv1 and BlurConv2 of the paper's Table 2."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import timm.layers
import torch
from timm.models.resnet import BasicBlock, Bottleneck
from torch import Tensor, nn

from timm_pushpull.layers.inhibited import shape_of
from timm_pushpull.layers.push_pull import PushPullConv2d

ZHANG_FILTER = 4
VASCONCELOS_FILTER = 5


class BlurPool2d(timm.layers.BlurPool2d):
    """timm's blur pooling, padded as in Zhang (2019): an even filter pads one position more after than before.

    timm pads an even filter by that many on both sides, which shifts the map, and makes one of even size longer.
    """

    def __init__(self, channels: int, filt_size: int, stride: int = 2, device=None, dtype=None) -> None:
        super().__init__(channels, filt_size, stride, device=device, dtype=dtype)
        before, after = (filt_size - 1) // 2, filt_size // 2
        self.padding = [before, after, before, after]


class BlurredConv2d(nn.Conv2d):
    """A convolution of stride 1 and a blur pooling of the given stride right after it.

    `weight` keeps the name and shape that it has in a strided convolution; the blur adds nothing to the state dict.
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
        device=None,
        dtype=None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, 1, padding, dilation, groups, bias, device=device, dtype=dtype
        )
        self.blur = _blur_after(self, stride)

    def forward(self, input: Tensor) -> Tensor:
        return self.blur(self._conv_forward(input, self.weight, self.bias))


class BlurredPushPullConv2d(PushPullConv2d):
    """A push-pull unit of stride 1 and a blur pooling of the given stride right after it."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, 1, *args, **kwargs)
        self.blur = _blur_after(self, stride)

    def forward(self, input: Tensor) -> Tensor:
        if torch.jit.is_scripting():  # TorchScript knows no super()
            return self.blur(self.plain_forward(input))
        else:
            return self.blur(super().forward(input))


class BlurConv1:
    """For a subclass of timm's ResNet: anti-aliasing after Zhang, "Making Convolutional Networks Shift-Invariant Again"
    (ICML 2019), Section 3.2.

    A strided convolution becomes one of stride 1, and a blur pooling (4x4) follows the activation after it; the
    max-pool becomes one of stride 1 and a blur; a shortcut is blurred before its 1x1 convolution. The blur of the stem
    belongs to `act1`, so that feature maps have the strides of any ResNet.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.conv1.stride != (1, 1):
            self.act1 = nn.Sequential(self.act1, _blur_instead_of_stride(self.conv1))
        if isinstance(self.maxpool, nn.MaxPool2d):
            self.maxpool = _blurred_max_pool(self.conv1, ZHANG_FILTER)
        for block in self.modules():
            if isinstance(block, (BasicBlock, Bottleneck)) and block.stride != 1:
                block.aa = _blur_instead_of_stride(block.get_submodule(_spatial_conv(block)))
                conv, norm = block.downsample
                blur = _blur_instead_of_stride(conv, conv.in_channels)
                # These names leave the keys of the state dict as they are.
                block.downsample = nn.Sequential(OrderedDict([("blur", blur), ("0", conv), ("1", norm)]))


class BlurConv2:
    """For a subclass of timm's ResNet: anti-aliasing after Vasconcelos et al., "An Effective Anti-Aliasing Approach for
    Residual Networks" (arXiv:2011.10675).

    A blur pooling (5x5) takes the stride right after each strided convolution, ahead of norm and activation, also in
    the shortcut; the max-pool becomes one of stride 1 and a blur. A push-pull stem is followed by the blur in the same
    way.

    Args:
        blur_every_block: Blur too, without a stride, after the 3x3 convolution (in ResNet-18 the first one) of every
            other block of the last three stages. The published code of PushPull-Net does so: it is the network behind
            the figures of Table 2.
    """

    def __init__(self, *args: Any, blur_every_block: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = [name for name, m in self.named_modules() if isinstance(m, nn.Conv2d) and m.stride != (1, 1)]
        if blur_every_block:
            for stage in ("layer2", "layer3", "layer4"):
                blocks = self.get_submodule(stage)
                names += [f"{stage}.{index}.{_spatial_conv(block)}" for index, block in enumerate(blocks)]
        for name in dict.fromkeys(names):
            self.set_submodule(name, _blurred(self.get_submodule(name)))
        if isinstance(self.maxpool, nn.MaxPool2d):
            self.maxpool = _blurred_max_pool(self.conv1, VASCONCELOS_FILTER)


def _spatial_conv(block: BasicBlock | Bottleneck) -> str:
    """The name of the convolution that strides in the first block of a stage."""
    return "conv2" if isinstance(block, Bottleneck) else "conv1"


def _blur_after(conv: nn.Conv2d, stride: int | tuple[int, int]) -> BlurPool2d:
    stride = stride if isinstance(stride, int) else stride[0]
    weight = conv.weight
    return BlurPool2d(conv.out_channels, VASCONCELOS_FILTER, stride, device=weight.device, dtype=weight.dtype)


def _blur_instead_of_stride(conv: nn.Conv2d, channels: int | None = None) -> BlurPool2d:
    """The blur that takes over the stride of a convolution, which loses it here."""
    (stride, _), conv.stride = conv.stride, (1, 1)
    weight = conv.weight
    return BlurPool2d(channels or conv.out_channels, ZHANG_FILTER, stride, device=weight.device, dtype=weight.dtype)


def _blurred_max_pool(conv: nn.Conv2d, filt_size: int) -> nn.Sequential:
    weight = conv.weight
    blur = BlurPool2d(conv.out_channels, filt_size, device=weight.device, dtype=weight.dtype)
    return nn.Sequential(nn.MaxPool2d(kernel_size=2, stride=1), blur)


def _blurred(conv: nn.Conv2d) -> nn.Conv2d:
    """A convolution or push-pull unit with its weights and a blur that takes its stride."""
    if isinstance(conv, PushPullConv2d):
        trainable = isinstance(conv.alpha, nn.Parameter)
        return BlurredPushPullConv2d.from_conv(
            conv, avg_size=conv.avg_size, alpha=conv.alpha.detach(), trainable_alpha=trainable
        )
    blurred = BlurredConv2d(**shape_of(conv))
    blurred.weight = conv.weight  # no convolution of timm's ResNets has a bias
    return blurred
