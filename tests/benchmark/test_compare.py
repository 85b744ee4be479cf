"""`timm-pushpull compare`: the paper's Table 1 for results of one's own."""

from __future__ import annotations

import csv
import io
import os
import pty
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from support.example_comparison import cells, compare
from support.example_run import some_results
from support.processes import assert_one_clear_line
from timm_pushpull import InputError, metrics
from timm_pushpull.benchmark import paper
from timm_pushpull.benchmark.comparison import Comparison, caveats, published
from timm_pushpull.benchmark.comparison import compare as compare_rows
from timm_pushpull.benchmark.results import Intervals, Results, Training
from timm_pushpull.cli.formats import latex, markdown
from timm_pushpull.cli.terminal import terminal
from timm_pushpull.corruptions import CORRUPTIONS

BASE_ERRORS = {name: [0.1 + 0.01 * i] * 5 for i, name in enumerate(CORRUPTIONS)}
# Better on noise, worse on fog, equal elsewhere.
OWN_ERRORS = {
    name: [error * (0.9 if "noise" in name else 1.2 if name == "fog" else 1) for error in row]
    for name, row in BASE_ERRORS.items()
}


def baseline(**changes):
    return some_results("resnet18_cifar", **{"errors": BASE_ERRORS, **changes})


def own(**changes):
    return some_results(**{"errors": OWN_ERRORS, "clean_error": 0.055, **changes})


@pytest.fixture
def files(tmp_path):
    baseline().save(tmp_path / "base.json")
    own().save(tmp_path / "own.json")
    return tmp_path / "base.json", tmp_path / "own.json"


def test_figures_are_those_of_the_metrics():
    first, second = compare_rows([baseline(), own()])
    assert (first.is_baseline, first.mrce, first.r_net, first.improved) == (True, 1.0, 0.0, frozenset())
    assert second.relative == metrics.relative_corruption_errors(OWN_ERRORS, BASE_ERRORS)
    assert second.mrce == pytest.approx((3 * 0.9 + 1.2 + 11) / 15)
    assert second.r_net == metrics.net_error_reduction(0.055, own().mce, 0.05, baseline().mce)
    noises = {"gaussian_noise", "shot_noise", "impulse_noise"}
    assert second.improved & set(CORRUPTIONS) == noises
    assert "mrce" in second.improved
    assert "clean_error" not in second.improved


def test_markdown_is_what_is_printed_without_a_terminal(run_inside, files):
    process = compare(run_inside, *files)
    assert process.returncode == 0, process.stderr
    lines = [line for line in process.stdout.splitlines() if line.startswith("|")]
    header, rule, first, second = lines
    assert cells(header) == ["model", "E (%)", "mCE (%)", "mrCE (%)", "R_net (%)", *CORRUPTIONS]
    assert set(rule) <= set("|-: ")
    assert cells(first)[:4] == ["resnet18_cifar (baseline)", "5.00", f"{100 * baseline().mce:.2f}", "100.0"]
    assert "**" not in first
    assert cells(second)[:2] == ["resnet18_cifar_pushpull", "5.50"]
    assert cells(second)[5:8] == ["**90.0**"] * 3
    assert cells(second)[8] == "100.0"
    assert cells(second)[5 + CORRUPTIONS.index("fog")] == "120.0"
    assert len({len(line) for line in lines}) == 1
    assert "it is not AlexNet-normalised" in process.stdout


def test_corruptions_stand_in_the_papers_order():
    turned = {name: BASE_ERRORS[name] for name in reversed(CORRUPTIONS)}
    header = markdown(compare_rows([baseline(errors=turned)])).splitlines()[0]
    assert cells(header)[5:] == list(CORRUPTIONS)


def test_latex(run_inside, files):
    text = compare(run_inside, *files, "--format", "latex").stdout
    assert "resnet18\\_cifar\\_pushpull & 5.50" in text
    assert text.count("\\textbf{90.0}") == 3
    assert "Model & E (\\%) & mCE (\\%) & mrCE (\\%) & $R_{net}$ (\\%) & Ga" in text
    rows = [line for line in text.splitlines() if line.endswith("\\\\") and "multicolumn" not in line]
    assert {row.count("&") for row in rows} == {19}
    assert "\\multicolumn{3}{c}{Noise} & \\multicolumn{4}{c}{Blur} & \\multicolumn{3}{c}{Weather}" in text
    assert "\\cmidrule(lr){6-8}" in text
    assert text.count("{") == text.count("}")
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    assert re.findall(r"(?<!\\)[_%#]", body.replace("R_{net}", "")) == []


