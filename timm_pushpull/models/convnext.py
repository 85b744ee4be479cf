"""ConvNeXt with a push-pull stem. The paper has none: a recipe beyond it."""

from __future__ import annotations

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.convnext import ConvNeXt

from timm_pushpull.models._pretrained import fit_weights
from timm_pushpull.models._releases import with_weights
from timm_pushpull.models._stem import PushPullStem, imagenet_cfg


class PushPullConvNeXt(PushPullStem, ConvNeXt):
    """timm's ConvNeXt with a push-pull unit for the patch embedding, 4x4 with stride 4."""

    stem_conv = "stem.0"


default_cfgs = generate_default_cfgs(
    {"convnext_tiny_pushpull": imagenet_cfg(first_conv="stem.0", classifier="head.fc")}
)


@register_model
def convnext_tiny_pushpull(pretrained: bool = False, **kwargs: Any) -> ConvNeXt:
    """ConvNeXt-Tiny (Liu et al. 2022) with a push-pull stem, 3x3 pooling (PP3)."""
    model_args = {"depths": (3, 3, 9, 3), "dims": (96, 192, 384, 768), "avg_size": 3, **kwargs}
    return build_model_with_cfg(
        PushPullConvNeXt,
        "convnext_tiny_pushpull",
        pretrained,
        pretrained_filter_fn=fit_weights,
        feature_cfg={"out_indices": (0, 1, 2, 3), "flatten_sequential": True},
        **with_weights("convnext_tiny_pushpull", pretrained, model_args),
    )
