"""Save and load models in timm's Hub format: a folder with `model.safetensors` and `config.json`, never a pickle."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import timm
import torch
from timm.models import is_model, list_models, split_model_name_tag
from torch import nn

from timm_pushpull.layers.push_pull import push_pull_units
from timm_pushpull.models.checkpoints import AVG_SIZE, check_avg_size, read_state_dict
from timm_pushpull.models.config import parse_config
from timm_pushpull.models.convert import CONVERTED, network_name
from timm_pushpull.models.pretrained import RELEASES, weights_file
from timm_pushpull.models.size_limit import limited_by
from timm_pushpull.utils.errors import InputError, one_line, unknown
from timm_pushpull.utils.files import sha256, write_file
from timm_pushpull.utils.hub_client import WEIGHTS, download, quiet_hub, split_revision
from timm_pushpull.utils.wordnet import label_descriptions

if TYPE_CHECKING:
    from timm_pushpull.data.preprocessing import ResizeCenterCrop

CONFIG = "config.json"
_SOURCES = ("local-dir:", "hf-hub:")
_MAX_TAG = 40  # characters; the Hub allows 96 for the name of a repository


def check_model_name(name: str) -> None:
    """Raise InputError unless `timm.create_model` knows the architecture; names the nearest known one."""
    if name.startswith(_SOURCES):
        raise InputError(
            f"the model is {name!r}, a place with weights; give the name of an architecture, such as resnet18_pushpull "
            f"(timm.list_models() has them all)"
        )
    if not is_model(split_model_name_tag(name)[0]):
        raise unknown("model", name, list_models(), "timm.list_models()")


def create_model(name: str, **kwargs: Any) -> nn.Module:
    """`timm.create_model` with errors of one line.

    Raises:
        InputError: The name is not registered, or the network does not accept the arguments.
    """
    check_model_name(name)
    try:
        return timm.create_model(name, **kwargs)
    except InputError:
        raise
    except Exception as error:  # networks raise many kinds for bad arguments
        if "Invalid pretrained tag" in str(error):
            raise _unknown_tag(name) from error
        if unexpected := re.search(r"unexpected keyword argument '(\w+)'", str(error)):
            network = kwargs.get("base", name)  # of a converted stem
            raise InputError(
                f"cannot create {network}: it has no argument {unexpected[1]}; leave it out (an empty --model-args "
                f"clears those of a recipe)"
            ) from error
        if kwargs.get("pretrained"):
            raise InputError(f"cannot load the pretrained weights of {name}: {one_line(error)}") from error
        raise InputError(f"cannot create {name}: {one_line(error)}; check the model's arguments") from error


def _unknown_tag(name: str) -> InputError:
    """The error for a name with an unknown tag, with advice for the released weights of timm's own networks."""
    architecture = split_model_name_tag(name)[0]
    if (RELEASES / name / WEIGHTS).is_file():
        place = RELEASES / name
        return InputError(
            f"timm's {architecture} has no weights {name}; use local-dir:{place} as the model, or, to train, --model "
            f"{architecture} --no-pretrained --initial-checkpoint {place}"
        )
    return InputError(f"{name} has no such weights; timm.list_pretrained('{architecture}.*') names them")


