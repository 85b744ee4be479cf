"""Push-pull inhibition for existing networks: `convert_stem` and `set_inhibition`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch.nn.functional as F
from timm.layers import Conv2dSame, ScaledStdConv2d, ScaledStdConv2dSame, StdConv2d, StdConv2dSame, pad_same
from timm.models import register_notrace_module, split_model_name_tag
from torch import Tensor, nn

from timm_pushpull.layers.push_pull import PushPullConv2d
from timm_pushpull.layers.push_pull_base import Alpha, PushPullBase, alpha_tensor, push_pull_layers
from timm_pushpull.utils.errors import InputError

#: The registered name of networks with a converted stem; see `timm_pushpull.models.converted`.
CONVERTED = "pushpull_stem"
#: Arguments of such a network that are those of its unit.
UNIT_ARGUMENTS = ("avg_size", "alpha", "trainable_alpha")
#: Where the weights of a plain network come from; those of its converted form are no longer these.
SOURCES = {"source", "url", "file", "state_dict", "hf_hub_id", "hf_hub_filename"}


def network_name(architecture: str, model_args: Mapping[str, Any]) -> str:
    """The name of a network in results, on cards and of repositories: its architecture, or what it was converted from.

        >>> network_name("pushpull_stem", {"base": "convnext_atto.d2_in1k"})
        'convnext_atto_pushpull_stem'

    Args:
        architecture: Registered name.
        model_args: Arguments of the network, as in `config.json`.
    """
    if architecture != CONVERTED:
        return architecture
    return f"{split_model_name_tag(str(model_args.get('base', 'resnet18')))[0]}_{CONVERTED}"


def convert_stem(
    model: nn.Module, avg_size: int = 3, alpha: Alpha | None = None, trainable_alpha: bool = True
) -> nn.Module:
    """Replace the first convolution of a network with a push-pull unit with the same weights.

        >>> import timm
        >>> model = convert_stem(timm.create_model("resnet18"), avg_size=5)
        >>> type(model.conv1).__name__
        'PushPullConv2d'

    The first convolution is `first_conv` of timm's `pretrained_cfg`, otherwise the first `nn.Conv2d` of the network. If
    that one is part of a timm network inside, the timm network is converted. If `first_conv` names several parallel
    convolutions, all of them are replaced. All weights keep their names; the unit adds `alpha`. Do not merge layers
    afterwards (timm's `fuse` and `reparameterize_model`), nor choose another patch size
    (`set_input_size(patch_size=...)`): this would drop the unit.

    timm's `csatv2` (a fixed cosine transform), `gemma4_vit` and `naflexvit` (linear patch embeddings) do not begin with
    a convolution and raise an error.

    A timm network is saved and loaded as `pushpull_stem`, with its own name as the argument `base`.

    After `to_empty`, call `reset_parameters` of the layers. The network's own `init_weights` leaves `alpha` as it is,
    and in most of timm the batch norms too.

    Args:
        model: Any network. It is changed in place.
        avg_size, alpha, trainable_alpha: As in `PushPullConv2d`.

    Returns:
        The same network.

    Raises:
        InputError: The network does not begin with a convolution, or its type cannot be converted; or it is wrapped in
            DistributedDataParallel, which would not know of `alpha`.
    """
    if isinstance(model, nn.Conv2d):
        raise InputError("the network is a convolution; PushPullConv2d.from_conv makes a unit of it")
    if isinstance(model, (nn.parallel.DistributedDataParallel, nn.DataParallel)):
        raise InputError(f"the network is wrapped in {type(model).__name__}; convert it before it is wrapped")
    network = _network_inside(model)
    convolutions = _first_convolutions(network)
    options = {"avg_size": avg_size, "alpha": alpha, "trainable_alpha": trainable_alpha}
    units = {conv: push_pull_unit(conv, name, **options) for name, conv in convolutions.items()}
    for name, module in list(model.named_modules(remove_duplicate=False)):  # a convolution may have several names
        if module in units:
            model.set_submodule(name, units[module])
    _describe(network, avg_size=avg_size, trainable_alpha=trainable_alpha)
    return model


def _describe(model: Any, **options: Any) -> None:
    """Note in what timm saves with a network's weights that it is converted, or it would come back plain."""
    cfg = getattr(model, "pretrained_cfg", None)
    if isinstance(cfg, dict) and cfg.get("architecture"):
        model.pretrained_cfg = model.default_cfg = {**without_sources(cfg), "architecture": CONVERTED}
        model._model_args = {**getattr(model, "_model_args", {}), "base": cfg["architecture"], **options}


def without_sources(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """A pretrained cfg without the place of its weights."""
    return {name: value for name, value in cfg.items() if name not in SOURCES}


def set_inhibition(model: nn.Module, alpha: Alpha) -> None:
    """Set the inhibition strength of all push-pull layers of a network, both of 2020 and of 2024.

    More inhibition trades clean accuracy for robustness (paper, Table 3).

    Args:
        model: A network with push-pull layers. It is changed in place.
        alpha: One number, or one per output channel of the layers.

    Raises:
        InputError: There is no push-pull layer, or `alpha` has another number of channels.
    """
    layers = push_pull_layers(model)
    if not layers:
        raise InputError(f"{type(model).__name__} has no push-pull unit; convert_stem gives it one")
    values = [alpha_tensor(alpha, layer.out_channels) for layer in layers]
    for layer, value in zip(layers, values, strict=True):
        layer.set_alpha(value)


_STANDARDIZED = (StdConv2d, StdConv2dSame, ScaledStdConv2d, ScaledStdConv2dSame)


@register_notrace_module  # as timm's own convolutions with dynamic padding
class AdaptedPushPullConv2d(PushPullConv2d):
    """A push-pull unit that replaces timm's convolutions with dynamic 'SAME' padding or standardised weights.

    The push kernel has the standardised weights, and the pull kernel is its complement.
    """

    convertible = (Conv2dSame, *_STANDARDIZED)
    if TYPE_CHECKING:  # TorchScript would try to read the annotation
        gain: Tensor | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.same_pad, self.standardized, self.eps, self.scale = False, False, 0.0, 1.0
        self.register_parameter("gain", None)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        gain = getattr(self, "gain", None)
        if gain is not None:
            nn.init.ones_(gain)

    def push_weight(self) -> Tensor:
        if not self.standardized:
            return self.weight
        flat, gain = self.weight.reshape(1, self.out_channels, -1), self.gain
        if gain is not None:
            gain = (gain * self.scale).view(-1)
        flat = F.batch_norm(flat, None, None, weight=gain, training=True, momentum=0.0, eps=self.eps)
        return flat.view_as(self.weight)

    def pad_input(self, input: Tensor) -> Tensor:
        if self.same_pad:
            input = pad_same(input, list(self.kernel_size), list(self.stride), list(self.dilation))
        return input


def _network_inside(model: nn.Module) -> nn.Module:
    """The timm network that the first convolution of a model is part of, or the model."""
    first = next((name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)), "")
    parents = [".".join(first.split(".")[:depth]) for depth in range(first.count(".") + 1)]
    networks = (model.get_submodule(parent) for parent in parents)
    return next((one for one in networks if getattr(one, "pretrained_cfg", None)), model)


def _first_convolutions(model: nn.Module) -> dict[str, Any]:
    named = dict(model.named_modules())
    cfg = getattr(model, "pretrained_cfg", None) or {}
    name = cfg.get("architecture") or type(model).__name__
    declared = cfg.get("first_conv")
    expected = [declared] if isinstance(declared, str) else list(declared or [])
    # torch.compile and timm's wrappers for feature maps rename the modules.
    found = {_name_inside(entry): entry for entry in named}
    names = [found[_name_inside(entry)] for entry in expected if _name_inside(entry) in found]
    if declared is None or (expected and not names):  # not from timm
        names = [entry for entry, module in named.items() if isinstance(module, nn.Conv2d)][:1]
    elif len(names) < len(expected):
        raise InputError(f"{name} has lost one of its first convolutions {', '.join(expected)}; convert it as a whole")
    # With stem_type="deep", timm's cfg still names the stem as a whole.
    names = [f"{entry}.0" if isinstance(named[entry], nn.Sequential) else entry for entry in names]
    if not names or not all(isinstance(named.get(entry), nn.Conv2d) for entry in names):
        raise InputError(f"{name} does not begin with a convolution, so it cannot be converted")
    return {entry: named[entry] for entry in names}


def _name_inside(name: str) -> str:
    """The name of a module without what wrappers put before and into it."""
    return re.sub(r"^((_orig_mod|model)\.)+", "", name).replace(".", "_")


def push_pull_unit(conv: Any, name: str, **kwargs: Any) -> PushPullConv2d:
    """The push-pull unit that replaces a convolution, with its weights.

    Args:
        conv: An `nn.Conv2d`, or a convolution of timm with dynamic padding or standardised weights.
        name: Its name in the network, for the error.
        kwargs: `avg_size`, `alpha` and `trainable_alpha` of `PushPullConv2d`.

    Raises:
        InputError: It is something else.
    """
    if type(conv) not in (nn.Conv2d, *AdaptedPushPullConv2d.convertible):
        if isinstance(conv, PushPullBase):
            raise InputError(f"{name} is a {type(conv).__name__} already; leave the conversion out")
        raise InputError(f"{name} is a {type(conv).__name__}; only plain and timm's own convolutions can be converted")
    try:
        if type(conv) is nn.Conv2d:
            return PushPullConv2d.from_conv(conv, **kwargs)
        unit = AdaptedPushPullConv2d.from_conv(conv, **kwargs)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{name} cannot be converted: {error}") from error
    unit.same_pad = isinstance(conv, Conv2dSame) or getattr(conv, "same_pad", False)
    if isinstance(conv, _STANDARDIZED):
        unit.standardized, unit.eps = True, conv.eps
    if isinstance(conv, (ScaledStdConv2d, ScaledStdConv2dSame)):
        unit.scale, unit.gain = conv.scale, conv.gain
    return unit