def test_csv(run_inside, files):
    text = compare(run_inside, *files, "--format", "csv", "--paper", "table1").stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["baseline"] for row in rows[:3]] == ["1", "0", "1"]
    assert float(rows[1]["gaussian_noise_percent"]) == 90
    assert len(rows) == 2 + 24
    assert rows[2]["section"] == "published, Table 1, CIFAR10"


@pytest.mark.parametrize("table", ["table1", "table2"])
def test_published_rows_stand_beside_ours(run_inside, files, table):
    text = compare(run_inside, *files, "--paper", table).stdout
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert cells(lines[0])[:2] == ["model", "source"]
    assert [cells(line)[1] for line in lines[2:4]] == ["measured"] * 2
    assert len(lines) == 4 + len(paper.load(table))
    assert all(f"published, Table {table[-1]}, " in line for line in lines[4:])
    row = next(cells(line) for line in lines if "ResNet50 PushPull avg3" in line and ", ImageNet " in line)
    assert row[2:6] == ["28.2", "**64.54**" if table == "table1" else "**64.50**", "**96.7**", "**1.7**"]
    assert "Published rows are as printed" in text
    assert "28.09" in text  # the tables' disagreement is told


def test_published_baselines_and_their_variants():
    lines = published("table2")
    by_name = {line.model: line for line in lines if "ImageNet" in line.source}
    assert by_name["Res50+PRIME"].is_baseline
    assert by_name["Res50+PRIME"].r_net == 0
    assert by_name["Res50+PRIME+PP3"].r_net == pytest.approx(metrics.net_error_reduction(0.306, 0.4995, 0.298, 0.5223))


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_no_line_is_wider_than_the_terminal(width):
    long = own(model="vit_large_patch14_reg4_dinov2.lvd142m_with_a_push_pull_stem_that_has_a_long_name")
    text = terminal(compare_rows([baseline(), own(), long]) + published("table2"), width)
    lines = text.plain.splitlines()
    assert max(map(len, lines)) <= width
    for heading in ("E", "mCE", "Ga", "Jp"):
        assert len([line for line in lines if line.startswith("model") and heading in line.split()]) == 1
    assert "vit_" in text.plain
    assert text.plain.count("published, Table 2, ImageNet") == len([x for x in lines if x.startswith("model")])


def test_green_marks_improvements():
    text = terminal(compare_rows([baseline(), own()]), 200)
    green = [text.plain[span.start : span.end].strip() for span in text.spans if "green" in str(span.style)]
    line = compare_rows([baseline(), own()])[1]
    assert green.count("90.0") == 3
    assert len(green) == len(line.improved)


def test_on_a_terminal(files, tmp_path):
    """On a pseudo-terminal of 70 columns: colours, and nothing wraps."""
    master, slave = pty.openpty()
    environment = {**os.environ, "COLUMNS": "70", "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "timm_pushpull", "compare", *map(str, files)],
        stdout=slave, stderr=subprocess.PIPE, env=environment,
    )  # fmt: skip
    os.close(slave)
    output = b""
    while True:
        try:
            block = os.read(master, 65536)
        except OSError:
            break
        if not block:
            break
        output += block
    os.close(master)
    assert process.wait(60) == 0, process.stderr.read()
    process.stderr.close()
    text = output.decode()
    assert "\x1b[1;32m 90.0" in text
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text).replace("\r", "")
    assert max(map(len, plain.splitlines())) <= 70
    assert "─ Noise ─" in plain


def test_written_files(run_inside, files, tmp_path):
    for name, start in (("t.md", "| model"), ("t.tex", "% needs"), ("t.csv", "model,section")):
        output = tmp_path / "new" / name
        process = compare(run_inside, *files, "-o", output)
        assert "written to" in process.stdout
        assert output.read_text().startswith(start)
    process = compare(run_inside, *files, "--format", "table", "-o", tmp_path / "t.txt")
    assert "─ Noise ─" in (tmp_path / "t.txt").read_text()
    assert "\x1b" not in (tmp_path / "t.txt").read_text()


