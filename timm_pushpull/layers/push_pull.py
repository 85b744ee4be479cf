"""The push-pull unit of PushPull-Net (Bennabhaktula et al., ICPR 2024), Section 3.1."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from timm_pushpull.layers import fused
from timm_pushpull.layers.push_pull_base import Alpha, PushPullBase


class PushPullConv2d(PushPullBase):
    """Convolution with push-pull inhibition (Eq. 5): `relu(push) - alpha * relu(avg(pull)) + bias`.

    The push response is the convolution with `weight`. The pull response is the convolution with `pull_weight()`
    (Eq. 4) and the same stride, padding and dilation, followed by average pooling over `avg_size` x `avg_size`
    positions of the output map.

        >>> unit = PushPullConv2d(3, 64, kernel_size=7, stride=2, padding=3)
        >>> unit(torch.zeros(1, 3, 224, 224)).shape
        torch.Size([1, 64, 112, 112])

    The layer is an `nn.Conv2d`: `weight` and `bias` keep their names and shapes, so checkpoints of plain networks load
    into it with `strict=False`. The state dict also has `alpha`, as a parameter or a buffer. Its metadata, which
    `torch.save` keeps, has `avg_size`; loading weights that were saved with another value raises an error.

    The output is not linear in `weight`: adapters that add to a convolution's output and are later merged into its
    weight, such as LoRA, must leave the unit out (in PEFT, `exclude_modules` or `modules_to_save=["conv1"]`).

    On CPUs and CUDA the forward and backward passes use fused operations if possible; see `timm_pushpull.set_fused`.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, device, dtype: As in `nn.Conv2d`.
        bias: Add a bias to the output. Off by default, because a batch norm usually follows.
        avg_size: Window of the average pooling of the pull response, odd; 0 for no pooling. At the border, the average
            is over the positions inside the map.
        alpha: Inhibition strength, one number or one per output channel. None initialises it from U(0, 1).
        trainable_alpha: Make `alpha` a parameter (of any sign, as in the paper) instead of a buffer.

    Shape:
        As in `nn.Conv2d`. Under autocast the output has the autocast dtype.

    Raises:
        ValueError: `avg_size` is even or negative, or `alpha` is neither one number nor `out_channels` numbers.
    """

    metadata_key = "avg_size"

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
        if not isinstance(avg_size, int) or avg_size < 0 or (avg_size > 0 and avg_size % 2 == 0):
            raise ValueError(f"avg_size is {avg_size!r}; use 0 for no pooling or an odd size such as 3 or 5")
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
        self._add_alpha(alpha, trainable_alpha)

    def _init_alpha(self, alpha: Tensor) -> None:
        nn.init.uniform_(alpha)

    def pad_input(self, input: Tensor) -> Tensor:
        """Padding before the convolution that `padding` cannot express; a hook for subclasses."""
        return input

    def pull_weight(self) -> Tensor:
        """The pull kernel, the complement of the push kernel (Eq. 4): `w_max + w_min - w`, with extremes per filter.

        Returns:
            Tensor with the shape and dtype of `weight`. Gradients flow through it.
        """
        push = self.push_weight()
        return push.amax(dim=(1, 2, 3), keepdim=True) + push.amin(dim=(1, 2, 3), keepdim=True) - push

    def effective_weight(self) -> Tensor:
        """The kernel of the push-pull response without the two ReLUs, which is linear (Eq. 8).

        A convolution with this kernel, the unit's stride and dilation 1 equals `push - alpha * avg(pull)` away from the
        border. The average pooling moves over output positions, so it shifts the pull kernel by multiples of the
        stride.

        Returns:
            Tensor of shape `(out_channels, in_channels / groups, H, W)`, where, with kernel k, dilation d and stride
            s, `H = d * (k - 1) + 1 + s * (avg_size - 1)` (`avg_size` 0 counts as 1).
        """
        (kh, kw), (sh, sw), (dh, dw) = self.kernel_size, self.stride, self.dilation
        avg = max(self.avg_size, 1)
        # The offset (i, j) in the pooling window shifts the pull kernel by (i * sh, j * sw). The sum over all offsets
        # is a transposed convolution of the pull kernel with a grid of 1 / avg^2 at these shifts.
        grid = self.weight.new_zeros(1, 1, sh * (avg - 1) + 1, sw * (avg - 1) + 1)
        grid[..., ::sh, ::sw] = 1 / avg**2
        dense = self.weight.new_zeros(*self.weight.shape[:2], dh * (kh - 1) + 1, dw * (kw - 1) + 1)
        push, pull = dense.clone(), dense
        push[..., ::dh, ::dw] = self.push_weight()
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
        """Eq. 5 as written, with two convolutions. Works on every device and dtype and under every torch transform."""
        input = self.pad_input(input)
        push = self._conv_forward(input, self.push_weight(), None)
        pull = self._conv_forward(input, self.pull_weight(), None)
        if self.avg_size > 0:
            pull = F.avg_pool2d(pull, self.avg_size, 1, self.avg_size // 2, False, False)
        # Under autocast the responses have a lower precision than alpha and bias, and the output keeps it.
        output = push.relu() - self.alpha.to(push.dtype).view(-1, 1, 1) * pull.relu()
        bias = self.bias  # TorchScript refines Optional[Tensor] for local names only
        if bias is not None:
            output = output + bias.to(push.dtype).view(-1, 1, 1)
        return output

    @torch.jit.unused
    def _fused_forward(self, input: Tensor) -> Tensor | None:
        padding = self._numeric_padding()
        if fused.is_exporting() or type(input) is not Tensor or self.groups != 1 or padding is None:
            return None
        geometry = (self.stride, padding, self.dilation)
        return fused.push_pull(
            self.pad_input(input), self.push_weight(), self.alpha, self.bias, geometry, self.avg_size
        )

    def _numeric_padding(self) -> tuple[int, ...] | None:
        """`padding` as numbers; None if 'same' pads one side more than the other."""
        if not isinstance(self.padding, str):
            return self.padding
        left, right, top, bottom = self._reversed_padding_repeated_twice
        return (top, left) if (top, left) == (bottom, right) else None


def push_pull_units(model: nn.Module) -> list[PushPullConv2d]:
    """The push-pull units (2024) of a network, in the order of `model.modules()`."""
    return [module for module in model.modules() if isinstance(module, PushPullConv2d)]