def _crop_pct(geometry: ResizeCenterCrop) -> float:
    """The fraction from which timm, which rounds down, gets the resized side again."""
    fraction = geometry.size / geometry.resize
    return fraction if math.floor(geometry.size / fraction) == geometry.resize else math.nextafter(fraction, 0)


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
    license: str = "apache-2.0",
) -> str:
    """Write `model.safetensors` and `config.json`, which `timm.create_model("local-dir:<folder>")` loads.

    Args:
        model: A timm model.
        folder: Existing folder.
        classes: Class names; None if the outputs are the bits of a hash.
        geometry, mean, std: Preprocessing at test time.
        tag: Name of the weights, as `cifar10` in `resnet18_cifar.cifar10`.
        model_args: Arguments of `timm.create_model` for this model, without `num_classes`.
        half: Store float32 tensors as float16. Models load them as float32 again. Tensors with values outside float16's
            range stay float32.
        license: Licence of the weights, an identifier of the Hub.

    Returns:
        SHA-256 of `model.safetensors`.
    """
    folder = Path(folder)
    cfg: Any = model.pretrained_cfg
    config: dict[str, Any] = {
        "architecture": cfg["architecture"],
        "num_classes": model.num_classes,
        "num_features": model.num_features,
        **_labels(classes),
        "pretrained_cfg": {
            "tag": tag,
            "custom_load": False,
            "input_size": [3, geometry.size, geometry.size],
            "fixed_input_size": bool(cfg.get("fixed_input_size")),
            "interpolation": geometry.interpolation,
            "crop_pct": _crop_pct(geometry),
            "crop_mode": "center",
            "mean": list(mean),
            "std": list(std),
            "num_classes": model.num_classes,
            "pool_size": None,
            "first_conv": cfg.get("first_conv"),
            "classifier": cfg.get("classifier"),
            "license": license,
        },
    }
    pool: Any = getattr(model, "global_pool", None)
    if hasattr(pool, "pool_type"):
        config["global_pool"] = pool.pool_type
    # The tensors do not show avg_size. num_classes is not in model_args, because transformers would pass it twice.
    avg_size = stem_avg_size(model)
    stem_args: dict[str, Any] = {} if avg_size is None else {"avg_size": avg_size}
    if cfg["architecture"] == CONVERTED:
        stem_args["base"] = timm.models.get_model_args(model)["base"]
    if model_args or stem_args:
        config["model_args"] = {**(model_args or {}), **stem_args}
    content = _serialize(model, half)
    write_file(folder / WEIGHTS, content)
    write_file(folder / CONFIG, json.dumps(config, indent=2) + "\n")
    return hashlib.sha256(content).hexdigest()


def _labels(classes: Sequence[str] | None) -> dict[str, Any]:
    if classes is None:
        return {}
    descriptions = label_descriptions(classes)
    return {"label_names": list(classes), **({"label_descriptions": descriptions} if descriptions else {})}


def load_model(
    name: str, weights: str | None = None, model_args: Mapping[str, Any] | None = None
) -> tuple[nn.Module, str]:
    """Load a trained model in eval mode.

    Args:
        name: A registered name, or `local-dir:FOLDER` or `hf-hub:ID` of a model in timm's Hub format.
        weights: `local-dir:FOLDER`, `hf-hub:ID`, or a safetensors file or checkpoint of PyTorch for a registered name.
            None for the pretrained weights of that name.
        model_args: Arguments of the network.

    Returns:
        (model, sha256): The model, and the SHA-256 of its weights file as 64 hexadecimal digits.

    Raises:
        InputError: The name is unknown, both arguments name weights, or they are missing, damaged or of another
            network.
    """
    if weights and name.startswith(_SOURCES):
        raise InputError(
            f"{name!r} has weights of its own; leave out {weights!r}, or give the name of an architecture with it"
        )
    source = next((text for text in (weights, name) if text and text.startswith(_SOURCES)), None)
    if not name.startswith(_SOURCES):
        check_model_name(name)
    try:
        with quiet_hub():
            return _load(name, weights, source, model_args or {})
    except InputError:
        raise
    except Exception as error:  # timm, torch, huggingface_hub and the file system raise many kinds
        if "Invalid pretrained tag" in str(error):
            raise _unknown_tag(name) from error
        raise InputError(
            f"cannot load weights of {name!r} from {weights or source or 'the registry'}: {one_line(error)}"
        ) from error


def stem_avg_size(model: nn.Module) -> int | None:
    """`avg_size` of a model's push-pull stem; None for other models."""
    return next((unit.avg_size for unit in push_pull_units(model)), None)


def tag_of(dataset: str) -> str:
    """The name of weights that were trained on a dataset, which is also part of the name of a Hub repository.

    >>> tag_of("zh-plus/tiny-imagenet"), tag_of("my photos.v1")
    ('tiny-imagenet', 'my_photos_v1')
    """
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", dataset.split("/")[-1]).strip("_-")
    return name[:_MAX_TAG].rstrip("_-") or "dataset"


def name_of(model: nn.Module) -> str:
    """The name of a model in results and figures, see `network_name`; that of its class if it is not one of timm's."""
    cfg: Any = getattr(model, "pretrained_cfg", None)
    if cfg is None:
        return type(model).__name__
    return network_name(cfg["architecture"], timm.models.get_model_args(model))


def label_names(model: nn.Module) -> list[str] | None:
    """The class names in a model's config.json, or None."""
    cfg: Any = model.pretrained_cfg
    return cfg.get("label_names")


