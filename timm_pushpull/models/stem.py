"""What the push-pull families share: mixins that replace the stem's convolution, and the default cfg."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import nn

from timm_pushpull.layers.push_pull_2020 import PushPull2020Conv2d
from timm_pushpull.layers.push_pull_base import Alpha, push_pull_layers
from timm_pushpull.models.convert import push_pull_unit
from timm_pushpull.models.pretrained import push_pull_2020_filter_fn, push_pull_filter_fn
from timm_pushpull.utils.errors import InputError

#: The entries of a default cfg for weights trained on Imagenette, if the network has ImageNet's strides.
IMAGENETTE = {"num_classes": 10, "input_size": (3, 160, 160), "pool_size": (5, 5)}


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


class _Stem(nn.Module):
    """Mixin for a timm network: `init_weights` also initialises `alpha`."""

    @torch.jit.ignore
    def init_weights(self, *args: Any, **kwargs: Any) -> None:
        """Initialise the weights as timm does, and `alpha` as the arguments say."""
        initialise: Any = getattr(super(), "init_weights", None)
        if initialise is not None:
            initialise(*args, **kwargs)
        for layer in push_pull_layers(self):
            layer.reset_alpha()


class PushPullStem(_Stem):
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
        conv = one_convolution(self, self.stem_conv)
        options = {"avg_size": avg_size, "alpha": alpha, "trainable_alpha": trainable_alpha}
        self.set_submodule(self.stem_conv, push_pull_unit(conv, self.stem_conv, **options))


class PushPull2020Stem(_Stem):
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
            one_convolution(self, "conv1"), bias=True, alpha=alpha, scale=scale, trainable_alpha=trainable_alpha
        )


def one_convolution(model: nn.Module, name: str) -> nn.Conv2d:
    """A convolution of a network; InputError if it is something else, such as a deep stem."""
    conv = model.get_submodule(name)
    if not isinstance(conv, nn.Conv2d):
        raise InputError(
            f"{name} is a {type(conv).__name__}, not one convolution; use the default stem, or "
            f"timm_pushpull.convert_stem on a plain network with this stem"
        )
    return conv
