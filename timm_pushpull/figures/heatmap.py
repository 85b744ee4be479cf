"""The Fourier heat map: the error of a classifier by the spatial frequency of additive noise.

Yin, Lopes, Shlens, Cubuk, Gilmer: A Fourier Perspective on Model Robustness in Computer Vision, NeurIPS 2019.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from timm_pushpull.benchmark.inference import choose_batch_size
from timm_pushpull.data.preprocessing import normalise
from timm_pushpull.figures.canvas import MAGNITUDES, SIGNED, add_caption, minus, new_figure
from timm_pushpull.metrics import confidence_interval
from timm_pushpull.utils.errors import InputError
from timm_pushpull.utils.hardware import autocast
from timm_pushpull.utils.progress import progress_bar

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Bands of frequency, cycles per pixel, that captions tell apart.
_BANDS = {"below 0.125": (0.0, 0.125), "from 0.125 to 0.25": (0.125, 0.25), "above 0.25": (0.25, 1.0)}


@dataclass(frozen=True)
class FourierHeatmap:
    """Error of a classifier under noise of one frequency, for many frequencies.

    Attributes:
        error: Top-1 error as a fraction, float64 of shape (K, K), point-symmetric; rows are vertical frequencies,
            frequency 0 is at `K // 2`.
        frequencies: Frequencies of rows and columns in cycles per pixel, float64 of shape (K,).
        clean_error: Top-1 error without noise.
        num_images: Number of images.
        norm: l2 norm of the noise in each channel, for intensities from 0 to 1.
        seed: Seed of the random signs.
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
    indices: Sequence[int] | np.ndarray | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    device: torch.device | str = "cpu",
    precision: str = "fp32",
    progress: bool = True,
) -> FourierHeatmap:
    """Measure the error of a classifier when `r * norm * U` is added to every channel of every image.

    This is done for each frequency; U is its real Fourier basis image (`fourier_basis`). The random sign r, 1 or -1,
    depends only on seed, frequency, channel and index of the image. Pixels are not clipped. U of the opposite
    frequency is its mirror image; one of the two is measured and stands for both.

    Args:
        model: A callable from normalised float32 images (N, 3, S, S) to logits (N, classes), on `device`. A module
            must be in eval mode.
        images: uint8 of shape (N, S, S, 3).
        labels: int64 of shape (N,).
        mean, std: Normalisation of the model per channel, for intensities from 0 to 1.
        norm: l2 norm of the noise in each channel, for intensities from 0 to 1. Yin et al. use 4 on CIFAR-10 and 15.7
            on ImageNet.
        frequencies: Measure the K x K lowest frequencies, by default all S x S. Yin et al. use 63 of 224 on ImageNet.
        indices: Indices of the images in their dataset, by default 0 to N - 1.
        seed: Seed of the random signs.
        batch_size: Images per forward pass; by default 64 on a CPU, else 512.

    Raises:
        InputError: The norm, the number of frequencies, the images or the model are not valid, or logits are not
            finite.
    """
    count, size = images.shape[:2]
    side = size if frequencies is None else frequencies
    if images.shape[1:] != (size, size, 3) or len(labels) != count or not count:
        raise InputError(f"needs square RGB images with a label each, not {images.shape} and {len(labels)} labels")
    if not 1 <= side <= size:
        raise InputError(f"cannot measure {side} frequencies per side; images of {size} px have 1 to {size}")
    if not (np.isfinite(norm) and norm > 0):
        raise InputError(f"the norm of the noise is {norm}; use a number above 0")
    if getattr(model, "training", False):
        raise InputError("the model is in training mode; call its eval() first")
    offsets = np.arange(side) - side // 2
    keys, positions = np.unique(_key(offsets[:, None], offsets, size), return_inverse=True)
    strength = norm / torch.tensor(list(std), dtype=torch.float32, device=device).view(3, 1, 1)
    wrong = torch.zeros(1 + len(keys), dtype=torch.int64, device=device)
    batch = choose_batch_size(batch_size, device)
    parts = np.array_split(np.arange(count), -(-count // batch))  # of nearly equal size
    steps = progress_bar(count * len(wrong), "heat map", "img", show=progress)
    with steps, torch.inference_mode(), autocast(precision, device):
        for part in parts:
            clean = normalise(images[part], mean, std, device)
            target = torch.from_numpy(labels[part]).to(device)
            signs = _signs(seed, part if indices is None else np.asarray(indices)[part], size)[:, keys]
            noise = strength * torch.from_numpy(signs).to(device)[..., None, None]  # (images, keys, channels, 1, 1)
            for number in range(len(wrong)):
                inputs = clean
                if number:  # computed per batch: all basis images of 224 px together would fill the memory
                    basis = fourier_basis(size, *divmod(int(keys[number - 1]), size))
                    inputs = torch.addcmul(clean, noise[:, number - 1], torch.from_numpy(basis).to(device))
                logits = model(inputs)
                if not number:
                    _check(logits, target)
                wrong[number] += (logits.argmax(dim=1) != target).sum()
                steps.update(len(part))
    errors = wrong.cpu().numpy() / count
    error = errors[1:][positions.reshape(side, side)]
    return FourierHeatmap(error, offsets / size, float(errors[0]), count, float(norm), seed)


def fourier_basis(size: int, vertical: int, horizontal: int) -> np.ndarray:
    """The real image of unit l2 norm whose Fourier transform is zero except at one frequency and its opposite.

    It is `(cos t - sin t) / size` with `t = 2 pi (vertical y + horizontal x) / size`, as in the code of Yin et al.
    The images of all frequencies form an orthonormal basis.

    Args:
        vertical, horizontal: Frequency in cycles per image.

    Returns:
        float32 of shape (size, size).
    """
    position = np.arange(size)
    # The integer modulo keeps the angles small, because large ones lose digits.
    angle = 2 * np.pi / size * ((vertical * position[:, None] + horizontal * position) % size)
    return ((np.cos(angle) - np.sin(angle)) / size).astype(np.float32)


def _key(vertical: np.ndarray, horizontal: np.ndarray, size: int) -> np.ndarray:
    """An integer that identifies a frequency and its opposite: the smaller of their flat positions."""
    one, other = ((sign * vertical % size) * size + sign * horizontal % size for sign in (1, -1))
    return np.minimum(one, other)


def _signs(seed: int, indices: np.ndarray, size: int) -> np.ndarray:
    """Random signs, float32 of shape (images, size * size, 3): all frequencies, so that a subset has the same ones."""
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
        raise InputError("the model gives logits that are not finite; try --precision fp32, or check the weights")


def plot_fourier_heatmap(
    measured: FourierHeatmap,
    model: str,
    images: str,
    baseline: FourierHeatmap | None = None,
    baseline_model: str = "baseline",
) -> Figure:
    """Plot the heat map of a network; with a baseline, also its map on the same scale and the difference.

    Args:
        model, baseline_model: Names of the networks in titles and caption.
        images: The images, in words.
        baseline: A heat map measured on the same images with the same noise.

    Raises:
        InputError: matplotlib is not installed, or the maps differ in frequencies, noise or number of images.
    """
    maps = [(model, measured)]
    if baseline is not None:
        maps.append((baseline_model, baseline))
        _check_alike(measured, baseline)
    figure = new_figure(*((5.6, 4.2) if baseline is None else (9.6, 3.3)), "constrained")
    panels = figure.subplots(1, 1 if baseline is None else 3, squeeze=False)[0]
    errors = [100 * one.error for _, one in maps]
    low, high = min(map(np.min, errors)), max(map(np.max, errors))
    half = 0.5 * (measured.frequencies[1] - measured.frequencies[0]) if len(measured.frequencies) > 1 else 0.5
    start, end = measured.frequencies[0] - half, measured.frequencies[-1] + half
    extent = (start, end, end, start)
    for panel, (name, one), error in zip(panels, maps, errors, strict=False):
        image = panel.imshow(error, MAGNITUDES, vmin=low, vmax=high, extent=extent)
        panel.set_title(f"{name}\nclean error {100 * one.clean_error:.1f} %", size=8.5)
    bar = figure.colorbar(image, ax=panels[: len(maps)], shrink=0.9)
    bar.set_label("top-1 error (%)", size=9)
    bars = [bar]
    if baseline is not None:
        difference = errors[0] - errors[1]
        reach = max(float(np.abs(difference).max()), 0.1)
        image = panels[2].imshow(difference, SIGNED, vmin=-reach, vmax=reach, extent=extent)
        panels[2].set_title("difference\nblue: fewer errors of the first model", size=8.5)
        bars.append(figure.colorbar(image, ax=panels[2], shrink=0.9))
        bars[1].set_label("difference (percentage points)", size=9)
    for panel in panels:
        panel.tick_params(labelsize=8, labelleft=panel is panels[0])
        panel.set_xlabel("horizontal frequency (cycles/px)", size=9)
        panel.locator_params(nbins=5)
    for drawn in bars:
        drawn.ax.tick_params(labelsize=8)
    panels[0].set_ylabel("vertical frequency (cycles/px)", size=9)
    add_caption(figure, _caption(maps, images))
    return figure


def _check_alike(one: FourierHeatmap, other: FourierHeatmap) -> None:
    for name in ("norm", "seed", "num_images"):
        if getattr(one, name) != getattr(other, name):
            raise InputError(
                f"the heat maps have {name} {getattr(one, name)} and {getattr(other, name)}; use the same for both"
            )
    if not np.array_equal(one.frequencies, other.frequencies):
        raise InputError("the heat maps have different frequencies; use the same for both")


def _caption(maps: list[tuple[str, FourierHeatmap]], images: str) -> str:
    _, first = maps[0]
    radius = np.hypot(first.frequencies[:, None], first.frequencies)
    bands = {name: (radius >= low) & (radius < high) for name, (low, high) in _BANDS.items()}
    bands = {name: chosen for name, chosen in bands.items() if chosen.any()}
    means = [
        f"{name} {', '.join(f'{100 * one.error[chosen].mean():.1f} % {band}' for band, chosen in bands.items())}"
        for name, one in maps
    ]
    low, high = confidence_interval(0.5, first.num_images)
    text = (
        f"Fourier heat map (Yin et al. 2019): error when noise of one frequency and l₂ norm {first.norm:g} per channel "
        f"(intensities 0 to 1; random signs, seed {first.seed}) is added to {images}. Each cell is a frequency: a "
        f"uniform shift in the centre, finer patterns further out. Mean error by frequency in cycles/px: "
        f"{'; '.join(means)}. The 95 % interval of a cell is at most ± {50 * (high - low):.1f} points."
    )
    if len(maps) == 2:
        difference = first.error - maps[1][1].error
        text += minus(
            f" The first model has fewer errors at {100 * (difference < 0).mean():.0f} % of the frequencies and more "
            f"at {100 * (difference > 0).mean():.0f} %; the mean difference is {100 * difference.mean():+.1f} points."
        )
    return text
