"""ConvNeXt with a push-pull stem. The paper does not use this network."""

from __future__ import annotations

from typing import Any

from timm.models import generate_default_cfgs, register_model
from timm.models.convnext import ConvNeXt

from timm_pushpull.models.pretrained import build_model
from timm_pushpull.models.stem import PushPullStem, imagenet_cfg


class PushPullConvNeXt(PushPullStem, ConvNeXt):
    """timm's ConvNeXt with a push-pull unit as the patch embedding, 4x4 with stride 4."""

    stem_conv = "stem.0"


default_cfgs = generate_default_cfgs(
    {"convnext_tiny_pushpull": imagenet_cfg(first_conv="stem.0", classifier="head.fc")}
)


@register_model
def convnext_tiny_pushpull(pretrained: bool = False, **kwargs: Any) -> ConvNeXt:
    """ConvNeXt-Tiny (Liu et al. 2022) with a push-pull stem, 3x3 pooling (PP3)."""
    model_args = {
        "depths": (3, 3, 9, 3),
        "dims": (96, 192, 384, 768),
        "avg_size": 3,
        "feature_cfg": {"out_indices": (0, 1, 2, 3), "flatten_sequential": True},
        **kwargs,
    }
    return build_model(PushPullConvNeXt, "convnext_tiny_pushpull", pretrained, model_args)
