"""Where the trained weights are: in a source checkout beside the package, else on the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from timm.models import resolve_pretrained_cfg

from timm_pushpull.models._pretrained import check_pooling
from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.hub_client import WEIGHTS, download, split_revision

NAMESPACE = "timm-pushpull"
#: The releases of a source checkout, each as the Hub repository of its name holds it.
RELEASES = Path(__file__).resolve().parents[2] / "hub" / "releases"
#: The names that have weights, such as `resnet18_cifar.cifar10`.
PUBLISHED: list[str] = []


def released(name: str, cfg: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The entry of a release, such as `resnet18_cifar.cifar10`, for timm's `generate_default_cfgs`."""
    PUBLISHED.append(name)
    return {name: {**cfg, "hf_hub_id": f"{NAMESPACE}/{name}"}}


def with_weights(variant: str, pretrained: bool, kwargs: dict[str, Any]) -> dict[str, Any]:
    """A builder's arguments, with a safetensors file at hand for the weights that they ask for.

    Those of a source checkout are taken where they are the Hub repository's; this is not in the default cfg, where a
    file would win against the weights that a caller names. Anything else is fetched here: timm would fall back on a
    pickle where a repository has no safetensors file.

    Raises:
        InputError: There are no such weights, they are out of reach, or were trained with another pooling.
    """
    if not pretrained:
        return kwargs
    overlay = kwargs.get("pretrained_cfg_overlay") or {}
    try:
        cfg = resolve_pretrained_cfg(variant, kwargs.get("pretrained_cfg"), overlay)
    except RuntimeError:  # a tag that the registry does not know
        raise _no_weights(f"{variant}.{kwargs.get('pretrained_cfg')}") from None
    if cfg.source == "local-dir":
        if not (Path(cfg.file) / WEIGHTS).is_file():
            raise InputError(f"{str(cfg.file)!r} has no {WEIGHTS}; other formats are not loaded")
        return kwargs
    if cfg.source != "hf-hub" and (cfg.state_dict or cfg.file):
        return kwargs
    if not cfg.hf_hub_id:
        if cfg.url:
            return kwargs
        # An ImageNet network is made for ImageNet's classes, until somebody asks for weights that are for others.
        tag = next((name.partition(".")[2] for name in PUBLISHED if name.partition(".")[0] == variant), None)
        if tag is None or kwargs.get("pretrained_cfg"):
            raise _no_weights(variant)
        return with_weights(variant, pretrained, {**kwargs, "pretrained_cfg": tag})
    namespace, _, name = cfg.hf_hub_id.partition("/")
    file = RELEASES / name / WEIGHTS
    if cfg.source != "hf-hub" and namespace == NAMESPACE and file.is_file():
        return {**kwargs, "pretrained_cfg_overlay": {**overlay, "file": str(file)}}
    repository, revision = split_revision(cfg.hf_hub_id)
    file = download(repository, revision=revision, cache_dir=kwargs.get("cache_dir"))
    if "avg_size" in kwargs:
        check_pooling(file, kwargs["avg_size"])
    # timm finds the file in the cache, and by this name looks for no other.
    return {**kwargs, "pretrained_cfg_overlay": {**overlay, "hf_hub_filename": WEIGHTS}}


def _no_weights(name: str) -> InputError:
    return InputError(
        f"{name} has no published weights yet; there are {', '.join(PUBLISHED)}; or train it: pretrained=False"
    )
