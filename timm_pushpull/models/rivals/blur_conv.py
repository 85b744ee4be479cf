"""Anti-aliased ResNets: BlurConv1 and BlurConv2 of the paper's Table 2, as mixins for timm's ResNet."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from timm.models.resnet import BasicBlock, Bottleneck
from torch import nn

from timm_pushpull.layers.blur_pool import BlurPool2d, BlurredConv2d, BlurredPushPullConv2d, blur_pool_after
from timm_pushpull.layers.push_pull import PushPullConv2d
from timm_pushpull.layers.push_pull_base import conv_kwargs
from timm_pushpull.models.stem import one_convolution
from timm_pushpull.utils.errors import InputError


class BlurConv1(nn.Module):
    """Mixin: anti-aliasing of Zhang, "Making Convolutional Networks Shift-Invariant Again" (ICML 2019), Section 3.2.

    A strided convolution gets stride 1, and 4x4 blur pooling follows the next activation. The max-pool gets stride 1
    and is followed by blur pooling. A shortcut is blurred before its 1x1 convolution. The blur pooling of the stem
    belongs to `act1`, so that the feature maps of a stage have the strides of timm's ResNet.
    """

    filt_size = 4
    if TYPE_CHECKING:
        conv1: Any
        act1: Any
        maxpool: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        one_convolution(self, "conv1")
        if self.conv1.stride != (1, 1):
            self.act1 = nn.Sequential(self.act1, self._take_stride(self.conv1))
        if any(isinstance(module, nn.Conv2d) for module in self.maxpool.modules()):
            raise InputError("replace_stem_pool is true, and BlurConv1 blurs the max-pool; leave it out")
        if isinstance(self.maxpool, nn.MaxPool2d):
            self.maxpool = _blurred_max_pool(self.conv1, self.filt_size)
        blocks: list[Any] = [block for block in self.modules() if isinstance(block, (BasicBlock, Bottleneck))]
        for block in blocks:
            if block.stride != 1:
                block.aa = self._take_stride(block.get_submodule(_strided_conv(block)))
                if len(block.downsample) != 2:
                    raise InputError("avg_down is true, and BlurConv1 blurs strided convolutions only; leave it out")
                conv, norm = block.downsample
                blur = self._take_stride(conv, conv.in_channels)
                # The names "0" and "1" leave the keys of the state dict unchanged.
                block.downsample = nn.Sequential(OrderedDict([("blur", blur), ("0", conv), ("1", norm)]))

    def _take_stride(self, conv: nn.Conv2d, channels: int | None = None) -> BlurPool2d:
        """Set the stride of a convolution to 1 and return blur pooling with its previous stride."""
        (stride, _), conv.stride = conv.stride, (1, 1)
        weight = conv.weight
        channels = channels or conv.out_channels
        return BlurPool2d(channels, self.filt_size, stride, device=weight.device, dtype=weight.dtype)


class BlurConv2(nn.Module):
    """Mixin: anti-aliasing of Vasconcelos et al., "An Effective Anti-Aliasing Approach for Residual Networks"
    (arXiv:2011.10675).

    Each strided convolution gets stride 1 and is directly followed by 5x5 blur pooling, before norm and activation,
    also in shortcuts. The max-pool gets stride 1 and is followed by blur pooling. A push-pull stem is treated like a
    convolution.

    Args:
        blur_every_block: Also blur, without a stride, after the 3x3 convolution (ResNet-18: the first one) of every
            other block of the last three stages, as in the published code of PushPull-Net behind Table 2.
    """

    filt_size = 5
    if TYPE_CHECKING:
        conv1: Any
        maxpool: Any

    def __init__(self, *args: Any, blur_every_block: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        one_convolution(self, "conv1")
        names = [name for name, m in self.named_modules() if isinstance(m, nn.Conv2d) and m.stride != (1, 1)]
        if blur_every_block:
            for stage in ("layer2", "layer3", "layer4"):
                blocks: Any = self.get_submodule(stage)
                names += [f"{stage}.{index}.{_strided_conv(block)}" for index, block in enumerate(blocks)]
        for name in dict.fromkeys(names):
            self.set_submodule(name, self._blurred(self.get_submodule(name)))
        if isinstance(self.maxpool, nn.MaxPool2d):
            self.maxpool = _blurred_max_pool(self.conv1, self.filt_size)

    def _blurred(self, conv: Any) -> nn.Conv2d:
        """The convolution or push-pull unit with its weights, and blur pooling that has its stride."""
        if isinstance(conv, PushPullConv2d):
            unit = BlurredPushPullConv2d.from_conv(
                conv,
                filt_size=self.filt_size,
                avg_size=conv.avg_size,
                alpha=conv.alpha.detach(),
                trainable_alpha=isinstance(conv.alpha, nn.Parameter),
            )
            unit.initial_alpha = conv.initial_alpha
            return unit
        blurred = BlurredConv2d(**conv_kwargs(conv), filt_size=self.filt_size)
        blurred.weight = conv.weight  # no convolution of timm's ResNets has a bias
        return blurred


def _strided_conv(block: BasicBlock | Bottleneck) -> str:
    """The name of the convolution that has the stride in the first block of a stage."""
    return "conv2" if isinstance(block, Bottleneck) else "conv1"


def _blurred_max_pool(conv: nn.Conv2d, filt_size: int) -> nn.Sequential:
    return nn.Sequential(nn.MaxPool2d(kernel_size=2, stride=1), blur_pool_after(conv, filt_size))
