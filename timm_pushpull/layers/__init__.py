"""The push-pull unit of 2024, the push-pull layer of 2020, blur pooling, and the switch for the fused kernels."""

from timm_pushpull.layers.blur_pool import BlurPool2d
from timm_pushpull.layers.fused import set_fused
from timm_pushpull.layers.push_pull import PushPullConv2d
from timm_pushpull.layers.push_pull_2020 import PushPull2020Conv2d

__all__ = ["BlurPool2d", "PushPull2020Conv2d", "PushPullConv2d", "set_fused"]
