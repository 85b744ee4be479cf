"""What the push-pull models share: the swap of the stem and the default cfg."""

from __future__ import annotations

from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from timm_pushpull.layers.base import Alpha
from timm_pushpull.layers.push_pull import PushPullConv2d
from timm_pushpull.layers.push_pull_2020 import PushPull2020Conv2d

#: What differs in the default cfg of a network for Tiny ImageNet whose strides are ImageNet's.
TINY_IMAGENET = {"num_classes": 200, "input_size": (3, 64, 64), "pool_size": (2, 2)}


def imagenet_cfg(**kwargs: Any) -> dict[str, Any]:
    """The default cfg of an ImageNet model, tested as in the paper: resized to 224 px, then cropped to the centre."""
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


class PushPullStem:
    """For a subclass of a timm network: the convolution `stem_conv` becomes a push-pull unit that keeps its weights.

    That happens in `__init__`: a swap after timm's builder would miss wrapped models and weight loading.

    Args:
        avg_size, alpha, trainable_alpha: As in `PushPullConv2d`.
    """

    stem_conv = "conv1"

    def __init__(
        self,
        *args: Any,
        avg_size: int = 3,
        alpha: Alpha | None = None,
        trainable_alpha: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        conv = self.get_submodule(self.stem_conv)
        unit = PushPullConv2d.from_conv(conv, avg_size=avg_size, alpha=alpha, trainable_alpha=trainable_alpha)
        self.set_submodule(self.stem_conv, unit)


class PushPull2020Stem:
    """For a subclass of timm's ResNet: `conv1` becomes a push-pull layer of 2020 that keeps the weights.

    It has a bias, as in the published code that the paper's figures come from.

    Args:
        alpha, scale, trainable_alpha: As in `PushPull2020Conv2d`.
    """

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
