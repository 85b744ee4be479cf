"""What timm's checkpoint readers keep: the `avg_size` that weights were trained with, or the `scale` of layers of 2020.

The tensors do not show it. State dicts have it in their metadata, safetensors files in their header or in the
`config.json` beside them; timm drops these, and `checkpoint_path`, `load_checkpoint` and timm's scripts would load PP5
weights into a PP3 network without an error.
"""

from __future__ import annotations

import json
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Any

import timm.models
from safetensors import SafetensorError, safe_open
from timm.models import _builder, _helpers, _hub
from torch import Tensor, nn

from timm_pushpull.layers import PushPull2020Conv2d, PushPullConv2d
from timm_pushpull.utils.errors import InputError, one_line
from timm_pushpull.utils.hub_client import WEIGHTS

#: The key in the metadata of safetensors files.
AVG_SIZE = PushPullConv2d.metadata_key
#: What the layers of 2020 have instead.
SCALE = PushPull2020Conv2d.metadata_key


def saved_avg_size(path: Path | str) -> int | None:
    """`avg_size` of `saved_settings`."""
    return saved_settings(path).get(AVG_SIZE)


def saved_settings(path: Path | str) -> dict[str, Any]:
    """`avg_size` in the header of a safetensors file, or what the `config.json` beside it says, because timm writes no
    header.

    Empty if neither has it or can be read.
    """
    try:
        with safe_open(path, framework="pt") as file:
            saved = (file.metadata() or {}).get(AVG_SIZE)
    except (OSError, SafetensorError):
        return {}  # whoever reads the tensors reports it
    if saved is not None and saved.isdecimal():
        return {AVG_SIZE: int(saved)}
    return _configured(Path(path))


def stem_settings(config: object) -> dict[str, Any]:
    """`avg_size`, or the `scale` of a layer of 2020, of the network that a `config.json` describes; {} for others.

    Where its arguments lack it, as where timm has saved a network, the architecture's name says it.
    """
    content = config if isinstance(config, dict) else {}
    arguments = content.get("model_args")
    arguments = arguments if isinstance(arguments, dict) else {}
    found = re.search(r"(?:^|_)pushpull(2020|5?)(?:_stem)?$", str(content.get("architecture")))
    kind = found[1] if found else None
    if kind == "2020":
        return {SCALE: arguments.get(SCALE, 2.0)}
    default = None if kind is None else int(kind or 3)
    saved = arguments.get(AVG_SIZE, default)
    return {AVG_SIZE: saved} if isinstance(saved, int) else {}


def _configured(weights: Path) -> dict[str, Any]:
    """`stem_settings` of a folder in timm's Hub format, if these are its weights."""
    if weights.name != WEIGHTS:
        return {}
    try:
        return stem_settings(json.loads(weights.with_name("config.json").read_bytes()))
    except (OSError, ValueError, RecursionError):
        return {}  # there is none, or whoever reads the file reports it


def check_avg_size(path: Path, avg_size: int) -> None:
    """Raise InputError if the header of a safetensors file names another `avg_size`."""
    saved = saved_avg_size(path)
    if saved is not None and saved != avg_size:
        raise other_setting(AVG_SIZE, avg_size, saved)


