"""Push-pull units, and the fused form that makes them fast."""

from timm_pushpull.layers.fused import set_fused
from timm_pushpull.layers.push_pull import PushPullConv2d
from timm_pushpull.layers.push_pull_2020 import PushPull2020Conv2d

__all__ = ["PushPull2020Conv2d", "PushPullConv2d", "set_fused"]