def _load(name: str, weights: str | None, source: str | None, model_args: Mapping[str, Any]) -> tuple[nn.Module, str]:
    if source:
        folder = Path(source.removeprefix("local-dir:"))
        missing = [entry for entry in (CONFIG, WEIGHTS) if not (folder / entry).is_file()]
        if source.startswith("local-dir:") and missing:
            raise InputError(f"no model in {str(folder)!r}: it lacks {' and '.join(missing)}")
        overlay: dict[str, Any] = {}
        config, file = folder / CONFIG, folder / WEIGHTS
        if source.startswith("hf-hub:"):
            # With this file name timm tries no other format; it would load a pickle otherwise.
            repository, revision = split_revision(source.removeprefix("hf-hub:"))
            config, file = (download(repository, entry, revision=revision) for entry in (CONFIG, WEIGHTS))
            overlay = {"pretrained_cfg_overlay": {"hf_hub_filename": WEIGHTS}}
        parse_config(config.read_bytes(), repr(str(config)))
        with limited_by(file):
            model = timm.create_model(source, pretrained=True, **overlay, **model_args)
        cfg: Any = model.pretrained_cfg
        found = cfg["architecture"]
        if not name.startswith(_SOURCES) and found != split_model_name_tag(name)[0]:
            raise InputError(f"the weights in {source!r} are of {found}, not of {name}")
    elif weights:
        model = _from_file(name, Path(weights), model_args)
        return model.eval(), sha256(weights)
    else:
        model = timm.create_model(name, pretrained=True, **model_args)
    return model.eval(), weights_hash(model)


def _from_file(name: str, path: Path, model_args: Mapping[str, Any]) -> nn.Module:
    state = read_state_dict(path)
    plain = split_model_name_tag(model_args.get("base", name))[0]
    classifier = timm.models.get_pretrained_cfg_value(plain, "classifier")
    head = state.get(f"{classifier}.weight")
    # The file decides the number of classes only; strict=True reports everything else that differs.
    kwargs: dict[str, Any] = {} if head is None else {"num_classes": head.shape[0]}
    model = timm.create_model(name, **kwargs, **model_args)
    avg_size = stem_avg_size(model)
    if avg_size is not None and path.suffix == ".safetensors":
        check_avg_size(path, avg_size)  # says what to do; other files are checked by the layers
    model.load_state_dict(state, strict=True)
    return model


def _serialize(model: nn.Module, half: bool = False) -> bytes:
    # Copies: safetensors refuses tensors that share memory, as tied weights do.
    tensors = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
    }
    if half:
        tensors = {name: to_half(tensor) for name, tensor in tensors.items()}
    avg_size = stem_avg_size(model)
    metadata = {"format": "pt"} if avg_size is None else {"format": "pt", AVG_SIZE: str(avg_size)}
    return _sort_metadata(safetensors.torch.save(tensors, metadata=metadata))


def _sort_metadata(content: bytes) -> bytes:
    """Sort the metadata of a safetensors file by name, because the library's order changes randomly."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    ordered = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return content[:8] + ordered.ljust(end - 8) + content[end:]


def to_half(tensor: torch.Tensor) -> torch.Tensor:
    """Convert float32 to float16, unless a value is outside float16's range, as variances of batch norms can be."""
    if tensor.dtype != torch.float32:
        return tensor
    half = tensor.half()
    return half if half.isfinite().equal(tensor.isfinite()) else tensor


def weights_hash(model: nn.Module) -> str:
    """SHA-256 of the file that a model was loaded from, or, if it is not on disk, of what `save_model` would write."""
    cfg: Any = model.pretrained_cfg
    if path := weights_file(cfg):
        return sha256(path)
    logging.getLogger(__name__).info("hashing the state dict, because the weights file is not on disk")
    return hashlib.sha256(_serialize(model)).hexdigest()


def current_weights_hash(model: nn.Module) -> str:
    """SHA-256 of the file that a model was loaded from, or, if its weights are no longer those of the file, of what
    `save_model` would write. What `torch.compile` made of a model has the model's."""
    model = getattr(model, "_orig_mod", model)
    path = weights_file(getattr(model, "pretrained_cfg", None) or {})
    return sha256(path) if path and _holds(path, model) else hashlib.sha256(_serialize(model)).hexdigest()


def _holds(path: Path, model: nn.Module) -> bool:
    """Whether a file holds a model's weights, be it in half precision."""
    state = model.state_dict()
    with safetensors.safe_open(path, framework="pt") as file:
        return set(file.keys()) == set(state) and all(
            torch.equal(file.get_tensor(name).to(tensor.dtype), tensor.detach().cpu()) for name, tensor in state.items()
        )
