"""What timm's checkpoint readers keep: the `avg_size` that weights were trained with.

The tensors do not show it. State dicts have it in their metadata, safetensors files in their header; timm drops both,
and `checkpoint_path`, `load_checkpoint` and timm's scripts would load PP5 weights into a PP3 network without an error.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from timm.models import _helpers
from torch import Tensor

from timm_pushpull.utils.errors import InputError

#: The key in the metadata of safetensors files.
AVG_SIZE = "avg_size"


def saved_avg_size(path: Path | str) -> int | None:
    """`avg_size` in the header of a safetensors file; None if it has none or cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            saved = (file.metadata() or {}).get(AVG_SIZE)
    except (OSError, SafetensorError):
        return None  # whoever reads the tensors reports it
    return int(saved) if saved is not None and saved.isdecimal() else None


def check_avg_size(path: Path, avg_size: int) -> None:
    """Raise InputError if the header of a safetensors file names another `avg_size`."""
    saved = saved_avg_size(path)
    if saved is not None and saved != avg_size:
        raise other_avg_size(avg_size, saved)


def other_avg_size(avg_size: int, saved: int) -> InputError:
    """The error for weights that were trained with another `avg_size`."""
    return InputError(f"avg_size is {avg_size} but these weights were trained with {saved}; use avg_size={saved}")


def keep_metadata() -> None:
    """Let timm's readers keep the metadata, which our layers check when they load a state dict."""
    if not hasattr(_helpers.load_state_dict, "__wrapped__"):
        _helpers.load_state_dict = _with_header(_helpers.load_state_dict)
        _helpers.clean_state_dict = _with_metadata(_helpers.clean_state_dict)


def _with_header(read: Callable[..., dict[str, Tensor]]) -> Callable[..., dict[str, Tensor]]:
    @wraps(read)
    def wrapped(checkpoint_path: Any, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        state = read(checkpoint_path, *args, **kwargs)
        if str(checkpoint_path).endswith(".safetensors") and (saved := saved_avg_size(checkpoint_path)) is not None:
            layers = [name.removesuffix(".alpha") for name in state if name.endswith(".alpha")]
            state = _annotated(state, {name: {AVG_SIZE: saved} for name in layers})
        return state

    return wrapped


def _with_metadata(clean: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    @wraps(clean)
    def wrapped(state_dict: dict[str, Any]) -> dict[str, Any]:
        metadata = getattr(state_dict, "_metadata", None)
        cleaned = clean(state_dict)
        return cleaned if metadata is None else _annotated(cleaned, clean(metadata))

    return wrapped


def _annotated(state: dict[str, Any], metadata: dict[str, Any]) -> dict[str, Any]:
    result = OrderedDict(state)
    result._metadata = metadata  # type: ignore[attr-defined]  # where torch looks for it
    return result
