"""What a forward pass over images needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from timm_pushpull.data.preprocessing import Geometry, model_geometry
from timm_pushpull.utils.errors import InputError


def geometry_of(model: object, geometry: Geometry | None) -> Geometry:
    """Resize and crop, by default those of a timm model's data config.

    Raises:
        InputError: They are not given and the model has no data config.
    """
    if geometry is not None:
        return geometry
    if not isinstance(model, nn.Module) or not hasattr(model, "pretrained_cfg"):
        raise InputError("the model has no data config of timm; pass geometry, such as ResizeCenterCrop(224, 256)")
    return model_geometry(model)


def check_module(model: object, device: torch.device | str, precision: str) -> None:
    """Raise InputError for a module on another kind of device, in half precision for another forward pass, or for a
    timm model whose input does not have three channels."""
    if not isinstance(model, nn.Module):
        return
    first = (getattr(model, "pretrained_cfg", None) or {}).get("first_conv")
    channels = getattr(dict(model.named_modules()).get(first), "in_channels", 3) if isinstance(first, str) else 3
    if channels != 3:
        raise InputError(f"the model's input has {channels} channels, and images have 3; create it with in_chans=3")
    if (weight := next(model.parameters(), None)) is not None:
        if weight.device.type != (kind := torch.device(device).type):
            raise InputError(f"the model is on {weight.device.type}, and device is {kind}; use model.to({kind!r})")
        if weight.dtype is torch.float16 or (weight.dtype is torch.bfloat16 and precision == "fp32"):
            advice = "use model.float(), and precision='bf16' to compute in half precision"
            raise InputError(f"the model's weights are {str(weight.dtype).removeprefix('torch.')}; {advice}")


def normalisation(
    model: object, mean: Sequence[float] | None, std: Sequence[float] | None
) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and standard deviation per channel, by default those of a timm model's data config.

    Raises:
        InputError: They are not given and the model has none, or they are not three numbers, of std above 0.
    """
    config = getattr(model, "pretrained_cfg", {})
    mean, std = (config.get("mean") if mean is None else mean), (config.get("std") if std is None else std)
    if mean is None or std is None:
        raise InputError("the model has no mean and std of its input; pass mean and std")
    for name, values in (("mean", mean), ("std", std)):
        try:
            numbers = [float(value) for value in values]
        except (TypeError, ValueError):
            numbers = []
        if len(numbers) != 3 or not np.isfinite(numbers).all() or (name == "std" and min(numbers) <= 0):
            kind = "numbers above 0" if name == "std" else "numbers"
            raise InputError(f"{name} is {values!r}; give three {kind}, one per channel")
    return mean, std


def choose_batch_size(batch_size: int | None, device: torch.device | str) -> int:
    """Images per forward pass: by default 64 on a CPU, where larger batches leave the caches, else 512.

    Raises:
        InputError: It is no integer, or below 1.
    """
    if batch_size is None:
        return 64 if torch.device(device).type == "cpu" else 512
    if not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
        raise InputError(f"batch_size is {batch_size!r}; use an integer of 1 or more")
    return batch_size


def forward(model: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
    """A network's outputs.

    Raises:
        InputError: They are no tensor, or not one row per image, which would be counted for every image.
    """
    outputs = model(batch)
    if not isinstance(outputs, Tensor):
        raise InputError(f"the model gives {type(outputs).__name__}; use one that gives a tensor (images, outputs)")
    if outputs.shape[:1] != batch.shape[:1]:
        raise InputError(
            f"the model gives outputs of shape {tuple(outputs.shape)} for {len(batch)} images; use one that gives a "
            f"row per image"
        )
    return outputs


@contextmanager
def eval_mode(model: object) -> Iterator[None]:
    """Put a module in eval mode and restore each submodule's mode afterwards; other callables are left alone."""
    training = [module for module in model.modules() if module.training] if isinstance(model, nn.Module) else []
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
