"""Signal-to-noise ratio of push and push-pull responses under Gaussian noise (paper, Fig. 4)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from timm_pushpull.figures.canvas import GREY, MAGNITUDES, add_caption, decibels, line_style, minus, new_figure, tidy
from timm_pushpull.layers.push_pull_base import PushPullBase
from timm_pushpull.utils.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class SignalToNoise:
    """Responses of the filters of a layer to a noisy image, and their signal-to-noise ratios (SNR).

    Attributes:
        push_db, push_pull_db: SNR in dB, float64 of shape (filters,); inf where a filter does not respond to the noise,
            -inf where it does not respond to the signal, NaN where it responds to neither.
        push, push_pull: Rectified responses to the noisy image, float32 of shape (filters, h, w).
        noisy: The image with noise, float32 of shape (channels, H, W).
        signal: Mask of the signal on the response maps, bool of shape (h, w).
        alpha: Inhibition strengths, float32 of shape (filters,).
        sigma: Standard deviation of the noise per channel, float64 of shape (channels,).
        seed: Seed of the noise.
    """

    push_db: np.ndarray
    push_pull_db: np.ndarray
    push: np.ndarray
    push_pull: np.ndarray
    noisy: np.ndarray
    signal: np.ndarray
    alpha: np.ndarray
    sigma: np.ndarray
    seed: int


@torch.no_grad()
def signal_to_noise(
    layer: PushPullBase,
    image: np.ndarray,
    sigma: float | Sequence[float] | np.ndarray,
    signal: np.ndarray | None = None,
    seed: int = 0,
) -> SignalToNoise:
    """Compute `20 log10(A_s / A_n)` for every filter, for its push response alone and for its push-pull response.

    As in Fig. 4 of the paper, amplitudes are means of rectified responses: A_s over the signal in the noisy image, A_n
    where there is only noise. A_n is measured on the same noise without the image, so that images without an empty
    background can be used as well.

    Args:
        image: Input of the layer, normalised as in training so that 0 is the mean colour, float of shape (channels, H,
            W).
        sigma: Standard deviation of the noise in units of the image, one value or one per channel.
        signal: Mask of the signal, bool of shape (H, W); by default all pixels.

    Raises:
        InputError: The image does not fit the layer, sigma is not positive, or no response is centred on the signal.
    """
    sigma = np.broadcast_to(np.asarray(sigma, float), len(image))
    if len(image) != layer.in_channels or not (np.isfinite(sigma).all() and (sigma > 0).all()):
        raise InputError(
            f"needs an image of {layer.in_channels} channels and noise above 0, not {len(image)} channels and "
            f"{sigma.tolist()}"
        )
    push_pull = copy.deepcopy(layer).cpu().double()
    push = copy.deepcopy(push_pull)
    push.alpha.zero_()
    noise = sigma[:, None, None] * np.random.default_rng(seed).standard_normal(image.shape)
    inputs = torch.from_numpy(np.stack([image + noise, noise]))
    mask = np.ones(image.shape[1:], bool) if signal is None else signal
    mask = _at_centres(push, torch.from_numpy(mask.astype(float))).numpy() > 0.5
    if not mask.any():
        raise InputError("no response of the layer is centred on the signal; use a wider signal")
    (push_db, push_map), (push_pull_db, push_pull_map) = (_responses(unit, inputs, mask) for unit in (push, push_pull))
    noisy = inputs[0].numpy().astype(np.float32)
    alpha = push_pull.alpha.float().numpy()
    return SignalToNoise(push_db, push_pull_db, push_map, push_pull_map, noisy, mask, alpha, sigma, seed)


def _responses(unit: PushPullBase, inputs: Tensor, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """SNR of every filter in dB, and the rectified responses to the noisy image.

    Args:
        inputs: The noisy image and the noise alone, (2, channels, H, W).
        mask: Of the signal on the responses, (h, w).
    """
    noisy, noise_only = unit(inputs).relu().numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = 20 * np.log10(noisy[:, mask].mean(axis=1) / noise_only.mean(axis=(1, 2)))
    return ratio, noisy.astype(np.float32)


@torch.no_grad()
def vertical_bar(layer: PushPullBase, size: int = 128, width: int = 5) -> np.ndarray:
    """The simulated signal of the paper, a vertical edge of `width` px, bool of shape (size, size).

    It is in the middle, centred on a column of the responses of the layer. The paper only says that the edge is 5
    pixels wide.
    """
    columns = _at_centres(layer, torch.arange(size).repeat(size, 1).double())[0]
    middle = int(columns[len(columns) // 2])
    bar = np.zeros((size, size), bool)
    bar[:, middle - width // 2 : middle - width // 2 + width] = True
    return bar


def _at_centres(layer: PushPullBase, values: Tensor) -> Tensor:
    """Sample a map (H, W) at the centres of the receptive fields of the layer, (h, w)."""
    rows, columns = layer.kernel_size
    centre = torch.zeros(1, 1, rows, columns, dtype=values.dtype)
    centre[..., rows // 2, columns // 2] = 1
    pad = getattr(layer, "pad", lambda given: given)
    return F.conv2d(pad(values[None, None]), centre, None, layer.stride, layer.padding, layer.dilation)[0, 0]


def plot_signal_to_noise(
    ratios: SignalToNoise, noisy_image: np.ndarray, model: str, *, described: str, shown: int | None = None
) -> Figure:
    """Plot the noisy image, the push and push-pull response of one filter, and the SNR of all filters.

    Args:
        noisy_image: The noisy image to display, (H, W) or (H, W, 3), from 0 to 1.
        model: Name of the network in the caption.
        described: Signal and noise, in words.
        shown: Index of the filter whose responses are shown. By default the filter with the largest gain among those
            with alpha > 0 and a push SNR at or above the median of the responding filters.

    Raises:
        InputError: matplotlib is not installed, or the filter does not exist.
    """
    push, alpha = ratios.push_db, ratios.alpha
    responds = push > 0  # False for NaN
    change = np.where(np.isnan(ratios.push_pull_db), -np.inf, ratios.push_pull_db) - np.where(responds, push, 0)
    reason = ""
    if shown is None:
        strong = responds & (push >= np.median(push[responds] if responds.any() else push))
        shown = int(np.lexsort((change, (alpha > 0) & np.isfinite(change), strong))[-1])
        if strong[shown] and alpha[shown] > 0:
            reason = " (largest gain among filters with α > 0 and an SNR above the median)"
    if not 0 <= shown < len(push):
        raise InputError(f"there is no filter {shown}; use 0 to {len(push) - 1}")
    figure = new_figure(10.2, 2.75, "constrained")
    first, second, third, plane = figure.subplots(1, 4, width_ratios=(1, 1, 1, 1.02))
    first.imshow(np.clip(noisy_image, 0, 1), "gray", vmin=0, vmax=1)
    first.set_title("noisy input", size=9)
    maps = ratios.push[shown], ratios.push_pull[shown]
    highest = max(float(np.max(maps)), 1e-12)
    for panel, response, name, ratio in zip(
        (second, third), maps, ("push", "push-pull"), (push[shown], ratios.push_pull_db[shown]), strict=True
    ):
        image = panel.imshow(response, MAGNITUDES, vmin=0, vmax=highest)
        panel.set_title(f"{name}: {'no response' if np.isnan(ratio) else decibels(ratio)}", size=9)
        panel.set_xlabel("response column", size=8)
    first.set_xlabel("column (px)", size=8)
    first.set_ylabel("row (px)", size=8)
    for panel in (first, second, third):
        panel.tick_params(labelsize=7, length=2)
        panel.locator_params(nbins=5)
    bar = figure.colorbar(image, ax=third, shrink=0.78)
    bar.set_label(f"response of filter {shown} (α = {minus(f'{alpha[shown]:.2f}')})", size=8)
    bar.ax.tick_params(labelsize=7)
    _plot_all_filters(plane, ratios, shown)
    counts = [f"Of {len(push)} filters {responds.sum()} respond to the signal (push SNR above 0 dB)"]
    for kind, chosen in (("α > 0", responds & (alpha > 0)), ("α < 0", responds & (alpha < 0))):
        if chosen.any():
            median = decibels(float(np.median(change[chosen])), sign=True)
            counts.append(
                f"of those with {kind} push-pull has the higher SNR in {(change[chosen] > 0).sum()} of {chosen.sum()} "
                f"(median change {median})"
            )
    add_caption(
        figure,
        f"Push and push-pull responses of {model} to {described}, seed {ratios.seed}. Signal-to-noise ratio SNR = "
        f"20 log₁₀(Aₛ/Aₙ): Aₛ is the mean rectified response on the signal, Aₙ that to noise alone. "
        f"{'; '.join(counts)}. Middle: filter {shown}{reason}. Right: one point per filter, hollow where α < 0; "
        f"filters above the dashed line gain; triangles are outside the axes.",
    )
    return figure


def _plot_all_filters(axes: Axes, ratios: SignalToNoise, shown: int) -> None:
    both = np.stack([ratios.push_db, ratios.push_pull_db])
    finite = both[np.isfinite(both)]
    low, high = max(finite.min(initial=0.0), -20.0), finite.max(initial=5.0)
    clipped = np.clip(both, low, high)
    colour = line_style(1)["color"]
    for x, y, push, push_pull, alpha in zip(*clipped, *both, ratios.alpha, strict=True):
        marker = (
            "v" if push_pull < low else "^" if push_pull > high else "<" if push < low else ">" if push > high else "o"
        )
        axes.plot(x, y, marker, ms=4, mec=colour, mfc="none" if alpha < 0 else colour, mew=0.8, clip_on=False)
    axes.plot(*clipped[:, shown], "o", ms=10, mfc="none", mec=line_style(2)["color"], mew=1.4, clip_on=False)
    limits = (low - 0.06 * (high - low), high + 0.06 * (high - low))
    axes.plot(limits, limits, color=GREY, lw=1, ls="--", zorder=1)
    axes.set(xlim=limits, ylim=limits, box_aspect=1)
    axes.set_title(f"all filters (ring: {shown})", size=9)
    axes.set_xlabel("SNR of push (dB)", size=8)
    axes.set_ylabel("SNR of push-pull (dB)", size=8)
    axes.tick_params(labelsize=7)
    tidy(axes)
