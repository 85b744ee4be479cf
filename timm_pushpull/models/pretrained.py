"""Pretrained weights: where they come from, and what is checked before they are loaded.

timm loads the weights itself. Two hooks are ours: `with_weights` chooses the file before a model is built, and a
`checkpoint_filter_fn` checks and completes the state dict before it is loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from timm.models import build_model_with_cfg, resolve_pretrained_cfg
from torch import Tensor, nn

from timm_pushpull.layers.push_pull import PushPullConv2d
from timm_pushpull.models.checkpoints import AVG_SIZE, SCALE, check_avg_size, other_setting, with_metadata
from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.hub_client import WEIGHTS, download, split_revision

#: The namespace of the published weights on the Hub.
NAMESPACE = "timm-pushpull"
#: The folder of the published weights in a source checkout, with one folder per Hub repository.
RELEASES = Path(__file__).resolve().parents[2] / "hub" / "releases"
#: The names that have published weights, such as `resnet18_cifar.cifar10`.
PUBLISHED: list[str] = []


def published(name: str, cfg: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The entry of published weights, such as `resnet18_cifar.cifar10`, for timm's `generate_default_cfgs`."""
    PUBLISHED.append(name)
    return {name: {**cfg, "hf_hub_id": f"{NAMESPACE}/{name}"}}


def weights_name(name: str) -> str:
    """The name, with its tag, of the weights that `pretrained=True` gives a network: the first published ones.

    A name with a tag, and one without published weights, stays as it is.
    """
    return next((published for published in PUBLISHED if published.partition(".")[0] == name), name)


def build_model(model_cls: type[nn.Module], variant: str, pretrained: bool, kwargs: dict[str, Any]) -> Any:
    """Build a registered model: timm's `build_model_with_cfg` with our two hooks.

    Args:
        model_cls: The network. Its `checkpoint_filter_fn`, if it has one, sees the pretrained state dict.
        variant: Registered name.
        pretrained: Load pretrained weights.
        kwargs: Arguments of the network and of `build_model_with_cfg`.

    Raises:
        InputError: There are no such weights, they cannot be downloaded, or they do not fit the model.
    """
    kwargs = {"pretrained_filter_fn": getattr(model_cls, "checkpoint_filter_fn", None), **kwargs}
    return build_model_with_cfg(model_cls, variant, pretrained, **with_weights(variant, pretrained, kwargs))


