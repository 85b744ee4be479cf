"""What the push-pull families share: mixins that replace the stem's convolution, and the default cfg."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import nn

from timm_pushpull.layers.push_pull import PushPullConv2d
from timm_pushpull.layers.push_pull_2020 import PushPull2020Conv2d
from timm_pushpull.layers.push_pull_base import Alpha
from timm_pushpull.models._pretrained import push_pull_2020_filter_fn, push_pull_filter_fn

#: The entries of a default cfg for weights trained on Tiny ImageNet, if the network has ImageNet's strides.
TINY_IMAGENET = {"num_classes": 200, "input_size": (3, 64, 64), "pool_size": (2, 2)}


def imagenet_cfg(**kwargs: Any) -> dict[str, Any]:
    """The default cfg of an ImageNet model that is tested as in the paper: resized to 224 px, then centre-cropped."""
    return {
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "pool_size": (7, 7),
        "crop_pct": 1.0,
        "interpolation": "bilinear",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "license": "apache-2.0",
        "paper_name": "PushPull-Net: Inhibition-driven ResNet robust to image corruptions",
        **kwargs,
    }


class PushPullStem(nn.Module):
    """Mixin for a timm network: replaces the convolution `stem_conv` by a push-pull unit with the same weights.

    The replacement is in `__init__`, before timm's builder wraps the model and loads weights.

    Args:
        avg_size, alpha, trainable_alpha: As in `PushPullConv2d`.
        args, kwargs: Arguments of the network.
    """

    stem_conv = "conv1"
    checkpoint_filter_fn = staticmethod(push_pull_filter_fn)

    def __init__(
        self,
        *args: Any,
        avg_size: int = 3,
        alpha: Alpha | None = None,
        trainable_alpha: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        conv: Any = self.get_submodule(self.stem_conv)
        unit = PushPullConv2d.from_conv(conv, avg_size=avg_size, alpha=alpha, trainable_alpha=trainable_alpha)
        self.set_submodule(self.stem_conv, unit)


class PushPull2020Stem(nn.Module):
    """Mixin for timm's ResNet: replaces `conv1` by a push-pull layer of 2020 with the same weights.

    The layer has a bias, as in the published code behind the paper's figures.

    Args:
        alpha, scale, trainable_alpha: As in `PushPull2020Conv2d`.
        args, kwargs: Arguments of the network.
    """

    checkpoint_filter_fn = staticmethod(push_pull_2020_filter_fn)
    if TYPE_CHECKING:
        conv1: Any

    def __init__(
        self,
        *args: Any,
        alpha: Alpha | None = None,
        scale: float = 2.0,
        trainable_alpha: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.conv1 = PushPull2020Conv2d.from_conv(
            self.conv1, bias=True, alpha=alpha, scale=scale, trainable_alpha=trainable_alpha
        )
