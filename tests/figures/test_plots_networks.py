"""The plots of networks, the captions of all figures, and the commands."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from support.example_figures import a_heatmap, all_figures, caption, plot, some_layer
from support.example_run import SMALL, write_run
from support.processes import assert_one_clear_line
from timm_pushpull import InputError, figures
from timm_pushpull.figures import canvas
from timm_pushpull.layers import PushPullConv2d

matplotlib = pytest.importorskip("matplotlib")


def test_captions_lie_inside_the_figure_below_everything_else():
    for name, draw in all_figures().items():
        figure = draw()
        figure.draw_without_rendering()
        (written,) = [text for text in figure.texts if text.get_gid() == "caption"]
        place, whole = written.get_window_extent(), figure.bbox
        assert whole.x0 < place.x0 < place.x1 < whole.x1, name
        assert whole.y0 < place.y0, name
        others = [*figure.axes, *(text for text in figure.texts if text is not written and text.get_text())]
        for other in others:
            box = other.get_tightbbox() if hasattr(other, "get_tightbbox") else other.get_window_extent()
            assert box.y0 >= place.y1 - 1, (name, other)
        labels = [text.get_window_extent() for text in figure.texts if text.get_text() == figure.get_supxlabel() != ""]
        assert all(axes.get_tightbbox().y0 >= label.y1 - 1 for label in labels for axes in figure.axes), name


def test_a_saved_layout_is_rounded(tmp_path):
    """The last digits differ from run to run, and the ids in an SVG depend on them."""
    figure = figures.plot_kernel_pairs(figures.kernel_pairs(some_layer(), 3), "a_model")
    figures.save_figure(figure, tmp_path / "f.svg")
    sides = [side for axes in figure.axes for side in axes.get_position(original=True).bounds]
    assert sides == pytest.approx([round(side, 9) for side in sides], abs=1e-15)


def test_without_matplotlib_every_plot_says_what_to_install(monkeypatch):
    for module in [module for module in sys.modules if module.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, module, None)
    for draw in all_figures().values():
        with pytest.raises(InputError, match="figures need matplotlib: pip install"):
            draw()


def test_colour_maps_survive_a_black_and_white_print():
    for name in (canvas.MAGNITUDES, canvas.SIGNED):
        colours = matplotlib.colormaps[name](np.linspace(0, 1, 64))[:, :3]
        assert (np.diff(colours @ [0.2126, 0.7152, 0.0722]) > 0).all(), name


def test_kernels_are_drawn_in_pairs_on_one_scale():
    kernels = figures.kernel_pairs(some_layer(), 3, channel=2, seed=4)
    figure = figures.plot_kernel_pairs(kernels, "a_model")
    images = [axes.images[0] for axes in figure.axes if axes.images and len(axes.images[0].get_array()) == 3]
    limits = np.maximum(np.abs(kernels.push).max(axis=(1, 2)), np.abs(kernels.pull).max(axis=(1, 2)))
    for image, kernel, limit in zip(images, (*kernels.push, *kernels.pull), (*limits, *limits), strict=True):
        np.testing.assert_allclose(image.get_array() * limit, kernel, rtol=1e-6)
        assert (image.norm.vmin, image.norm.vmax) == (-1, 1)
    assert "3 of the 8 filters in the push-pull layer of a_model" in caption(figure)
    assert "(seed 4), input channel 2" in caption(figure)


def test_many_kernels_are_in_several_rows():
    figure = figures.plot_kernel_pairs(figures.kernel_pairs(PushPullConv2d(3, 40, 3), 30), "a_model")
    assert sum(bool(axes.get_title()) for axes in figure.axes) == 30
    width, height = figure.get_size_inches()
    assert width < 18
    assert height < 12


def test_signal_to_noise_shows_a_filter_and_all_of_them():
    push, both = np.array([10.0, 12.0, 3.0, -5.0, np.nan, 20.0]), np.array([11.0, 15.0, 9.0, -9.0, np.nan, -np.inf])
    alpha = np.array([0.5, 0.5, 0.5, 0.5, 0.5, -0.5], np.float32)
    maps = np.random.default_rng(0).random((2, 6, 4, 4)).astype(np.float32)
    ratios = figures.SignalToNoise(
        push, both, *maps, np.zeros((3, 8, 8)), np.ones((4, 4), bool), alpha, np.full(3, 0.2), 5
    )
    figure = figures.plot_signal_to_noise(ratios, np.zeros((8, 8)), "a_model", described="a bar")
    shown = [axes.images[0].get_array() for axes in figure.axes[1:3]]
    np.testing.assert_array_equal(shown, maps[:, 1])  # of 0, 1 and 5 only 0 and 1 have alpha > 0
    assert [axes.get_title() for axes in figure.axes[1:3]] == ["push: 12.0 dB", "push-pull: 15.0 dB"]
    text = caption(figure)
    assert "Middle: filter 1 (largest gain among filters with α > 0" in text
    assert "Of 6 filters 4 respond to the signal" in text
    assert "with α > 0 push-pull has the higher SNR in 3 of 3 (median change +3.0 dB)" in text
    assert "with α < 0 push-pull has the higher SNR in 0 of 1 (median change −∞ dB)" in text
    points = {tuple(np.ravel(line.get_data())) for line in figure.axes[3].lines if line.get_markersize() == 4}
    assert {(10, 11), (12, 15), (3, 9), (-5, -9)} < points
    assert figures.plot_signal_to_noise(ratios, np.zeros((8, 8)), "", described="", shown=4).axes[1].get_title() == (
        "push: no response"
    )
    negative = replace(ratios, alpha=-alpha.clip(0.5))
    text = caption(figures.plot_signal_to_noise(negative, np.zeros((8, 8)), "", described=""))
    assert "Middle: filter 1. Right:" in text  # the largest gain, but not for a positive alpha
    with pytest.raises(InputError, match="no filter 6; use 0 to 5"):
        figures.plot_signal_to_noise(ratios, np.zeros((8, 8)), "a_model", described="a bar", shown=6)


def test_spectra_are_on_one_scale():
    spectra = figures.push_pull_spectra(some_layer(), (-1, 0.5), (0, 3, 5))
    figure = figures.plot_spectra(spectra, "a_model")
    images = {axes.get_title(): axes.images[0] for axes in figure.axes if axes.images}
    assert len({(image.norm.vmin, image.norm.vmax) for image in images.values()}) == 1
    np.testing.assert_allclose(images["push"].get_array(), 20 * np.log10(spectra.push / spectra.push.max()))
    np.testing.assert_allclose(
        images["α = −1"].get_array(), 20 * np.log10(spectra.push_pull[0, 0] / spectra.push.max())
    )
    grid = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    assert sum(len(image) == 64 for image in grid) == 6 + 2
    assert "of the 8 kernels in the push-pull unit of a_model, input channel 0" in caption(figure)
    centre = 20 * np.log10(spectra.push_pull[:, 0, 32, 32] / spectra.push.max())
    told = f"centres from {centre.min():.1f} dB to {centre.max():.1f} dB".replace("-", "−")
    assert told in caption(figure)


def test_band_pass_and_low_pass_kernels():
    """The spectrum of a difference is 0 at its centre; that of a sum has its peak there."""
    low, high = (some_layer(alpha=0.0) for _ in range(2))
    low.weight.data.fill_(1.0)
    high.weight.data.copy_(torch.tensor([[-1.0, 0.0, 1.0]] * 3))
    for layer, word in (
        (low, "Push kernels: not band-pass"),
        (high, "Push kernels: band-pass, centre at −∞ dB; α > 0"),
    ):
        spectra = figures.push_pull_spectra(layer, (0.5,), (0,))
        assert word in caption(figures.plot_spectra(spectra, "a_model"))


def test_histograms_hold_every_channel():
    alphas = {"one": np.array([-0.52, -0.01, 0.02, 0.31, 1.22]), "other": np.array([0.31, 0.32, 0.36])}
    figure = figures.plot_alpha(alphas)
    for axes, (name, alpha), expected in zip(
        figure.axes,
        alphas.items(),
        ({-0.55: 20, -0.05: 20, 0: 20, 0.3: 20, 1.2: 20}, {0.3: 200 / 3, 0.35: 100 / 3}),
        strict=True,
    ):
        assert axes.get_title(loc="left") == name
        np.testing.assert_array_equal(axes.lines[0].get_xdata(), alpha)
        heights = {round(bar.get_x(), 6): bar.get_height() for bar in axes.patches if bar.get_height()}
        assert heights == pytest.approx(expected)
    assert ("one, 5 channels: median 0.02, 90 % between −0.42 and 1.04, 40 % below 0, 80 % with |α| ≤ 1") in caption(
        figure
    )
    with pytest.raises(InputError, match="bad has an alpha that is not finite"):
        figures.plot_alpha({"bad": np.array([np.nan])})


def test_heat_maps_and_their_difference():
    first, second = a_heatmap(0.5), a_heatmap()
    figure = figures.plot_fourier_heatmap(first, "a_model", "400 images", second, "another")
    drawn = [axes.images[0] for axes in figure.axes if axes.images]
    for image, errors in zip(drawn, (first.error, second.error, first.error - second.error), strict=False):
        np.testing.assert_allclose(image.get_array(), 100 * errors)
    assert (drawn[0].norm.vmin, drawn[0].norm.vmax) == (drawn[1].norm.vmin, drawn[1].norm.vmax)
    assert drawn[2].norm.vmin == -drawn[2].norm.vmax == pytest.approx(100 * (first.error - second.error).min())
    text = caption(figure)
    assert "norm 4 per channel (intensities 0 to 1; random signs, seed 3) is added to 400 images" in text
    assert "has fewer errors at 100 % of the frequencies and more at 0 %; the mean difference is −25.0 points" in text
    assert "a_model 25.0 % below 0.125" in text
    assert "± 4.9 points" in text
    for changes in ({"norm": 2.0}, {"seed": 1}, {"num_images": 5}, {"frequencies": np.arange(5) / 9}):
        with pytest.raises(InputError, match="use the same for both"):
            figures.plot_fourier_heatmap(first, "a_model", "", a_heatmap(**changes), "another")


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> dict[str, str]:
    """Names of untrained networks: with a unit, with a layer of 2020, without either."""
    folder = tmp_path_factory.mktemp("networks")
    names = {"unit": "resnet18_cifar_pushpull", "2020": "resnet18_cifar_pushpull2020", "plain": "resnet18_cifar"}
    torch.manual_seed(0)
    for name, model in names.items():
        write_run(folder / name, model, **SMALL)
    return {name: f"local-dir:{folder / name}" for name in names}


@pytest.mark.parametrize(
    ("figure", "kind", "more", "arrays"),
    [
        ("kernels", "unit", ["--count", "2"], {"filters": (2,), "push": (2, 3, 3), "pull": (2, 3, 3)}),
        ("kernels", "2020", ["--count", "2"], {"pull": (2, 7, 7)}),
        ("snr", "unit", ["--alpha", "-0.5"], {"push_db": (64,), "push_pull": (64, 128, 128)}),
        ("snr", "2020", ["PHOTO"], {"push_pull_db": (64,), "noisy": (3, 32, 32)}),
        ("spectra", "unit", ["--alphas", "-1", "2", "--avg-sizes", "3"], {"push_pull": (1, 2, 64, 64)}),
        ("alpha", "unit", ["--model", "2020"], {"resnet18_cifar_pushpull.photos": (64,)}),
        ("fourier-heatmap", "plain", ["--frequencies", "3", "DATA"], {"error": (3, 3), "clean_error": ()}),
        ("fourier-heatmap", "unit", ["--baseline", "plain", "--frequencies", "3", "DATA"], {"baseline_error": (3, 3)}),
    ],
)
def test_commands_of_networks(tmp_path, run_inside, networks, photo, image_folder, figure, kind, more, arrays):
    places = {"PHOTO": [photo], "DATA": ["--dataset", image_folder, "--limit", "4", "--image-size", "8"]}
    more = [part for word in more for part in places.get(word, [networks.get(word, word)])]
    written = []
    for name in ("one", "two") if figure in ("spectra", "fourier-heatmap") else ("one",):
        output, data = tmp_path / "new" / f"{name}.svg", tmp_path / "new" / f"{name}.npz"
        process = plot(run_inside, figure, "--model", networks[kind], *more, "-o", output, "--data", data)
        assert process.returncode == 0, process.stderr
        assert process.stdout == f"written to {output}\narrays written to {data}\n"
        written.append((output.read_bytes(), data.read_bytes()))
        with np.load(data) as found:
            assert {key: found[key].shape for key in arrays} == arrays
    assert written[0] == written[-1]
    assert len(list((tmp_path / "new").iterdir())) == 2 * len(written)


def test_bad_input_about_networks_is_one_line(tmp_path, run_inside, networks, image_folder, monkeypatch):
    unit, output = networks["unit"], tmp_path / "f.png"

    def refused(figure, *arguments, model=unit):
        return plot(run_inside, figure, "--model", model, "-o", output, *arguments)

    for figure in ("kernels", "snr", "spectra", "alpha"):
        assert_one_clear_line(refused(figure, model=networks["plain"]), "resnet18_cifar has no push-pull layer")
        assert_one_clear_line(refused(figure, model="resnet18_cifar_pushpul"), "did you mean")
    assert_one_clear_line(refused("kernels", "--count", "65"), "cannot show 65 filters")
    assert_one_clear_line(refused("kernels", "--channel", "3"), "no channel 3")
    assert_one_clear_line(refused("kernels", "--seed", "-1"), "--seed is -1")
    assert_one_clear_line(refused("kernels", "--data", tmp_path / "f.csv"), "f.csv", ".npz")
    assert_one_clear_line(refused("snr", "--sigma", "0"), "--sigma is 0; use noise above 0")
    assert_one_clear_line(refused("snr", "--contrast", "0"), "--contrast is 0; use -1 to 1, but not 0")
    assert_one_clear_line(refused("snr", "--filter", "64"), "no filter 64")
    assert_one_clear_line(refused("snr", tmp_path / "nowhere.png"), "nowhere.png")
    assert_one_clear_line(refused("spectra", "--avg-sizes", "2"), "avg_size is 2")
    assert_one_clear_line(refused("spectra", model=networks["2020"]), "PushPull2020Conv2d has no pooling")
    assert_one_clear_line(refused("alpha", "--model", unit, "--weights", unit), "2 --model and 1 --weights")
    data = ["--dataset", image_folder]
    assert_one_clear_line(refused("fourier-heatmap", "--dataset", "./nowhere"), "no dataset folder")
    assert_one_clear_line(refused("fourier-heatmap", *data, "--batch-size", "0"), "--batch-size is 0")
    assert_one_clear_line(refused("fourier-heatmap", *data, "--norm", "-1"), "norm of the noise is -1")
    assert_one_clear_line(refused("fourier-heatmap", *data, "--frequencies", "99"), "cannot measure 99 frequencies")
    assert_one_clear_line(refused("fourier-heatmap", *data, "--precision", "fp8"), "precision is 'fp8'")
    shutil.copytree(networks["plain"].removeprefix("local-dir:"), tmp_path / "larger")
    config = json.loads((tmp_path / "larger" / "config.json").read_text())
    config["pretrained_cfg"]["input_size"] = [3, 64, 64]
    (tmp_path / "larger" / "config.json").write_text(json.dumps(config))
    larger = ["--baseline", f"local-dir:{tmp_path / 'larger'}"]
    assert_one_clear_line(refused("fourier-heatmap", *data, *larger), "32 and 64 px; give one --image-size")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert_one_clear_line(refused("fourier-heatmap", *data), "pip install 'timm-pushpull[plot]'")
    assert not output.exists()
