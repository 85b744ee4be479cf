"""A limit on the network that a `config.json` of others asks for: about what the weights file beside it holds."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import safe_open
from torch import nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from timm_pushpull.utils.errors import InputError

# Beside twice the weights, or twenty modules per tensor: for parts that are replaced while a network is built.
_SPARE_WEIGHTS, _SPARE_MODULES = 1 << 24, 10_000


@contextmanager
def limited_by(weights: Path) -> Iterator[None]:
    """Stop this thread from building a network that is far larger than a weights file.

    It stops while the network is built, before a parameter is filled, so neither time nor memory grows with what was
    asked for.

    Raises:
        InputError: Far more weights or modules than the file has weights and tensors.
        SafetensorError: The file is damaged.
    """
    with safe_open(weights, framework="pt") as file:
        sizes = [math.prod(file.get_slice(name).get_shape()) for name in file.keys()]  # noqa: SIM118
    thread = threading.get_ident()
    left = {"weights": 2 * sum(sizes) + _SPARE_WEIGHTS, "modules": 20 * len(sizes) + _SPARE_MODULES}

    def take(kind: str, number: int) -> None:
        if threading.get_ident() != thread:
            return
        left[kind] -= number
        if left[kind] < 0:
            raise InputError(
                f"the config beside {str(weights)!r} asks for a network that is far larger than the {sum(sizes):,} "
                f"weights there; correct its model_args and num_classes"
            )

    def count_parameter(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
        take("weights", parameter.numel())

    def count_module(module: nn.Module, name: str, submodule: nn.Module | None) -> None:
        take("modules", 1)

    hooks = [
        register_module_parameter_registration_hook(count_parameter),
        register_module_module_registration_hook(count_module),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