def test_partial_results_are_compared_and_told(run_inside, tmp_path):
    some = {"fog": [0.1, None, 0.2, None, None], "pixelate": [0.3, None, 0.2, None, None]}
    baseline(errors=some).save(tmp_path / "base.json")
    own(errors={"fog": [0.1, None, 0.1, None, None], "pixelate": [0.3, None, 0.3, None, None]}).save(
        tmp_path / "own.json"
    )
    text = compare(run_inside, tmp_path / "base.json", tmp_path / "own.json").stdout
    assert cells(text.splitlines()[0])[5:] == ["fog", "pixelate"]
    assert cells(text.splitlines()[3])[5:] == ["**66.7**", "120.0"]
    assert "Partial: mCE and mrCE are means over the measured cells only" in text
    published = compare(run_inside, tmp_path / "base.json", tmp_path / "own.json", "--paper", "table1").stdout
    assert len({line.count("|") for line in published.splitlines() if line.startswith("|")}) == 1


def test_without_clean_images_their_figures_are_open(run_inside, tmp_path):
    baseline(clean_error=None).save(tmp_path / "base.json")
    own(clean_error=None).save(tmp_path / "own.json")
    text = compare(run_inside, tmp_path / "base.json", tmp_path / "own.json").stdout
    assert [cells(line)[1] for line in text.splitlines()[2:4]] == ["-", "-"]
    assert [cells(line)[4] for line in text.splitlines()[2:4]] == ["-", "-"]
    assert "**90.0**" in text


def test_models_of_one_name_carry_their_files(run_inside, tmp_path):
    for name in ("a", "b"):
        own().save(tmp_path / f"{name}.json")
    text = compare(run_inside, tmp_path / "a.json", tmp_path / "b.json").stdout
    assert "a.json) (baseline)" in text
    assert "b.json)" in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dataset": "others"}, ("cannot be compared", "dataset", "'others'")),
        ({"preset": "imagenet-c"}, ("cannot be compared", "preset")),
        ({"seed": 1}, ("cannot be compared", "seed")),
        ({"num_images": 3}, ("cannot be compared", "num_images")),
        ({"errors": {"fog": [0.1] * 5}}, ("cannot be compared", "different corruptions")),
    ],
)
def test_unlike_results_are_refused(run_inside, files, tmp_path, change, words):
    own(**change).save(tmp_path / "other.json")
    assert_one_clear_line(compare(run_inside, files[0], files[1], tmp_path / "other.json"), *words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"errors": {**BASE_ERRORS, "snow": [0.0] * 5}}, ("makes no error on snow", "leave the corruption out")),
        ({"errors": {}}, ("measured on clean images only",)),
    ],
)
def test_nothing_is_relative_to_no_error(run_inside, tmp_path, change, words):
    baseline(**change).save(tmp_path / "base.json")
    own(**({"errors": {}} if change.get("errors") == {} else {})).save(tmp_path / "own.json")
    assert_one_clear_line(compare(run_inside, tmp_path / "base.json", tmp_path / "own.json"), *words)


def test_one_file_is_compared_with_the_baseline_that_it_names(run_inside, files, tmp_path):
    own(baseline=baseline().as_baseline()).save(tmp_path / "alone.json")
    alone = compare(run_inside, tmp_path / "alone.json")
    assert alone.returncode == 0, alone.stderr
    assert alone.stdout == compare(run_inside, *files).stdout
    in_paper = compare(run_inside, tmp_path / "alone.json", "--paper", "table1").stdout
    assert in_paper == compare(run_inside, *files, "--paper", "table1").stdout
    assert compare(run_inside, files[0], "--paper", "table1").returncode == 0
    message = ("base.json' names no baseline, and a comparison needs one", "timm-pushpull info")
    assert_one_clear_line(compare(run_inside, files[0]), *message)


def test_bad_options_are_one_line(run_inside, files, tmp_path):
    assert_one_clear_line(compare(run_inside, *files, "--format", "latx"), "did you mean 'latex'")
    assert_one_clear_line(
        compare(run_inside, *files, "--paper", "table3"), "table3", "table1 or table2 or table5 or table8"
    )
    assert_one_clear_line(compare(run_inside, *files, "-o", tmp_path), "is a folder")
    assert_one_clear_line(compare(run_inside, tmp_path / "nowhere.json", files[1]), "nowhere.json")


def test_what_is_not_defined_is_left_open():
    no_fog = {**BASE_ERRORS, "fog": [0.0] * 5}
    text = markdown(compare_rows([baseline(errors=no_fog, clean_error=0.0), own()]))
    _, _, first, second = text.splitlines()
    assert cells(first)[1:3] == ["0.00", f"{100 * baseline(errors=no_fog).mce:.2f}"]
    assert cells(second)[3:] == ["-"] * 17
    with pytest.raises(InputError, match="clean images only"):
        compare_rows([baseline(errors={}), own(errors={})])


