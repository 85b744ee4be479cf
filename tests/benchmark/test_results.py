"""Results files: whole, readable, and refused where they are not."""

from __future__ import annotations

import json
import random
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import fields, replace

import pytest

from support.example_run import RETRIEVAL, TRAINING, some_results
from support.paths import ROOT
from timm_pushpull import InputError
from timm_pushpull.benchmark.comparison import Comparison
from timm_pushpull.benchmark.results import KEYS, CellValues, Intervals, Results, Training
from timm_pushpull.cli.tables import print_results
from timm_pushpull.corruptions import EXTRA_CORRUPTIONS
from timm_pushpull.hub.card.robustness import error_table
from timm_pushpull.utils import schema
from timm_pushpull.utils.provenance import commit


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


def test_the_largest_seed_is_read_back():
    results = some_results(seed=2**64 - 1)
    assert Results.from_json(results.to_json()) == results


def test_partial_if_a_corruption_or_a_severity_is_missing():
    whole = some_results()
    assert some_results(errors={k: v for k, v in whole.errors.items() if k != "fog"}).partial
    assert some_results(errors={**whole.errors, "fog": [0.1, None, 0.1, 0.1, 0.1]}).partial
    assert some_results(errors={}).mce is None


def test_validation_corruptions_are_shown_but_count_towards_no_mean(capsys):
    test, validation = some_results(), {name: [0.9] * 5 for name in EXTRA_CORRUPTIONS}
    both = replace(test, errors={**test.errors, **validation}, baseline=None)
    assert (both.mce, both.partial) == (test.mce, False)
    comparison = Comparison.of(both, both)
    assert comparison.row.mrce == 1
    bottom = [line for line in error_table(both, comparison).splitlines() if "**mean**" in line]
    assert bottom == [line for line in error_table(test, Comparison.of(test, test)).splitlines() if "**mean**" in line]
    alone = replace(both, errors=validation)
    assert (alone.mce, alone.partial, Comparison.of(alone, alone).row.mrce) == (None, True, None)
    assert "| **mean** | - |" in error_table(alone, None)
    print_results(alone)
    printed = capsys.readouterr().out
    assert "spatter" in printed
    assert "mCE" not in printed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a results file"),
        ("[]", "the whole is a list of 0, but must be an object"),
        ("{}", "lacks clean_error"),
        (some_results().to_json().replace("0.05", "1.5"), "clean_error is 1.5"),
        (some_results().to_json().replace("0.4,", "4,"), r"errors.gaussian_noise\[3\] is 4"),
        (json.dumps(json.loads(some_results().to_json()) | {"errors": {"fog": [None] * 5}}), "errors.fog has no error"),
        ("[" * 100_000, "nested too deeply"),
        (some_results().to_json().replace("0.05", "NaN"), "NaN"),
        (some_results().to_json().replace("0.05", "9" * 400), "clean_error is 9999"),
        (some_results().to_json().replace("0.05", "9" * 5000), "a number that is too long"),
        (some_results().to_json().replace('"photos"', '"\\ud800"'), "dataset is .* without control characters"),
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
    [
        *({"dataset": "others"}, {"dataset_config": "160px"}, {"split": "val"}, {"preset": "imagenet-c"}, {"seed": 1}),
        *({"num_images": 3}, {"frost": "procedural"}, {"jpeg_quality": 70}, {"corrupted": "CIFAR-10-C"}),
        {"errors": {"fog": [0.1] * 5}},
    ],
)
def test_unlike_measurements_are_not_compared(change):
    with pytest.raises(InputError, match="cannot be compared"):
        some_results(**change).comparable_with(some_results())


def test_commit_is_that_of_this_checkout():
    found = commit()
    assert found is None or len(found.rstrip("+")) == 40


@pytest.mark.parametrize("where", ["model", "errors", "training"])
@pytest.mark.parametrize("word", ["\x1b]0;gone\x07", "fog\x1b[2J", "\x9b2J"])
def test_a_stranger_s_file_cannot_steer_the_terminal(where, word):
    evil = {"model": word, "errors": {word: [0.1] * 5}, "training": Training(hardware=word)}
    text = some_results(**{where: evil[where]}).to_json()
    with pytest.raises(InputError, match="control characters"):
        Results.from_json(text)


def full_results() -> Results:
    """Results with every field."""
    results = some_results(task="retrieval", retrieval=RETRIEVAL, training=TRAINING, frost="original", jpeg_quality=85)
    rows = {name: [(0.1, 0.2)] * 4 + [None] for name in results.errors}
    return replace(
        results,
        corrupted="CIFAR-10-C",
        intervals=Intervals((0.04, 0.06), (0.2, 0.3), rows),
        top5_errors=CellValues(0.01, results.errors),
        calibration_errors=CellValues(None, {"fog": [0.5, None, None, None, None]}),
        image_size=32,
        fingerprint="0123456789abcdef",
        seconds=1.5,
        dataset_config="plain_text",
        baseline=some_results("plain").as_baseline(),
    )


def test_every_key_is_written_and_read_back():
    results = full_results()
    content = json.loads(results.to_json())
    assert tuple(content) == KEYS
    assert {schema.key(entry) for entry in fields(Results)} | {"mce", "partial"} == set(KEYS)
    assert (next(iter(content["top5_errors"])), list(content["calibration_errors"])) == ("clean", ["fog"])
    assert content["training"]["departures"] == TRAINING.overrides
    assert Results.from_json(results.to_json()) == results


