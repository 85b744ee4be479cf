"""PRIME against its published definition: each distribution by its moments, each image change by a slow formula.

A z-score is the deviation of a sample mean from its expectation in standard errors; all draws are seeded.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor

from timm_pushpull import InputError
from timm_pushpull.data.augment import PRIME_PRESETS, prime, primitives
from timm_pushpull.data.augment.prime import DEPTH, WIDTH, _augment, choose

module = sys.modules[prime.__module__]  # whose name in the package is the function's
LIMIT = 4.5  # of |z|: one in 150,000


def z_score(sample: Tensor, expected: float) -> float:
    sample = sample.double().flatten()
    error = sample.std() / len(sample) ** 0.5
    return float((sample.mean() - expected) / error.clamp(min=1e-12))


def uniform(count: int, *shape: int) -> Tensor:
    return torch.rand(count, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


# --- the mixture ------------------------------------------------------------------------------------------------------


def test_chains_and_weights_are_drawn_as_published():
    choices = choose([torch.Generator().manual_seed(key) for key in range(4000)])
    for depth in (1, 2, 3):
        assert abs(z_score(choices.depth == depth, 1 / 3)) < LIMIT
        assert abs(z_score(choices.primitive == depth - 1, 1 / 3)) < LIMIT
    assert set(choices.depth.unique().tolist()) == {1, 2, 3}
    # Dirichlet(1, 1, 1): mean 1/3, mean square 2 / (3 * 4), mean product 1 / (3 * 4). Beta(1, 1) is uniform.
    weights, mix = choices.weights, choices.mix
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(len(weights)))
    for chain in range(WIDTH):
        assert abs(z_score(weights[:, chain], 1 / 3)) < LIMIT
        assert abs(z_score(weights[:, chain] ** 2, 1 / 6)) < LIMIT
        assert abs(z_score(weights[:, chain] * weights[:, chain - 1], 1 / 12)) < LIMIT
    for power in (1, 2, 4):
        assert abs(z_score(mix**power, 1 / (power + 1))) < LIMIT
    assert abs(z_score((mix - 0.5) * (weights[:, 0] - 1 / 3), 0)) < LIMIT
    assert stats.kstest(choices.strength.flatten().numpy(), "uniform").pvalue > 1e-5


def test_an_image_is_mixed_with_its_chains(monkeypatch):
    """With primitives that only dim, the mixture can be written down."""
    factors = (0.9, 0.5, 0.2)
    monkeypatch.setattr(module, "_PRIMITIVES", [lambda x, *_, f=factor: x * f for factor in factors])
    images, keys = torch.rand(20, 3, 8, 8), torch.arange(20)
    choices = choose([torch.Generator().manual_seed(int(key)) for key in keys])
    for image, output in enumerate(prime(images, keys=keys)):
        gain = 0.0
        for chain in range(WIDTH):
            used = choices.primitive[image, chain, : choices.depth[image, chain]].tolist()
            gain += choices.weights[image, chain] * np.prod([factors[kind] for kind in used])
        mix = choices.mix[image]
        torch.testing.assert_close(output, images[image] * (1 - mix + mix * gain))


def test_an_image_s_result_depends_on_its_key_alone():
    images, keys = torch.rand(6, 3, 80, 80), torch.arange(6) * 977
    output = prime(images, keys=keys)
    near = {"rtol": 0, "atol": 5e-4}  # sums in another order; the steepest colour curves enlarge their rounding
    torch.testing.assert_close(prime(images.flip(0), keys=keys.flip(0)).flip(0), output, **near)
    torch.testing.assert_close(prime(images[3:4], keys=keys[3:4])[0], output[3], **near)
    assert torch.equal(prime(images, keys=keys), output)
    assert (prime(images, keys=keys + 1) - output).abs().mean() > 0.01
    whole = torch.empty_like(images)
    _augment(images, keys.tolist(), PRIME_PRESETS["imagenet"], whole)  # all at once, as on a GPU
    torch.testing.assert_close(whole, output, **near)


@pytest.mark.parametrize("preset", PRIME_PRESETS)
def test_a_generator_decides_all_and_nothing_else_is_touched(preset):
    images = torch.rand(8, 3, 32, 32, requires_grad=True)
    before, state = images.detach().clone(), torch.random.get_rng_state()
    threads = torch.get_num_threads()
    output = prime(images, torch.Generator().manual_seed(5), preset)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(prime(images, torch.Generator().manual_seed(5), preset), output)
    assert not torch.equal(prime(images, torch.Generator().manual_seed(6), preset), output)
    assert (output.dtype, output.shape, output.requires_grad) == (torch.float32, images.shape, False)
    assert 0 <= output.min() < output.max() <= 1
    assert torch.equal(images, before)
    assert prime(images[:0].detach()).shape == (0, 3, 32, 32)


def test_presets_are_the_published_configurations():
    imagenet, cifar = PRIME_PRESETS["imagenet"], PRIME_PRESETS["cifar"]
    assert (imagenet.diffeo_cut, imagenet.colour_cut, imagenet.colour_temperature, imagenet.colour_band) == (
        500,
        500,
        0.05,
        20,
    )
    assert (cifar.diffeo_cut, cifar.colour_cut, cifar.colour_temperature, cifar.colour_band) == (100, 100, 0.01, None)
    assert imagenet.filter_deviation == cifar.filter_deviation == 4
    assert (WIDTH, DEPTH) == (3, 3)


@pytest.mark.parametrize(
    ("shape", "preset", "message"),
    [
        ((2, 3, 8, 9), "imagenet", "PRIME is defined on square images of at least 4 px; these have 9x8"),
        ((2, 3, 3, 3), "imagenet", "these have 3x3"),
        ((2, 3, 8, 8), "cifar10", "unknown PRIME preset 'cifar10'; did you mean 'cifar'"),
    ],
)
def test_what_prime_is_not_defined_on_is_refused(shape, preset, message):
    with pytest.raises(InputError, match=message):
        prime(torch.rand(shape), preset=preset)


# --- diffeomorphism ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut_max", [100, 500])
def test_cut_offs_of_the_displacement_follow_their_distribution(cut_max):
    cut, _ = primitives.diffeo_strength(uniform(100_000, 3), 224, cut_max)
    # Beta(1/2, 1/2) over 2..largest, for every largest in 3..cut_max.
    edges = np.arange(2, cut_max + 2)
    largest = np.arange(3, cut_max + 1)[:, None]
    below = stats.beta(0.5, 0.5).cdf((edges - 2) / (largest - 1)).mean(axis=0)
    assert (int(cut.min()), int(cut.max()) <= cut_max) == (2, True)
    for bound in (3, 4, 10, cut_max // 4, cut_max // 2, cut_max - 10):
        assert abs(z_score(cut < bound, below[bound - 2])) < LIMIT, bound


def test_temperatures_lie_between_half_a_pixel_and_the_last_one_to_one_field():
    side = 224
    cut, temperature = primitives.diffeo_strength(uniform(100_000, 3), side, 500)
    logarithm = cut.double().log()
    half_a_pixel = 0.5  # side * sqrt(pi T log cut) / 2: the typical displacement (Petrini et al.)
    assert (side * (torch.pi * temperature * logarithm).sqrt() / 2).min() == pytest.approx(half_a_pixel, rel=1e-4)
    lower, upper = 1 / (torch.pi * side**2 * logarithm), 4 / (torch.pi**3 * cut**2 * logarithm)
    room = upper > 1.001 * lower
    torch.testing.assert_close(temperature[~room], lower[~room], rtol=2e-3, atol=0)
    part = ((temperature - lower) / (upper - lower))[room]
    assert room.sum() > 50_000
    for power, expected in ((1, 1 / 2), (2, 3 / 8), (4, 35 / 128)):  # moments of Beta(1/2, 1/2)
        assert abs(z_score(part**power, expected)) < LIMIT


@pytest.mark.parametrize(("side", "cut"), [(15, 3), (15, 8), (12, 10), (12, 11), (12, 40)])
def test_displacements_have_the_covariance_of_the_max_entropy_field(side, cut):
    """Measured on images that say where each pixel came from. Above 10, cut-offs are folded at 12 px."""
    count, temperature = 10_000, 1 / (np.pi * side**2 * np.log(cut))
    m = primitives.modes(side, cut)
    noise = torch.randn(count, 2, m, m, generator=torch.Generator().manual_seed(cut))
    line = torch.arange(side) / (side - 1)
    places = torch.stack(torch.meshgrid(line, line, indexing="xy")).expand(count, 2, side, side)
    # Scaled down, so that nothing is cut off at the border.
    moved = primitives.diffeomorphism(places, [cut] * count, torch.full((count,), temperature / 100), list(noise))
    field = 10 * (places - moved).double() * (side - 1)  # px
    k = np.arange(1, cut + 1)
    radius = np.hypot(k[:, None], k)
    variance = side**2 * temperature * np.where(radius < cut + 0.5, radius**-2.0, 0)
    at = np.sin(np.pi * k * np.arange(side)[:, None] / (side - 1))
    points = [(side // 2, side // 2), (side // 4, side // 3), (1, side // 2), (side - 3, 2)]
    for y, x in points:
        for v, u in points:
            expected = at[y] * at[v] @ variance @ (at[x] * at[u])
            for component in range(2):
                product = field[:, component, y, x] * field[:, component, v, u]
                assert abs(z_score(product, expected)) < LIMIT, (y, x, v, u)
        assert abs(z_score(field[:, 0, y, x] * field[:, 1, y, x], 0)) < LIMIT
    assert field[:, :, [0, -1]].abs().max() < 1e-3  # the border stays
    assert field[:, :, :, [0, -1]].abs().max() < 1e-3


def test_pixels_are_fetched_from_where_the_field_points_bilinearly():
    torch.manual_seed(0)
    side, cut, temperature = 9, 4, torch.tensor([2e-3])
    image, noise = torch.rand(1, 3, side, side), torch.randn(2, 4, 4)
    found = primitives.diffeomorphism(image, [cut], temperature, [noise])[0].numpy()
    k = np.arange(1, cut + 1)
    radius = np.hypot(k[:, None], k)
    coefficients = noise.numpy() * np.where(radius < cut + 0.5, 1 / radius, 0)
    at = np.sin(np.pi * k * np.arange(side)[:, None] / (side - 1))
    dx, dy = side * np.sqrt(2e-3) * np.einsum("cij,yi,xj->cyx", coefficients, at, at)
    y, x = np.mgrid[:side, :side]
    from_y, from_x = np.clip(y - dy, 0, side - 1), np.clip(x - dx, 0, side - 1)
    top, left = np.minimum(from_y.astype(int), side - 2), np.minimum(from_x.astype(int), side - 2)
    v, u, pixels = from_y - top, from_x - left, image[0].numpy()
    expected = (1 - v) * ((1 - u) * pixels[:, top, left] + u * pixels[:, top, left + 1])
    expected += v * ((1 - u) * pixels[:, top + 1, left] + u * pixels[:, top + 1, left + 1])
    assert np.abs(dx).max() > 0.5
    np.testing.assert_allclose(found, expected, atol=1e-5)


# --- smooth colour ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cut_max", "frequencies"), [(500, 20), (100, 100)])
def test_colours_change_along_the_sum_of_sines(cut_max, frequencies):
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(5, 3, 16, 16, generator=rng)
    images[0, 0, 0, :2] = torch.tensor([0.0, 1.0])
    first = torch.tensor([1, 2, 37, 250, cut_max - frequencies + 1]).clamp(max=cut_max - frequencies + 1)
    coefficients = torch.randn(5, 3, frequencies, generator=rng) * 0.2
    k = first[:, None] + torch.arange(frequencies)
    sines = torch.sin(torch.pi * k[:, None, :, None] * images.flatten(2)[:, :, None].double())
    expected = (images.flatten(2) + (coefficients[..., None] * sines).sum(dim=2)).clamp(0, 1).view(images.shape)
    found = primitives.smooth_colour(images, first, coefficients, cut_max)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1.5e-3)
    assert (found.double() - expected).abs().mean() < 1e-4
    assert 0.05 < ((found == 0) | (found == 1)).double().mean() < 0.9


@pytest.mark.parametrize("preset", PRIME_PRESETS)
def test_the_spectrum_of_the_colour_curves(preset):
    """Found from what happens to a ramp: the power of every frequency is E[T] times the chance of its being used."""
    count, settings = 20_000, PRIME_PRESETS[preset]
    cut_max, band = settings.colour_cut, settings.colour_band
    strength = uniform(count, 3)
    first, used, temperature = primitives.colour_strength(strength, cut_max, settings.colour_temperature, band)
    assert cut_max - 5 <= int((first + used - 1).max()) <= cut_max
    assert (int(first.min()), int(used.min()), int(used.max())) == (1, 1, band or cut_max)
    assert temperature.max() < settings.colour_temperature
    for power in (1, 2):
        assert abs(z_score((temperature / settings.colour_temperature) ** power, 1 / (power + 1))) < LIMIT
    # Small enough a temperature that nothing is clipped: the curves' shape does not depend on it.
    few, points = 400, 2 * cut_max
    cool = replace(settings, colour_temperature=1e-8)
    ramp = torch.linspace(0, 1, points + 1).view(1, 1, 1, -1).expand(few, 1, 1, -1).contiguous()
    rng = torch.Generator().manual_seed(1)
    noise = list(torch.randn(few, 1, band or cut_max, generator=rng))
    change = (module._colour(ramp, strength[:few], noise, cool) - ramp).double().flatten(1) / 1e-4
    k = torch.arange(1, cut_max + 1)
    sines = torch.sin(torch.pi * k[:, None].double() * torch.linspace(0, 1, points + 1, dtype=torch.float64))
    power = (2 / points * change @ sines.T).square()
    inside = (k >= first[:few, None]) & (k < (first + used)[:few, None])
    assert power[~inside].max() < 1e-3 * power[inside].mean()
    assert abs(z_score(power.sum(dim=1) / used[:few], 1 / 2)) < LIMIT
    # How often a frequency is used: the cut-off is uniform, and so is the lowest frequency below it.
    everywhere = (k >= first[:, None]) & (k < (first + used)[:, None])
    for frequency in (1, 2, 25, cut_max // 2, cut_max - 1):
        cuts = np.arange(frequency, cut_max + 1)
        lowest = max(1, frequency - band + 1) if band else None
        chance = ((frequency - lowest + 1) / cuts if band else np.ones(len(cuts))).sum() / cut_max
        assert abs(z_score(everywhere[:, frequency - 1], chance)) < LIMIT, frequency


# --- random filter ----------------------------------------------------------------------------------------------------


def test_images_are_filtered_each_with_its_kernel():
    images, kernels = torch.rand(4, 3, 9, 9), torch.randn(4, 3, 3) * 0.4
    weight = kernels[:, None].expand(-1, 3, -1, -1).reshape(12, 1, 3, 3)
    expected = F.conv2d(images.view(1, 12, 9, 9), weight, padding=1, groups=12).view(images.shape).clamp(0, 1)
    torch.testing.assert_close(primitives.random_filter(images, kernels), expected, rtol=1e-5, atol=1e-6)


def test_kernels_are_the_identity_and_noise_of_a_uniform_deviation(monkeypatch):
    kept = []
    monkeypatch.setattr(primitives, "random_filter", lambda images, kernels: kept.append(kernels) or images)
    count = 20_000
    noise = torch.randn(count, 3, 3, generator=torch.Generator().manual_seed(2))
    module._filter(torch.empty(count, 1, 1, 1), uniform(count, 3), list(noise), PRIME_PRESETS["imagenet"])
    identity = torch.zeros(3, 3)
    identity[1, 1] = 1
    rest = kept[0] - identity
    for entry in rest.flatten(1).T:
        assert abs(z_score(entry, 0)) < LIMIT
        assert abs(z_score(entry**2, 16 / 3)) < LIMIT  # the mean square of a deviation uniform in [0, 4]
    # One deviation for a whole kernel: squares of two entries have E[s^4] = 256 / 5 as their mean product.
    assert abs(z_score(rest[:, 0, 0] ** 2 * rest[:, 1, 1] ** 2, 256 / 5)) < LIMIT
    assert abs(z_score(rest[:, 0, 0] * rest[:, 1, 1], 0)) < LIMIT
