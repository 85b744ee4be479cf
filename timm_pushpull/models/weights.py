"""Models to and from folders in timm's Hub form: `model.safetensors` and `config.json`, never a pickle."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch
from timm.models import is_model, list_models, split_model_name_tag
from torch import nn

from timm_pushpull.data.preprocessing import ResizeCenterCrop
from timm_pushpull.layers.push_pull import push_pull_units
from timm_pushpull.models._pretrained import POOLING, check_pooling, weights_file
from timm_pushpull.utils.errors import InputError, one_line, unknown
from timm_pushpull.utils.files import sha256, write_file
from timm_pushpull.utils.hub_client import WEIGHTS, download, quiet_hub, split_revision

CONFIG = "config.json"
_SOURCES = ("local-dir:", "hf-hub:")


def create_model(name: str, **kwargs: Any) -> nn.Module:
    """`timm.create_model` whose error for an unknown name is one line with the nearest name.

    Raises:
        InputError: The name is not registered, or the model does not take the arguments.
    """
    if not is_model(split_model_name_tag(name)[0]):
        raise unknown("model", name, list_models())
    try:
        return timm.create_model(name, **kwargs)
    except TypeError as error:  # an argument that the network does not take
        raise InputError(f"cannot create {name}: {one_line(error)}; mend the model's arguments") from error


def save_model(
    model: nn.Module,
    folder: Path | str,
    *,
    classes: Sequence[str] | None,
    geometry: ResizeCenterCrop,
    mean: Sequence[float],
    std: Sequence[float],
    tag: str,
    model_args: Mapping[str, Any] | None = None,
    half: bool = False,
) -> str:
    """Write `model.safetensors` and `config.json`, which `timm.create_model("local-dir:<folder>")` loads.

    Args:
        classes: Names of the model's classes; None where its outputs are a hash.
        geometry, mean, std: The preprocessing that the weights expect.
        tag: Names these weights, as in `resnet18_cifar.cifar10`.
        model_args: Arguments that the model was created with, without `num_classes`.
        half: Write float32 weights as float16, in half the space; models load them as float32 again. A tensor with
            values beyond float16's range stays as it is.

    Returns:
        SHA-256 of `model.safetensors`.
    """
    folder = Path(folder)
    cfg = model.pretrained_cfg
    config = {
        "architecture": cfg["architecture"],
        "num_classes": model.num_classes,
        "num_features": model.num_features,
        **({} if classes is None else {"label_names": list(classes)}),
        "pretrained_cfg": {
            "tag": tag,
            "custom_load": False,
            "input_size": [3, geometry.size, geometry.size],
            "fixed_input_size": bool(cfg.get("fixed_input_size")),
            "interpolation": geometry.interpolation,
            "crop_pct": geometry.size / geometry.resize,
            "crop_mode": "center",
            "mean": list(mean),
            "std": list(std),
            "num_classes": model.num_classes,
            "pool_size": None,
            "first_conv": cfg.get("first_conv"),
            "classifier": cfg.get("classifier"),
            "license": "apache-2.0",
        },
    }
    if hasattr(getattr(model, "global_pool", None), "pool_type"):
        config["global_pool"] = model.global_pool.pool_type
    # The tensors do not tell the pooling; without it these weights would load into another network.
    stem = {} if pooling(model) is None else {"avg_size": pooling(model)}
    if model_args or stem:
        config["model_args"] = {**(model_args or {}), **stem}
    # num_classes stays out of model_args: transformers passes it a second time and fails.
    content = _serialise(model, half)
    write_file(folder / WEIGHTS, content)
    write_file(folder / CONFIG, json.dumps(config, indent=2) + "\n")
    return hashlib.sha256(content).hexdigest()


def load_model(name: str, weights: str | None = None) -> tuple[nn.Module, str]:
    """A trained model, in eval mode, and the SHA-256 of its weights.

    Args:
        name: A registered name, or `local-dir:FOLDER` or `hf-hub:ID` of a model in timm's Hub form.
        weights: `local-dir:FOLDER`, `hf-hub:ID` or a safetensors file for the registered name; by default the weights
            registered with it.

    Raises:
        InputError: An unknown name, weights that are not there or do not fit it.
    """
    source = next((text for text in (weights, name) if text and text.startswith(_SOURCES)), None)
    if not name.startswith(_SOURCES) and not is_model(split_model_name_tag(name)[0]):
        raise unknown("model", name, list_models())
    try:
        with quiet_hub():
            return _load(name, weights, source)
    except InputError:
        raise
    except Exception as error:  # timm, torch, the Hub's client and the file system each have their own
        raise InputError(
            f"cannot load weights of {name!r} from {weights or source or 'the registry'}: {one_line(error)}"
        ) from error


def pooling(model: nn.Module) -> int | None:
    """`avg_size` of a model's push-pull stem; None for a plain model."""
    return next((unit.avg_size for unit in push_pull_units(model)), None)


