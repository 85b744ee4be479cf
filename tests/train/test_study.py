"""Studies: rows times seeds, trained one at a time, and a table that says what was run and what was not."""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import study
from support.example_run import some_results
from support.paths import ROOT
from support.processes import assert_one_clear_line
from timm_pushpull import InputError, metrics
from timm_pushpull.benchmark.results import Results, Training

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


def test_the_next_training_is_run_with_the_row_s_settings(folder, tmp_path, run_inside, start_quickly):
    (tmp_path / "runs" / "small" / "plain.1.lock").mkdir(parents=True)  # another process has begun it
    given = ("--study", folder, "--runs", tmp_path / "runs", "--next")
    start_quickly(study)
    process = run_inside(study.main, "study.py", *given)
    assert process.returncode == 0, process.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["plan.yaml", "unit.1.json"]
    recipe = yaml.safe_load((tmp_path / "runs" / "small" / "unit.1" / "recipe.yaml").read_text())
    assert (recipe["seed"], recipe["epochs"], recipe["model_args"]) == (1, 1, {"alpha": 1.5})
    shown = run_inside(study.main, "study.py", "--study", folder).stdout
    assert "| ResNet50 | `resnet18_cifar` | not run |" in shown
    assert "| ResNet50 PushPull avg3 | `resnet18_cifar_pushpull` | 1 |" in shown
    assert "| - | 0.982 (CIFAR10) |" in shown


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


def test_the_table_is_of_means_and_deviations_over_the_seeds(folder):
    base = [measured(folder, "plain", "resnet18_cifar", s, [0.1 * s, 0.2, 0.2, 0.2, 0.3]) for s in (1, 2)]
    unit = [measured(folder, "unit", "resnet18_cifar_pushpull", s, [0.1, 0.1 * s, 0.2, 0.2, 0.2]) for s in (1, 2)]
    table = study.table(study.Study.load(folder))
    mean = {c: [sum(cell) / 2 for cell in zip(*(b.errors[c] for b in base), strict=True)] for c in ("fog", "snow")}
    ratios = [metrics.mean_relative_corruption_error(u.errors, mean) for u in unit]
    assert f"| {statistics.mean(ratios):.3f} ± {statistics.stdev(ratios):.3f} | 0.982 (CIFAR10) |" in table
    assert "| 2 | 15.0 ± 7.1 |" in table  # clean errors of the plain network
    assert "| 1.000 ± " in table  # and its mrCE, to its own mean
    page = study.page(study.Study.load(folder))
    assert "Remarks on the study, over two lines." in page
    assert "on 4 runs" in page


def test_results_of_something_else_are_refused(folder):
    found = measured(folder, "plain", "resnet18_cifar", 1, [0.1] * 5)
    replace(found, command="train.py --seed 12").save(folder / "plain.1.json")
    with pytest.raises(InputError, match=r"plain\.1\.json is about another network or seed"):
        study.Study.load(folder)
    found.save(folder / "plain.1.json")
    replace(found, num_images=7, command="train.py --seed 2").save(folder / "plain.2.json")
    with pytest.raises(InputError, match="cannot be compared"):
        study.Study.load(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("seeds: [1, 2]", ""), ["no plan of a study", "seeds"]),
        (("baseline: plain", "baseline: plian"), ["plian", "'plain'"]),
        (("model: resnet18_cifar}", "modle: resnet18_cifar}"), ["modle", "'model'"]),
        (("rows:", "rows: ["), ["no plan of a study"]),
    ],
)
def test_bad_plans_end_with_one_line(folder, run_inside, change, words):
    (folder / "plan.yaml").write_text(PLAN.replace(*change))
    assert_one_clear_line(run_inside(study.main, "study.py", "--study", folder), *words)


def test_bad_commands_end_with_one_line(folder, tmp_path, run_inside):
    for given, word in (
        (("--study", tmp_path / "none"), "no plan"),
        (("--study", folder, "--dataset", "x"), "--next or --all"),
        (("--study", folder, "--page", tmp_path / "page.md"), "nothing of the study"),
    ):
        assert_one_clear_line(run_inside(study.main, "study.py", *given), word)
    assert not (tmp_path / "page.md").exists()


@pytest.mark.parametrize(("name", "page"), [("cifar10", "study.md"), ("cifar10-retrieval", "study-retrieval.md")])
def test_our_studies_are_of_the_paper_s_rows_and_their_pages_are_up_to_date(name, page):
    found = study.Study.load(study.HERE / "studies" / name)
    table = study.table(found)
    assert all(row.count(" (CIFAR10)") + row.count(" (ImageNet)") == 1 for row in table.splitlines()[2:])
    assert (ROOT / "model_cards" / page).read_text(encoding="utf-8") == study.page(found), "run train/study.py --page"
