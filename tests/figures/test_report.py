"""The report: its numbers, that names are escaped, and that it is reproducible. Browser: test_report_browser.py."""

from __future__ import annotations

import base64
import io
import json
import re
import sys
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.example_report import ALPHA, EVIL, save_weights, scaled, write_results
from support.example_run import RETRIEVAL, some_results
from support.processes import assert_one_clear_line
from timm_pushpull import cli, metrics
from timm_pushpull.benchmark.comparison import compare
from timm_pushpull.benchmark.results import Intervals, Results
from timm_pushpull.corruptions import CORRUPTIONS, corrupt
from timm_pushpull.figures import read_preset_image, report
from timm_pushpull.figures.report.charts import mean_curve, severity_curves
from timm_pushpull.figures.report.groups import headings, load_groups
from timm_pushpull.figures.report.sections import shade
from timm_pushpull.figures.report.sentences import MINUS, NO_BREAK, NONE, TO, verdict
from timm_pushpull.metrics import confidence_interval
from timm_pushpull.utils.files import sha256

pytest.importorskip("plotly")


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> list[Path]:
    return write_results(tmp_path_factory.mktemp("given"))


@pytest.fixture(scope="module")
def given(paths) -> Path:
    return paths[0].parent


@pytest.fixture(scope="module")
def page(given, paths) -> str:
    return report.render(paths, [given / "photo.png"], title=f"Title {EVIL}")


