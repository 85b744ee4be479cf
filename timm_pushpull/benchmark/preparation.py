"""What every pass over images needs to know or do first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from timm_pushpull.utils.errors import InputError

Sum = Callable[[Tensor], Tensor]  # of an int64 tensor over all processes


def normalisation(
    model: object, mean: Sequence[float] | None, std: Sequence[float] | None
) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and deviation per channel, by default a timm model's.

    Raises:
        InputError: The model has none.
    """
    config = getattr(model, "pretrained_cfg", {})
    mean, std = (config.get("mean") if mean is None else mean), (config.get("std") if std is None else std)
    if mean is None or std is None:
        raise InputError("the model does not say how its images are normalised; give mean and std")
    return mean, std


def default_batch(device: torch.device | str) -> int:
    """Images a forward pass: 64 on a CPU, whose caches hold no more, else 512."""
    return 64 if torch.device(device).type == "cpu" else 512


def summed(values: np.ndarray, add_up: Sum, device: torch.device | str) -> np.ndarray:
    """The sum of an int64 array over all processes."""
    return add_up(torch.from_numpy(values).to(device)).cpu().numpy()


@contextmanager
def eval_mode(model: object) -> Iterator[None]:
    """A module in eval mode, afterwards as it was; nothing for other callables."""
    training = [module for module in model.modules() if module.training] if isinstance(model, nn.Module) else []
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
