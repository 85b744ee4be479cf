"""Where the trained weights are: in a source checkout beside the package, else on the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from timm.models import resolve_pretrained_cfg

from timm_pushpull.models._pretrained import WEIGHTS

NAMESPACE = "timm-pushpull"
#: The releases of a source checkout, each as the Hub repository of its name holds it.
RELEASES = Path(__file__).resolve().parents[2] / "hub" / "releases"


def released(name: str, cfg: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The entry of a release, such as `resnet18_cifar.cifar10`, for timm's `generate_default_cfgs`."""
    return {name: {**cfg, "hf_hub_id": f"{NAMESPACE}/{name}"}}


def from_checkout(variant: str, pretrained: bool, kwargs: dict[str, Any]) -> dict[str, Any]:
    """A builder's arguments, with the weights of a source checkout where they are those of the Hub's repository.

    Not in the default cfg, where a file would win against the weights that a caller names.
    """
    if not pretrained:
        return kwargs
    overlay = kwargs.get("pretrained_cfg_overlay") or {}
    cfg = resolve_pretrained_cfg(variant, kwargs.get("pretrained_cfg"), overlay)
    namespace, _, name = (cfg.hf_hub_id or "").partition("/")
    file = RELEASES / name / WEIGHTS
    if cfg.source or cfg.file or cfg.state_dict or namespace != NAMESPACE or not file.is_file():
        return kwargs
    return {**kwargs, "pretrained_cfg_overlay": {**overlay, "file": str(file)}}
