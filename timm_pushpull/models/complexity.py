"""What a model costs, in numbers that do not depend on the machine."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def parameters(model: nn.Module) -> int:
    """Number of parameters, a push-pull unit's alpha included where it is trained."""
    return sum(parameter.numel() for parameter in model.parameters())


def multiply_adds(model: nn.Module, size: int, channels: int = 3) -> int:
    """Multiply-adds of one image of `size` x `size` px, in convolutions and matrix products.

    A push-pull unit counts as the two convolutions of its definition (paper, Eq. 5), however it is computed.
    """
    parameter = next(model.parameters())
    image = torch.zeros(1, channels, size, size, dtype=parameter.dtype, device=parameter.device)
    training = model.training
    with torch.no_grad(), FlopCounterMode(display=False) as counter:  # under it the unit takes its plain form
        model.eval()(image)
    model.train(training)
    return counter.get_total_flops() // 2
