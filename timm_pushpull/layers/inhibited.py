"""What the push-pull layers share: a convolution with an inhibition strength per channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from timm_pushpull.utils.errors import InputError

if TYPE_CHECKING:
    from typing import Self  # Python 3.11

Alpha = float | Sequence[float] | Tensor


class InhibitedConv2d(nn.Conv2d):
    """A convolution whose response is inhibited with strength `alpha`, of shape `(out_channels,)`, a parameter or a
    buffer.

    Attributes:
        setting: Name of the argument without which the weights mean something else. It travels in the state dict's
            metadata, where there is one (`torch.save` keeps it): weights of another value are refused.
    """

    setting: ClassVar[str]

    @classmethod
    def from_conv(cls, conv: nn.Conv2d, *, bias: bool = False, **options: Any) -> Self:
        """The layer with the geometry, weights, device and dtype of a plain convolution.

        Args:
            bias: Have a bias even if the convolution has none.
            options: The layer's own arguments, as in the class.

        Raises:
            ValueError: The convolution pads with something other than zeros.
        """
        if conv.padding_mode != "zeros":
            raise ValueError(f"padding_mode is {conv.padding_mode!r}; a push-pull layer pads with zeros")
        layer = cls(**shape_of(conv), bias=bias or conv.bias is not None, **options)
        with torch.no_grad():
            layer.weight.copy_(conv.weight)
            if conv.bias is not None:
                layer.bias.copy_(conv.bias)
        return layer.train(conv.training)

    def kernel(self) -> Tensor:
        """The push kernel, the weights that the input is convolved with."""
        return self.weight

    def _set_alpha(self, value: Tensor, trainable: bool) -> None:
        if trainable:
            self.alpha = nn.Parameter(value)
        else:
            self.register_buffer("alpha", value)

    def _save_to_state_dict(self, destination, prefix, keep_vars) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        metadata = getattr(destination, "_metadata", {}).get(prefix[:-1])
        if metadata is not None:
            metadata[self.setting] = getattr(self, self.setting)

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, missing, unexpected, errors) -> None:
        name, mine = self.setting, getattr(self, self.setting)
        saved = local_metadata.get(name, mine)
        if saved != mine:
            errors.append(f"{prefix[:-1]} has {name} {mine} but these weights were saved with {saved}")
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing, unexpected, errors)

    def extra_repr(self) -> str:
        trainable = isinstance(self.alpha, nn.Parameter)
        return f"{super().extra_repr()}, {self.setting}={getattr(self, self.setting)}, trainable_alpha={trainable}"


def shape_of(conv: nn.Conv2d) -> dict[str, Any]:
    """The arguments that make a convolution like another one, but for its bias."""
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
    return {name: getattr(conv, name) for name in names} | {"device": conv.weight.device, "dtype": conv.weight.dtype}


def alpha_of(alpha: Alpha, channels: int) -> Tensor:
    """An inhibition strength as a tensor of shape (1,) or (channels,).

    Raises:
        InputError: Neither one number nor one per channel.
    """
    given = torch.as_tensor(alpha)
    if given.numel() != 1 and given.shape != (channels,):
        raise InputError(f"alpha has shape {tuple(given.shape)}; give one number or {channels} of them")
    return given.reshape(-1)


def inhibited_layers(model: nn.Module) -> list[InhibitedConv2d]:
    """The push-pull layers of a network, of either kind."""
    return [module for module in model.modules() if isinstance(module, InhibitedConv2d)]


def inhibition(model: nn.Module) -> Tensor | None:
    """alpha over the channels of all push-pull layers of a network, float32 of shape (channels,); None without any."""
    layers = inhibited_layers(model)
    return torch.cat([layer.alpha.detach().float().flatten() for layer in layers]) if layers else None
