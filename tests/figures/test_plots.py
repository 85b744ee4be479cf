"""The plots of corruptions and of results, and their commands."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from support.example_figures import PARTIAL, caption, models, plot, some_figure
from support.example_run import some_results
from support.processes import assert_one_clear_line
from timm_pushpull import InputError, cli, figures, metrics
from timm_pushpull.corruptions import CORRUPTIONS, corrupt

matplotlib = pytest.importorskip("matplotlib")


def draw(run_inside, photo, output, *arguments):
    return run_inside(cli.main, "timm-pushpull", "plot", "corruptions", photo, "-o", output, *arguments)


def test_every_corruption_is_drawn_at_every_severity(photo):
    image = figures.read_preset_image(photo, "cifar10-c")
    assert image.shape == (32, 32, 3)
    figure = figures.plot_corruption_sheet(image, "cifar10-c", seed=3)
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


def test_some_corruptions_are_drawn(tmp_path, photo, run_inside):
    image = figures.read_preset_image(photo, "cifar10-c")
    figure = figures.plot_corruption_sheet(image, "cifar10-c", corruptions=["fog", "shot_noise"])
    drawn = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    assert len(drawn) == 12
    np.testing.assert_array_equal(drawn[1], corrupt(image, "shot_noise", 1, "cifar10-c"))
    np.testing.assert_array_equal(drawn[11], corrupt(image, "fog", 5, "cifar10-c"))
    assert "frost" not in figure.texts[0].get_text()
    process = draw(run_inside, photo, tmp_path / "sheet.png", "--corruptions", "fogg")
    assert_one_clear_line(process, "unknown corruption 'fogg'; did you mean 'fog'")


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_command(tmp_path, photo, run_inside, suffix):
    output = tmp_path / "new" / f"sheet.{suffix}"
    for _ in range(2 if suffix == "pdf" else 1):
        process = draw(run_inside, photo, output, "--preset", "cifar10-c")
        assert process.returncode == 0, process.stderr
    assert [path.name for path in output.parent.iterdir()] == [output.name]
    assert output.read_bytes()[:4] == {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xm"}[suffix]


def test_bad_input_is_one_line(tmp_path, photo, run_inside, monkeypatch):
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "folder.png").mkdir()
    sheet = tmp_path / "sheet.png"
    assert_one_clear_line(draw(run_inside, tmp_path / "text.png", sheet), "text.png", "not a readable image")
    assert_one_clear_line(draw(run_inside, tmp_path / "nowhere.png", sheet), "nowhere.png")
    assert_one_clear_line(draw(run_inside, photo, tmp_path / "sheet.gif"), "sheet.gif", ".svg")
    assert_one_clear_line(draw(run_inside, photo, tmp_path / "folder.png"), "is a folder")
    assert_one_clear_line(draw(run_inside, photo, sheet, "--preset", "cifar"), "did you mean 'cifar10-c'")
    assert_one_clear_line(draw(run_inside, photo, "/proc/nowhere/sheet.png"), "cannot write")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert_one_clear_line(draw(run_inside, photo, sheet), "pip install 'timm-pushpull[plot]'")
    assert not sheet.exists()


def legend_texts(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def looks(lines) -> list[tuple]:
    return [(line.get_color(), line.get_marker(), line.get_linestyle()) for line in lines]


@pytest.mark.parametrize(("clean_error", "height"), [(0.1, 0.95), (0.7, 0.05)])
def test_notes_are_in_a_corner_without_lines(clean_error, height):
    errors = {name: [clean_error + 0.05 * severity for severity in range(1, 6)] for name in ("fog", "snow")}
    figure = figures.plot_severity_curves(
        [some_results(clean_error=clean_error, errors=errors)], {"fog": "1", "snow": "2"}
    )
    assert [[text.get_text() for text in axes.texts] for axes in figure.axes] == [["2"], ["1"]]
    assert {text.get_position() for axes in figure.axes for text in axes.texts} == {(0.05, height)}


def test_severity_curves_hold_the_errors():
    measured = models(3)
    figure = figures.plot_severity_curves(measured)
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
    figure = figures.plot_severity_curves(models(2, errors=PARTIAL))
    assert [axes.get_title() for axes in figure.axes] == ["gaussian noise", "fog"]
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_xdata(), [0, 1, 3])
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), [5, 30, 50])


def test_clean_images_that_were_not_measured_have_no_point():
    figure = figures.plot_severity_curves([some_results(clean_error=None), some_results()])
    assert [line.get_xdata()[0] for line in figure.axes[0].lines] == [1, 0]


def test_lines_of_no_net_gain_pass_through_the_baseline():
    baseline, *measured = models(3)
    figure = figures.plot_tradeoff(baseline, measured)
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


def test_bars_reach_from_100_percent_to_the_relative_errors():
    baseline, *measured = models(3)
    figure = figures.plot_corruption_bars(baseline, measured)
    axes = figure.axes[0]
    for bars, results in zip(axes.containers, measured, strict=True):
        relative = metrics.relative_corruption_errors(results.errors, baseline.errors)
        expected = [*relative.values(), metrics.mean_relative_corruption_error(results.errors, baseline.errors)]
        assert [bar.get_y() for bar in bars] == [100] * 16
        np.testing.assert_allclose([bar.get_y() + bar.get_height() for bar in bars], 100 * np.array(expected))
    labels = [text.get_text() for text in axes.get_xticklabels()]
    assert labels == [*(name.replace("_", " ") for name in CORRUPTIONS), "mrCE"]
    assert [text.get_text() for text in axes.texts] == ["Noise", "Blur", "Weather", "Digital", "Mean"]
    assert "relative to the baseline (%)" in axes.get_ylabel()
    assert legend_texts(figure) == ["model_0 (baseline)", "model_1", "model_2"]
    first, second = ([bar for bar in bars] for bars in axes.containers)
    assert all(one.get_x() + one.get_width() <= two.get_x() + 1e-9 for one, two in zip(first, second, strict=True))


def test_bars_of_partial_results():
    baseline, *measured = models(2, errors=PARTIAL)
    axes = figures.plot_corruption_bars(baseline, measured).axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["gaussian noise", "fog", "mrCE"]
    assert [text.get_text() for text in axes.texts] == ["Noise", "Weather", "Mean"]


def test_points_and_error_bars_are_the_means_and_intervals():
    baseline, *_ = models(1)
    values = {name: (0.9 + 0.01 * i, 0.8 + 0.01 * i, 1.1) for i, name in enumerate((*CORRUPTIONS, "mrCE"))}
    figure = figures.plot_corruption_intervals(baseline, {"a": values, "b": values}, "3 to 10 seeds", "A note.")
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()][-2:] == ["jpeg compression", "mrCE"]
    assert legend_texts(figure) == ["model_0 (baseline)", "a", "b"]
    for container in axes.containers:
        points, _, (bars,) = container
        np.testing.assert_allclose(points.get_ydata(), [100 * mean for mean, _, _ in values.values()])
        ends = [100 * np.array(ends) for _, *ends in values.values()]
        np.testing.assert_allclose([bar[:, 1] for bar in bars.get_segments()], ends)
    first, second = (container[0].get_xdata() for container in axes.containers)
    assert all(first < second)
    text = " ".join(caption(figure).split())
    assert "over 3 to 10 seeds" in text
    assert text.endswith("than the baseline. A note.")


def test_models_differ_without_colour():
    measured = models(9)
    lines = looks(figures.plot_severity_curves(measured).axes[0].lines)
    assert len({(marker, dashes) for _, marker, dashes in lines}) == 9
    points = looks(figures.plot_tradeoff(measured[0], measured[1:]).axes[0].lines[:9])
    assert len({marker for _, marker, _ in points}) == 9
    bars = [bars[0] for bars in figures.plot_corruption_bars(measured[0], measured[1:]).axes[0].containers]
    assert len({bar.get_hatch() for bar in bars}) == 8
    # A model has one colour in all figures.
    assert [matplotlib.colors.to_hex(bar.get_facecolor()).upper() for bar in bars] == [c for c, *_ in points[1:]]
    assert [c for c, *_ in lines] == [c for c, *_ in points]


@pytest.mark.parametrize(("count", "length"), [(2, 60), (9, 30)])
def test_legends_lie_inside_the_figure_and_cover_no_data(count, length):
    measured = [replace(results, model=results.model.ljust(length, "m")) for results in models(count, errors=PARTIAL)]
    for figure in (
        figures.plot_severity_curves(measured),
        figures.plot_tradeoff(measured[0], measured[1:]),
        figures.plot_corruption_bars(measured[0], measured[1:]),
    ):
        figure.draw_without_rendering()
        legend = figure.legends[0].get_window_extent()
        whole = figure.bbox
        assert whole.x0 <= legend.x0
        assert legend.x1 <= whole.x1
        assert legend.y1 <= whole.y1
        assert all(axes.get_tightbbox().y1 <= legend.y0 + 1 for axes in figure.axes)
        assert all(axes.get_window_extent().height > 70 for axes in figure.axes)


def test_figures_without_data_are_an_error():
    nothing, *rest = models(2, errors={})
    for draw in (
        figures.plot_tradeoff,
        figures.plot_corruption_bars,
        lambda first, others: figures.plot_severity_curves([first, *others]),
    ):
        with pytest.raises(InputError, match="clean images only"):
            draw(nothing, rest)
    with pytest.raises(InputError, match="not measured on clean images"):
        figures.plot_tradeoff(some_results(), [some_results(clean_error=None)])
    with pytest.raises(InputError, match=r"clean error is 0\.0"):
        figures.plot_tradeoff(some_results(clean_error=0.0), [some_results()])
    zero = some_results(errors={**some_results().errors, "fog": [0.0] * 5})
    with pytest.raises(InputError, match="fog is 0"):
        figures.plot_corruption_bars(zero, [some_results()])


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


def test_one_file_is_drawn_beside_the_baseline_that_it_names(tmp_path, run_inside, monkeypatch):
    baseline, results = models(2)
    baseline.save(tmp_path / "base.json")
    replace(results, baseline=baseline.as_baseline()).save(tmp_path / "alone.json")
    for figure, function in (("tradeoff", "plot_tradeoff"), ("corruption-bars", "plot_corruption_bars")):
        drawn = []
        monkeypatch.setattr(figures, function, lambda *given, drawn=drawn: drawn.append(given) or some_figure())
        process = plot(run_inside, figure, tmp_path / "alone.json", "-o", tmp_path / "f.png")
        assert process.returncode == 0, process.stderr
        assert (drawn[0][0].model, [measured.model for measured in drawn[0][1]]) == (baseline.model, [results.model])
        process = plot(run_inside, figure, tmp_path / "base.json", "-o", tmp_path / "f.png")
        assert_one_clear_line(process, "base.json' names no baseline")


def test_series_are_connected_in_order_and_labelled_with_alpha():
    baseline, single, *others = models(5)
    figure = figures.plot_tradeoff(baseline, [single], {"avg 3": list(zip((0.5, None, 2.0), others, strict=True))})
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
    text = caption(figures.plot_tradeoff(baseline, [worse, better, best]))
    saved = metrics.net_error_reduction(best.clean_error, best.mce, baseline.clean_error, baseline.mce)
    assert "1 lie below the line for β = 1 (best: best, +4.0 %)" in text
    assert f"2 lie below the line for β = mCE₀/E₀ (best: best, +{100 * saved:.1f} %)" in text
    text = caption(figures.plot_tradeoff(baseline, [best]))
    assert f"R_net of best is +4.0 % for β = 1 and +{100 * saved:.1f} % for β = mCE₀/E₀." in text
    text = caption(figures.plot_corruption_bars(baseline, [worse, better]))
    assert "fewer errors than the baseline: worse on 0 of 15 (mrCE 110.0 %); better on 15 of 15 (mrCE 95.0 %)" in text
    assert "100 images of photos, split test (preset cifar10-c, seed 0)" in text
    with pytest.raises(InputError, match="nothing to compare"):
        figures.plot_tradeoff(baseline, [])


def test_series_on_the_command_line(tmp_path, run_inside, monkeypatch):
    baseline, *others = models(4)
    for results, alpha in zip((baseline, *others), (None, 2, 0.5, 1), strict=True):
        (tmp_path / results.model).mkdir()
        results.save(tmp_path / results.model / "results.json")
        arguments = {"alpha": alpha, "trainable_alpha": False} if alpha else {}
        (tmp_path / results.model / "config.json").write_text(json.dumps({"model_args": arguments}))
    drawn = []
    monkeypatch.setattr(figures, "plot_tradeoff", lambda *given: drawn.append(given) or some_figure())
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
    twice = [argument for path in paths[1:3] for argument in ("--series", "avg 3", path)]
    assert_one_clear_line(
        plot(run_inside, "tradeoff", paths[0], "-o", tmp_path / "f.png", *twice), "'avg 3' is given twice"
    )
