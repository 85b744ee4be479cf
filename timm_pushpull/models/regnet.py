"""RegNet with a push-pull stem. The paper does not use this network."""

from __future__ import annotations

from typing import Any

from timm.models import generate_default_cfgs, register_model
from timm.models.regnet import RegNet, model_cfgs

from timm_pushpull.models.pretrained import build_model
from timm_pushpull.models.stem import PushPullStem, imagenet_cfg


class PushPullRegNet(PushPullStem, RegNet):
    """timm's RegNet with a push-pull unit as the convolution of its stem, 3x3 with stride 2."""

    stem_conv = "stem.conv"


default_cfgs = generate_default_cfgs(
    {"regnety_008_pushpull": imagenet_cfg(first_conv="stem.conv", classifier="head.fc")}
)


@register_model
def regnety_008_pushpull(pretrained: bool = False, **kwargs: Any) -> RegNet:
    """RegNetY-800MF (Radosavovic et al. 2020) with a push-pull stem, 3x3 pooling (PP3)."""
    model_args = {"model_cfg": model_cfgs["regnety_008"], "avg_size": 3, **kwargs}
    return build_model(PushPullRegNet, "regnety_008_pushpull", pretrained, model_args)
