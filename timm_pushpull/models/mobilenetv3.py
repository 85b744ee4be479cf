"""MobileNetV3 with a push-pull stem. The paper does not use this network."""

from __future__ import annotations

from functools import partial
from typing import Any

from timm.models import generate_default_cfgs, register_model
from timm.models._efficientnet_blocks import SqueezeExcite
from timm.models._efficientnet_builder import decode_arch_def, resolve_act_layer, resolve_bn_args, round_channels
from timm.models.mobilenetv3 import MobileNetV3
from torch import nn

from timm_pushpull.models.pretrained import build_model
from timm_pushpull.models.stem import PushPullStem, imagenet_cfg
from timm_pushpull.utils.errors import InputError

# MobileNetV3-Large's stages, in timm's block notation (Howard et al. 2019, Table 1).
_LARGE_STAGES = [
    ["ds_r1_k3_s1_e1_c16_nre"],
    ["ir_r1_k3_s2_e4_c24_nre", "ir_r1_k3_s1_e3_c24_nre"],
    ["ir_r3_k5_s2_e3_c40_se0.25_nre"],
    ["ir_r1_k3_s2_e6_c80", "ir_r1_k3_s1_e2.5_c80", "ir_r2_k3_s1_e2.3_c80"],
    ["ir_r2_k3_s1_e6_c112_se0.25"],
    ["ir_r3_k5_s2_e6_c160_se0.25"],
    ["cn_r1_k1_s1_c960"],
]


class PushPullMobileNetV3(PushPullStem, MobileNetV3):
    """timm's MobileNetV3 with a push-pull unit as `conv_stem`, 3x3 with stride 2."""

    stem_conv = "conv_stem"


default_cfgs = generate_default_cfgs(
    {"mobilenetv3_large_100_pushpull": imagenet_cfg(first_conv="conv_stem", classifier="classifier")}
)


@register_model
def mobilenetv3_large_100_pushpull(pretrained: bool = False, **kwargs: Any) -> MobileNetV3:
    """MobileNetV3-Large with a push-pull stem, 3x3 pooling (PP3)."""
    if (stride := kwargs.pop("output_stride", 32)) != 32:
        raise InputError(
            f"mobilenetv3_large_100_pushpull has no output_stride of {stride}; use pushpull_stem with "
            f"base='mobilenetv3_large_100', or convert_stem"
        )
    # As timm's own builder, which has a fixed model class.
    model_args = {
        "block_args": decode_arch_def(_LARGE_STAGES),
        "num_features": 1280,
        "stem_size": 16,
        "round_chs_fn": round_channels,
        "se_layer": partial(
            SqueezeExcite, gate_layer="hard_sigmoid", force_act_layer=nn.ReLU, rd_round_fn=round_channels
        ),
        "act_layer": resolve_act_layer(kwargs, "hard_swish"),
        "norm_layer": kwargs.pop("norm_layer", None) or partial(nn.BatchNorm2d, **resolve_bn_args(kwargs)),
        "avg_size": 3,
        "feature_cfg": {"out_indices": (0, 1, 2, 3, 4), "feature_cls": "getter"},
        **kwargs,
    }
    return build_model(PushPullMobileNetV3, "mobilenetv3_large_100_pushpull", pretrained, model_args)
