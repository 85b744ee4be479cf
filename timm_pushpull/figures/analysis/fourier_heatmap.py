"""The Fourier heat map: a classifier's error by the frequency of the noise in its images.

Yin, Lopes, Shlens, Cubuk, Gilmer: A Fourier Perspective on Model Robustness in Computer Vision, NeurIPS 2019.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from timm_pushpull.benchmark.preparation import default_batch
from timm_pushpull.data.preprocessing import normalise
from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.hardware import autocast
from timm_pushpull.utils.progress import progress_bar


@dataclass(frozen=True)
class FourierHeatmap:
    """Errors under noise of one frequency each.

    Attributes:
        error: Top-1 error, fractions, float64 of shape (K, K), symmetric; rows are vertical frequencies, and the
            frequency 0 is at `K // 2`.
        frequencies: Of rows and columns, cycles per pixel, float64 of shape (K,).
        clean_error: Without noise, a fraction.
        num_images: How many images each error is of.
        norm: l2 norm of the noise in each channel, for intensities from 0 to 1.
        seed: Of the noise's signs.
    """

    error: np.ndarray
    frequencies: np.ndarray
    clean_error: float
    num_images: int
    norm: float
    seed: int


def fourier_heatmap(
    model: Callable[[Tensor], Tensor],
    images: np.ndarray,
    labels: np.ndarray,
    mean: Sequence[float],
    std: Sequence[float],
    *,
    norm: float = 4.0,
    frequencies: int | None = None,
    indices: Sequence[int] | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    device: torch.device | str = "cpu",
    precision: str = "fp32",
    progress: bool = True,
) -> FourierHeatmap:
    """Measure a classifier's error when `r * norm * U` is added to every channel of every image, for each frequency.

    U is the real Fourier basis image of that frequency, `fourier_basis`; r is 1 or -1 at random and depends on seed,
    frequency, channel and the image's index alone. Nothing is clipped. U of a frequency and of its opposite are the
    same, so half of the frequencies are measured.

    Args:
        model: Any callable from normalised float32 images (N, 3, S, S) to logits (N, classes), on `device`; a module
            has to be in eval mode.
        images: uint8 of shape (N, S, S, 3).
        labels: int64 of shape (N,).
        mean, std: The model's normalisation, per channel, for intensities from 0 to 1.
        norm: l2 norm of the noise in each channel, for intensities from 0 to 1. Yin et al. use 4 on CIFAR-10 and 15.7
            on ImageNet.
        frequencies: Side K of the square of lowest frequencies to measure, by default S, all; Yin et al. use 63 of
            224 on ImageNet.
        indices: Of the images in their data set, by default 0 to N - 1.
        batch_size: Images a forward pass; by default 64 on a CPU, whose caches hold no more, else 512.

    Raises:
        InputError: A norm, number of frequencies or model that does not suit; logits that are not finite.
    """
    count, size = images.shape[:2]
    side = size if frequencies is None else frequencies
    if images.shape[1:] != (size, size, 3) or len(labels) != count or not count:
        raise InputError(f"needs square RGB images with a label each, not {images.shape} and {len(labels)} labels")
    if not 1 <= side <= size:
        raise InputError(f"cannot measure {side} frequencies a side; images of {size} px have 1 to {size}")
    if not (np.isfinite(norm) and norm > 0):
        raise InputError(f"the norm of the noise is {norm}; use a number above 0")
    if getattr(model, "training", False):
        raise InputError("the model is in training mode; call its eval() first")
    offsets = np.arange(side) - side // 2
    keys, places = np.unique(_key(offsets[:, None], offsets, size), return_inverse=True)
    strength = norm / torch.tensor(list(std), dtype=torch.float32, device=device).view(3, 1, 1)
    wrong = torch.zeros(1 + len(keys), dtype=torch.int64, device=device)
    batch = batch_size or default_batch(device)
    parts = np.array_split(np.arange(count), -(-count // batch))  # none much smaller than the others
    steps = progress_bar(count * len(wrong), "heat map", "img", show=progress)
    with steps, torch.inference_mode(), autocast(precision, device):
        for part in parts:
            clean = normalise(images[part], mean, std, device)
            target = torch.from_numpy(labels[part]).to(device)
            signs = _signs(seed, part if indices is None else np.asarray(indices)[part], size)[:, keys]
            noise = strength * torch.from_numpy(signs).to(device)[..., None, None]  # (images, keys, channels, 1, 1)
            for number in range(len(wrong)):
                inputs = clean
                if number:  # made anew for each batch: all of 224 px together would fill the memory
                    basis = fourier_basis(size, *divmod(int(keys[number - 1]), size))
                    inputs = torch.addcmul(clean, noise[:, number - 1], torch.from_numpy(basis).to(device))
                logits = model(inputs)
                if not number:
                    _check(logits, target)
                wrong[number] += (logits.argmax(dim=1) != target).sum()
                steps.update(len(part))
    errors = wrong.cpu().numpy() / count
    error = errors[1:][places.reshape(side, side)]
    return FourierHeatmap(error, offsets / size, float(errors[0]), count, float(norm), seed)


def fourier_basis(size: int, vertical: int, horizontal: int) -> np.ndarray:
    """The real image of unit l2 norm whose Fourier transform is zero but at one frequency and its opposite.

    It is `(cos t - sin t) / size` with `t = 2 pi (vertical y + horizontal x) / size`, as in the code of Yin et al.; for
    all frequencies together these are an orthonormal basis.

    Args:
        vertical, horizontal: The frequency, cycles per image.

    Returns:
        float32 of shape (size, size).
    """
    place = np.arange(size)
    # In whole numbers of periods' parts, for large angles lose digits.
    angle = 2 * np.pi / size * ((vertical * place[:, None] + horizontal * place) % size)
    return ((np.cos(angle) - np.sin(angle)) / size).astype(np.float32)


def _key(vertical: np.ndarray, horizontal: np.ndarray, size: int) -> np.ndarray:
    """A number that a frequency has in common with its opposite and with no other: the smaller of their positions."""
    one, other = ((sign * vertical % size) * size + sign * horizontal % size for sign in (1, -1))
    return np.minimum(one, other)


def _signs(seed: int, indices: np.ndarray, size: int) -> np.ndarray:
    """Random signs per image, frequency (all of them, so that a selection has its own) and channel, float32."""
    drawn = [np.random.default_rng((seed, int(index))).integers(0, 2, (size * size, 3), np.int8) for index in indices]
    return 2 * np.stack(drawn).astype(np.float32) - 1


def _check(logits: Tensor, target: Tensor) -> None:
    outputs, highest = tuple(logits.shape[1:]), int(target.max())
    if len(outputs) != 1 or outputs[0] <= highest:
        raise InputError(
            f"the model gives {' x '.join(map(str, outputs))} outputs per image, the labels reach {highest}; use a "
            f"model trained on these classes"
        )
    if not logits.isfinite().all():
        raise InputError("the model gives logits that are not finite; try --precision fp32, or mend the weights")
