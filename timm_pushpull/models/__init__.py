"""The registered architectures. Importing this package registers them in timm."""

from timm_pushpull.models import efficientnet, resnet
from timm_pushpull.models._releases import NAMESPACE, RELEASES

__all__ = ["NAMESPACE", "RELEASES", "efficientnet", "resnet"]