def with_weights(variant: str, pretrained: bool, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Add the safetensors file of the requested weights to the arguments of a model.

    Published weights are taken from the source checkout if the package runs from one. Their file is set here and not in
    the default cfg, because there it would take precedence over weights that the caller names. All other weights are
    downloaded here, because timm would load a pickle from a repository that has no safetensors file.

    Raises:
        InputError: There are no such weights, they cannot be downloaded, or they were trained with another `avg_size`.
    """
    if not pretrained:
        return kwargs
    _check_source(kwargs)
    overlay = kwargs.get("pretrained_cfg_overlay") or {}
    try:
        cfg: Any = resolve_pretrained_cfg(variant, kwargs.get("pretrained_cfg"), overlay)
    except RuntimeError:  # an unknown tag
        raise _not_published(f"{variant}.{kwargs.get('pretrained_cfg')}") from None
    if cfg.source == "local-dir":
        if not (Path(cfg.file) / WEIGHTS).is_file():
            raise InputError(f"{str(cfg.file)!r} has no {WEIGHTS}; other formats are not loaded")
        return kwargs
    if cfg.source != "hf-hub" and (cfg.state_dict or cfg.file):
        return kwargs
    if not cfg.hf_hub_id:
        if cfg.url:
            return kwargs
        # The default cfg of an ImageNet network has ImageNet's classes and no weights.
        tag = weights_name(variant).partition(".")[2]
        if not tag or kwargs.get("pretrained_cfg"):
            raise _not_published(variant)
        return with_weights(variant, pretrained, {**kwargs, "pretrained_cfg": tag})
    namespace, _, name = cfg.hf_hub_id.partition("/")
    file = RELEASES / name / WEIGHTS
    is_default = cfg.hf_hub_filename in (None, WEIGHTS)
    if cfg.source != "hf-hub" and namespace == NAMESPACE and is_default and file.is_file():
        return {**kwargs, "pretrained_cfg_overlay": {**overlay, "file": str(file)}}
    name = cfg.hf_hub_filename or WEIGHTS
    if not name.endswith(".safetensors"):
        raise InputError(f"hf_hub_filename is {name!r}; only safetensors files are loaded")
    repository, revision = split_revision(cfg.hf_hub_id)
    file = download(repository, name, revision=revision, cache_dir=kwargs.get("cache_dir"))
    if "avg_size" in kwargs:
        check_avg_size(file, kwargs["avg_size"])
    # timm now finds the file in the cache. With a file name it tries no other format.
    return {**kwargs, "pretrained_cfg_overlay": {**overlay, "hf_hub_filename": name}}


def _check_source(kwargs: dict[str, Any]) -> None:
    """Compare the arguments in the `config.json` that is loaded with those of the model."""
    for name in (AVG_SIZE, SCALE):
        saved = (kwargs.get("pretrained_model_args") or {}).get(name)
        if saved not in (None, kwargs.get(name, saved)):
            raise other_setting(name, kwargs[name], saved)


def push_pull_filter_fn(state_dict: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The `checkpoint_filter_fn` of models with a push-pull unit in the stem.

    Weights of the plain network have no `alpha`; the model keeps its own. Weights for another number of input channels
    raise an error: timm sums or repeats the stem's weights, which is correct for a convolution, but the pull kernel
    depends on the extremes over all input channels.

    Raises:
        InputError: The weights have another number of input channels, were trained with another `avg_size`, or are
            those of a push-pull layer of 2020.
    """
    stems = {name: layer for name, layer in model.named_modules() if isinstance(layer, PushPullConv2d)}
    cfg: Any = model.pretrained_cfg
    for name, stem in stems.items():
        weight = state_dict.get(f"{name}.weight")
        if weight is not None and weight.shape[1] * stem.groups != stem.in_channels:
            raise InputError(
                f"in_chans is {stem.in_channels} but the weights have {weight.shape[1] * stem.groups}; a push-pull "
                f"stem cannot be adapted: repeat a grey image over the channels, or use pretrained=False"
            )
        # A checkpoint of PyTorch has it in its metadata, which the dictionary that is returned has no more.
        metadata = getattr(state_dict, "_metadata", {}).get(name, {})
        if SCALE in metadata or (stem.bias is None and f"{name}.bias" in state_dict):
            raise _other_layer("2020", "2024")
        saved = metadata.get(AVG_SIZE, stem.avg_size)
        if saved != stem.avg_size:
            raise other_setting(AVG_SIZE, stem.avg_size, saved)
        if path := weights_file(cfg):
            check_avg_size(path, stem.avg_size)
    return {**{f"{name}.alpha": stem.alpha.detach() for name, stem in stems.items()}, **state_dict}


def push_pull_2020_filter_fn(state_dict: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The `checkpoint_filter_fn` of models with a push-pull layer of 2020 in the stem.

    Weights of the plain network have no `alpha` and no `bias` in the stem; the model keeps its own. timm may sum or
    repeat the stem's weights for another number of input channels, because the pull kernel is linear in them.

    Raises:
        InputError: The weights are those of a push-pull unit of 2024.
    """
    cfg: Any = model.pretrained_cfg
    name = cfg["first_conv"]
    stem: Any = model.get_submodule(name)
    metadata = getattr(state_dict, "_metadata", None)
    if AVG_SIZE in (metadata or {}).get(name, {}) or (
        f"{name}.alpha" in state_dict and f"{name}.bias" not in state_dict
    ):
        raise _other_layer("2024", "2020")
    state = {**{f"{name}.{key}": getattr(stem, key).detach() for key in ("alpha", "bias")}, **state_dict}
    return with_metadata(state, metadata)  # by which the layer refuses another scale


def weights_file(cfg: dict[str, Any]) -> Path | None:
    """The local safetensors file that timm loads for a pretrained cfg; None if it is not on this machine."""
    path = None
    if cfg.get("source") == "local-dir":
        path = Path(cfg["file"]) / WEIGHTS
    elif cfg.get("file"):
        path = Path(cfg["file"])
    elif cfg.get("hf_hub_id"):
        repository, revision = split_revision(cfg["hf_hub_id"])
        cached = try_to_load_from_cache(repository, cfg.get("hf_hub_filename") or WEIGHTS, revision=revision)
        path = Path(cached) if isinstance(cached, str) else None
    return path if path and path.suffix == ".safetensors" and path.is_file() else None


def _other_layer(saved: str, own: str) -> InputError:
    return InputError(f"the weights are those of a push-pull layer of {saved}, and the model has that of {own}")


def _not_published(name: str) -> InputError:
    return InputError(
        f"{name} has no published weights yet; there are {', '.join(PUBLISHED)}; or train it: pretrained=False"
    )
