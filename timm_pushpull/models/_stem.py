"""What the push-pull models share: the swap of the stem and the default cfg."""

from __future__ import annotations

from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import nn

from timm_pushpull.push_pull import PushPullConv2d


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


def push_pull_stem(model: nn.Module, conv: str, unit_args: dict[str, Any]) -> None:
    """Replace the convolution named `conv` by a push-pull unit that keeps its weights.

    Call it in a subclass's `__init__`: a swap after timm's builder would miss wrapped models and weight loading.
    """
    model.set_submodule(conv, PushPullConv2d.from_conv(model.get_submodule(conv), **unit_args))
