"""A limit on the network that a `config.json` of others asks for: about what the weights file beside it holds."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from timm_pushpull.utils.errors import InputError

# Beside twice the weights, or twenty modules per tensor: for parts that are replaced while a network is built, and for
# buffers such as the relative positions of a transformer.
_SPARE_WEIGHTS, _SPARE_MODULES = 1 << 24, 10_000
_OPERATIONS = 20  # per module


@contextmanager
def limited_by(weights: Path) -> Iterator[None]:
    """Stop this thread from building a network that is far larger than a weights file.

    It stops while the network is built, before a tensor is filled, so neither time nor memory grows with what was asked
    for.

    Raises:
        InputError: Far more weights, modules or operations than the file has weights and tensors, or an operation on
            far more numbers.
        SafetensorError: The file is damaged.
    """
    with safe_open(weights, framework="pt") as file:
        sizes = [math.prod(file.get_slice(name).get_shape()) for name in file.keys()]  # noqa: SIM118
    thread = threading.get_ident()
    numbers, modules = 2 * sum(sizes) + _SPARE_WEIGHTS, 20 * len(sizes) + _SPARE_MODULES
    left = {"weights": numbers, "modules": modules, "operations": _OPERATIONS * modules}

    def refuse() -> InputError:
        return InputError(
            f"the config beside {str(weights)!r} asks for a network that is far larger than the {sum(sizes):,} weights "
            f"there; correct its model_args and num_classes"
        )

    def take(kind: str, number: int) -> None:
        if threading.get_ident() != thread:
            return
        left[kind] -= number
        if left[kind] < 0:
            raise refuse()

    def count_tensor(module: nn.Module, name: str, tensor: Tensor | None) -> None:
        take("weights", 0 if tensor is None else tensor.numel())

    def count_module(module: nn.Module, name: str, submodule: nn.Module | None) -> None:
        take("modules", 1)

    class Operations(TorchDispatchMode):
        """Looks at the size of what an operation returns before it allocates that."""

        shapes = FakeTensorMode(allow_non_fake_inputs=True)

        def largest(self, func: Any, args: Any, kwargs: Any) -> float:
            with suppress(Exception), self.shapes:  # not of an operation whose shape depends on values
                return max(map(_extent, tree_leaves(func(*args, **kwargs))), default=0)
            return 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            take("operations", 1)
            given = tree_leaves((args, kwargs))
            if math.prod(map(_extent, given)) > numbers and self.largest(func, args, kwargs or {}) > numbers:
                raise refuse()
            return func(*args, **(kwargs or {}))

    hooks = [
        register_module_parameter_registration_hook(count_tensor),
        register_module_buffer_registration_hook(count_tensor),
        register_module_module_registration_hook(count_module),
    ]
    try:
        with Operations():
            yield
    finally:
        for hook in hooks:
            hook.remove()


def _extent(value: object) -> float:
    """Numbers in a tensor, or the number that may be a length; no result is larger than the product of those given."""
    if isinstance(value, Tensor):
        return max(value.numel(), 1)
    return max(abs(value), 1) if isinstance(value, (int, float)) else 1
