"""Studies: rows times seeds, the table of what was run and what was not, and what follows from it."""

from __future__ import annotations

import re
import shlex
import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from support.example_figures import caption
from support.example_run import some_results
from support.paths import ROOT
from support.processes import assert_one_clear_line
from timm_pushpull import InputError, metrics
from timm_pushpull.benchmark.results import Results, Training
from train import study

PLAN = """\
# Remarks on the study,
# over two lines.
table: table2
recipe: digits
settings: {epochs: 1, limit: 16, batch_size: 8, benchmark_limit: 2, model_args: {layers: [1, 1, 1, 1]}}
seeds: [1, 2]
rows:
  plain: {paper: ResNet50, model: resnet18_cifar}
  unit:
    paper: ResNet50 PushPull avg3
    model: resnet18_cifar_pushpull
    baseline: plain
    settings: {model_args: {alpha: 1.5}}
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "plan.yaml").write_text(PLAN)
    return tmp_path / "small"


def measured(folder: Path, name: str, model: str, seed: int, errors: list[float]) -> Results:
    table = {"fog": errors, "snow": [2 * error for error in errors]}
    results = some_results(
        model,
        clean_error=errors[0],
        errors=table,
        command=f"train.py --seed {seed}",
        training=Training(epochs=1, images=16, seconds=36.0),
    )
    results.save(folder / f"{name}.{seed}.json")
    return results


def relative_mrce(unit: Results, plain: Results) -> float:
    return metrics.mean_relative_corruption_error(unit.errors, plain.errors)


def test_the_table_is_of_means_over_the_seeds(folder):
    plain = [measured(folder, "plain", "resnet18_cifar", s, [0.1 * s, 0.2, 0.2, 0.2, 0.3]) for s in (1, 2)]
    unit = [measured(folder, "unit", "resnet18_cifar_pushpull", s, [0.1, 0.1 * s, 0.2, 0.2, 0.2]) for s in (1, 2)]
    first, second = (relative_mrce(*pair) for pair in zip(unit, plain, strict=True))
    mean, reach = 50 * (first + second), 12.7062 * 50 * abs(first - second)  # Student's t of one degree of freedom
    table = study.table(study.Study.load(folder))
    assert f"| 2 | 10.0 ± 0.0 | 25.5 ± 2.1 | {mean:.1f} [{mean - reach:.1f}, {mean + reach:.1f}] | 98.2" in table
    assert "| 2 | 15.0 ± 7.1 |" in table  # clean errors of the plain network
    assert "| 100.0 | 100.0 (CIFAR10) |" in table  # and its mrCE, by definition
    page = study.page(study.Study.load(folder))
    assert "Remarks on the study, over two lines." in page
    assert "in 4 runs" in page


def test_rows_that_were_not_run_or_not_with_the_baseline_s_seeds_have_no_mrce(folder):
    assert study.table(study.Study.load(folder)).count("| not run |") == 2
    assert "Nothing has been run yet" in study.page(study.Study.load(folder))
    measured(folder, "unit", "resnet18_cifar_pushpull", 1, [0.1] * 5)
    measured(folder, "plain", "resnet18_cifar", 2, [0.2] * 5)
    found = study.Study.load(folder)
    assert "| 1 of 2 | 10.0 | 15.0 | - | 98.2 (CIFAR10) |" in study.table(found)
    assert "nothing follows" in study.page(found)
    measured(folder, "unit", "resnet18_cifar_pushpull", 2, [0.1] * 5)
    assert "| 2 | 10.0 ± 0.0 | 15.0 ± 0.0 | 50.0 | 98.2 (CIFAR10) |" in study.table(study.Study.load(folder))


@pytest.mark.parametrize(
    ("factors", "words"),
    [
        (
            (0.9, 0.92, 0.91),
            "`resnet18_cifar_pushpull`, `alpha=1.5` (91.0 [88.5, 93.5] %) makes fewer errors under corruption",
        ),
        (
            (1.1, 1.12, 1.11),
            "`resnet18_cifar_pushpull`, `alpha=1.5` (111.0 [108.5, 113.5] %) makes more errors under corruption",
        ),
        ((0.8, 1.0, 0.9), "does not decide it for `resnet18_cifar_pushpull`, `alpha=1.5` (90.0 [65.2, 114.8] %)"),
    ],
)
def test_what_follows_is_said_by_the_interval_paired_by_seed(folder, factors, words):
    """The baseline's own errors scatter far more than the ratios."""
    path = folder / "plan.yaml"
    path.write_text(path.read_text().replace("seeds: [1, 2]", "seeds: [1, 2, 3]"))
    for seed, factor in enumerate(factors, start=1):
        errors = [0.1 * seed] * 5
        measured(folder, "plain", "resnet18_cifar", seed, errors)
        measured(folder, "unit", "resnet18_cifar_pushpull", seed, [factor * error for error in errors])
    page = study.page(study.Study.load(folder))
    assert words in page
    assert "Student's t over the seeds, paired" in page
    low, high = words[words.index("[") + 1 : words.index("]")].split(", ")
    mean = f"{100 * statistics.mean(factors):.1f}"
    assert f"| fog | {mean} [{low}, {high}] |" in page
    assert "| network | clean error, points | R_net, % |" in page
    frequencies = page[page.index("## By frequency") : page.index("## By corruption")]
    assert (
        f"| `resnet18_cifar_pushpull`, `alpha=1.5` | {mean} [{low}, {high}] | {mean} [{low}, {high}] |" in frequencies
    )


