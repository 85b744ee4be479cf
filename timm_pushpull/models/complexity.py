"""Size of a model: parameters and multiply-adds."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def parameters(model: nn.Module) -> int:
    """Number of parameters, including `alpha` of push-pull units if it is trainable."""
    return sum(parameter.numel() for parameter in model.parameters())


def multiply_adds(model: nn.Module, size: int, channels: int = 3) -> int:
    """Multiply-adds of convolutions and matrix products for one image of `size` x `size` px.

    A push-pull unit counts as the two convolutions of its definition (paper, Eq. 5), also if it runs fused.
    """
    parameter = next(model.parameters())
    image = torch.zeros(1, channels, size, size, dtype=parameter.dtype, device=parameter.device)
    modes = [(module, module.training) for module in model.modules()]
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in trained:  # FlopCounterMode fails where a module is called with a trained parameter
            parameter.requires_grad_(False)
        # FlopCounterMode turns the fused unit off. Of attention it does not count every fused form.
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            model.eval()(image)
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
        for module, training in modes:
            module.training = training
    return counter.get_total_flops() // 2
