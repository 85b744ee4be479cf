"""The registered architectures. Importing this package registers them in timm."""

from timm_pushpull.models import converted, convnext, efficientnet, mobilenetv3, regnet, resnet, rivals
from timm_pushpull.models.checkpoints import keep_metadata
from timm_pushpull.models.pretrained import NAMESPACE, RELEASES, weights_name

keep_metadata()

__all__ = [
    "NAMESPACE",
    "RELEASES",
    "converted",
    "convnext",
    "efficientnet",
    "mobilenetv3",
    "regnet",
    "resnet",
    "rivals",
    "weights_name",
]