def test_the_page_names_rows_of_other_hardware_than_their_baseline(folder):
    for seed in (1, 2):
        measured(folder, "plain", "resnet18_cifar", seed, [0.2] * 5)
        unit = measured(folder, "unit", "resnet18_cifar_pushpull", seed, [0.1] * 5)
    assert "other hardware" not in study.page(study.Study.load(folder))
    replace(unit, training=replace(unit.training, hardware="another")).save(folder / "unit.2.json")
    said = "Some or all runs of `resnet18_cifar_pushpull`, `alpha=1.5` were on other hardware than the baseline's"
    assert said in study.page(study.Study.load(folder))


def test_the_page_names_the_precision_and_the_rows_with_another(folder):
    for seed in (1, 2):
        measured(folder, "plain", "resnet18_cifar", seed, [0.2] * 5)
        unit = measured(folder, "unit", "resnet18_cifar_pushpull", seed, [0.1] * 5)
    page = study.page(study.Study.load(folder))
    assert "Training and measurement are in fp32." in page
    assert "another precision" not in page
    replace(unit, precision="bf16", training=replace(unit.training, precision="bf16")).save(folder / "unit.2.json")
    page = study.page(study.Study.load(folder))
    assert "Training and measurement are in fp32; `resnet18_cifar_pushpull`, `alpha=1.5` in bf16." in page
    assert "with the same seed, or in another precision." in page


@pytest.mark.parametrize(("count", "listed"), [(1, "a"), (2, "a and b"), (4, "a, b, c and d")])
def test_networks_are_listed_as_in_a_sentence(count, listed):
    assert study._listed("abcd"[:count]) == listed


def test_frequency_groups_are_those_of_table_4(folder):
    for seed in (1, 2):
        measured(folder, "plain", "resnet18_cifar", seed, [0.2] * 5)
        unit = measured(folder, "unit", "resnet18_cifar_pushpull", seed, [0.1] * 5)
        errors = {**unit.errors, "snow": [0.3] * 5}
        replace(unit, errors=errors).save(folder / f"unit.{seed}.json")
    page = study.page(study.Study.load(folder))
    assert "| network | low frequency | mid frequency |" in page
    assert "| `resnet18_cifar_pushpull`, `alpha=1.5` | 50.0 [50.0, 50.0] | 75.0 [75.0, 75.0] |" in page  # fog and snow


def test_the_figure_holds_the_intervals_of_the_page(folder, tmp_path, run_inside):
    for seed, factor in ((1, 0.9), (2, 0.8)):
        measured(folder, "plain", "resnet18_cifar", seed, [0.2] * 5)
        measured(folder, "unit", "resnet18_cifar_pushpull", seed, [factor * 0.2] * 5)
    found = study.Study.load(folder)
    points, _, (bars,) = study.by_corruption_figure(found).axes[0].containers[0]
    assert points.get_ydata() == pytest.approx([85] * 3)  # fog, snow, mrCE
    low, high = bars.get_segments()[-1][:, 1]
    assert f"| 85.0 [{low:.1f}, {high:.1f}] |" in study.table(found)
    path = tmp_path / "figure.png"
    assert not run_inside(study.main, "study.py", "--study", folder, "--figure", path, "--rows", "unit").returncode
    assert path.exists()


