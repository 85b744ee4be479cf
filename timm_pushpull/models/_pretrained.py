"""What push-pull models do with pretrained weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.hub_client import WEIGHTS, split_revision

POOLING = "avg_size"  # the key in the metadata of safetensors files: tensors alone do not tell it


def weights_file(cfg: dict[str, Any]) -> Path | None:
    """The safetensors file that timm loads for a pretrained cfg, if it is on this machine."""
    if cfg.get("source") == "local-dir":
        path = Path(cfg["file"]) / WEIGHTS
    elif cfg.get("file"):
        path = Path(cfg["file"])
    elif cfg.get("hf_hub_id"):
        repository, revision = split_revision(cfg["hf_hub_id"])
        cached = try_to_load_from_cache(repository, WEIGHTS, revision=revision)
        path = Path(cached) if isinstance(cached, str) else None
    else:
        path = None
    return path if path and path.suffix == ".safetensors" and path.is_file() else None


def check_pooling(path: Path, avg_size: int) -> None:
    """Refuse a safetensors file whose metadata says that it was trained with another pooling.

    Raises:
        InputError: It says so.
    """
    try:
        with safe_open(path, framework="pt") as file:
            saved = (file.metadata() or {}).get(POOLING)
    except (OSError, SafetensorError):
        return  # reading the tensors will say it better
    if saved is not None and int(saved) != avg_size:
        raise InputError(f"avg_size is {avg_size} but these weights were trained with {saved}; use avg_size={saved}")


def fit_weights(state_dict: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The `pretrained_filter_fn` of push-pull models.

    Weights of the plain network have no `alpha`; the model's own stays then. Weights for another number of input
    channels are refused: timm would sum or repeat the stem's weights over the channels, which is exact for a plain
    convolution, but the pull kernel depends on the extremes over *all* channels of a filter, so the result would be
    silently wrong.

    Raises:
        InputError: The weights are for another number of input channels, or were trained with another pooling.
    """
    conv = model.pretrained_cfg["first_conv"]
    unit = model.get_submodule(conv)
    weight = state_dict.get(f"{conv}.weight")
    if weight is not None and weight.shape[1] * unit.groups != unit.in_channels:
        raise InputError(
            f"in_chans is {unit.in_channels} but the weights have {weight.shape[1] * unit.groups}; a push-pull stem "
            f"cannot be adapted: repeat a grey image over the channels, or use pretrained=False"
        )
    if path := weights_file(model.pretrained_cfg):
        check_pooling(path, unit.avg_size)
    return {f"{conv}.alpha": unit.alpha.detach(), **state_dict}


def keep_own(state_dict: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The `pretrained_filter_fn` of models with a push-pull layer of 2020.

    Weights of the plain network have no `alpha` and no `bias` in the stem; the model's own stay then. That timm sums or
    repeats the stem's weights for another number of input channels is right here: the pull kernel is linear in them.
    """
    conv = model.pretrained_cfg["first_conv"]
    layer = model.get_submodule(conv)
    return {f"{conv}.alpha": layer.alpha.detach(), f"{conv}.bias": layer.bias.detach(), **state_dict}
