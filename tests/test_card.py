"""Model cards: every number from the results, metadata that the Hub's client reads back."""

from __future__ import annotations

import re

from huggingface_hub import ModelCard

from example_run import some_results, write_run
from timm_pushpull import metrics


def test_metadata_round_trip(tmp_path):
    write_run(tmp_path / "run")
    card = ModelCard.load(tmp_path / "run" / "README.md")
    results = some_results()
    assert (card.data.library_name, card.data.license, card.data.datasets) == ("timm", "apache-2.0", ["pictures"])
    assert {"timm", "image-classification"} <= set(card.data.tags)
    values = {(e.dataset_config, e.metric_type): e.metric_value for e in card.data.eval_results}
    assert values[None, "error"] == results.clean_error
    assert values["cifar10-c", "mce"] == round(results.mce, 6)
    for corruption, row in results.errors.items():
        for severity, error in enumerate(row, start=1):
            assert values[f"{corruption}-{severity}", "error"] == round(error, 6)
    assert len(values) == 2 + 75


def test_table_beside_the_baseline(tmp_path):
    baseline = some_results("resnet18_cifar", errors={k: [0.4] * 5 for k in some_results().errors})
    write_run(tmp_path / "run", baseline=baseline)
    text = (tmp_path / "run" / "README.md").read_text()
    results = some_results()
    for corruption, row in results.errors.items():
        cells = re.search(rf"^\| {corruption} \|(.+)\|$", text, re.M)[1].split("|")
        shown = [float(cell) for cell in cells]
        relative = metrics.relative_corruption_errors(results.errors, baseline.errors)[corruption]
        expected = [*(100 * e for e in row), 100 * metrics.mean_error(row), 40, relative]
        assert all(abs(a - b) <= 0.051 for a, b in zip(shown, expected, strict=True))
    assert f"{metrics.mean_relative_corruption_error(results.errors, baseline.errors):.3f}" in text
    assert "import timm_pushpull" in text


def test_partial_results_say_so(tmp_path):
    write_run(tmp_path / "whole")
    assert "Partial" not in (tmp_path / "whole" / "README.md").read_text()
    from timm_pushpull.card import model_card

    partial = some_results(errors={"contrast": [0.1] * 5})
    card = model_card(partial, title="x", recipe={}, avg_size=None, parameters=1, training="None.")
    assert "**Partial**" in card
    assert "gaussian_noise" in card
    assert "mce" not in {e.metric_type for e in ModelCard(card).data.eval_results}