def test_the_trade_off_is_of_means_over_the_seeds_that_all_rows_share(folder):
    """Rows with a fixed alpha are connected in its order; seeds that one row lacks are left out of all."""
    row = "  {}: {{paper: a, model: resnet18_cifar_pushpull, baseline: plain, settings: {{model_args: {}}}}}\n"
    alphas = {"strong": "{alpha: 3, trainable_alpha: false}", "weak": "{alpha: 1, trainable_alpha: false}"}
    more = "".join(row.format(name, alpha) for name, alpha in alphas.items())
    (folder / "plan.yaml").write_text(PLAN.replace("seeds: [1, 2]", "seeds: [1, 2, 3]") + more)
    for seed in (1, 2, 3):
        measured(folder, "plain", "resnet18_cifar", seed, [0.1 * seed] * 5)
        measured(folder, "unit", "resnet18_cifar_pushpull", seed, [0.16 * seed] * 5)
        measured(folder, "weak", "resnet18_cifar_pushpull", seed, [0.15 * seed] * 5)
        if seed < 3:
            measured(folder, "strong", "resnet18_cifar_pushpull", seed, [0.1 * seed + 0.1] * 5)
    found = study.Study.load(folder)
    assert "| `resnet18_cifar_pushpull`, fixed `alpha=3` |" in study.page(found)
    drawn = study.trade_off_figure(found)
    lines = {line.get_label(): line for line in drawn.axes[0].lines}
    # Of seeds 1 and 2. mCE is 1.5 times the clean error, because snow has twice the errors of fog.
    assert np.ravel(lines["resnet18_cifar (baseline)"].get_data()) == pytest.approx([15, 22.5])
    assert np.ravel(lines["resnet18_cifar_pushpull, alpha=1.5"].get_data()) == pytest.approx([24, 36])
    assert lines["resnet18_cifar_pushpull, fixed α"].get_xdata() == pytest.approx([22.5, 25])
    assert [text.get_text() for text in drawn.axes[0].texts] == ["1", "3"]
    assert "Means over the training seeds 1, 2. The networks are those of the study small" in caption(drawn)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--rows", "unit"), "--figure or --tradeoff"),
        (("--tradeoff", "{tmp}/x.png"), "no rows with two seeds"),
        (("--figure", "{tmp}/x.gif"), ".png, .pdf or .svg"),
        (("--figure", "{tmp}/x.png", "--rows", "units"), "unknown row 'units'"),
        (("--figure", "{tmp}/x.png", "--rows", "plain"), "'plain' has no baseline"),
        (("--figure", "{tmp}/x.png", "--rows", "unit"), "fewer than two seeds"),
        (("--figure", "{tmp}/x.png"), "no rows with two seeds"),
    ],
)
def test_bad_figures_are_one_line(folder, tmp_path, run_inside, arguments, words):
    measured(folder, "plain", "resnet18_cifar", 1, [0.2] * 5)
    measured(folder, "unit", "resnet18_cifar_pushpull", 1, [0.2] * 5)
    given = [argument.format(tmp=tmp_path) for argument in arguments]
    assert_one_clear_line(run_inside(study.main, "study.py", "--study", folder, *given), words)
    assert not (tmp_path / "x.png").exists()


def test_intervals_are_those_of_student_s_t():
    """Student's sleep data (1908), differences between the two drugs: 95 % interval 0.70 to 2.46."""
    found = study.Interval.of([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])
    assert found.text() == "158.0 [70.0, 246.0]"
    assert study.Interval.of([0.5]).text() == "50.0"


def test_results_of_something_else_are_refused(folder):
    found = measured(folder, "plain", "resnet18_cifar", 1, [0.1] * 5)
    replace(found, command="train.py --seed 12").save(folder / "plain.1.json")
    with pytest.raises(InputError, match=r"plain\.1\.json is about another network or seed"):
        study.Study.load(folder)
    found.save(folder / "plain.1.json")
    replace(found, num_images=7, command="train.py --seed 2").save(folder / "plain.2.json")
    with pytest.raises(InputError, match="cannot be compared"):
        study.Study.load(folder)
    (folder / "plain.2.json").unlink()
    replace(found, training=replace(found.training, epochs=5)).save(folder / "plain.1.json")
    with pytest.raises(InputError, match="training of 5 epochs, the plan says 1; remove it"):
        study.Study.load(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("seeds: [1, 2]", ""), ["no plan of a study", "seeds"]),
        (("baseline: plain", "baseline: plian"), ["plian", "'plain'"]),
        (("model: resnet18_cifar}", "modle: resnet18_cifar}"), ["modle", "'model'"]),
        (("rows:", "rows: ["), ["no plan of a study"]),
        (("recipe: digits", "recipe: digit"), ["unknown recipe 'digit'", "'digits'"]),
        (
            ("model: resnet18_cifar}", 'model: "resnet18_cifar.\\e[2J"}'),
            ["models is 'resnet18_cifar.", "printable text"],
        ),
        (("paper: ResNet50,", 'paper: "x\\nfalse row",'), ["has the paper", "printable text"]),
        (("{epochs: 1", "{epoch: 1"), ["unknown setting 'epoch'", "'epochs'"]),
    ],
)
def test_bad_plans_end_with_one_line(folder, run_inside, change, words):
    (folder / "plan.yaml").write_text(PLAN.replace(*change))
    assert_one_clear_line(run_inside(study.main, "study.py", "--study", folder), *words)


