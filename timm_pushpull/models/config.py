"""`config.json` of a model in timm's Hub format, checked on reading."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from timm_pushpull.utils import schema
from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.json_text import parse_object
from timm_pushpull.utils.text import shortened

_MAX_ARGUMENT = 100_000  # some networks make a list as long as a number of layers before they are built
_MAX_INPUT = 3 * 2048**2  # values of one image
#: Arguments of `timm.create_model` that are none of a network: they choose other weights, or what the outputs are.
_NOT_OF_A_NETWORK = frozenset(
    ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir", "features_only")
)
_Channels = Annotated[list[float], schema.Length(3)]


@dataclass(frozen=True)
class _PretrainedCfg:
    tag: str | None = None
    input_size: Annotated[list[Annotated[int, schema.Bounds(1, 2048)]], schema.Length(3)] | None = None
    interpolation: str | None = None
    crop_pct: Annotated[float, schema.Bounds(0.1, 10)] | None = None
    crop_mode: str | None = None
    mean: _Channels | None = None
    std: _Channels | None = None
    num_classes: schema.Count | None = None
    license: str | None = None


@dataclass(frozen=True)
class _Config:
    """The types of what is read; other entries may be anything."""

    architecture: str | None = None
    num_classes: schema.Count | None = None
    num_features: schema.Count | None = None
    label_names: list[str] | None = None
    label_descriptions: dict[str, str] | None = None
    pretrained_cfg: _PretrainedCfg | None = None


def parse_config(text: str | bytes, source: str) -> dict[str, Any]:
    """The content of a `config.json`.

    Args:
        source: Where the text comes from, for the error.

    Raises:
        InputError: Not a JSON object, nested too deeply, or a value of the wrong type; one line.
    """
    try:
        config = parse_object(text)
    except ValueError as error:
        raise InputError(f"{source} is not the config of a timm model: {error}") from error
    checked = schema.check(_Config, config, source, "config of a timm model").pretrained_cfg
    if checked and checked.input_size and math.prod(checked.input_size) > _MAX_INPUT:
        raise InputError(
            f"{source} is not a config of a timm model: input_size is {' x '.join(map(str, checked.input_size))}; at "
            f"most {_MAX_INPUT:,} values are accepted"
        )
    arguments = config.get("model_args", {})
    if not isinstance(arguments, dict):
        raise InputError(f"{source} is not the config of a timm model: its model_args is not an object")
    if foreign := sorted(_NOT_OF_A_NETWORK.intersection(arguments)):
        raise InputError(
            f"{source} has {foreign[0]} among its model_args, which is no argument of a network; remove it"
        )
    if (highest := max(_numbers(arguments), default=0)) > _MAX_ARGUMENT:
        raise InputError(
            f"{source} has {shortened(highest)} among its model_args; no number there may exceed {_MAX_ARGUMENT:,}"
        )
    return config


def _numbers(value: object) -> Iterator[float]:
    """The absolute values of all numbers in a JSON value."""
    if isinstance(value, (int, float)):
        yield abs(value)
    elif isinstance(value, (list, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _numbers(part)
