"""The analyses of push-pull layers and the Fourier heat map, against values computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from support.example_run import SMALL
from timm_pushpull import InputError, PushPull2020Conv2d, PushPullConv2d, convert_stem, figures
from timm_pushpull.models.convert import AdaptedPushPullConv2d
from timm_pushpull.models.weights import create_model


def layer_of(kernels, **options) -> PushPullConv2d:
    """A layer with these kernels, (filters, channels, H, W)."""
    weight = torch.as_tensor(np.asarray(kernels), dtype=torch.float32)
    layer = PushPullConv2d(weight.shape[1], weight.shape[0], tuple(weight.shape[2:]), **{"alpha": 0.5, **options})
    layer.weight.data.copy_(weight)
    return layer.eval()


def random_kernels(filters: int = 3, channels: int = 2, size: int = 3) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((filters, channels, size, size)).astype(np.float32)


class TestLayers:
    def test_the_first_push_pull_layer_is_used(self):
        model = nn.Sequential(nn.Conv2d(3, 2, 1), PushPullConv2d(2, 4, 3), PushPull2020Conv2d(4, 5, 3))
        assert figures.push_pull_layer(model) is model[1]
        np.testing.assert_array_equal(figures.alpha_values(model)[:4], model[1].alpha.detach())
        assert figures.alpha_values(model)[4:].tolist() == [1] * 5

    @pytest.mark.parametrize("look", [figures.push_pull_layer, figures.alpha_values])
    def test_a_plain_network_has_none(self, look):
        with pytest.raises(InputError, match="resnet18_cifar has no push-pull layer"):
            look(create_model("resnet18_cifar", **SMALL))

    def test_every_kind_of_stem(self):
        model = convert_stem(create_model("convnext_atto"))
        assert figures.kernel_pairs(figures.push_pull_layer(model)).push.shape == (5, 4, 4)


class TestKernels:
    def test_pull_is_the_complement_of_push(self):
        weights = random_kernels(6)
        found = figures.kernel_pairs(layer_of(weights), count=4, channel=1)
        for place, number in enumerate(found.filters):
            np.testing.assert_array_equal(found.push[place], weights[number, 1])
            ends = weights[number].max() + weights[number].min()
            np.testing.assert_allclose(found.pull[place], ends - weights[number, 1], atol=1e-6)
        assert found.alpha.tolist() == [0.5] * 4

    def test_the_seed_chooses_the_filters(self):
        layer = layer_of(random_kernels(50))
        first, again, other = (figures.kernel_pairs(layer, seed=seed).filters.tolist() for seed in (0, 0, 1))
        assert first == again != other
        assert len(set(first)) == 5
        assert first == sorted(first)

    def test_the_layer_of_2020_has_wider_pull_kernels(self):
        found = figures.kernel_pairs(PushPull2020Conv2d(3, 8, 3))
        assert (found.push.shape, found.pull.shape) == ((5, 3, 3), (5, 7, 7))

    def test_standardised_weights_are_what_is_shown(self):
        layer = AdaptedPushPullConv2d(3, 4, 3)
        layer.standardized, layer.eps = True, 1e-6
        found = figures.kernel_pairs(layer, count=4)
        np.testing.assert_allclose(found.push, layer.push_weight().detach()[:, 0], rtol=1e-6)
        assert not np.allclose(found.push, layer.weight.detach()[:, 0])

    def test_invalid_input(self):
        layer = layer_of(random_kernels(3))
        with pytest.raises(InputError, match="cannot show 5 filters; the layer has 3"):
            figures.kernel_pairs(layer)
        with pytest.raises(InputError, match="no channel 2; use 0 to 1"):
            figures.kernel_pairs(layer, count=1, channel=2)


class TestSpectra:
    def test_a_delta_is_flat(self):
        kernel = np.zeros((1, 5, 5))
        kernel[0, 1, 3] = -2
        np.testing.assert_allclose(figures.average_spectrum(kernel, 16), 2)

    def test_by_the_definition(self):
        kernels = random_kernels()[:, 0]
        size, middle = 8, 4
        found = figures.average_spectrum(kernels, size)
        for row, column in ((middle, middle), (middle + 1, middle - 2), (0, middle + 3)):
            y, x = np.mgrid[:3, :3]
            wave = np.exp(-2j * np.pi * ((row - middle) * y + (column - middle) * x) / size)
            assert found[row, column] == pytest.approx(np.abs((kernels * wave).sum(axis=(1, 2))).mean())

    def test_parseval(self):
        kernel = random_kernels(1)[:, 0]
        spectrum = figures.average_spectrum(kernel, 32)
        assert (spectrum**2).mean() == pytest.approx((kernel**2).sum())

    @pytest.mark.parametrize(("stride", "given"), [(1, None), (2, None), (2, 1)])
    def test_push_pull_is_push_minus_alpha_times_the_averaged_pull(self, stride, given):
        """By the shift theorem: pooling multiplies the spectrum of pull by that of its grid of positions."""
        size, alphas, pools = 32, (-2.0, 0.0, 0.7), (0, 3)
        layer = layer_of(random_kernels(1), stride=stride)
        found = figures.push_pull_spectra(layer, alphas, pools, channel=1, stride=given, size=size)
        push, pull = (w.detach().double().numpy()[0, 1] for w in (layer.weight, layer.pull_weight()))
        push, pull = (np.fft.fftshift(np.fft.fft2(kernel, (size, size))) for kernel in (push, pull))
        step = given or stride
        box = (1 + 2 * np.cos(2 * np.pi * found.frequencies * step)) / 3
        for place, pooled in enumerate((1, box[:, None] * box)):
            for number, alpha in enumerate(alphas):
                expected = np.abs(push - alpha * pull * pooled)
                np.testing.assert_allclose(found.push_pull[place, number], expected, atol=1e-6)
        np.testing.assert_allclose(found.push, np.abs(push), atol=1e-6)
        np.testing.assert_allclose(found.pull, np.abs(pull), atol=1e-6)
        assert found.frequencies[size // 2] == 0
        assert found.stride == (step, step)

    def test_negative_alpha_adds_the_pull_to_the_centre(self):
        """The centre is the sum of weights, which grows with |alpha| where the sums of push and pull have one sign."""
        kernel = np.array([[[[1.0, 2.0, 3.0]] * 3]])
        layer = layer_of(kernel)  # sums: push 18, pull (3 + 1) * 9 - 18 = 18
        found = figures.push_pull_spectra(layer, (-2, -1, -0.5, 0.5), (0, 3, 5))
        for row in found.push_pull:
            np.testing.assert_allclose(row[:, 32, 32], [54, 36, 27, 9], rtol=1e-6)

    def test_kernels_larger_than_the_grid_make_it_larger(self):
        found = figures.push_pull_spectra(layer_of(random_kernels(1, 1, 5), stride=4), (0.5,), (5,), size=8)
        assert found.push.shape == (32, 32)  # 5 + 4 * 4 = 21

    def test_a_radial_profile(self):
        offset = np.arange(64) - 32
        ring = np.abs(np.hypot(offset[:, None], offset) - 12) < 0.5
        profile = figures.radial_profile(ring.astype(float))
        assert profile.shape == (33,)
        assert profile.argmax() == 12
        assert profile[12] > 0.9
        assert profile[[0, 5, 20, 32]].tolist() == [0] * 4

    def test_invalid_input(self):
        layer = layer_of(random_kernels())
        for options, words in (
            ({"avg_sizes": (2,)}, "avg_size is 2"),
            ({"alphas": (math.nan,)}, "needs finite alphas"),
            ({"stride": 0}, "stride of 1 or more"),
            ({"channel": 9}, "no channel 9"),
        ):
            with pytest.raises(InputError, match=words):
                figures.push_pull_spectra(layer, **options)
        with pytest.raises(InputError, match="PushPull2020Conv2d has no pooling"):
            figures.push_pull_spectra(PushPull2020Conv2d(3, 4, 3))


class TestSignalToNoise:
    def test_of_push_in_closed_form(self):
        """On a uniform image c, a filter w responds c sum(w); white noise of deviation s makes it s |w| z, of which the
        rectified mean is s |w| / sqrt(2 pi)."""
        weights, image, sigma = np.abs(random_kernels(4)), np.full((2, 256, 256), 5.0), 0.2
        found = figures.signal_to_noise(layer_of(weights), image, sigma)
        noise = sigma * np.sqrt((weights**2).sum(axis=(1, 2, 3)) / (2 * np.pi))
        expected = 20 * np.log10(5 * weights.sum(axis=(1, 2, 3)) / noise)
        np.testing.assert_allclose(found.push_db, expected, atol=0.25)

    def test_every_channel_has_its_own_noise(self):
        weights, image = np.zeros((2, 2, 1, 1)), np.ones((2, 200, 200))
        weights[0, 0] = weights[1, 1] = 1
        found = figures.signal_to_noise(layer_of(weights, alpha=0.0), 10 * image, (0.1, 1.0))
        assert found.push_db[0] - found.push_db[1] == pytest.approx(20, abs=0.2)

    def test_inhibition_raises_it_where_the_signal_is_antisymmetric(self):
        """A ramp excites a derivative filter but not its pull; noise excites both, and pull is subtracted from push."""
        kernel = np.array([[[[-1.0, 0.0, 1.0]] * 3]])
        image = 2.0 * np.arange(128)[None, None] * np.ones((1, 128, 1)) - 128
        inner = np.zeros((128, 128), bool)
        inner[8:-8, 8:-8] = True
        ratios = [
            figures.signal_to_noise(layer_of(kernel, alpha=alpha), image, 0.5, inner) for alpha in (0.0, 0.5, 1.0)
        ]
        assert ratios[0].push_pull_db == ratios[0].push_db
        assert ratios[1].push_db == ratios[0].push_db
        assert ratios[0].push_pull_db + 0.2 < ratios[1].push_pull_db < ratios[2].push_pull_db
        for found in ratios:
            np.testing.assert_allclose(found.push_pull[:, inner[1:-1, 1:-1]].mean(), 12, rtol=0.01)  # 3 rows, slope 4

    def test_a_filter_that_never_responds_has_no_ratio(self):
        found = figures.signal_to_noise(layer_of(np.zeros((1, 1, 3, 3))), np.ones((1, 32, 32)), 1.0)
        assert math.isnan(found.push_db[0])

    def test_the_seed_draws_the_noise(self):
        layer, image = layer_of(random_kernels()), np.ones((2, 32, 32))
        one, again, other = (figures.signal_to_noise(layer, image, 0.1, seed=seed) for seed in (0, 0, 1))
        np.testing.assert_array_equal(one.noisy, again.noisy)
        assert (one.noisy != other.noisy).all()

    @pytest.mark.parametrize(
        ("size", "options"),
        [(7, {"stride": 2, "padding": 3}), (3, {"padding": 1}), (4, {"stride": 4}), (16, {"stride": 16})],
    )
    def test_the_bar_lies_under_the_middle_of_the_responses(self, size, options):
        layer = layer_of(random_kernels(2, 3, size), **options)
        bar = figures.vertical_bar(layer)
        assert (bar.sum(axis=1) == 5).all()
        assert abs(np.flatnonzero(bar[0]).mean() - 64) <= size
        found = figures.signal_to_noise(layer, bar * np.ones((3, 1, 1)), 0.1, bar)
        there = np.flatnonzero(found.signal[0])
        assert len(there) == {1: 5, 2: 3, 4: 1, 16: 1}[layer.stride[0]]
        assert found.signal[:, there].all()

    def test_invalid_input(self):
        layer = layer_of(random_kernels())
        for image, sigma, words in ((np.ones((3, 8, 8)), 1, "2 channels"), (np.ones((2, 8, 8)), 0, "noise above 0")):
            with pytest.raises(InputError, match=words):
                figures.signal_to_noise(layer, image, sigma)
        with pytest.raises(InputError, match="centred on the signal"):
            figures.signal_to_noise(layer, np.ones((2, 8, 8)), 1, np.zeros((8, 8), bool))


MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.1, 0.3)


class Detector(nn.Module):
    """Predicts class 1 if a channel contains a Fourier basis image with more than `threshold`, else class 0."""

    def __init__(self, size: int, frequency: tuple[int, int], threshold: float, channel: int = 0, signed: bool = False):
        super().__init__()
        self.basis = torch.from_numpy(figures.fourier_basis(size, *frequency))
        self.threshold, self.channel, self.signed = threshold, channel, signed

    def forward(self, images):
        pixels = images[:, self.channel] * STD[self.channel] + MEAN[self.channel]
        found = ((pixels - pixels.mean(dim=(1, 2), keepdim=True)) * self.basis).sum(dim=(1, 2))
        found = found if self.signed else found.abs()
        return torch.stack([torch.full_like(found, self.threshold), found], dim=1)


def grey(count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Uniform images of class 0."""
    levels = np.random.default_rng(0).integers(0, 256, (count, 1, 1, 3), dtype=np.uint8)
    return np.broadcast_to(levels, (count, size, size, 3)).copy(), np.zeros(count, np.int64)


