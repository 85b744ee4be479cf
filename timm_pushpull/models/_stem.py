"""What the push-pull models share: the swap of the stem, the loading of weights, the default cfg."""

from __future__ import annotations

from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn

from timm_pushpull.errors import InputError
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


def fit_weights(state_dict: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The `pretrained_filter_fn` of push-pull models.

    Weights of the plain network have no `alpha`; the model's own stays then. Weights for another number of input
    channels are refused: timm would sum or repeat the stem's weights over the channels, which is exact for a plain
    convolution, but the pull kernel depends on the extremes over *all* channels of a filter, so the result would be
    silently wrong.

    Raises:
        InputError: The weights are for another number of input channels.
    """
    conv = model.pretrained_cfg["first_conv"]
    unit = model.get_submodule(conv)
    weight = state_dict.get(f"{conv}.weight")
    if weight is not None and weight.shape[1] * unit.groups != unit.in_channels:
        raise InputError(
            f"in_chans is {unit.in_channels} but the weights have {weight.shape[1] * unit.groups}; a push-pull stem "
            f"cannot be adapted: repeat a grey image over the channels, or use pretrained=False"
        )
    return {f"{conv}.alpha": unit.alpha.detach(), **state_dict}
