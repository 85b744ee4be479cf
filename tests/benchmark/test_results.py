"""Results files: whole, readable, and refused where they are not."""

from __future__ import annotations

import json

import pytest

from support.example_run import some_results
from timm_pushpull import InputError
from timm_pushpull.benchmark.results import Results, commit


def test_json_round_trip(tmp_path):
    results = some_results()
    results.save(tmp_path / "results.json")
    assert Results.load(tmp_path / "results.json") == results
    assert Results.load(tmp_path) == results


def test_the_file_holds_what_the_design_promises():
    content = json.loads(some_results().to_json())
    assert {
        "model",
        "weights_sha256",
        "dataset",
        "split",
        "preset",
        "seed",
        "num_images",
        "clean_error",
        "errors",
        "mce",
        "partial",
        "frost",
        "versions",
        "command",
        "commit",
    } <= set(content)
    assert content["mce"] == pytest.approx(sum(sum(row) / 5 for row in content["errors"].values()) / 15)
    assert content["partial"] is False


def test_partial_if_a_corruption_or_a_severity_is_missing():
    whole = some_results()
    assert some_results(errors={k: v for k, v in whole.errors.items() if k != "fog"}).partial
    assert some_results(errors={**whole.errors, "fog": [0.1, None, 0.1, 0.1, 0.1]}).partial
    assert some_results(errors={}).mce is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a results file"),
        ("[]", "lacks clean_error"),
        ("{}", "lacks clean_error"),
        (some_results().to_json().replace("0.05", "1.5"), "clean_error is 1.5"),
        (some_results().to_json().replace("0.4,", "4,"), "an error of 4"),
    ],
)
def test_other_files_are_refused(tmp_path, text, message):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(InputError, match=message):
        Results.load(tmp_path / "results.json")
    with pytest.raises(InputError, match="cannot read"):
        Results.load(tmp_path / "nowhere.json")


@pytest.mark.parametrize(
    "change",
    [{"dataset": "others"}, {"preset": "imagenet-c"}, {"seed": 1}, {"num_images": 3}, {"errors": {"fog": [0.1] * 5}}],
)
def test_unlike_measurements_are_not_compared(change):
    with pytest.raises(InputError, match="cannot be compared"):
        some_results(**change).comparable_with(some_results())


def test_commit_is_that_of_this_checkout():
    found = commit()
    assert found is None or len(found.rstrip("+")) == 40


@pytest.mark.parametrize("where", ["model", "errors", "training"])
def test_a_stranger_s_file_cannot_steer_the_terminal(where):
    evil = {"model": "\x1b]0;gone\x07", "errors": {"fog\x1b[2J": [0.1] * 5}, "training": {"hardware": ["\x9b2J"]}}
    text = some_results(**{where: evil[where]}).to_json()
    with pytest.raises(InputError, match="control characters"):
        Results.from_json(text)
