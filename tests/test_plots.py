"""The figures, and the commands that draw them."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from conftest import assert_one_clear_line
from example_run import some_results
from timm_pushpull import InputError, cli, metrics, plots
from timm_pushpull.corruptions import CORRUPTIONS, corrupt

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