def label_names(model: nn.Module) -> list[str] | None:
    """The class names that came with a model's weights, if any."""
    return model.pretrained_cfg.get("label_names")


def _load(name: str, weights: str | None, source: str | None) -> tuple[nn.Module, str]:
    if source:
        folder = Path(source.removeprefix("local-dir:"))
        missing = [entry for entry in (CONFIG, WEIGHTS) if not (folder / entry).is_file()]
        if source.startswith("local-dir:") and missing:
            raise InputError(f"no model in {str(folder)!r}: it lacks {' and '.join(missing)}")
        overlay = {}
        if source.startswith("hf-hub:"):
            # By its name alone: timm would fall back on a pickle where there is no such file.
            repository, revision = split_revision(source.removeprefix("hf-hub:"))
            download(repository, revision=revision)
            overlay = {"pretrained_cfg_overlay": {"hf_hub_filename": WEIGHTS}}
        model = timm.create_model(source, pretrained=True, **overlay)
        found = model.pretrained_cfg["architecture"]
        if not name.startswith(_SOURCES) and found != split_model_name_tag(name)[0]:
            raise InputError(f"the weights in {source!r} are of {found}, not of {name}")
    elif weights:
        model = _from_file(name, Path(weights))
        return model.eval(), sha256(weights)
    else:
        model = timm.create_model(name, pretrained=True)
    return model.eval(), _weights_hash(model)


def _from_file(name: str, path: Path) -> nn.Module:
    if path.suffix != ".safetensors" or not path.is_file():
        raise InputError(f"weights {str(path)!r} are no safetensors file; give one, local-dir:FOLDER or hf-hub:ID")
    state = safetensors.torch.load_file(path)
    classifier = timm.models.get_pretrained_cfg_value(name, "classifier")
    head = state.get(f"{classifier}.weight")
    # strict=True below says what is missing; only the number of classes is the file's to decide.
    model = timm.create_model(name, **({} if head is None else {"num_classes": head.shape[0]}))
    if pooling(model) is not None:
        check_pooling(path, pooling(model))
    model.load_state_dict(state, strict=True)
    return model


def _serialise(model: nn.Module, half: bool = False) -> bytes:
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    if half:
        tensors = {name: halved(tensor) for name, tensor in tensors.items()}
    metadata = {"format": "pt"} if pooling(model) is None else {"format": "pt", POOLING: str(pooling(model))}
    return _in_order(safetensors.torch.save(tensors, metadata=metadata))


def _in_order(content: bytes) -> bytes:
    """A safetensors file with its metadata ordered by name: the library's own order, and so the file's hash, is another
    every time."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    ordered = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return content[:8] + ordered.ljust(end - 8) + content[end:]


def halved(tensor: torch.Tensor) -> torch.Tensor:
    """float32 as float16; as it is where that does not reach, as for the variances of a batch norm."""
    if tensor.dtype != torch.float32:
        return tensor
    half = tensor.half()
    return half if half.isfinite().equal(tensor.isfinite()) else tensor


def _weights_hash(model: nn.Module) -> str:
    """Hash of the safetensors file that a model was loaded from, else of the file that `save_model` would write."""
    if path := weights_file(model.pretrained_cfg):
        return sha256(path)
    logging.getLogger(__name__).info("hashing the state dict: the weights' file is not at hand")
    return hashlib.sha256(_serialise(model)).hexdigest()
