"""The three primitives of PRIME (Modas et al., ECCV 2022): max-entropy changes of space, colour and spectrum.

Each takes images in [0, 1], uniform numbers that set its strength, and standard normal noise that shapes the change.
Strengths are those of the published configurations with `stochastic` on: drawn for every image.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from timm_pushpull.utils.hardware import upload

#: The shortest side in px: below it, the range of temperatures of the diffeomorphism is empty (see `diffeo_strength`).
SHORTEST_SIDE = 4
# Points of a colour curve per half period of its highest frequency: the error of linear interpolation between them is
# less than (pi / 64)^2 / 8 = 3e-4 of the amplitude, a tenth of a grey level.
_POINTS = 64


# --- diffeomorphism ---------------------------------------------------------------------------------------------------


def diffeo_strength(uniform: Tensor, side: int, cut_max: int) -> tuple[Tensor, Tensor]:
    """Cut-off frequency and temperature of the displacement fields (published code, sT = rT = scut = rcut = alpha = 1).

    The largest cut-off is uniform in 3..cut_max; cut-off and temperature are Beta(1/2, 1/2) between their bounds. The
    bounds of the temperature (Petrini et al., NeurIPS 2021) correspond to a displacement of half a pixel in the middle
    of the image, and to the largest displacement field that is still one-to-one; if the upper bound is smaller than the
    lower one, the temperature is the lower bound.

    Args:
        uniform: float64 in [0, 1), of shape (N, 3).
        side: Side of the image in px.

    Returns:
        Cut-off, int64 of shape (N,), in 2..cut_max; temperature, float64 of shape (N,).
    """
    largest = _integer(uniform[:, 0], 3, cut_max)
    arcsine = (math.pi / 2 * uniform[:, 1:]).sin().square()  # Beta(1/2, 1/2)
    cut = (2 + arcsine[:, 0] * (largest - 1)).long().minimum(largest)
    logarithm = (cut + 1e-6).log()
    lower = 1 / (math.pi * side**2 * logarithm)
    upper = (4 / (math.pi**3 * cut**2 * logarithm)).maximum(lower)
    return cut, lower + arcsine[:, 1] * (upper - lower)


def modes(side: int, cut: int) -> int:
    """Number of distinct sine modes per axis on `side` points: modes above side - 2 are aliases of lower ones."""
    return min(cut, side - 2)


def diffeomorphism(images: Tensor, cut: Sequence[int], temperature: Tensor, noise: Sequence[Tensor]) -> Tensor:
    """Displace every pixel by a smooth random field, with bilinear interpolation; the borders stay in place.

    Both components of the field are side * sqrt(T) * sum_ij c_ij sin(pi i x) sin(pi j y), where c_ij is normal with
    standard deviation 1 / sqrt(i^2 + j^2) and i^2 + j^2 < (cut + 1/2)^2.

    Args:
        images: float32 of shape (N, C, side, side).
        cut, temperature: From `diffeo_strength`, for each image.
        noise: For each image, float32 of shape (2, m, m) with m = modes(side, cut).
    """
    number, side = len(images), images.shape[-1]
    most = max(len(one[0]) for one in noise)
    spectrum = images.new_zeros(number, 2, most, most)
    for image, (one, its_cut) in enumerate(zip(noise, cut, strict=True)):
        m = one.shape[-1]
        torch.mul(one, _deviations(side, its_cut, images.device), out=spectrum[image, :, :m, :m])
    sines = _sines(side, images.device)[:, :most]
    # In the units of grid_sample the image is 2 wide, from the centre of its first pixel to that of its last.
    scale = upload((2 * side / (side - 1) * temperature.sqrt()).to(images.dtype), images.device)
    field = sines @ (spectrum * scale[:, None, None, None]) @ sines.T
    grid = torch.sub(_raster(side, images.device), field, out=field).permute(0, 2, 3, 1)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=True)


@functools.lru_cache(maxsize=8)
def _raster(side: int, device: torch.device) -> Tensor:
    """x and y of every pixel in the units of grid_sample, float32 of shape (2, side, side)."""
    line = torch.linspace(-1, 1, side, device=device)
    return torch.stack(torch.meshgrid(line, line, indexing="xy"))


@functools.lru_cache(maxsize=8)
def _sines(side: int, device: torch.device) -> Tensor:
    """sin(pi k x) of every mode k = 1 .. side - 2 at every point, float32 of shape (side, side - 2)."""
    x, k = torch.linspace(0, 1, side, dtype=torch.float64), torch.arange(1, side - 1)
    return upload(torch.sin(math.pi * x[:, None] * k).float(), device)


@functools.lru_cache(maxsize=512)
def _deviations(side: int, cut: int, device: torch.device) -> Tensor:
    """Standard deviation of the coefficient of every mode, float32 of shape (m, m).

    On `side` points sin(pi (2 (side - 1) - k) x) equals -sin(pi k x). The variance of a mode above side - 2 is
    therefore added to that of a lower one, which gives the same distribution from fewer numbers (222^2 instead of 500^2
    at 224 px).
    """
    k, period = torch.arange(1, cut + 1), side - 1
    energy = (k[:, None].square() + k.square()).float()  # integers far below 2^24, so exact
    variance = (energy < (cut + 0.5) ** 2) / energy
    folded = ((k + period) % (2 * period) - period).abs()
    variance = variance.new_zeros(side, cut).index_add_(0, folded, variance)
    variance = variance.new_zeros(side, side).index_add_(1, folded, variance)  # modes 0 and side - 1 are 0 everywhere
    m = modes(side, cut)
    return upload(variance[1 : m + 1, 1 : m + 1].sqrt(), device)


# --- smooth colour ----------------------------------------------------------------------------------------------------


def colour_strength(uniform: Tensor, cut_max: int, temperature_max: float, band: int | None) -> tuple[Tensor, ...]:
    """Frequencies and temperature of the colour curves (published code).

    The cut-off is uniform in 1..cut_max, the temperature in [0, temperature_max). With a band, only `band` frequencies
    are used, from a lowest one that is uniform in 1..cut-off; without, all frequencies up to the cut-off.

    Args:
        uniform: float64 in [0, 1), of shape (N, 3).

    Returns:
        Lowest frequency and number of frequencies, int64 of shape (N,); temperature, float64 of shape (N,).
    """
    cut = _integer(uniform[:, 0], 1, cut_max)
    if band is None:
        return torch.ones_like(cut), cut, temperature_max * uniform[:, 1]
    first = _integer(uniform[:, 2], 1, cut)
    return first, (cut + 1 - first).clamp(max=band), temperature_max * uniform[:, 1]


def smooth_colour(images: Tensor, first: Tensor, coefficients: Tensor, cut_max: int) -> Tensor:
    """Map the values of every channel by a smooth random curve, x + sum_j c_j sin(pi (first + j) x), clipped to [0, 1].

    Args:
        images: float32 of shape (N, C, H, W).
        first: Lowest frequency, int64 of shape (N,).
        coefficients: float32 of shape (N, C, frequencies).
        cut_max: The highest possible frequency; it sets the resolution of the lookup table.
    """
    points = _POINTS * cut_max
    basis, identity = _curve_basis(points, coefficients.shape[-1], images.device)
    # sin((first + j) x) = sin(first x) cos(j x) + cos(first x) sin(j x): one matrix product for all images.
    with_cosine, with_sine = (coefficients @ basis).chunk(2, dim=-1)
    angle = upload((math.pi * first).to(images.dtype), images.device)[:, None, None] * identity
    curve = torch.addcmul(identity, angle.sin(), with_cosine).addcmul_(angle.cos_(), with_sine)
    # Start value and slope of each piece are adjacent, 8 bytes in all, so that each pixel needs one lookup.
    pieces = images.new_empty(*curve.shape[:2], points, 2)
    pieces[..., 0] = curve[..., :-1]
    torch.sub(curve[..., 1:], curve[..., :-1], out=pieces[..., 1])
    place = images.flatten(2) * points
    piece = place.floor().clamp_(0, points - 1)
    place -= piece
    found = pieces.view(torch.int64)[..., 0].gather(2, piece.long())[..., None].view(torch.float32)
    return torch.addcmul(found[..., 0], found[..., 1], place).clamp_(0, 1).view(images.shape)


@functools.lru_cache(maxsize=4)
def _curve_basis(points: int, frequencies: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the frequencies 0, 1, ... at the points of a curve.

    Returns:
        Both side by side, float32 of shape (frequencies, 2 (points + 1)); the points, float32 of shape (points + 1,).
    """
    x = torch.linspace(0, 1, points + 1, dtype=torch.float64)
    angle = math.pi * torch.arange(frequencies)[:, None] * x
    return upload(torch.cat((angle.cos(), angle.sin()), dim=1).float(), device), upload(x.float(), device)


# --- random filter ----------------------------------------------------------------------------------------------------


def random_filter(images: Tensor, kernels: Tensor) -> Tensor:
    """Convolve all channels of an image with its kernel, zero-padded, and clip to [0, 1].

    Args:
        images: float32 of shape (N, C, H, W).
        kernels: float32 of shape (N, 3, 3).
    """
    height, width = images.shape[2:]
    padded = F.pad(images, (1, 1, 1, 1))
    output = images * kernels[:, 1, 1, None, None, None]
    # A sum of shifted images is several times as fast on CPUs as a depthwise convolution.
    for place in (0, 1, 2, 3, 5, 6, 7, 8):
        row, column = divmod(place, 3)
        weight = kernels[:, row, column, None, None, None]
        output.addcmul_(padded[:, :, row : row + height, column : column + width], weight)
    return output.clamp_(0, 1)


def _integer(uniform: Tensor, lowest: int, highest: int | Tensor) -> Tensor:
    """Uniform integers from `lowest` to `highest`, both included, from uniform numbers in [0, 1)."""
    return (lowest + uniform * (highest + 1 - lowest)).long()