def test_a_difference_may_be_chance_if_its_interval_says_so():
    half = Intervals(clean_error=(0.04, 0.06), mce=(0.48, 0.52))
    base = some_results("plain", errors={"fog": [0.5] * 5}, clean_error=0.05, intervals=half)

    def compared(clean_error: float, error: float, interval: tuple[float, float]) -> Comparison:
        intervals = Intervals(clean_error=(clean_error - 0.01, clean_error + 0.01), mce=interval)
        own = some_results("unit", errors={"fog": [error] * 5}, clean_error=clean_error, intervals=intervals)
        return Comparison.of(own, base)

    # 0.475 is outside of each interval alone, but the difference is within 2.83 points.
    found, reach = compared(0.063, 0.475, (0.455, 0.495)), (0.04**2 + (0.02 / 0.475) ** 2) ** 0.5
    assert (found.may_be_chance, found.clean_may_be_chance) == (True, True)
    assert found.row.mrce_interval == pytest.approx((0.95 * (1 - reach), 0.95 * (1 + reach)), abs=1e-4)
    found = compared(0.065, 0.45, (0.43, 0.47))
    assert (found.may_be_chance, found.clean_may_be_chance) == (False, False)
    # The interval is the same with the baseline that the results hold.
    results = replace(found.results, baseline=base.as_baseline())
    results = Results.from_json(results.to_json(), "results.json")
    assert Comparison.recorded(results).row.mrce_interval == pytest.approx(found.row.mrce_interval)
    # Files of older versions hold no interval of their baseline: it is taken to be as wide.
    recorded = Comparison.recorded(replace(results, baseline=replace(results.baseline, intervals=None)))
    assert recorded.row.mrce_interval == pytest.approx((0.9 * (1 - 0.0598), 0.9 * (1 + 0.0598)), abs=1e-3)
    assert not recorded.may_be_chance


def test_the_interval_of_mrce_is_printed(tmp_path, run_inside):
    paths = [tmp_path / "base.json", tmp_path / "own.json"]
    for path, error in zip(paths, (0.5, 0.475), strict=True):
        intervals = Intervals(mce=(error - 0.02, error + 0.02))
        some_results(path.stem, errors={"fog": [error] * 5}, intervals=intervals).save(path)
    assert "95 % interval of mrCE over test images: own 89.5 to 100.5 %." in compare(run_inside, *paths).stdout


def test_nothing_is_said_of_a_recorded_baseline_that_is_not_shown():
    base = replace(some_results("plain", training=Training(epochs=30)), weights_sha256="a" * 64)
    first, second = (
        some_results(f"unit{digit}", weights_sha256=digit * 64, baseline=base.as_baseline(Training(epochs=5)))
        for digit in "bc"
    )
    assert len(caveats(first)) == len(caveats(base, first)) == 1
    assert caveats(first, second) == []


def test_what_makes_figures_incomparable_is_said():
    base = some_results("plain", training=Training(epochs=30, precision="bf16"))
    own = base.as_baseline(Training(epochs=30, precision="fp32", images=5))
    assert own.differences == ["it was trained with bf16, this model with fp32"]
    assert base.as_baseline(Training(epochs=30, precision="bf16")).differences is None
    results = some_results(baseline=own, image_size=32)
    assert Results.from_json(results.to_json(), "results.json") == results
    (caveat,) = caveats(results)
    assert "plain differs from resnet18_cifar_pushpull in more than the first layer" in str(caveat)
    assert "it was trained with bf16, this model with fp32" in str(caveat)
    (caveat,) = caveats(some_results(preset="imagenet-c", image_size=160))
    assert str(caveat).startswith("Image size was 160 px, and the constants of imagenet-c are made for 224 px")
    assert caveats(some_results(preset="imagenet-c", image_size=224)) == caveats(some_results()) == []
    assert caveats(some_results(preset="imagenet-c", image_size=160, corrupted="ImageNet-C")) == []


def test_latex_escapes_names():
    line = compare_rows([own(model="a_b&c%d#e{f}~g^h\\i$")])
    assert "a\\_b\\&c\\%d\\#e\\{f\\}\\textasciitilde{}g\\textasciicircum{}h\\textbackslash{}i\\$" in latex(line)