@pytest.mark.parametrize("path", sorted(ROOT.glob("hub/releases/*/results.json")), ids=lambda path: path.parent.name)
def test_released_results_are_read_and_written_alike(path):
    text = path.read_text().replace('  "task": "classification",\n  "retrieval": null,\n', "")  # not in the older ones
    assert Results.load(path).to_json().replace('  "task": "classification",\n  "retrieval": null,\n', "") == text


@pytest.mark.parametrize("text", ["[ a  b ]", "[\n1,\n2 ]", "[" + " " * 5000, "[ " * 2500, "[],  " * 1000])
def test_brackets_in_a_text_stay_as_they_are_and_take_no_time(text):
    start = time.monotonic()
    assert Results.from_json(some_results(hardware=text).to_json()).hardware == text
    assert time.monotonic() - start < 5


def test_results_of_older_versions_are_read():
    content = json.loads(some_results().to_json())
    old = {name: value for name, value in content.items() if name not in ("task", "retrieval", "training", "baseline")}
    assert Results.from_json(json.dumps(old)) == some_results()


def test_constructing_results_starts_no_process(monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", None)
    results = full_results()
    assert results.recorded_baseline().baseline is None
    assert Results.from_json(results.to_json()) == results


#: What a value is replaced with.
VALUES = (None, True, False, 0, -1, 1, 1.5, -0.5, 1e308, 10**400, -(10**30), "", "x", "\x1b[2J", "\ud800", "a\nb")
VALUES += ("9" * 20_000, [], {}, [0.1] * 5, [[0.1, 0.2]] * 5, [None] * 5, {"fog": [0.1] * 5}, {"a": 1}, {"\u202e": 1})


def places(content: object, path: tuple = ()) -> Iterator[tuple]:
    """The paths of all values in what JSON held."""
    if path:
        yield path
    if isinstance(content, (dict, list)):
        for key in content if isinstance(content, dict) else range(len(content)):
            yield from places(content[key], (*path, key))


def mutant(text: str, draw: random.Random) -> bytes:
    """A results file with one thing changed: a value, a key, or some bytes."""
    content = json.loads(text)
    path = draw.choice(sorted(places(content), key=lambda path: (len(path), str(path)))[: draw.choice((29, 80, 2000))])
    parent = content
    for key in path[:-1]:
        parent = parent[key]
    kind = draw.choice(("value", "value", "value", "remove", "rename", "cut", "flip", "insert"))
    if kind == "value":
        parent[path[-1]] = draw.choice(VALUES)
    elif kind == "remove":
        del parent[path[-1]]
    elif kind == "rename" and isinstance(parent, dict):
        parent[draw.choice(("", "x", "clean", "\x00", "a\nb\u202e", "k" * 20_000))] = parent.pop(path[-1])
    data = json.dumps(content).encode()
    place = draw.randrange(len(data))
    if kind == "cut":
        data = data[:place]
    elif kind == "flip":
        data = data[:place] + bytes([data[place] ^ (1 << draw.randrange(8))]) + data[place + 1 :]
    elif kind == "insert":
        piece = draw.choice((b"\0" * 10, b"\xff", b"NaN", b"Infinity", b"1e999", b"[" * 3000, b'"', b"{}", b"9" * 5000))
        data = data[:place] + piece + data[place:]
    return data


def test_damaged_files_are_refused_in_one_line_or_right(tmp_path, capsys):
    """2,000 mutants: no traceback, and whatever loads can be printed, compared and written."""
    draw, text, outcomes = random.Random(0), full_results().to_json(), {"refused": 0, "loaded": 0}
    for number in range(2000):
        said, results = None, None
        try:
            results = Results.from_json(data := mutant(text, draw), "found.json")
        except InputError as error:
            said = str(error)
        outcomes["loaded" if results else "refused"] += 1
        if results is None:
            assert re.fullmatch(r"found\.json is not a results file: [^\x00-\x1f]{5,400}", said), data
            continue
        assert Results.from_json(results.to_json()) == results, number
        assert_right_types(results)
        print_results(results)
    assert min(outcomes.values()) > 200, outcomes
    (tmp_path / "results.json").write_bytes(b"x" * (schema.MAX_BYTES + 1))
    with pytest.raises(InputError, match="over 16 MiB"):
        Results.load(tmp_path)


def assert_right_types(results: Results) -> None:
    """A second opinion on what the schema lets through, by hand."""
    for name in ("model", "weights_sha256", "dataset", "split", "preset", "task", "precision", "command"):
        assert type(getattr(results, name)) is str
    for name in ("seed", "num_images"):
        assert type(getattr(results, name)) is int
    for name in ("frost", "corrupted", "fingerprint", "hardware", "commit"):
        assert type(getattr(results, name)) in (str, type(None))
    assert all(type(part) is str for pair in results.versions.items() for part in pair)
    tables = [results.errors, *([results.baseline.errors] if results.baseline else [])]
    tables += [values.errors for values in (results.top5_errors, results.calibration_errors) if values]
    errors = [results.clean_error, *(error for table in tables for row in table.values() for error in row)]
    intervals = results.intervals or Intervals()
    pairs = [intervals.clean_error, intervals.mce, *(pair for row in intervals.errors.values() for pair in row)]
    errors += [end for pair in pairs if pair is not None for end in pair]
    assert all(error is None or (type(error) is float and 0 <= error <= 1) for error in errors)
    assert all(len(row) == 5 for table in [*tables, intervals.errors] for row in table.values())
    training = results.training or Training()
    for name in ("images", "epochs", "processes"):
        assert type(getattr(training, name)) in (int, type(None))
    assert type(training.seconds) in (float, type(None))
    assert all(type(line) is str for line in training.overrides)
