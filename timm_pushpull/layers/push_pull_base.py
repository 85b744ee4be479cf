"""The common part of the push-pull layers of 2020 and 2024: a convolution with an inhibition strength per channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from timm_pushpull.utils.errors import InputError

if TYPE_CHECKING:
    from typing import Self  # Python 3.11

Alpha = float | Sequence[float] | Tensor


class PushPullBase(nn.Conv2d):
    """A convolution with an inhibition strength `alpha` of shape `(out_channels,)`, a parameter or a buffer.

    Attributes:
        metadata_key: Name of an argument that the weights depend on. Its value is stored in the state dict's metadata,
            which `torch.save` keeps. Loading weights that were saved with another value raises an error.
        convertible: The types that `from_conv` accepts. A subclass of `nn.Conv2d` may do more than a convolution.
        initial_alpha: What `reset_parameters` sets `alpha` to; None for the layer's own distribution.
    """

    metadata_key: ClassVar[str]
    convertible: ClassVar[tuple[type[nn.Conv2d], ...]] = (nn.Conv2d,)
    if TYPE_CHECKING:  # TorchScript would try to read the annotation
        alpha: Tensor
        initial_alpha: tuple[float, ...] | None

    @classmethod
    def from_conv(cls, conv: nn.Conv2d, *, bias: bool = False, **kwargs: Any) -> Self:
        """Make the layer from a plain convolution, with its geometry, weights, device, dtype and training mode.

        Args:
            conv: An `nn.Conv2d` that pads with zeros, not of a subclass and without hooks.
            bias: Add a bias, initialised as in `nn.Conv2d`, if the convolution has none.
            kwargs: The layer's own arguments.

        Raises:
            ValueError: The convolution pads with something other than zeros, or does more than an `nn.Conv2d`, which
                the layer would drop.
        """
        if type(conv) not in cls.convertible:
            raise ValueError(
                f"{cls.__name__}.from_conv takes {' or '.join(kind.__name__ for kind in cls.convertible)}, not "
                f"{type(conv).__name__}, which may do more than a convolution; convert_stem takes timm's own types"
            )
        # torch's weight_norm, spectral_norm and pruning; accelerate replaces the method
        hooks = (conv._forward_pre_hooks, conv._forward_hooks, conv._backward_pre_hooks, conv._backward_hooks)
        if any(hooks) or "forward" in vars(conv):
            raise ValueError("the convolution has hooks, which the layer would drop; remove them first")
        if conv.padding_mode != "zeros":
            raise ValueError(f"padding_mode is {conv.padding_mode!r}; push-pull layers support 'zeros' only")
        layer = cls(**conv_kwargs(conv), bias=bias or conv.bias is not None, **kwargs)
        with torch.no_grad():
            layer.weight.copy_(conv.weight)
            if layer.bias is not None and conv.bias is not None:
                layer.bias.copy_(conv.bias)
        layer.weight.requires_grad_(conv.weight.requires_grad)
        if layer.bias is not None and conv.bias is not None:
            layer.bias.requires_grad_(conv.bias.requires_grad)
        return layer.train(conv.training)

    def reset_parameters(self) -> None:
        """Initialise the weights and the bias as `nn.Conv2d` does, and `alpha` as the arguments say.

        A layer that was created on the meta device is complete after `to_empty` and this.
        """
        super().reset_parameters()
        if hasattr(self, "alpha"):  # nn.Conv2d calls this before there is one
            self.reset_alpha()

    def reset_alpha(self) -> None:
        """Set `alpha` to the values that the layer was created with, or draw it anew from its distribution."""
        if self.initial_alpha is None:
            with torch.no_grad():
                self._init_alpha(self.alpha)
        else:
            self.set_alpha(torch.tensor(self.initial_alpha, dtype=torch.float64, device="cpu"))

    def set_alpha(self, values: Tensor) -> None:
        """Copy values of shape `(1,)` or `(out_channels,)` into `alpha`, be it spread over processes, as in FSDP2."""
        with torch.no_grad():
            if (mesh := getattr(self.alpha, "device_mesh", None)) is not None:
                from torch.distributed.tensor import distribute_tensor

                alpha: Any = self.alpha
                whole = values.to(alpha.device, alpha.dtype).expand(self.out_channels).contiguous()
                values = distribute_tensor(whole, mesh, alpha.placements)
            self.alpha.copy_(values)

    def init_non_persistent_buffers(self) -> None:
        """Initialise `alpha` if transformers has loaded weights without it; see its `_init_weights`."""
        if getattr(self.weight, "_is_hf_initialized", False) and not getattr(self.alpha, "_is_hf_initialized", False):
            self.reset_alpha()

    def push_weight(self) -> Tensor:
        """The push kernel, shape `(out_channels, in_channels / groups, kh, kw)`."""
        return self.weight

    def pull_weight(self) -> Tensor:
        """The pull kernel, shape `(out_channels, in_channels / groups, kh', kw')`."""
        raise NotImplementedError

    def _init_alpha(self, alpha: Tensor) -> None:
        """Fill `alpha` from the distribution that it has if no value is given."""
        raise NotImplementedError

    def _add_alpha(self, alpha: Alpha | None, trainable: bool) -> None:
        self.initial_alpha = None
        if alpha is not None:
            given = alpha_tensor(alpha, self.out_channels)
            self.initial_alpha = None if given.is_meta else tuple(given.tolist())
        value = torch.empty_like(self.weight[:, 0, 0, 0].detach())
        if trainable:
            self.alpha = nn.Parameter(value)
        else:
            self.register_buffer("alpha", value)
        self.reset_alpha()

    def _save_to_state_dict(self, destination, prefix, keep_vars) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        metadata = getattr(destination, "_metadata", {}).get(prefix[:-1])
        if metadata is not None:
            metadata[self.metadata_key] = getattr(self, self.metadata_key)

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, missing, unexpected, errors) -> None:
        key, own = self.metadata_key, getattr(self, self.metadata_key)
        saved = local_metadata.get(key, own)
        if saved != own:
            errors.append(f"{prefix[:-1]} has {key} {own} but these weights were saved with {saved}")
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing, unexpected, errors)

    def extra_repr(self) -> str:
        key, trainable = self.metadata_key, isinstance(self.alpha, nn.Parameter)
        return f"{super().extra_repr()}, {key}={getattr(self, key)}, trainable_alpha={trainable}"


def conv_kwargs(conv: nn.Conv2d) -> dict[str, Any]:
    """The arguments for a convolution of the same geometry, device and dtype, without `bias`."""
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
    return {name: getattr(conv, name) for name in names} | {"device": conv.weight.device, "dtype": conv.weight.dtype}


def alpha_tensor(alpha: Alpha, channels: int) -> Tensor:
    """An inhibition strength as a tensor of shape `(1,)` or `(channels,)`.

    Raises:
        InputError: It is neither one number nor one per channel, or infinite or NaN.
    """
    # On the CPU, whatever torch's default device: on the meta device, the values would be lost.
    try:
        tensor = alpha.detach() if isinstance(alpha, Tensor) else torch.tensor(alpha, dtype=torch.float64, device="cpu")
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"alpha is {alpha!r}; give one number or {channels} of them") from None
    if tensor.numel() != 1 and tensor.shape != (channels,):
        raise InputError(f"alpha has shape {tuple(tensor.shape)}; give one number or {channels} of them")
    if not (tensor.is_meta or tensor.isfinite().all()):
        raise InputError(f"alpha is {alpha if tensor.numel() == 1 else 'infinite or NaN'}; use finite numbers")
    return tensor.reshape(-1)


def push_pull_layers(model: nn.Module) -> list[PushPullBase]:
    """The push-pull layers of a network, of 2020 and of 2024, in the order of `model.modules()`."""
    return [module for module in model.modules() if isinstance(module, PushPullBase)]


def inhibition_strengths(model: nn.Module) -> Tensor | None:
    """`alpha` of all push-pull layers of a network, float32 of shape `(channels,)`; None if it has no such layer."""
    layers = push_pull_layers(model)
    return torch.cat([layer.alpha.detach().float().flatten() for layer in layers]) if layers else None
