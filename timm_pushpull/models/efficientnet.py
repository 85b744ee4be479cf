"""EfficientNet-B0 with a push-pull stem (paper, Table 2)."""

from __future__ import annotations

from functools import partial
from typing import Any

from timm.models import generate_default_cfgs, register_model
from timm.models._efficientnet_builder import decode_arch_def, resolve_act_layer, resolve_bn_args, round_channels
from timm.models.efficientnet import EfficientNet
from torch import nn

from timm_pushpull.models.pretrained import build_model
from timm_pushpull.models.stem import PushPullStem, imagenet_cfg

# EfficientNet-B0's stages, in timm's block notation (Tan and Le 2019, Table 1).
_B0_STAGES = [
    ["ds_r1_k3_s1_e1_c16_se0.25"],
    ["ir_r2_k3_s2_e6_c24_se0.25"],
    ["ir_r2_k5_s2_e6_c40_se0.25"],
    ["ir_r3_k3_s2_e6_c80_se0.25"],
    ["ir_r3_k5_s1_e6_c112_se0.25"],
    ["ir_r4_k5_s2_e6_c192_se0.25"],
    ["ir_r1_k3_s1_e6_c320_se0.25"],
]


class PushPullEfficientNet(PushPullStem, EfficientNet):
    """timm's EfficientNet with a push-pull unit as `conv_stem`, 3x3 with stride 2."""

    stem_conv = "conv_stem"


def efficientnet_cfg(**kwargs: Any) -> dict[str, Any]:
    return imagenet_cfg(first_conv="conv_stem", classifier="classifier", **kwargs)


default_cfgs = generate_default_cfgs({"efficientnet_b0_pushpull": efficientnet_cfg()})


@register_model
def efficientnet_b0_pushpull(pretrained: bool = False, **kwargs: Any) -> EfficientNet:
    """EfficientNet-B0 with a push-pull stem, 3x3 pooling (PP3)."""
    # As timm's own builder for B0, which has a fixed model class.
    model_args = {
        "block_args": decode_arch_def(_B0_STAGES),
        "num_features": 1280,
        "stem_size": 32,
        "round_chs_fn": round_channels,
        "act_layer": resolve_act_layer(kwargs, "swish"),
        "norm_layer": kwargs.pop("norm_layer", None) or partial(nn.BatchNorm2d, **resolve_bn_args(kwargs)),
        "avg_size": 3,
        "feature_cfg": {"out_indices": (0, 1, 2, 3, 4), "feature_cls": "getter"},
        **kwargs,
    }
    return build_model(PushPullEfficientNet, "efficientnet_b0_pushpull", pretrained, model_args)
