"""The first and the last lines of a run."""

from __future__ import annotations

import shlex
from dataclasses import replace
from types import SimpleNamespace

import pytest

from support.example_run import RETRIEVAL, some_results
from timm_pushpull import cli
from timm_pushpull.benchmark.comparison import Comparison
from timm_pushpull.benchmark.results import Intervals
from timm_pushpull.corruptions import CORRUPTIONS
from train.summary import print_summary, summary

LONGEST = "resnet50_cifar_blurconv2_pushpull"


def measured(model: str, clean: float, mce: float, reach: float = 0.02, **changes):
    around = (max(0.0, clean - reach), clean + reach), (mce - reach, mce + reach)
    errors = {name: [mce] * 5 for name in CORRUPTIONS}
    settings = {"dataset": "digits", "num_images": 355, "intervals": Intervals(*around), "frost": "original", **changes}
    return some_results(model, clean_error=clean, errors=errors, **settings)


def said(own, baseline) -> str:
    text = summary(baseline, [Comparison.of(own, baseline)])
    assert max(map(len, text.splitlines())) <= 100
    return " ".join(text.split())


def test_so_few_errors_decide_nothing():
    text = said(measured(LONGEST, 4 / 355, 0.137), measured("resnet18_cifar", 3 / 355, 0.093))
    assert f"| {LONGEST} |" in text
    assert "13.7 [11.7, 15.7] | 147.3 |" in text
    assert f"{LONGEST}: the difference in clean error from resnet18_cifar lies within chance; 4 wrong images" in text
    assert "4 wrong images of 355 instead of 3 decide nothing about push-pull." in text
    assert "another seed or machine gives other figures. The digits show that everything works" in text
    text = said(measured(LONGEST, 4 / 355, 0.1), measured("resnet18_cifar", 3 / 355, 0.093))
    assert "the difference in clean error and mCE from" in text


def test_a_clear_difference_is_not_called_chance():
    large = {"dataset": "photos", "num_images": 10_000}
    text = said(measured(LONGEST, 0.2, 0.3, **large), measured("resnet18_cifar", 0.1, 0.4, **large))
    assert "chance" not in text
    assert "digits" not in text
    assert "Frost" not in text


def test_procedural_frost_is_named():
    own, base = (replace(measured(name, 0.1, 0.2), frost="procedural") for name in ("unit", "plain"))
    assert "Frost was procedural" in said(own, base)


def test_errors_of_retrieval_are_no_counts_of_images():
    task = {"task": "retrieval", "retrieval": RETRIEVAL}
    text = said(measured("unit", 0.101, 0.2, **task), measured("plain", 0.1, 0.2, **task))
    assert "Errors (1 - mAP@200) on 355" in text
    assert "lies within chance." in text


def test_a_baseline_of_others_draws_no_false_row(capsys):
    own, others = measured("unit", 0.1, 0.2), measured("plain\n| evil | \u202e", 0.1, 0.2)
    text = summary(others, [Comparison.of(own, others)])
    assert "\n| evil" not in text
    assert "\u202e" not in text


@pytest.mark.parametrize("count", [1, 2])
def test_the_next_steps_are_commands_with_the_run_s_paths(tmp_path, capsys, count):
    found = [measured(name, 0.1, 0.2) for name in ("plain", "unit")[:count]]
    folders = [SimpleNamespace(path=tmp_path / "my runs" / results.model) for results in found]
    print_summary(list(zip(folders, found, strict=True)), found[0])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("timm-pushpull ")]
    assert [words[0] for words in commands] == ["compare", "plot", "report"][2 - count :]
    for words in commands:
        cli.command_line().parse_args(words)
        assert [word for word in words if "/" in word] == [str(folder.path) for folder in folders]
    assert sum(line.startswith("python -c") for line in lines) == count
    assert ("mrCE" in "".join(lines)) == (count == 2)
