"""RegNet with a push-pull stem. The paper has none: a recipe beyond it."""

from __future__ import annotations

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.regnet import RegNet, model_cfgs

from timm_pushpull.models._pretrained import fit_weights
from timm_pushpull.models._releases import with_weights
from timm_pushpull.models._stem import PushPullStem, imagenet_cfg


class PushPullRegNet(PushPullStem, RegNet):
    """timm's RegNet with a push-pull unit for the convolution of its stem, 3x3 with stride 2."""

    stem_conv = "stem.conv"


default_cfgs = generate_default_cfgs(
    {"regnety_008_pushpull": imagenet_cfg(first_conv="stem.conv", classifier="head.fc")}
)


@register_model
def regnety_008_pushpull(pretrained: bool = False, **kwargs: Any) -> RegNet:
    """RegNetY-800MF (Radosavovic et al. 2020) with a push-pull stem, 3x3 pooling (PP3)."""
    return build_model_with_cfg(
        PushPullRegNet,
        "regnety_008_pushpull",
        pretrained,
        model_cfg=model_cfgs["regnety_008"],
        pretrained_filter_fn=fit_weights,
        **with_weights("regnety_008_pushpull", pretrained, {"avg_size": 3, **kwargs}),
    )