def other_setting(name: str, own: object, saved: object) -> InputError:
    """The error for weights that were trained with another `avg_size` or `scale`."""
    return InputError(f"{name} is {own} but these weights were trained with {saved}; use {name}={saved}")


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a file of weights by name: safetensors, or a checkpoint of PyTorch without Python objects.

    As in timm, of a checkpoint that holds more than one network the moving average is taken (`state_dict_ema`,
    `model_ema`), else `state_dict` or `model`, and the prefixes of wrappers are removed. The state dict keeps its
    metadata, by which our layers refuse weights of another `avg_size`.

    Raises:
        InputError: The file cannot be read, holds no network, or holds Python objects, which could be a program; the
            message then has the lines that convert it.
    """
    if not path.is_file():
        raise InputError(f"no weights at {str(path)!r}; give a safetensors file or a checkpoint of PyTorch")
    try:
        state = _helpers.load_state_dict(str(path), use_ema=True, weights_only=True)
    except Exception as error:  # damaged files fail in many ways
        if isinstance(error, pickle.UnpicklingError) or isinstance(error.__cause__, pickle.UnpicklingError):
            raise _holds_objects(path) from error
        raise InputError(f"the weights {str(path)!r} cannot be read: {one_line(error)}") from error
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        odd = next((str(name)[:100] for name, value in state.items() if not isinstance(value, Tensor)), None)
        what = f"its {odd!r} is no tensor" if odd else "it is empty"
        raise InputError(f"the checkpoint {str(path)!r} holds no state dict ({what}); save model.state_dict() instead")
    return state


def _holds_objects(path: Path) -> InputError:
    target = str(path.with_name(path.name.partition(".")[0] + ".safetensors"))
    return InputError(
        f"{str(path)!r} is damaged, or holds Python objects besides tensors, which could be a program; if you trust "
        f"it, convert it in Python and give the result: "
        f"import torch, safetensors.torch; saved = torch.load({str(path)!r}, map_location='cpu', weights_only=False); "
        f"safetensors.torch.save_file({{k: v.clone() for k, v in saved.get('state_dict', saved).items()}}, {target!r})"
    )


def keep_metadata() -> None:
    """Let timm's readers keep the metadata, which our layers check when they load a state dict, and its loader refuse
    push-pull weights for a plain network."""
    for home, name, wrap in (
        (_helpers, "load_state_dict", _with_header),
        (_helpers, "clean_state_dict", _with_metadata),
        (_builder, "load_pretrained", _refusing_alpha),
    ):
        original = getattr(home, name)
        if hasattr(original, "__wrapped__"):
            continue
        wrapped = wrap(original)
        for module in (_helpers, _builder, _hub, timm.models):  # each has imported the function by its name
            if getattr(module, name, None) is original:
                setattr(module, name, wrapped)


def _with_header(read: Callable[..., dict[str, Tensor]]) -> Callable[..., dict[str, Tensor]]:
    @wraps(read)
    def wrapped(checkpoint_path: Any, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        state = read(checkpoint_path, *args, **kwargs)
        is_safetensors = str(checkpoint_path).endswith(".safetensors")
        return with_settings(state, saved_settings(checkpoint_path)) if is_safetensors else state

    return wrapped


def _with_metadata(clean: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    @wraps(clean)
    def wrapped(state_dict: dict[str, Any]) -> dict[str, Any]:
        metadata = getattr(state_dict, "_metadata", None)
        cleaned = clean(state_dict)
        return with_metadata(cleaned, None if metadata is None else clean(metadata))

    return wrapped


def _refusing_alpha(load: Callable[..., None]) -> Callable[..., None]:
    """timm loads with `strict=False` for another number of classes and for feature maps, and would drop `alpha`."""

    @wraps(load)
    def wrapped(model: nn.Module, *args: Any, **kwargs: Any) -> None:
        given = signature(load).bind(model, *args, **kwargs)
        chosen = given.arguments.get("filter_fn")

        def filter_fn(state_dict: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
            state_dict = _filtered(chosen, state_dict, model)
            _check_alpha(state_dict, model)
            return state_dict

        given.arguments["filter_fn"] = filter_fn
        load(*given.args, **given.kwargs)

    return wrapped


def _filtered(filter_fn: Callable[..., Any] | None, state_dict: dict[str, Tensor], model: nn.Module) -> Any:
    """The state dict as a `checkpoint_filter_fn` of timm returns it, which may take the model or not."""
    if filter_fn is None:
        return state_dict
    return filter_fn(state_dict, model) if len(signature(filter_fn).parameters) > 1 else filter_fn(state_dict)


def _check_alpha(state_dict: dict[str, Tensor], model: nn.Module) -> None:
    """Raise InputError where a state dict has the `alpha` of a push-pull layer and the model a plain convolution."""
    layers = dict(model.named_modules())
    for name in state_dict:
        layer = layers.get(name.removesuffix(".alpha")) if name.endswith(".alpha") else None
        if isinstance(layer, nn.Conv2d) and not hasattr(layer, "alpha"):
            raise InputError(
                f"the weights have {name}, so they are of a push-pull network; this model has no such unit"
            )


def with_settings(state: dict[str, Tensor], settings: dict[str, Any]) -> dict[str, Tensor]:
    """A state dict whose push-pull layers were saved with these settings, if there are any."""
    layers = [name.removesuffix(".alpha") for name in state if name.endswith(".alpha")]
    return with_metadata(state, {name: dict(settings) for name in layers} if settings else None)


def with_metadata(state: dict[str, Any], metadata: dict[str, Any] | None) -> dict[str, Any]:
    """A state dict with what torch keeps beside the tensors, by which our layers refuse weights."""
    if metadata is None:
        return state
    result = OrderedDict(state)
    result._metadata = metadata  # type: ignore[attr-defined]  # where torch looks for it
    return result
