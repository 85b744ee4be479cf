"""The push-pull layer of 2020, the predecessor that PushPull-Net is compared with (paper, Table 2, reference 32)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from timm_pushpull.layers.inhibited import Alpha, InhibitedConv2d, alpha_of


class PushPull2020Conv2d(InhibitedConv2d):
    """Convolution with the push-pull inhibition of Strisciuglio et al., "Enhanced robustness of convolutional networks
    with a push-pull inhibition layer" (Neural Computing and Applications 32, 2020): `relu(push) - alpha * relu(pull)`.

    The push response is the convolution with `weight` and `bias`; the pull response is the one with `pull_weight()`,
    the widened negative of the push kernel, and with `-bias`. Both maps have the same size and centre.

    It is an `nn.Conv2d`: `weight` and `bias` keep their names and shapes, so plain checkpoints load into it. `alpha`
    has shape `(out_channels,)` and is always in the state dict. `scale` travels in the state dict's metadata, where
    there is one (`torch.save` keeps it): weights that were trained with another one are refused.

    Args:
        alpha: Inhibition strength, a number or one per output channel; below 0 it counts as 0. None is 1 where it is
            fixed, as in the paper of 2020, and where it is trained drawn from U(.5 - r, .5 + r) with
            `r = 1 / sqrt(in_channels * out_channels)`.
        scale: Size of the pull kernel over that of the push kernel, at least 1; it is rounded down, then up to an odd
            size: 7x7 and scale 2 give 15x15.
        trainable_alpha: Whether `alpha` is a parameter or a buffer.
        (the others): As in `nn.Conv2d`.

    Raises:
        ValueError: A kernel of even size, whose two maps would not lie on each other, or a scale below 1.
    """

    setting = "scale"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | str = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = False,
        *,
        alpha: Alpha | None = None,
        scale: float = 2.0,
        trainable_alpha: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, device=device, dtype=dtype
        )
        if any(size % 2 == 0 for size in self.kernel_size):
            raise ValueError(f"kernel_size is {self.kernel_size}; use odd sizes")
        if scale < 1:
            raise ValueError(f"scale is {scale}; the pull kernel is no smaller than the push kernel: use 1 or more")
        self.scale = float(scale)
        self.pull_size = [math.floor(size * scale) // 2 * 2 + 1 for size in self.kernel_size]
        left, _, top, _ = self._reversed_padding_repeated_twice  # numbers also where padding is "same"
        growth = [
            d * (pull - k) // 2 for d, pull, k in zip(self.dilation, self.pull_size, self.kernel_size, strict=True)
        ]
        self.pull_padding = (top + growth[0], left + growth[1])
        value = torch.empty_like(self.weight[:, 0, 0, 0].detach())
        if alpha is not None:
            value.copy_(alpha_of(alpha, out_channels))
        elif trainable_alpha:
            reach = 1 / math.sqrt(in_channels * out_channels)
            nn.init.uniform_(value, 0.5 - reach, 0.5 + reach)
        else:
            nn.init.ones_(value)
        self._set_alpha(value, trainable_alpha)

    def pull_weight(self) -> Tensor:
        """The pull kernel: minus the push kernel, bilinearly upsampled with aligned corners; gradients flow through."""
        return -F.interpolate(self.weight, size=self.pull_size, mode="bilinear", align_corners=True)

    def forward(self, input: Tensor) -> Tensor:
        bias = self.bias
        pull_bias = None if bias is None else -bias
        push = self._conv_forward(input, self.weight, bias)
        pull = F.conv2d(
            input, self.pull_weight(), pull_bias, self.stride, self.pull_padding, self.dilation, self.groups
        )
        # Under autocast the maps are narrower than the parameters, which must not widen them again.
        return push.relu() - self.alpha.relu().to(push.dtype).view(-1, 1, 1) * pull.relu()
