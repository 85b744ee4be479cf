"""`pushpull_stem`: any timm network with a converted stem under one name, so that it can be saved and loaded."""

from __future__ import annotations

from typing import Any

import timm
from timm.models import (
    generate_default_cfgs,
    is_model,
    list_models,
    load_pretrained,
    register_model,
    resolve_pretrained_cfg,
    split_model_name_tag,
)
from torch import nn

from timm_pushpull.layers.push_pull_base import Alpha
from timm_pushpull.models.convert import CONVERTED, SOURCES, convert_stem, without_sources
from timm_pushpull.models.pretrained import push_pull_filter_fn, with_weights
from timm_pushpull.models.stem import imagenet_cfg
from timm_pushpull.utils.errors import InputError, one_line, unknown

default_cfgs = generate_default_cfgs({CONVERTED: imagenet_cfg(first_conv="conv1", classifier="fc")})


@register_model
def pushpull_stem(
    pretrained: bool = False,
    *,
    base: str = "resnet18",
    avg_size: int = 3,
    alpha: Alpha | None = None,
    trainable_alpha: bool = True,
    **kwargs: Any,
) -> nn.Module:
    """`convert_stem` of a timm network, PP3 by default.

        >>> model = timm.create_model("pushpull_stem", base="convnext_atto", num_classes=10)

    Saved by `timm.models.save_for_hf` or `push_to_hf_hub`, it comes back converted by `local-dir:` and `hf-hub:`.

    Args:
        pretrained: Load the pretrained weights of `base`, or those of the folder or Hub repository that is loaded.
        base: Name of the plain network in timm, with or without a tag.
        avg_size, alpha, trainable_alpha: As in `PushPullConv2d`.
        kwargs: Arguments of the plain network.

    Raises:
        InputError: timm has no network of that name, or its stem cannot be converted.
    """
    if not is_model(split_model_name_tag(base)[0]):
        raise unknown("base", base, list_models(), "timm.list_models()")
    options: dict[str, Any] = {"avg_size": avg_size, "alpha": alpha, "trainable_alpha": trainable_alpha}
    names = ("pretrained_cfg", "pretrained_cfg_overlay", "pretrained_model_args")
    given = {name: kwargs.pop(name, None) for name in names}
    overlay = given["pretrained_cfg_overlay"] or {}
    if not isinstance(given["pretrained_cfg"], dict):
        if not SOURCES & overlay.keys():
            return convert_stem(
                timm.create_model(base, pretrained, pretrained_cfg_overlay=overlay, **kwargs), **options
            )
        name, tag = split_model_name_tag(base)
        given["pretrained_cfg"] = without_sources(resolve_pretrained_cfg(name, tag or None).to_dict())

    chosen = {**given, "avg_size": avg_size, "cache_dir": kwargs.get("cache_dir")}
    chosen = with_weights(CONVERTED, pretrained, chosen)
    resolved = resolve_pretrained_cfg(CONVERTED, chosen["pretrained_cfg"], chosen["pretrained_cfg_overlay"])
    cfg: dict[str, Any] = resolved.to_dict()

    def build(**changes: Any) -> nn.Module:
        plain = timm.create_model(base, pretrained_cfg={**cfg, "architecture": base}, **{**kwargs, **changes})
        model: Any = convert_stem(plain, **options)
        model.pretrained_cfg = model.default_cfg = {**cfg, **model.pretrained_cfg, "architecture": CONVERTED}
        return model

    model = build()
    if pretrained:
        features = bool(kwargs.get("features_only"))
        whole = build(features_only=None, out_indices=None, feature_cls=None) if features else model
        try:
            load_pretrained(
                whole,
                pretrained_cfg=cfg,
                num_classes=0 if features else whole.num_classes,
                in_chans=kwargs.get("in_chans", 3),
                filter_fn=push_pull_filter_fn,
                strict=not features,
            )
        except RuntimeError as error:
            if "size mismatch" not in str(error):
                raise
            raise InputError(
                f"the weights do not fit {base} with these arguments; for another img_size, load it without, and call "
                f"model.set_input_size(img_size=...) where it has that: {one_line(error)}"
            ) from error
        if features:
            _copy_features(whole, model)
    return model


def _copy_features(whole: nn.Module, features: nn.Module) -> None:
    """Copy the weights of a network into a wrapper of timm that returns its feature maps and renames its modules."""
    weights = {name.replace(".", "_"): tensor for name, tensor in whole.state_dict().items()}
    own = {name: name.removeprefix("model.").replace(".", "_") for name in features.state_dict()}
    if lacking := sorted(name for name, plain in own.items() if plain not in weights):
        raise InputError(f"cannot load feature maps of this network: its wrapper has other names, such as {lacking[0]}")
    features.load_state_dict({name: weights[plain] for name, plain in own.items()})