class TestFourierHeatmap:
    @pytest.mark.parametrize("size", [5, 6])
    def test_the_basis_is_orthonormal(self, size):
        basis = np.stack([figures.fourier_basis(size, y, x) for y in range(size) for x in range(size)])
        flat = basis.reshape(size * size, -1)
        np.testing.assert_allclose(flat @ flat.T, np.eye(size * size), atol=1e-6)

    def test_a_basis_image_has_one_frequency_and_its_opposite(self):
        found = np.abs(np.fft.fft2(figures.fourier_basis(8, 2, 5)))
        assert set(map(tuple, np.argwhere(found > 1e-5).tolist())) == {(2, 5), (6, 3)}

    @pytest.mark.parametrize(("size", "frequency"), [(8, (1, -2)), (8, (-4, 3)), (7, (3, 0))])
    def test_errors_are_at_the_frequency_of_the_detector(self, size, frequency):
        found = figures.fourier_heatmap(Detector(size, frequency, 2.97).eval(), *grey(3, size), MEAN, STD, norm=3.0)
        middle = size // 2
        opposite = [(-part + middle) % size for part in frequency]
        expected = np.zeros((size, size))
        expected[tuple((part + middle) % size for part in frequency)] = expected[tuple(opposite)] = 1
        np.testing.assert_array_equal(found.error, expected)
        assert found.clean_error == 0
        np.testing.assert_allclose(found.frequencies, (np.arange(size) - middle) / size)

    def test_the_noise_has_the_given_norm(self):
        deaf = Detector(8, (1, 2), 3.03).eval()
        assert not figures.fourier_heatmap(deaf, *grey(3, 8), MEAN, STD, norm=3.0).error.any()

    def test_signs_are_random_for_every_image_and_channel(self):
        wrong = [
            figures.fourier_heatmap(
                Detector(6, (1, 2), 1.0, channel, signed=True).eval(), *grey(300, 6), MEAN, STD, seed=seed
            ).error[4, 5]
            for channel, seed in ((0, 0), (1, 0), (0, 1))
        ]
        assert len(set(wrong)) == 3
        assert all(0.4 < error < 0.6 for error in wrong)

    def test_batches_and_subsets_do_not_change_the_errors(self):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(108, 20), nn.ReLU(), nn.Linear(20, 4)).eval()
        rng = np.random.default_rng(1)
        images, labels = rng.integers(0, 256, (23, 6, 6, 3), dtype=np.uint8), rng.integers(0, 4, 23)

        def measure(chosen=slice(None), **options):
            given = {"indices": np.arange(23)[chosen], "progress": False, **options}
            return figures.fourier_heatmap(model, images[chosen], labels[chosen], MEAN, STD, **given)

        whole = measure()
        assert len(np.unique(whole.error)) > 3
        for batch in (1, 5, 23):
            np.testing.assert_array_equal(measure(batch_size=batch).error, whole.error)
        parts = measure(slice(0, 9)), measure(slice(9, 23))
        np.testing.assert_allclose((9 * parts[0].error + 14 * parts[1].error) / 23, whole.error)
        np.testing.assert_array_equal(whole.error[1:, 1:], whole.error[1:, 1:][::-1, ::-1])
        for side in (1, 3, 4, 5):
            start = 3 - side // 2
            chosen = slice(start, start + side)
            few = measure(frequencies=side)
            np.testing.assert_array_equal(few.error, whole.error[chosen, chosen])
            np.testing.assert_array_equal(few.frequencies, whole.frequencies[chosen])
        assert (measure(seed=1).error != whole.error).any()

    def test_invalid_input(self):
        images, labels = grey(2, 4)
        model = Detector(4, (1, 1), 1.0).eval()
        for options, words in (
            ({"norm": 0}, "norm of the noise is 0"),
            ({"norm": math.inf}, "norm of the noise is inf"),
            ({"frequencies": 5}, "images of 4 px have 1 to 4"),
            ({"labels": labels + 2}, "2 outputs per image, the labels reach 2"),
            ({"labels": labels[:1]}, "a label each"),
            ({"images": images[:, :3]}, "square RGB images"),
            ({"model": Detector(4, (1, 1), math.nan).eval()}, "not finite"),
            ({"model": Detector(4, (1, 1), 1.0)}, "training mode"),
        ):
            given = {"model": model, "images": images, "labels": labels, "mean": MEAN, "std": STD, **options}
            with pytest.raises(InputError, match=words):
                figures.fourier_heatmap(**given)