class Tables(HTMLParser):
    """All tables: class and rows of the bodies; a row is a list of pairs of text and data-value."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, list[list[list[str]]]]] = []
        self.part = self.cell = None
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "table":
            self.found.append((attributes.get("class", ""), []))
        elif tag in ("thead", "tbody", "tfoot"):
            self.part = tag
        elif tag == "tr" and self.part == "tbody":
            self.found[-1][1].append([])
        elif tag in ("td", "th") and self.part == "tbody":
            self.cell = ["", attributes.get("data-value")]
            self.found[-1][1][-1].append(self.cell)
        elif tag == "small" and self.cell:
            self.cell[0] += "|"

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.cell = None

    def handle_data(self, text):
        if self.cell:
            self.cell[0] += text


def tables(page: str, kind: str) -> list[list[list[list[str]]]]:
    return [rows for name, rows in Tables(page).found if kind in name.split()]


def embedded(page: str, name: str) -> dict:
    return json.loads(re.search(f'<script type="application/json" id="{name}">(.*?)</script>', page, re.DOTALL)[1])


def text_of(page: str) -> str:
    """The text of the page without scripts and styles, on one line."""
    bare = re.sub(r"<(script|style)\b.*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL)
    return " ".join(unescape(bare).split())


@pytest.fixture(scope="module")
def expected(given):
    """The first group, baseline first, and its rows."""
    found = [Results.load(given / name) for name in ("base.json", "worse.json", "better", "between.json")]
    return found, compare(found)


def test_the_leaderboard_has_the_figures_of_the_results(page, expected):
    rows = tables(page, "leaderboard")[0]
    lines = sorted(expected[1], key=lambda line: line.mce)
    assert [row[0][1] for row in rows] == [line.model for line in lines]
    for row, line in zip(rows, lines, strict=True):
        values = [float(value) for _, value in row[1:]]
        assert values == [line.clean_error, line.mce, line.mrce, line.r_net]
        low, high = confidence_interval(line.mce, 100)
        assert row[2][0] == f"{100 * line.mce:.1f}{NO_BREAK}%|{100 * low:.1f}{TO}{100 * high:.1f}"
        low, high = line.mrce_interval or (None, None)
        ends = "" if low is None else f"|{100 * low:.1f}{TO}{100 * high:.1f}"
        assert row[3][0] == f"{100 * line.mrce:.1f}{NO_BREAK}%{ends}"
        assert row[4][0].replace(MINUS, "-") == f"{100 * line.r_net:.1f}{NO_BREAK}%"


def test_the_best_of_a_column_is_marked(page, expected):
    best = expected[1][2]  # of all columns
    assert best.model == "pushpull"
    shown = [f"{100 * value:.1f}{NO_BREAK}%" for value in (best.clean_error, best.mce, best.mrce, best.r_net)]
    first, *_ = page.split("</table>")
    assert re.findall('class="best">([^<]*)<', first) == shown


def test_relative_errors_and_all_errors_are_in_tables(page, expected):
    found, lines = expected
    rows = tables(page, "relative")[0]
    assert [row[1][1] for row in rows] == list(CORRUPTIONS)
    for row in rows:
        name = row[1][1]
        assert float(row[2][1]) == metrics.mean_error(found[0].errors[name])
        assert [float(value) for _, value in row[3:]] == [line.relative[name] for line in lines[1:]]
    rows = tables(page, "errors")[0]
    cells = [text for row in rows for text, _ in row if text.endswith("%")]
    means = [
        (*results.errors[name], metrics.mean_error(results.errors[name])) for name in CORRUPTIONS for results in found
    ]
    assert cells == [f"{100 * error:.1f}{NO_BREAK}%" for row in means for error in row]


def test_the_charts_hold_the_figures_of_the_results(page, expected):
    found, _ = expected
    charts = embedded(page, "charts")
    traces = iter(charts["results-1-severity"]["data"])
    highest = 0.0
    for name in (None, *CORRUPTIONS):
        for index, results in enumerate(found):
            trace = next(traces)
            rows = [results.errors[name]] if name else list(results.errors.values())
            wanted = [results.clean_error, *np.mean(rows, axis=0)]
            np.testing.assert_allclose(trace["y"], np.multiply(100, wanted), atol=1e-3)
            assert (trace["x"], trace["meta"]["series"]) == ([0, 1, 2, 3, 4, 5], index)
            if name:
                ends = [results.intervals.clean_error, *results.intervals.errors[name]]
                bars = trace["error_y"]
                drawn = np.stack([np.subtract(trace["y"], bars["arrayminus"]), np.add(trace["y"], bars["array"])])
                np.testing.assert_allclose(drawn.T, np.multiply(100, ends), atol=1e-3)
                highest = max(highest, drawn[1].max())
    assert next(traces, None) is None
    for layout in charts["results-1-severity"]["layouts"]:
        titles = [annotation["text"] for annotation in layout["layout"]["annotations"]]
        assert titles == ["<b>mean of 15</b>", *(name.replace("_", " ") for name in CORRUPTIONS)]
        assert layout["layout"]["yaxis"]["range"][1] > highest, "error bars are cut off"
    partial = charts["results-2-severity"]["data"][2]
    assert (partial["x"], partial["y"]) == ([0, 1, 3], [10, 20, 40])  # frost comes before fog


def test_r_net_is_0_on_the_lines_of_the_plane(page, expected):
    base = expected[0][0]
    *guides, plain = embedded(page, "charts")["results-1-tradeoff"]["data"][:3]
    assert (plain["x"], plain["y"]) == (
        [pytest.approx(100 * base.clean_error)],
        [pytest.approx(100 * base.mce, abs=1e-3)],
    )
    for guide, beta in zip(guides, (1, base.mce / base.clean_error), strict=True):
        for x, y in zip(guide["x"], guide["y"], strict=True):
            net = metrics.net_error_reduction(x / 100, y / 100, base.clean_error, base.mce, beta)
            assert net == pytest.approx(0, abs=1e-4)
    assert "results-2-tradeoff" not in embedded(page, "charts")
    assert "Not shown: it needs the clean error of every model" in text_of(page)


def test_captions_follow_from_the_results(page, expected):
    text, (found, lines) = text_of(page), expected
    assert "Under corruptions 1 of 3 models has fewer errors than plain" in text
    assert f"With the clean error included pushpull is best (R net {100 * lines[2].r_net:.1f}" in text
    assert "Of 3 models 1 below the dashed line and 1 below the dotted line." in text
    assert "The mean error of plain is highest under" in text
    gap = max(
        abs(error - other)
        for name in CORRUPTIONS
        for error, other in zip(*(r.errors[name] for r in (found[2], found[0])), strict=True)
    )
    assert f"{100 * gap:.1f} percentage points less" in text


@pytest.mark.parametrize("reach", [0.01, 0.05])
def test_an_mrce_that_may_be_chance_is_called_so(tmp_path, reach):
    for name, error in (("plain", 0.5), ("unit", 0.48)):
        intervals = Intervals(mce=(error - reach, error + reach))
        some_results(name, errors={"fog": [error] * 5}, intervals=intervals).save(tmp_path / f"{name}.json")
    (group,) = load_groups([tmp_path / "plain.json", tmp_path / "unit.json"])
    base, own = group.entries
    assert base.interval("mrce") is None
    low, high = own.interval("mrce")
    assert (low + high) / 2 == pytest.approx(0.96)
    chance = f"; the difference may be chance: 100{NO_BREAK}% lies in its 95{NO_BREAK}% interval"
    assert (chance in verdict(group)) == (high > 1) == (reach == 0.05)


def test_alpha_is_read_from_the_weights_that_were_measured(page, given, tmp_path):
    charts = embedded(page, "charts")
    (bars,) = charts["results-1-alpha-2"]["data"]
    edges = np.array(bars["x"])[:, None] + np.array([-0.5, 0.5]) * bars["width"]
    counted = [np.sum((low <= ALPHA) & (high > ALPHA)) for low, high in edges.round(6)]
    assert bars["y"] == counted
    assert sum(bars["y"]) == len(ALPHA)
    text = text_of(page)
    assert f"6 channels: median 0.40, from {MINUS}0.25 to 1.20; 1 below 0." in text
    assert "plain, between: no model.safetensors next to the results" in text.replace(f"{EVIL}, ", "")
    save_weights(tmp_path / "run", ALPHA + 1)
    scaled(1.0).save(tmp_path / "run" / "results.json")
    other = text_of(report.render([tmp_path / "run"], [given / "photo.png"]))
    assert "is not the one that was measured" in other


def test_models_are_beside_the_baseline_that_they_name(given, tmp_path):
    errors = {name: [0.2] * 5 for name in CORRUPTIONS}
    plain = [
        some_results(name, errors=errors, weights_sha256=digit * 64) for name, digit in (("small", "1"), ("large", "2"))
    ]
    units = [
        some_results(f"{base.model}_unit", errors=errors, weights_sha256=digit * 64, baseline=base.as_baseline())
        for base, digit in zip(plain, "34", strict=True)
    ]
    paths = []
    for results in (units[1], plain[0], units[0], plain[1]):
        paths.append(tmp_path / f"{results.model}.json")
        results.save(paths[-1])
    groups = load_groups(paths)
    assert [[entry.name for entry in group.entries] for group in groups] == [
        ["large", "large_unit"],
        ["small", "small_unit"],
    ]
    assert [heading.rsplit(", ")[-1] for heading in headings(groups)] == ["baseline large", "baseline small"]


def test_an_error_of_zero_has_the_full_colour_of_fewer():
    assert shade(0.0) == shade(1e-9) != shade(None) == ""


def test_one_model_is_shown_as_what_it_is(given, tmp_path):
    scaled(1.0, model="resnet18").save(tmp_path / "results.json")
    page = report.render([tmp_path / "results.json"], [given / "photo.png"])
    text = text_of(page)
    assert "There is only one model, so nothing is relative to a baseline" in text
    (row,) = tables(page, "leaderboard")[0]
    assert len(row) == 3  # the model, its clean error and its mCE
    assert "results-1-tradeoff" not in page
    assert "Trade-off between" not in text
    assert "1.000" not in text
    assert "model.safetensors" not in text  # a plain network has no alpha to read
    scaled(1.0, model="resnet18_pushpull").save(tmp_path / "results.json")
    page = report.render([tmp_path / "results.json"], [given / "photo.png"])
    assert "no model.safetensors next to the results" in text_of(page)


def test_the_viewer_holds_every_corruption_and_the_errors_of_the_models(page, given, expected):
    content = embedded(page, "images")
    (shown,) = content["images"]
    image = read_preset_image(given / "photo.png", "cifar10-c")
    assert list(shown["corrupted"]) == sorted(CORRUPTIONS)

    def pixels(uri):
        head, data = uri.split(",")
        assert head == "data:image/webp;base64"
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))

    np.testing.assert_array_equal(pixels(shown["clean"]), image)
    for name, severity in (("gaussian_noise", 1), ("frost", 5), ("jpeg_compression", 3)):
        wanted = corrupt(image, name, severity, "cifar10-c", seed=0, index=0)
        np.testing.assert_array_equal(pixels(shown["corrupted"][name][severity - 1]), wanted)
    assert len({uri for row in shown["corrupted"].values() for uri in row}) == 75
    assert "Frost: " in shown["note"]
    errors = {model["model"]: model["errors"] for model in content["errors"]["cifar10-c"]}
    assert errors["plain"]["fog"][2][0] == f"{100 * expected[0][0].errors['fog'][2]:.1f}{NO_BREAK}%"
    assert errors["partial"]["clean"] == [[f"10.0{NO_BREAK}%", ""]]


def test_provenance_and_caveats(page, given):
    text = text_of(page)
    for words in (
        "100 images of photos, split test, corrupted on the fly with the constants of cifar10-c, seed 0",
        f"weights, SHA-256 {sha256(given / 'better' / 'model.safetensors')}",
        "command train.py --recipe cifar10",
        "commit of timm-pushpull c0ffee",
        "training images 50,000 training epochs 5 training time 2.0 minutes changes to the recipe epochs is 5, not 30",
        "baseline named in the results plain",
        "75 pairs of corruption and severity",
        "4 pairs of corruption and severity (partial)",
        "Partial: mCE and mrCE are means over the measured cells only",
        "Frost was procedural, differs",
    ):
        assert words in text, words


def test_a_baseline_that_was_not_given_is_taken_from_the_results(given):
    page = report.render([given / "better"], [given / "photo.png"])
    names = [row[0][0] for row in tables(page, "leaderboard")[0]]
    assert names == ["pushpull", "plain baseline"]
    assert "source the results of a model that names it as its baseline" in text_of(page)
    assert "Under corruptions pushpull has 80.0 % of the error of plain" in text_of(page)


def test_models_with_one_name_and_groups_with_one_dataset_get_unique_names(given, tmp_path):
    for number, changes in enumerate(({}, {}, {"seed": 3})):
        some_results("same", **changes).save(tmp_path / f"{number}.json")
    page = report.render(sorted(tmp_path.glob("*.json")), [given / "photo.png"])
    first, second = tables(page, "leaderboard")
    assert [row[0][1] for row in first] == [f"same [{tmp_path}/{number}.json]" for number in (0, 1)]
    assert [row[0][1] for row in second] == ["same"]
    assert re.findall("<h2 id=.results.*?>(.*?)</h2>", page) == [
        "photos (cifar10-c), seed 0",
        "photos (cifar10-c), seed 3",
    ]


def test_retrieval_is_not_mixed_with_classification(given, tmp_path):
    some_results("classifier").save(tmp_path / "a.json")
    some_results("hashes", task="retrieval", retrieval=RETRIEVAL).save(tmp_path / "b.json")
    text = text_of(report.render([tmp_path / "a.json", tmp_path / "b.json"], [given / "photo.png"]))
    for words in (
        "photos (cifar10-c), classification photos (cifar10-c), retrieval from split train Corruption viewer",
        "Retrieval with 100 images of photos, split test, among 5,000 of split train, corrupted",
        "Errors (1 - mAP@200) in percent",
        "database split train, 5,000 images",
        "hash 64 bits",
    ):
        assert words in text, words


def test_relative_figures_that_are_not_defined_are_dashes(given, tmp_path):
    zero = some_results("zero", errors={**some_results().errors, "fog": [0.0] * 5})
    zero.save(tmp_path / "zero.json")
    some_results("other").save(tmp_path / "other.json")
    page = report.render([tmp_path / "zero.json", tmp_path / "other.json"], [given / "photo.png"])
    assert {row[0][1]: row[3] for row in tables(page, "leaderboard")[0]}["other"] == [NONE, ""]
    assert "so relative errors are not defined" in text_of(page)


def test_the_same_input_gives_the_same_page(page, given, paths):
    assert report.render(paths, [given / "photo.png"], title=f"Title {EVIL}") == page


def test_without_an_image_a_default_one_is_shown(given, monkeypatch):
    from timm_pushpull.figures.report import corrupted_images

    for name, installed in (("china.jpg", True), ("test chart", False)):
        if not installed:
            monkeypatch.setattr(corrupted_images.importlib.util, "find_spec", lambda name: None)
        (found,) = corrupted_images.corrupted_images(
            [], [corrupted_images.CorruptionSettings("cifar10-c", corruptions=("fog",))]
        )
        assert (found.name, found.size) == (name, (32, 32))
        assert ("CC BY 2.0" in found.credit) == installed


def test_nothing_from_a_file_is_markup(page):
    assert EVIL not in page
    assert "<img src=x" not in page
    assert "&lt;/script&gt;&lt;img src=x" in page
    assert page.count("<script") == page.count("</script>") == 4
    assert re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', page.split("<script")[0]) == []


def test_bad_input_is_one_line(given, tmp_path, run_inside, monkeypatch):
    def write(*arguments, output="report.html"):
        process = run_inside(cli.main, "timm-pushpull", "report", *arguments, "-o", tmp_path / output)
        assert not (tmp_path / output).is_file()
        return process

    results, photo = given / "base.json", ("--image", given / "photo.png")
    (tmp_path / "broken.json").write_text("{}")
    (tmp_path / "folder.html").mkdir()
    some_results(errors={}).save(tmp_path / "clean.json")
    content = json.loads(some_results().to_json())
    (tmp_path / "odd.json").write_text(json.dumps(content | {"intervals": []}))
    (tmp_path / "odd_baseline.json").write_text(json.dumps(content | {"baseline": {"model": "x"}}))
    other = replace(some_results().as_baseline(), weights_sha256="c" * 64, errors={"fog": [0.1] * 5})
    replace(some_results(), baseline=other).save(tmp_path / "other_baseline.json")
    assert_one_clear_line(write(given / "none.json", *photo), "cannot read results file", "none.json")
    assert_one_clear_line(write(tmp_path / "broken.json", *photo), "broken.json is not a results file")
    assert_one_clear_line(write(tmp_path / "clean.json", *photo), "measured on clean images only")
    some_results(errors={"spatter": [0.5] * 5}).save(tmp_path / "validation.json")
    assert_one_clear_line(write(tmp_path / "validation.json", *photo), "measured on validation corruptions only")
    assert_one_clear_line(write(tmp_path / "odd.json", *photo), "intervals is a list of 0")
    assert_one_clear_line(write(tmp_path / "odd_baseline.json", *photo), "baseline lacks")
    assert_one_clear_line(write(tmp_path / "other_baseline.json", *photo), "its baseline cannot be read")
    assert_one_clear_line(write(results, "--image", given / "none.png"), "none.png' is not a readable image")
    assert_one_clear_line(write(results, *photo, "--preset", "cifar-c"), "did you mean 'cifar10-c'")
    assert_one_clear_line(write(results, *photo, "--frost-dir", tmp_path), "frost")
    assert_one_clear_line(write(results, *photo, output="report.pdf"), "does not end in .html")
    assert_one_clear_line(write(results, *photo, output="folder.html"), "is a folder")
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    assert_one_clear_line(write(results, *photo), "pip install 'timm-pushpull[report]'")


def test_the_mean_over_corruptions_leaves_validation_corruptions_out(tmp_path):
    results = some_results()
    replace(results, errors={**results.errors, "spatter": [0.99] * 5}, baseline=None).save(tmp_path / "both.json")
    results.save(tmp_path / "test.json")
    both, test = (load_groups([tmp_path / name])[0] for name in ("both.json", "test.json"))
    assert mean_curve(both.entries[0]) == mean_curve(test.entries[0])
    assert "<b>mean of 15</b>" in json.dumps(severity_curves(both))


def test_command(given, tmp_path, run_inside):
    output = tmp_path / "new" / "report.html"
    photo = ("--image", given / "photo.png")
    process = run_inside(cli.main, "timm-pushpull", "report", given / "base.json", *photo, "-o", output)
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout == f"written to {output} ({output.stat().st_size / 1e6:.1f} MB)\n"
    assert [path.name for path in output.parent.iterdir()] == ["report.html"]
    assert output.read_text().startswith("<!DOCTYPE html>")
