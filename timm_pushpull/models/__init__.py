"""The registered architectures. Importing this package registers them in timm."""

from timm_pushpull.models import efficientnet, resnet

__all__ = ["efficientnet", "resnet"]
