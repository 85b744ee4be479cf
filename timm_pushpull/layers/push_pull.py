"""The push-pull unit of PushPull-Net (Bennabhaktula et al., ICPR 2024), Section 3.1."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from timm_pushpull.layers import fused
from timm_pushpull.layers.inhibited import Alpha, InhibitedConv2d, alpha_of


class PushPullConv2d(InhibitedConv2d):
    """Convolution with push-pull inhibition (Eq. 5): `relu(push) - alpha * relu(avg(pull)) + bias`.

    The push response is the convolution with `weight`; the pull response is the convolution of the same geometry
    with `pull_weight()` (Eq. 4), average-pooled over `avg_size` x `avg_size` positions of the *output* map.

    It is an `nn.Conv2d`: `weight` and `bias` keep their names and shapes, so plain checkpoints load into it and timm's
    `first_conv` stays true. `alpha`, the inhibition strength, has shape `(out_channels,)` and is always in the state
    dict, so that a checkpoint carries its own inhibition. `avg_size` travels in the state dict's metadata, where there
    is one (`torch.save` keeps it): weights that were trained with another one are refused.

    On CPUs the forward and backward passes run through fused kernels where they can (`timm_pushpull.set_fused`).

    Args:
        avg_size: Side of the average pooling of the pull response, odd; 0 for none. Border windows average only what
            lies on the map.
        alpha: Inhibition strength, a number or one per output channel. None draws U(0, 1) per channel.
        trainable_alpha: Whether `alpha` is a parameter (free in sign, as in the paper) or a buffer.
        (the others): As in `nn.Conv2d`; there is no bias unless asked for, because batch norm follows.

    Shapes and dtypes: As in `nn.Conv2d`; under autocast the output has the autocast dtype.

    Raises:
        ValueError: An even or negative `avg_size`; an `alpha` that is neither one number nor `out_channels` of them.
    """

    setting = "avg_size"

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
        avg_size: int = 3,
        alpha: Alpha | None = None,
        trainable_alpha: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if avg_size < 0 or (avg_size > 0 and avg_size % 2 == 0):
            raise ValueError(f"avg_size is {avg_size}; use 0 for no pooling or an odd size such as 3 or 5")
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            device=device,
            dtype=dtype,
        )
        self.avg_size = avg_size
        value = torch.empty_like(self.weight[:, 0, 0, 0].detach())
        if alpha is None:
            nn.init.uniform_(value)
        else:
            value.copy_(alpha_of(alpha, out_channels))
        self._set_alpha(value, trainable_alpha)

    def pad(self, input: Tensor) -> Tensor:
        """What happens to the input before the convolution; nothing here, for subclasses to replace."""
        return input

    def pull_weight(self) -> Tensor:
        """The pull kernel, the complement of the push kernel (Eq. 4): `w_max + w_min - w`, extremes per filter.

        Returns:
            Tensor of the shape and dtype of `weight`; gradients flow through it.
        """
        kernel = self.kernel()
        return kernel.amax(dim=(1, 2, 3), keepdim=True) + kernel.amin(dim=(1, 2, 3), keepdim=True) - kernel

    def effective_weight(self) -> Tensor:
        """The kernel of the linear push-pull response, without the two ReLUs (Eq. 8).

        The pooling steps over output positions, so it shifts the pull kernel by multiples of the stride. The kernel is
        dense: convolving with it at this unit's stride and dilation 1 gives `push - alpha * avg(pull)` away from the
        border.

        Returns:
            Tensor of shape `(out_channels, in_channels / groups, H, W)`, where, with kernel k, dilation d and stride
            s, `H = d * (k - 1) + 1 + s * (avg_size - 1)` (`avg_size` 0 counts as 1).
        """
        (kh, kw), (sh, sw), (dh, dw) = self.kernel_size, self.stride, self.dilation
        avg = max(self.avg_size, 1)
        # Each window offset (i, j) of the pooling sees the input through the pull kernel shifted by (i * sh, j * sw):
        # a transposed convolution of the pull kernel with a grid of 1 / avg^2 at those shifts.
        grid = self.weight.new_zeros(1, 1, sh * (avg - 1) + 1, sw * (avg - 1) + 1)
        grid[..., ::sh, ::sw] = 1 / avg**2
        dense = self.weight.new_zeros(*self.weight.shape[:2], dh * (kh - 1) + 1, dw * (kw - 1) + 1)
        push, pull = dense.clone(), dense
        push[..., ::dh, ::dw] = self.kernel()
        pull[..., ::dh, ::dw] = self.pull_weight()
        pull = F.conv_transpose2d(pull.flatten(0, 1).unsqueeze(1), grid).unflatten(0, self.weight.shape[:2]).squeeze(2)
        border = (sw * (avg - 1) // 2, sw * (avg - 1) // 2, sh * (avg - 1) // 2, sh * (avg - 1) // 2)
        return F.pad(push, border) - self.alpha.view(-1, 1, 1, 1) * pull

    def forward(self, input: Tensor) -> Tensor:
        if not torch.jit.is_scripting():
            output = self._fused_forward(input)
            if output is not None:
                return output
        return self.plain_forward(input)

    def plain_forward(self, input: Tensor) -> Tensor:
        """The unit as Eq. 5 is written, two convolutions: right on every device, type and transform of torch."""
        input = self.pad(input)
        push = self._conv_forward(input, self.kernel(), None)
        pull = self._conv_forward(input, self.pull_weight(), None)
        if self.avg_size > 0:
            pull = F.avg_pool2d(pull, self.avg_size, 1, self.avg_size // 2, False, False)
        # Under autocast the maps are narrower than the parameters, which must not widen them again.
        output = push.relu() - self.alpha.to(push.dtype).view(-1, 1, 1) * pull.relu()
        bias = self.bias  # a local name, which TorchScript can narrow to a Tensor
        if bias is not None:
            output = output + bias.to(push.dtype).view(-1, 1, 1)
        return output

    @torch.jit.unused
    def _fused_forward(self, input: Tensor) -> Tensor | None:
        padding = self._numeric_padding()
        if torch.compiler.is_compiling() or type(input) is not Tensor or self.groups != 1 or padding is None:
            return None
        geometry = (self.stride, padding, self.dilation)
        return fused.push_pull(self.pad(input), self.kernel(), self.alpha, self.bias, geometry, self.avg_size)

    def _numeric_padding(self) -> tuple[int, int] | None:
        """The padding as numbers; None where 'same' pads one side more."""
        if not isinstance(self.padding, str):
            return self.padding
        left, right, top, bottom = self._reversed_padding_repeated_twice
        return (top, left) if (top, left) == (bottom, right) else None


def push_pull_units(model: nn.Module) -> list[PushPullConv2d]:
    """The push-pull units of a network."""
    return [module for module in model.modules() if isinstance(module, PushPullConv2d)]
