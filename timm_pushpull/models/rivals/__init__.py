"""The networks that the paper compares push-pull with, apart from plain ones (Table 2)."""

from timm_pushpull.models.rivals import resnet

__all__ = ["resnet"]
