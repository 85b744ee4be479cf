"""What the paper compares push-pull with."""

from timm_pushpull.models.rivals import resnet

__all__ = ["resnet"]
