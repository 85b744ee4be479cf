"""The push-pull layer of 2020, with which PushPull-Net is compared (paper, Table 2, reference 32)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from timm_pushpull.layers.push_pull_base import Alpha, PushPullBase


class PushPull2020Conv2d(PushPullBase):
    """Convolution with the push-pull inhibition of Strisciuglio et al., "Enhanced robustness of convolutional networks
    with a push-pull inhibition layer" (Neural Computing and Applications 32, 2020): `relu(push) - alpha * relu(pull)`.

    The push response is the convolution with `weight` and `bias`. The pull response is the convolution with
    `pull_weight()`, the upsampled negative of the push kernel, and `-bias`. Both responses have the same size and are
    aligned.

        >>> layer = PushPull2020Conv2d(3, 64, kernel_size=7, stride=2, padding=3)
        >>> layer.pull_weight().shape
        torch.Size([64, 3, 15, 15])

    The layer is an `nn.Conv2d`: `weight` and `bias` keep their names and shapes, so checkpoints of plain networks load
    into it with `strict=False`. The state dict also has `alpha`, as a parameter or a buffer. Its metadata, which
    `torch.save` keeps, has `scale`; loading weights that were saved with another value raises an error.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, device, dtype: As in
            `nn.Conv2d`; the kernel sizes are odd.
        alpha: Inhibition strength, one number or one per output channel; negative values count as 0. None means 1 if
            `alpha` is a buffer, as in the paper of 2020, and U(0.5 - r, 0.5 + r) with
            `r = 1 / sqrt(in_channels * out_channels)` if it is a parameter.
        scale: Size of the pull kernel relative to the push kernel, at least 1. The product is rounded down, and an even
            size is increased by 1: 7x7 and scale 2 give 15x15.
        trainable_alpha: Make `alpha` a parameter instead of a buffer.

    Shape:
        As in `nn.Conv2d`. Under autocast the output has the autocast dtype.

    Raises:
        ValueError: `kernel_size` is even, so that the two responses could not be aligned, or `scale` is below 1.
    """

    metadata_key = "scale"

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
            raise ValueError(
                f"scale is {scale}; use 1 or more, or the pull kernel would be smaller than the push kernel"
            )
        self.scale = float(scale)
        self.pull_size = [math.floor(size * scale) // 2 * 2 + 1 for size in self.kernel_size]
        left, _, top, _ = self._reversed_padding_repeated_twice  # numbers also for padding="same"
        growth = [
            d * (pull - k) // 2 for d, pull, k in zip(self.dilation, self.pull_size, self.kernel_size, strict=True)
        ]
        self.pull_padding = (top + growth[0], left + growth[1])
        self._add_alpha(alpha, trainable_alpha)

    def _init_alpha(self, alpha: Tensor) -> None:
        if isinstance(alpha, nn.Parameter):
            half_range = 1 / math.sqrt(self.in_channels * self.out_channels)
            nn.init.uniform_(alpha, 0.5 - half_range, 0.5 + half_range)
        else:
            nn.init.ones_(alpha)

    def pull_weight(self) -> Tensor:
        """The pull kernel: the negative push kernel, upsampled bilinearly with aligned corners.

        Returns:
            Tensor of shape `(out_channels, in_channels / groups, *pull_size)`. Gradients flow through it.
        """
        return -F.interpolate(self.weight, size=self.pull_size, mode="bilinear", align_corners=True)

    def forward(self, input: Tensor) -> Tensor:
        bias = self.bias
        pull_bias = None if bias is None else -bias
        push = self._conv_forward(input, self.weight, bias)
        pull = F.conv2d(
            input, self.pull_weight(), pull_bias, self.stride, self.pull_padding, self.dilation, self.groups
        )
        # Under autocast the responses have a lower precision than alpha, and the output keeps it.
        return push.relu() - self.alpha.relu().to(push.dtype).view(-1, 1, 1) * pull.relu()
