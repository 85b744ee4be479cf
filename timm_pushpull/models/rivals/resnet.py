"""The architectures of the paper's Table 2 that push-pull is compared with, for ResNets with ImageNet and CIFAR stems.

The module has the name of timm's `resnet`, because timm's test suite selects settings by it. The paper combines
BlurConv2 and push-pull on ImageNet only; the versions with a CIFAR stem are an addition.
"""

from __future__ import annotations

from typing import Any

from timm.models import generate_default_cfgs, register_model
from timm.models.resnet import ResNet

from timm_pushpull.models.pretrained import build_model
from timm_pushpull.models.resnet import (
    RESNET18,
    RESNET50,
    CifarResNet,
    PushPullCifarResNet,
    PushPullResNet,
    cifar_cfg,
    resnet_cfg,
)
from timm_pushpull.models.rivals.blur_conv import BlurConv1, BlurConv2
from timm_pushpull.models.stem import PushPull2020Stem

_ZHANG = {"paper_name": "Making Convolutional Networks Shift-Invariant Again", "paper_ids": "arXiv:1904.11486"}
_VASCONCELOS = {
    "paper_name": "An Effective Anti-Aliasing Approach for Residual Networks",
    "paper_ids": "arXiv:2011.10675",
}
_STRISCIUGLIO = {
    "paper_name": "Enhanced robustness of convolutional networks with a push-pull inhibition layer",
    "paper_ids": "doi:10.1007/s00521-020-04751-8",
}


class BlurConv1ResNet(BlurConv1, ResNet):
    """timm's ResNet, anti-aliased as BlurConv1."""


class BlurConv1CifarResNet(BlurConv1, CifarResNet):
    """`CifarResNet`, anti-aliased as BlurConv1."""


class BlurConv2ResNet(BlurConv2, ResNet):
    """timm's ResNet, anti-aliased as BlurConv2."""


class BlurConv2CifarResNet(BlurConv2, CifarResNet):
    """`CifarResNet`, anti-aliased as BlurConv2."""


class BlurConv2PushPullResNet(BlurConv2, PushPullResNet):
    """timm's ResNet with a push-pull unit as `conv1`, anti-aliased as BlurConv2."""


class BlurConv2PushPullCifarResNet(BlurConv2, PushPullCifarResNet):
    """`CifarResNet` with a push-pull unit as `conv1`, anti-aliased as BlurConv2."""


class PushPull2020ResNet(PushPull2020Stem, ResNet):
    """timm's ResNet with the push-pull layer of 2020 as `conv1`."""


class PushPull2020CifarResNet(PushPull2020Stem, CifarResNet):
    """`CifarResNet` with the push-pull layer of 2020 as `conv1`."""


default_cfgs = generate_default_cfgs(
    {
        "resnet18_blurconv1": resnet_cfg(**_ZHANG),
        "resnet50_blurconv1": resnet_cfg(**_ZHANG),
        "resnet18_cifar_blurconv1": cifar_cfg(**_ZHANG),
        "resnet50_cifar_blurconv1": cifar_cfg(**_ZHANG),
        "resnet18_blurconv2": resnet_cfg(**_VASCONCELOS),
        "resnet50_blurconv2": resnet_cfg(**_VASCONCELOS),
        "resnet18_cifar_blurconv2": cifar_cfg(**_VASCONCELOS),
        "resnet50_cifar_blurconv2": cifar_cfg(**_VASCONCELOS),
        "resnet18_blurconv2_pushpull": resnet_cfg(**_VASCONCELOS),
        "resnet50_blurconv2_pushpull": resnet_cfg(**_VASCONCELOS),
        "resnet18_cifar_blurconv2_pushpull": cifar_cfg(**_VASCONCELOS),
        "resnet50_cifar_blurconv2_pushpull": cifar_cfg(**_VASCONCELOS),
        "resnet18_pushpull2020": resnet_cfg(**_STRISCIUGLIO),
        "resnet50_pushpull2020": resnet_cfg(**_STRISCIUGLIO),
        "resnet18_cifar_pushpull2020": cifar_cfg(**_STRISCIUGLIO),
        "resnet50_cifar_pushpull2020": cifar_cfg(**_STRISCIUGLIO),
    }
)


