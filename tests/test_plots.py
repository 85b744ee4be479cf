"""The figures, and the commands that draw them."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import assert_one_clear_line
from example_run import SMALL, some_results, write_run
from timm_pushpull import InputError, PushPullConv2d, analysis, cli, metrics, plots
from timm_pushpull.corruptions import CORRUPTIONS, corrupt
from timm_pushpull.plots import canvas

matplotlib = pytest.importorskip("matplotlib")


@pytest.fixture
def picture(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def draw(run_inside, picture, output, *arguments):
    return run_inside(cli.main, "timm-pushpull", "plot", "corruptions", picture, "-o", output, *arguments)


def test_every_corruption_is_drawn_at_every_severity(picture):
    image = plots.read_image(picture, "cifar10-c")
    assert image.shape == (32, 32, 3)
    figure = plots.corruption_sheet(image, "cifar10-c", seed=3)
    drawn = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    expected = []
    for name in CORRUPTIONS:
        expected += [image, *(corrupt(image, name, severity, "cifar10-c", seed=3) for severity in (1, 2, 3, 4, 5))]
    np.testing.assert_array_equal(drawn, expected)
    texts = [text.get_text() for text in figure.texts]
    assert "preset cifar10-c, seed 3" in texts[0]
    assert [text for text in texts if text.replace(" ", "_") in CORRUPTIONS] == [
        name.replace("_", " ") for name in CORRUPTIONS
    ]


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_command(tmp_path, picture, run_inside, suffix):
    output = tmp_path / "new" / f"sheet.{suffix}"
    for _ in range(2 if suffix == "pdf" else 1):
        process = draw(run_inside, picture, output, "--preset", "cifar10-c")
        assert process.returncode == 0, process.stderr
    assert [path.name for path in output.parent.iterdir()] == [output.name]
    assert output.read_bytes()[:4] == {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xm"}[suffix]


def test_bad_input_is_one_line(tmp_path, picture, run_inside, monkeypatch):
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "folder.png").mkdir()
    sheet = tmp_path / "sheet.png"
    assert_one_clear_line(draw(run_inside, tmp_path / "text.png", sheet), "text.png", "no picture")
    assert_one_clear_line(draw(run_inside, tmp_path / "nowhere.png", sheet), "nowhere.png")
    assert_one_clear_line(draw(run_inside, picture, tmp_path / "sheet.gif"), "sheet.gif", ".svg")
    assert_one_clear_line(draw(run_inside, picture, tmp_path / "folder.png"), "is a folder")
    assert_one_clear_line(draw(run_inside, picture, sheet, "--preset", "cifar"), "did you mean 'cifar10-c'")
    assert_one_clear_line(draw(run_inside, picture, "/proc/nowhere/sheet.png"), "cannot write")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert_one_clear_line(draw(run_inside, picture, sheet), "pip install 'timm-pushpull[plot]'")
    assert not sheet.exists()


PARTIAL = {"gaussian_noise": [0.3, None, 0.5, None, None], "fog": [0.2, 0.2, 0.4, 0.4, 0.4]}


def models(count: int, **changes) -> list:
    """A baseline and others with errors of their own."""
    first = some_results(**{"model": "model_0", **changes})
    return [
        replace(
            first,
            model=f"model_{n}",
            clean_error=0.05 + 0.01 * n,
            errors={
                name: [None if e is None else min(1, e * (1 + 0.02 * n * (-1) ** place)) for e in row]
                for place, (name, row) in enumerate(first.errors.items())
            },
        )
        for n in range(count)
    ]


def legend_texts(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def looks(lines) -> list[tuple]:
    return [(line.get_color(), line.get_marker(), line.get_linestyle()) for line in lines]


def test_severity_curves_hold_the_errors():
    measured = models(3)
    figure = plots.severity_curves(measured)
    assert [axes.get_title().replace(" ", "_") for axes in figure.axes] == list(CORRUPTIONS)
    for axes, name in zip(figure.axes, CORRUPTIONS, strict=True):
        assert len(axes.lines) == 3
        for line, results in zip(axes.lines, measured, strict=True):
            np.testing.assert_array_equal(line.get_xdata(), range(6))
            np.testing.assert_allclose(
                line.get_ydata(), [100 * e for e in (results.clean_error, *results.errors[name])]
            )
    assert (figure.get_supylabel(), "severity" in figure.get_supxlabel()) == ("top-1 error (%)", True)
    assert legend_texts(figure) == ["model_0", "model_1", "model_2"]
    top = max(line.get_ydata().max() for axes in figure.axes for line in axes.lines)
    assert all(axes.get_ylim()[0] == 0 and axes.get_ylim()[1] > top for axes in figure.axes)


def test_severities_that_were_not_measured_have_no_point():
    figure = plots.severity_curves(models(2, errors=PARTIAL))
    assert [axes.get_title() for axes in figure.axes] == ["gaussian noise", "fog"]
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_xdata(), [0, 1, 3])
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), [5, 30, 50])


def test_clean_images_that_were_not_measured_have_no_point():
    figure = plots.severity_curves([some_results(clean_error=None), some_results()])
    assert [line.get_xdata()[0] for line in figure.axes[0].lines] == [1, 0]


def test_lines_of_no_net_gain_pass_through_the_baseline():
    baseline, *measured = models(3)
    figure = plots.tradeoff(baseline, measured)
    axes = figure.axes[0]
    points, lines = axes.lines[:3], axes.lines[3:]
    for point, results in zip(points, (baseline, *measured), strict=True):
        assert point.get_xdata()[0] == pytest.approx(100 * results.clean_error)
        assert point.get_ydata()[0] == pytest.approx(100 * results.mce)
    for line, beta in zip(lines, (1, None), strict=True):
        for clean, mce in zip(line.get_xdata(), line.get_ydata(), strict=True):
            saved = metrics.net_error_reduction(clean / 100, mce / 100, baseline.clean_error, baseline.mce, beta)
            assert saved == pytest.approx(0, abs=1e-12)
        at = np.interp(100 * baseline.clean_error, line.get_xdata(), line.get_ydata())
        assert at == pytest.approx(100 * baseline.mce)
    assert axes.get_xlabel() == "clean error (%)"
    assert "mCE (%)" in axes.get_ylabel()
    assert legend_texts(figure)[0] == "model_0 (baseline)"
    assert f"{baseline.mce / baseline.clean_error:.2f}" in legend_texts(figure)[-1]


def test_bars_reach_from_one_to_the_relative_errors():
    baseline, *measured = models(3)
    figure = plots.corruption_bars(baseline, measured)
    axes = figure.axes[0]
    for bars, results in zip(axes.containers, measured, strict=True):
        relative = metrics.relative_corruption_errors(results.errors, baseline.errors)
        expected = [*relative.values(), metrics.mean_relative_corruption_error(results.errors, baseline.errors)]
        assert [bar.get_y() for bar in bars] == [1] * 16
        np.testing.assert_allclose([bar.get_y() + bar.get_height() for bar in bars], expected)
    labels = [text.get_text() for text in axes.get_xticklabels()]
    assert labels == [*(name.replace("_", " ") for name in CORRUPTIONS), "mrCE"]
    assert [text.get_text() for text in axes.texts] == ["Noise", "Blur", "Weather", "Digital", "Mean"]
    assert "relative to the baseline" in axes.get_ylabel()
    assert legend_texts(figure) == ["model_0 (baseline)", "model_1", "model_2"]
    first, second = ([bar for bar in bars] for bars in axes.containers)
    assert all(one.get_x() + one.get_width() <= two.get_x() + 1e-9 for one, two in zip(first, second, strict=True))


def test_bars_of_partial_results():
    baseline, *measured = models(2, errors=PARTIAL)
    axes = plots.corruption_bars(baseline, measured).axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["gaussian noise", "fog", "mrCE"]
    assert [text.get_text() for text in axes.texts] == ["Noise", "Weather", "Mean"]


def test_models_are_told_apart_without_colour():
    measured = models(9)
    lines = looks(plots.severity_curves(measured).axes[0].lines)
    assert len({(marker, dashes) for _, marker, dashes in lines}) == 9
    points = looks(plots.tradeoff(measured[0], measured[1:]).axes[0].lines[:9])
    assert len({marker for _, marker, _ in points}) == 9
    bars = [bars[0] for bars in plots.corruption_bars(measured[0], measured[1:]).axes[0].containers]
    assert len({bar.get_hatch() for bar in bars}) == 8
    # A model has one colour in all figures.
    assert [matplotlib.colors.to_hex(bar.get_facecolor()).upper() for bar in bars] == [c for c, *_ in points[1:]]
    assert [c for c, *_ in lines] == [c for c, *_ in points]


@pytest.mark.parametrize(("count", "length"), [(2, 60), (9, 30)])
def test_legends_lie_inside_the_figure_and_cover_no_data(count, length):
    measured = [replace(results, model=results.model.ljust(length, "m")) for results in models(count, errors=PARTIAL)]
    for figure in (
        plots.severity_curves(measured),
        plots.tradeoff(measured[0], measured[1:]),
        plots.corruption_bars(measured[0], measured[1:]),
    ):
        figure.draw_without_rendering()
        legend = figure.legends[0].get_window_extent()
        whole = figure.bbox
        assert whole.x0 <= legend.x0
        assert legend.x1 <= whole.x1
        assert legend.y1 <= whole.y1
        assert all(axes.get_tightbbox().y1 <= legend.y0 + 1 for axes in figure.axes)
        assert all(axes.get_window_extent().height > 70 for axes in figure.axes)


def test_figures_of_nothing_are_refused():
    nothing, *rest = models(2, errors={})
    for draw in (plots.tradeoff, plots.corruption_bars, lambda first, others: plots.severity_curves([first, *others])):
        with pytest.raises(InputError, match="clean images only"):
            draw(nothing, rest)
    with pytest.raises(InputError, match="not measured on clean images"):
        plots.tradeoff(some_results(), [some_results(clean_error=None)])
    with pytest.raises(InputError, match=r"clean error is 0\.0"):
        plots.tradeoff(some_results(clean_error=0.0), [some_results()])
    zero = some_results(errors={**some_results().errors, "fog": [0.0] * 5})
    with pytest.raises(InputError, match="fog is 0"):
        plots.corruption_bars(zero, [some_results()])


@pytest.mark.parametrize(
    ("figure", "suffix"),
    [("severity", "svg"), ("tradeoff", "pdf"), ("corruption-bars", "png"), ("corruption-bars", "svg")],
)
def test_result_figures_are_the_same_bytes_again(tmp_path, run_inside, figure, suffix):
    files = []
    for results in models(2, errors=PARTIAL):
        files.append(tmp_path / f"{results.model}.json")
        results.save(files[-1])
    written = []
    for name in ("one", "two"):
        output = tmp_path / "new" / f"{name}.{suffix}"
        process = run_inside(cli.main, "timm-pushpull", "plot", figure, *files, "-o", output)
        assert process.returncode == 0, process.stderr
        written.append(output.read_bytes())
    assert written[0] == written[1]


def test_bad_results_are_one_line(tmp_path, run_inside, monkeypatch):
    results, *_ = models(1)
    results.save(tmp_path / "a.json")
    replace(results, seed=7).save(tmp_path / "b.json")
    (tmp_path / "c.json").write_text("{}")

    def draw(figure, *arguments):
        return run_inside(cli.main, "timm-pushpull", "plot", figure, *arguments, "-o", tmp_path / "f.png")

    for figure in ("severity", "tradeoff", "corruption-bars"):
        assert_one_clear_line(draw(figure, tmp_path / "a.json", tmp_path / "b.json"), "cannot be compared", "seed")
        assert_one_clear_line(draw(figure, tmp_path / "a.json", tmp_path / "c.json"), "not a results file")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert_one_clear_line(draw("severity", tmp_path / "a.json"), "pip install 'timm-pushpull[plot]'")
    assert not (tmp_path / "f.png").exists()


def caption(figure) -> str:
    (text,) = [text for text in figure.texts if text.get_gid() == "caption"]
    return text.get_text().replace("\n", " ").replace("\N{NO-BREAK SPACE}", " ")


def test_series_are_joined_in_order_with_their_alpha_beside():
    baseline, single, *others = models(5)
    figure = plots.tradeoff(baseline, [single], {"avg 3": list(zip((0.5, None, 2.0), others, strict=True))})
    axes = figure.axes[0]
    line = axes.lines[2]
    assert (line.get_label(), line.get_linestyle() != "None") == ("avg 3", True)
    np.testing.assert_allclose(line.get_xdata(), [100 * results.clean_error for results in others])
    np.testing.assert_allclose(line.get_ydata(), [100 * results.mce for results in others])
    beside = {text.get_text(): text.xy for text in axes.texts}
    assert list(beside) == ["0.5", "2"]
    assert beside["2"] == pytest.approx((100 * others[2].clean_error, 100 * others[2].mce))
    assert "Of 4 models, " in caption(figure)
    assert "inhibition strength α" in caption(figure)


def test_the_captions_of_results_count_what_the_figures_show():
    baseline, *_ = models(1)
    worse, better, best = (
        replace(
            baseline,
            model=name,
            clean_error=baseline.clean_error * clean,
            errors={name: [error * factor for error in row] for name, row in baseline.errors.items()},
        )
        for name, clean, factor in (("worse", 1.1, 1.1), ("better", 1.1, 0.95), ("best", 1.02, 0.9))
    )
    text = caption(plots.tradeoff(baseline, [worse, better, best]))
    saved = metrics.net_error_reduction(best.clean_error, best.mce, baseline.clean_error, baseline.mce)
    assert "1 lie below the line for β = 1 (best: best, +4.0 %)" in text
    assert f"2 lie below the line for β = mCE₀/E₀ (best: best, +{100 * saved:.1f} %)" in text
    text = caption(plots.corruption_bars(baseline, [worse, better]))
    assert "worse errs less on 0 of 15 (mrCE 1.100); better errs less on 15 of 15 (mrCE 0.950)" in text
    assert "100 images of pictures, split test (preset cifar10-c, seed 0)" in text
    with pytest.raises(InputError, match="nothing is compared"):
        plots.tradeoff(baseline, [])


def some_layer(**options) -> PushPullConv2d:
    torch.manual_seed(0)
    return PushPullConv2d(3, 8, 3, padding=1, **options)


def a_heatmap(factor: float = 1.0, **changes) -> analysis.FourierHeatmap:
    error = factor * np.linspace(0, 1, 25).reshape(5, 5)
    offsets = (np.arange(5) - 2) / 8
    return replace(analysis.FourierHeatmap((error + error[::-1, ::-1]) / 2, offsets, 0.1, 400, 4.0, 3), **changes)


def all_network_figures() -> dict:
    layer = some_layer()
    bar = analysis.vertical_bar(layer, 64)
    ratios = analysis.signal_to_noise(layer, bar * np.ones((3, 1, 1)), 0.2, bar, seed=5)
    alphas = {"one": np.linspace(-1, 1, 9), "other": np.full(4, 0.5)}
    return {
        "kernels": plots.kernel_pairs(analysis.kernels(layer, 3), "a_model"),
        "snr": plots.signal_to_noise_maps(ratios, ratios.noisy[0], "a_model", described="a bar"),
        "spectra": plots.spectra_grid(analysis.push_pull_spectra(layer, (-1, 0.5), (0, 3)), "a_model"),
        "alpha": plots.alpha_histograms(alphas),
        "heatmaps": plots.fourier_heatmaps(a_heatmap(0.5), "a_model", "400 images", a_heatmap(), "another"),
        "sheet": plots.corruption_sheet(np.zeros((8, 8, 3), np.uint8), "cifar10-c"),
        "severity": plots.severity_curves(models(2), caption=True),
        "tradeoff": plots.tradeoff(models(2)[0], models(2)[1:]),
        "bars": plots.corruption_bars(models(2)[0], models(2)[1:]),
    }


def test_captions_lie_inside_the_figure_below_everything_else():
    for name, figure in all_network_figures().items():
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


def test_the_layout_of_what_is_saved_has_no_last_digits(tmp_path):
    """They are others every time, and the names in an SVG are made of them."""
    figure = plots.kernel_pairs(analysis.kernels(some_layer(), 3), "a_model")
    plots.save(figure, tmp_path / "f.svg")
    sides = [side for axes in figure.axes for side in axes.get_position(original=True).bounds]
    assert sides == pytest.approx([round(side, 9) for side in sides], abs=1e-15)


def test_colour_maps_survive_a_black_and_white_print():
    for name in (canvas.MAGNITUDES, canvas.SIGNED):
        colours = matplotlib.colormaps[name](np.linspace(0, 1, 64))[:, :3]
        assert (np.diff(colours @ [0.2126, 0.7152, 0.0722]) > 0).all(), name


def test_kernels_are_drawn_in_pairs_on_one_scale():
    kernels = analysis.kernels(some_layer(), 3, channel=2, seed=4)
    figure = plots.kernel_pairs(kernels, "a_model")
    images = [axes.images[0] for axes in figure.axes if axes.images and len(axes.images[0].get_array()) == 3]
    limits = np.maximum(np.abs(kernels.push).max(axis=(1, 2)), np.abs(kernels.pull).max(axis=(1, 2)))
    for image, kernel, limit in zip(images, (*kernels.push, *kernels.pull), (*limits, *limits), strict=True):
        np.testing.assert_allclose(image.get_array() * limit, kernel, rtol=1e-6)
        assert (image.norm.vmin, image.norm.vmax) == (-1, 1)
    assert "3 of the 8 filters in the push-pull layer of a_model" in caption(figure)
    assert "(seed 4), input channel 2" in caption(figure)


def test_signal_to_noise_shows_a_filter_and_all_of_them():
    push, both = np.array([10.0, 12.0, 3.0, -5.0, np.nan, 20.0]), np.array([11.0, 15.0, 9.0, -9.0, np.nan, -np.inf])
    alpha = np.array([0.5, 0.5, 0.5, 0.5, 0.5, -0.5], np.float32)
    maps = np.random.default_rng(0).random((2, 6, 4, 4)).astype(np.float32)
    ratios = analysis.SignalToNoise(
        push, both, *maps, np.zeros((3, 8, 8)), np.ones((4, 4), bool), alpha, np.full(3, 0.2), 5
    )
    figure = plots.signal_to_noise_maps(ratios, np.zeros((8, 8)), "a_model", described="a bar")
    shown = [axes.images[0].get_array() for axes in figure.axes[1:3]]
    np.testing.assert_array_equal(shown, maps[:, 1])  # of 0, 1 and 5 only 0 and 1 have alpha > 0
    assert [axes.get_title() for axes in figure.axes[1:3]] == ["push: 12.0 dB", "push-pull: 15.0 dB"]
    text = caption(figure)
    assert "Of 6 filters 4 respond to the signal" in text
    assert "with α > 0 push-pull has the higher SNR in 3 of 3 (median change +3.0 dB)" in text
    assert "with α < 0 push-pull has the higher SNR in 0 of 1 (median change −∞ dB)" in text
    points = {tuple(np.ravel(line.get_data())) for line in figure.axes[3].lines if line.get_markersize() == 4}
    assert {(10, 11), (12, 15), (3, 9), (-5, -9)} < points
    assert plots.signal_to_noise_maps(ratios, np.zeros((8, 8)), "", described="", shown=4).axes[1].get_title() == (
        "push: no response"
    )
    with pytest.raises(InputError, match="no filter 6; use 0 to 5"):
        plots.signal_to_noise_maps(ratios, np.zeros((8, 8)), "a_model", described="a bar", shown=6)


def test_spectra_are_on_one_scale():
    spectra = analysis.push_pull_spectra(some_layer(), (-1, 0.5), (0, 3, 5))
    figure = plots.spectra_grid(spectra, "a_model")
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
    told = f"the centres lie at {centre.min():.1f} dB to {centre.max():.1f} dB".replace("-", "−")
    assert told in caption(figure)


def test_a_band_pass_is_told_from_a_low_pass():
    """A difference has a centre of 0, a sum has its highest value there."""
    low, high = (some_layer(alpha=0.0) for _ in range(2))
    low.weight.data.fill_(1.0)
    high.weight.data.copy_(torch.tensor([[-1.0, 0.0, 1.0]] * 3))
    for layer, word in ((low, "Push is not one"), (high, "Push is one, its centre lies at −∞ dB; of the 1 with")):
        spectra = analysis.push_pull_spectra(layer, (0.5,), (0,))
        assert word in caption(plots.spectra_grid(spectra, "a_model"))


def test_histograms_hold_every_channel():
    alphas = {"one": np.array([-0.52, -0.01, 0.02, 0.31, 1.22]), "other": np.array([0.31, 0.32, 0.36])}
    figure = plots.alpha_histograms(alphas)
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
    assert ("one, 5 channels: median 0.02, nine in ten from −0.42 to 1.04, 40 % below 0, 80 % with |α| ≤ 1") in caption(
        figure
    )
    with pytest.raises(InputError, match="bad has inhibition strengths that are no numbers"):
        plots.alpha_histograms({"bad": np.array([np.nan])})


def test_heat_maps_and_their_difference():
    first, second = a_heatmap(0.5), a_heatmap()
    figure = plots.fourier_heatmaps(first, "a_model", "400 images", second, "another")
    drawn = [axes.images[0] for axes in figure.axes if axes.images]
    for image, errors in zip(drawn, (first.error, second.error, first.error - second.error), strict=False):
        np.testing.assert_allclose(image.get_array(), 100 * errors)
    assert (drawn[0].norm.vmin, drawn[0].norm.vmax) == (drawn[1].norm.vmin, drawn[1].norm.vmax)
    assert drawn[2].norm.vmin == -drawn[2].norm.vmax == pytest.approx(100 * (first.error - second.error).min())
    text = caption(figure)
    assert "norm 4 a channel (intensities 0 to 1; random signs, seed 3) is added to 400 images" in text
    assert "errs less at 100 % of the frequencies and more at 0 %, by −25.0 points on average" in text
    assert "a_model 25.0 % below 0.125" in text
    assert "± 4.9 points" in text
    for changes in ({"norm": 2.0}, {"seed": 1}, {"num_images": 5}, {"frequencies": np.arange(5) / 9}):
        with pytest.raises(InputError, match="measure both alike"):
            plots.fourier_heatmaps(first, "a_model", "", a_heatmap(**changes), "another")


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> dict[str, str]:
    """Names of untrained networks: with a unit, with a layer of 2020, without either."""
    folder = tmp_path_factory.mktemp("networks")
    names = {"unit": "resnet18_cifar_pushpull", "2020": "resnet18_cifar_pushpull2020", "plain": "resnet18_cifar"}
    torch.manual_seed(0)
    for name, model in names.items():
        write_run(folder / name, model, **SMALL)
    return {name: f"local-dir:{folder / name}" for name in names}


def plot(run_inside, figure, *arguments):
    return run_inside(cli.main, "timm-pushpull", "plot", figure, *arguments)


@pytest.mark.parametrize(
    ("figure", "kind", "more", "arrays"),
    [
        ("kernels", "unit", ["--count", "2"], {"filters": (2,), "push": (2, 3, 3), "pull": (2, 3, 3)}),
        ("kernels", "2020", ["--count", "2"], {"pull": (2, 7, 7)}),
        ("snr", "unit", ["--alpha", "-0.5"], {"push_db": (64,), "push_pull": (64, 128, 128)}),
        ("snr", "2020", ["PICTURE"], {"push_pull_db": (64,), "noisy": (3, 32, 32)}),
        ("spectra", "unit", ["--alphas", "-1", "2", "--avg-sizes", "3"], {"push_pull": (1, 2, 64, 64)}),
        ("alpha", "unit", ["--model", "2020"], {"resnet18_cifar_pushpull.pictures": (64,)}),
        ("fourier-heatmap", "plain", ["--frequencies", "3", "DATA"], {"error": (3, 3), "clean_error": ()}),
        ("fourier-heatmap", "unit", ["--baseline", "plain", "--frequencies", "3", "DATA"], {"baseline_error": (3, 3)}),
    ],
)
def test_commands_of_networks(tmp_path, run_inside, networks, picture, image_folder, figure, kind, more, arrays):
    places = {"PICTURE": [picture], "DATA": ["--dataset", image_folder, "--limit", "4", "--image-size", "8"]}
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


def test_series_on_the_command_line(tmp_path, run_inside, monkeypatch):
    baseline, *others = models(4)
    for results, alpha in zip((baseline, *others), (None, 2, 0.5, 1), strict=True):
        (tmp_path / results.model).mkdir()
        results.save(tmp_path / results.model / "results.json")
        arguments = {"alpha": alpha, "trainable_alpha": False} if alpha else {}
        (tmp_path / results.model / "config.json").write_text(json.dumps({"model_args": arguments}))
    drawn = []
    monkeypatch.setattr(plots, "tradeoff", lambda *given: drawn.append(given) or some_figure())
    paths = [tmp_path / results.model for results in models(4)]
    process = plot(run_inside, "tradeoff", paths[0], "-o", tmp_path / "f.png", "--series", "avg 3", *paths[1:])
    assert process.returncode == 0, process.stderr
    ((first, singles, series),) = drawn
    assert (first.model, singles, list(series)) == ("model_0", [], ["avg 3"])
    assert [(alpha, results.model) for alpha, results in series["avg 3"]] == [
        (0.5, "model_2"),
        (1.0, "model_3"),
        (2.0, "model_1"),
    ]
    assert_one_clear_line(
        plot(run_inside, "tradeoff", paths[0], "-o", tmp_path / "f.png", "--series", "avg 3"), "'avg 3' has no results"
    )


def some_figure():
    return canvas.new_figure(1, 1)


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
    assert_one_clear_line(refused("snr", "--sigma", "0"), "noise above 0")
    assert_one_clear_line(refused("snr", "--filter", "64"), "no filter 64")
    assert_one_clear_line(refused("snr", tmp_path / "nowhere.png"), "nowhere.png")
    assert_one_clear_line(refused("spectra", "--avg-sizes", "2"), "avg_size is 2")
    assert_one_clear_line(refused("spectra", model=networks["2020"]), "PushPull2020Conv2d pools nothing")
    assert_one_clear_line(refused("alpha", "--model", unit, "--weights", unit), "2 --model and 1 --weights")
    data = ["--dataset", image_folder]
    assert_one_clear_line(refused("fourier-heatmap", "--dataset", "./nowhere"), "no data set folder")
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
