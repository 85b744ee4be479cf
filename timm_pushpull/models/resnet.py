"""ResNets with a push-pull stem, and their plain counterparts with the paper's CIFAR stem (Section 4.2).

The CIFAR stem is a 3x3 convolution of stride 1 without a max-pool. The `_pushpull` models average the pull response
over 3x3 positions (PP3 in the paper), the `_pushpull5` models over 5x5 positions (PP5). As in the paper, the weights of
the last batch norm of a block are initialised to one (`zero_init_last=False`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from timm.models import generate_default_cfgs, register_model
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torch import nn

from timm_pushpull.models.pretrained import build_model, published
from timm_pushpull.models.stem import IMAGENETTE, PushPullStem, imagenet_cfg
from timm_pushpull.utils.errors import InputError

CIFAR_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR_STD = (0.2023, 0.1994, 0.2010)


class CifarResNet(ResNet):
    """timm's ResNet with the CIFAR stem.

    All strides are a quarter of timm's, including `output_stride`, which can be 2, 4 or 8.
    """

    if TYPE_CHECKING:
        conv1: Any
        maxpool: Any
        feature_info: Any

    def __init__(
        self,
        block: Any,
        layers: tuple[int, ...],
        *,
        in_chans: int = 3,
        output_stride: int = 8,
        device=None,
        dtype=None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            block, layers, in_chans=in_chans, output_stride=4 * output_stride, device=device, dtype=dtype, **kwargs
        )
        if not isinstance(self.conv1, nn.Conv2d):
            raise InputError(f"the CIFAR stem is one convolution; {kwargs.get('stem_type')!r} is no stem_type for it")
        if kwargs.get("replace_stem_pool"):
            raise InputError("the CIFAR stem has no pooling that replace_stem_pool could replace; leave it out")
        width = self.conv1.out_channels
        self.conv1 = nn.Conv2d(in_chans, width, 3, stride=1, padding=1, bias=False, device=device, dtype=dtype)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.maxpool = nn.Identity()
        for info in self.feature_info:
            info["reduction"] = max(info["reduction"] // 4, 1)


class PushPullResNet(PushPullStem, ResNet):
    """timm's ResNet with a push-pull unit as `conv1`."""


class PushPullCifarResNet(PushPullStem, CifarResNet):
    """`CifarResNet` with a push-pull unit as `conv1`."""


def resnet_cfg(**kwargs: Any) -> dict[str, Any]:
    return imagenet_cfg(first_conv="conv1", classifier="fc", **kwargs)


def cifar_cfg(**kwargs: Any) -> dict[str, Any]:
    size = {"input_size": (3, 32, 32), "pool_size": (4, 4)}
    return resnet_cfg(num_classes=10, mean=CIFAR_MEAN, std=CIFAR_STD, **size, **kwargs)


default_cfgs = generate_default_cfgs(
    {
        **published("resnet18_pushpull.imagenette", resnet_cfg(**IMAGENETTE)),
        "resnet18_pushpull.*": resnet_cfg(),  # "*": the default cfg, although it has no weights
        "resnet18_pushpull5": resnet_cfg(),
        **published("resnet50_pushpull.imagenette", resnet_cfg(**IMAGENETTE)),
        "resnet50_pushpull.*": resnet_cfg(),
        "resnet50_pushpull5": resnet_cfg(),
        **published("resnet18_cifar.cifar10", cifar_cfg()),
        **published("resnet18_cifar_pushpull.cifar10", cifar_cfg()),
        **published("resnet18_cifar_pushpull5.cifar10", cifar_cfg()),
        "resnet50_cifar": cifar_cfg(),
        "resnet50_cifar_pushpull": cifar_cfg(),
        "resnet50_cifar_pushpull5": cifar_cfg(),
    }
)

RESNET18 = {"block": BasicBlock, "layers": (2, 2, 2, 2), "zero_init_last": False}
RESNET50 = {"block": Bottleneck, "layers": (3, 4, 6, 3), "zero_init_last": False}


@register_model
def resnet18_pushpull(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-18 with a push-pull stem, 3x3 pooling (PP3)."""
    return build_model(PushPullResNet, "resnet18_pushpull", pretrained, {**RESNET18, "avg_size": 3, **kwargs})


@register_model
def resnet18_pushpull5(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-18 with a push-pull stem, 5x5 pooling (PP5)."""
    return build_model(PushPullResNet, "resnet18_pushpull5", pretrained, {**RESNET18, "avg_size": 5, **kwargs})


@register_model
def resnet50_pushpull(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-50 with a push-pull stem, 3x3 pooling (PP3)."""
    return build_model(PushPullResNet, "resnet50_pushpull", pretrained, {**RESNET50, "avg_size": 3, **kwargs})


@register_model
def resnet50_pushpull5(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-50 with a push-pull stem, 5x5 pooling (PP5)."""
    return build_model(PushPullResNet, "resnet50_pushpull5", pretrained, {**RESNET50, "avg_size": 5, **kwargs})


@register_model
def resnet18_cifar(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-18 with the CIFAR stem: the paper's CIFAR-10 baseline."""
    return build_model(CifarResNet, "resnet18_cifar", pretrained, {**RESNET18, **kwargs})


@register_model
def resnet18_cifar_pushpull(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-18 with a push-pull CIFAR stem, 3x3 pooling (PP3)."""
    model_args = {**RESNET18, "avg_size": 3, **kwargs}
    return build_model(PushPullCifarResNet, "resnet18_cifar_pushpull", pretrained, model_args)


@register_model
def resnet18_cifar_pushpull5(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-18 with a push-pull CIFAR stem, 5x5 pooling (PP5)."""
    model_args = {**RESNET18, "avg_size": 5, **kwargs}
    return build_model(PushPullCifarResNet, "resnet18_cifar_pushpull5", pretrained, model_args)


@register_model
def resnet50_cifar(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-50 with the CIFAR stem: the paper's CIFAR-10 baseline."""
    return build_model(CifarResNet, "resnet50_cifar", pretrained, {**RESNET50, **kwargs})


@register_model
def resnet50_cifar_pushpull(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-50 with a push-pull CIFAR stem, 3x3 pooling (PP3)."""
    model_args = {**RESNET50, "avg_size": 3, **kwargs}
    return build_model(PushPullCifarResNet, "resnet50_cifar_pushpull", pretrained, model_args)


@register_model
def resnet50_cifar_pushpull5(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-50 with a push-pull CIFAR stem, 5x5 pooling (PP5)."""
    model_args = {**RESNET50, "avg_size": 5, **kwargs}
    return build_model(PushPullCifarResNet, "resnet50_cifar_pushpull5", pretrained, model_args)