@register_model
def resnet18_blurconv1(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-18 with BlurConv1."""
    return build_model(BlurConv1ResNet, "resnet18_blurconv1", pretrained, {**RESNET18, **kwargs})


@register_model
def resnet50_blurconv1(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-50 with BlurConv1."""
    return build_model(BlurConv1ResNet, "resnet50_blurconv1", pretrained, {**RESNET50, **kwargs})


@register_model
def resnet18_cifar_blurconv1(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-18 with the CIFAR stem and BlurConv1."""
    return build_model(BlurConv1CifarResNet, "resnet18_cifar_blurconv1", pretrained, {**RESNET18, **kwargs})


@register_model
def resnet50_cifar_blurconv1(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-50 with the CIFAR stem and BlurConv1."""
    return build_model(BlurConv1CifarResNet, "resnet50_cifar_blurconv1", pretrained, {**RESNET50, **kwargs})


@register_model
def resnet18_blurconv2(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-18 with BlurConv2."""
    return build_model(BlurConv2ResNet, "resnet18_blurconv2", pretrained, {**RESNET18, **kwargs})


@register_model
def resnet50_blurconv2(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-50 with BlurConv2."""
    return build_model(BlurConv2ResNet, "resnet50_blurconv2", pretrained, {**RESNET50, **kwargs})


@register_model
def resnet18_cifar_blurconv2(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-18 with the CIFAR stem and BlurConv2."""
    return build_model(BlurConv2CifarResNet, "resnet18_cifar_blurconv2", pretrained, {**RESNET18, **kwargs})


@register_model
def resnet50_cifar_blurconv2(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-50 with the CIFAR stem and BlurConv2."""
    return build_model(BlurConv2CifarResNet, "resnet50_cifar_blurconv2", pretrained, {**RESNET50, **kwargs})


@register_model
def resnet18_blurconv2_pushpull(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-18 with BlurConv2 and a push-pull stem, 3x3 pooling (BlurConv2+PP3)."""
    model_args = {**RESNET18, "avg_size": 3, **kwargs}
    return build_model(BlurConv2PushPullResNet, "resnet18_blurconv2_pushpull", pretrained, model_args)


@register_model
def resnet50_blurconv2_pushpull(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-50 with BlurConv2 and a push-pull stem, 3x3 pooling (BlurConv2+PP3)."""
    model_args = {**RESNET50, "avg_size": 3, **kwargs}
    return build_model(BlurConv2PushPullResNet, "resnet50_blurconv2_pushpull", pretrained, model_args)


@register_model
def resnet18_cifar_blurconv2_pushpull(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-18 with BlurConv2 and a push-pull CIFAR stem, 3x3 pooling."""
    model_args = {**RESNET18, "avg_size": 3, **kwargs}
    return build_model(BlurConv2PushPullCifarResNet, "resnet18_cifar_blurconv2_pushpull", pretrained, model_args)


@register_model
def resnet50_cifar_blurconv2_pushpull(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-50 with BlurConv2 and a push-pull CIFAR stem, 3x3 pooling."""
    model_args = {**RESNET50, "avg_size": 3, **kwargs}
    return build_model(BlurConv2PushPullCifarResNet, "resnet50_cifar_blurconv2_pushpull", pretrained, model_args)


@register_model
def resnet18_pushpull2020(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-18 with the push-pull layer of 2020 as the stem."""
    return build_model(PushPull2020ResNet, "resnet18_pushpull2020", pretrained, {**RESNET18, **kwargs})


@register_model
def resnet50_pushpull2020(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-50 with the push-pull layer of 2020 as the stem."""
    return build_model(PushPull2020ResNet, "resnet50_pushpull2020", pretrained, {**RESNET50, **kwargs})


@register_model
def resnet18_cifar_pushpull2020(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-18 with the push-pull layer of 2020 as a CIFAR stem."""
    return build_model(PushPull2020CifarResNet, "resnet18_cifar_pushpull2020", pretrained, {**RESNET18, **kwargs})


@register_model
def resnet50_cifar_pushpull2020(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """ResNet-50 with the push-pull layer of 2020 as a CIFAR stem."""
    return build_model(PushPull2020CifarResNet, "resnet50_cifar_pushpull2020", pretrained, {**RESNET50, **kwargs})