def test_bad_commands_end_with_one_line(folder, tmp_path, run_inside):
    missing, file = tmp_path / "none", folder / "plan.yaml"
    commands = [("--study", missing), ("--study", file), ("--study", folder, "--all")]
    for given, word in zip(commands, ["no plan.yaml", "no plan.yaml", "unrecognized"], strict=True):
        assert_one_clear_line(run_inside(study.main, "study.py", *given), word)


@pytest.mark.parametrize(("name", "page"), [("cifar10", "study.md"), ("cifar10-retrieval", "study-retrieval.md")])
def test_our_studies_are_of_the_paper_s_rows_and_their_pages_are_up_to_date(name, page):
    found = study.Study.load(study.STUDIES / name)
    table = study.table(found)
    assert all(
        row.count(" (CIFAR10)") + row.count(" (ImageNet)") + row.count(" (ours)") == 1 for row in table.splitlines()[2:]
    )
    assert (ROOT / "model_cards" / page).read_text(encoding="utf-8") == study.page(found), "run train/study.py --page"


def test_a_study_of_its_own_has_labels_and_recipes_for_its_rows(folder):
    plan = PLAN.replace("table: table2\n", "").replace(
        "paper: ResNet50 PushPull avg3", "label: tuned\n    recipe: finetune"
    )
    plan = plan.replace("paper: ResNet50", "label: plain").replace(
        "resnet18_cifar_pushpull", "resnet18_cifar_pushpull.cifar10"
    )
    (folder / "plan.yaml").write_text(plan)
    measured(folder, "plain", "resnet18_cifar", 1, [0.2] * 5)
    measured(folder, "unit", "resnet18_cifar_pushpull", 1, [0.1] * 5)
    found = study.Study.load(folder)
    assert [(row.recipe, row.settings.opt) for row in found.rows.values()] == [
        ("digits", "momentum"),
        ("finetune", "adamw"),
    ]
    table = study.table(found)
    assert "| training | network |" in table
    assert "published" not in table
    assert "| tuned | `resnet18_cifar_pushpull.cifar10`, `alpha=1.5` | 1 of 2 | 10.0 | 15.0 | 50.0 |" in table


def test_rows_of_one_network_are_told_apart_by_their_labels():
    found = study.Study.load(study.STUDIES / "finetune")
    text = study.conclusion(found)
    assert "from scratch, SGD (114.5 [100.7, 128.3] %) makes more errors" in text


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [("seeds: [1, 2]", "seeds: [1, a]", "has the seed 'a'"), ("rows:\n", "rows: 3\nx:\n", "is no plan")],
)
def test_plans_with_wrong_types(folder, old, new, words):
    (folder / "plan.yaml").write_text(PLAN.replace(old, new))
    with pytest.raises(InputError, match=words):
        study.Study.load(folder)


def test_the_study_of_fine_tuning_is_the_table_of_the_documentation():
    found = study.Study.load(study.STUDIES / "finetune")
    assert all(len(row.results) == len(row.seeds) for row in found.rows.values())
    assert study.table(found) in (ROOT / "docs" / "train.md").read_text(encoding="utf-8")


def test_recorded_commands_hold_no_path_of_one_machine():
    files = [*study.STUDIES.rglob("*.json"), *(ROOT / "hub" / "releases").glob("*/results.json")]
    assert len(files) > 40
    for path in files:
        command = Results.load(path).command or ""
        assert not [argument for argument in shlex.split(command) if re.search(r"(^|[=:])/", argument)], path
