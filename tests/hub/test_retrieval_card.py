"""Results of retrieval: read, compared and written on a card as what they are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from PIL import Image

from support.example_card import CONFIG, card_of, row_of, snippets
from support.example_comparison import cells, compare
from support.example_run import RETRIEVAL, SMALL, TRAINING, some_results, write_run
from support.hub_server.cards import errors as card_errors
from support.processes import assert_one_clear_line
from timm_pushpull import InputError
from timm_pushpull.benchmark import paper
from timm_pushpull.benchmark.hashing import pack
from timm_pushpull.benchmark.results import Results
from timm_pushpull.hub.card import discrepancies


def retrieved(model: str = "resnet18_cifar_pushpull", **changes) -> Results:
    return some_results(model, **{"task": "retrieval", "retrieval": RETRIEVAL, "dataset": "uoft-cs/cifar10", **changes})


def test_results_of_a_task_are_read_back_and_others_refused():
    results = retrieved()
    assert Results.from_json(results.to_json()) == results
    content = json.loads(some_results().to_json())
    for name in ("task", "retrieval"):
        del content[name]  # as files of before
    assert Results.from_json(json.dumps(content)).task == "classification"
    content = json.loads(results.to_json())
    wrong = ({"task": "retreival"}, {"task": "classification"}, {"retrieval": None}, {"retrieval": {"top": 200}})
    for change in (*wrong, {"retrieval": vars(RETRIEVAL) | {"top": "<b>"}}):
        with pytest.raises(InputError, match="is not a results file"):
            Results.from_json(json.dumps(content | change))


def test_only_what_retrieves_alike_is_compared():
    with pytest.raises(InputError, match="their task is 'retrieval' and 'classification'"):
        retrieved().comparable_with(some_results(dataset="uoft-cs/cifar10"))
    for name, value in (("top", 100), ("database_split", "other"), ("database_images", 10)):
        with pytest.raises(InputError, match=f"their {name} is"):
            retrieved().comparable_with(retrieved(retrieval=replace(RETRIEVAL, **{name: value})))
    retrieved().comparable_with(retrieved(retrieval=replace(RETRIEVAL, hash_bits=32)))  # a property of the network


def test_card():
    results = retrieved(training=TRAINING, baseline=retrieved("resnet18_cifar", clean_error=0.04).as_baseline())
    config = CONFIG | {"num_classes": 64, "label_names": None}
    card = card_of(results, config=config, recipe={"num_classes": 10, "three_phase": True}, image="robustness.png")
    read = ModelCard(card).data
    assert card_errors(card) == discrepancies(card, card) == []
    assert (read.pipeline_tag, read.library_name) == ("image-feature-extraction", "timm")
    assert {"image-retrieval", "timm-pushpull"} <= set(read.tags)
    values = {(e.dataset_config, e.metric_type): (e.metric_name, e.metric_value) for e in read.eval_results}
    assert values[None, "map_at_200"] == ("mAP@200", 0.95)
    assert values[None, "error"] == ("1 - mAP@200", 0.05)
    assert values["fog-2", "error"] == ("1 - mAP@200", 0.2)
    assert {e.task_name for e in read.eval_results} == {"Image retrieval"}
    assert "top-1" not in card.lower()
    assert "accuracy" not in card
    assert "classifier" not in card
    for words in (
        "a hash of 64 bits",
        "the 5,000 clean images of `uoft-cs/cifar10`, split `train`, are ranked",
        "the first 200 ranks",
        "of the baseline's error",
        "![1 - mAP@200 of",
        "image retrieval, feature backbone",
        "**Loss:** central similarity quantization",
    ):
        assert words in card, words
    for figure, other in (("0.95", "0.96"), ("| 5.00% |", "| 4.00% |"), ("map_at_200", "accuracy")):
        assert discrepancies(card.replace(figure, other), card), figure


@pytest.mark.parametrize(
    ("model", "printed"),
    [
        # Tables 5 and 8; R_net by hand: (0 + (.264 - .258) / .071) / 2 = 0.0423
        ("resnet18_cifar_pushpull", ["7.1%", "25.8%", "98.1%", "4.2%"]),
        ("resnet50_cifar", ["7.1%", "28.1%", "100.0%", "0.0%"]),
    ],
)
def test_beside_the_paper(model, printed):
    label = {"resnet50_cifar": "ResNet50"}.get(model, "ResNet18 PushPull avg3")
    card = card_of(retrieved(model, training=TRAINING))
    assert row_of(card, f"paper, Tables 5 and 8: {label}", "source") == printed
    row = paper.row_of(model, "cifar10", "retrieval")
    assert (row.label, row.values["fog"]) == (label, 1.0 if model == "resnet50_cifar" else 1.1)


def test_the_snippet_hashes_an_image(tmp_path, monkeypatch, capsys):
    model = write_run(tmp_path / "run", retrieval=RETRIEVAL, **SMALL)
    monkeypatch.chdir(tmp_path / "run")
    Image.effect_noise((50, 40), 80).convert("RGB").save("image.png")
    space = {"__name__": "__main__"}
    exec(snippets(Path("README.md").read_text())[0], space)
    with torch.inference_mode():
        outputs = model(space["transform"](space["image"]).unsqueeze(0))
    np.testing.assert_array_equal(space["code"], pack(outputs))
    assert capsys.readouterr().out.strip() == "".join("1" if output >= 0 else "0" for output in outputs[0])


def test_compared_beside_tables_5_and_8(tmp_path, run_inside):
    base = retrieved("resnet18_cifar", errors={name: [0.25] * 5 for name in some_results().errors})
    for name, results in (("base", base), ("own", retrieved()), ("other", some_results(dataset="uoft-cs/cifar10"))):
        results.save(tmp_path / f"{name}.json")
    files = [tmp_path / "base.json", tmp_path / "own.json"]

    def table(name: str) -> tuple[str, dict[str, list[str]]]:
        process = compare(run_inside, *files, "--paper", name)
        assert process.returncode == 0, process.stderr
        lines = [cells(line) for line in process.stdout.splitlines() if line.startswith("|")]
        assert len(lines) == 4 + 6
        return process.stdout, {line[0]: [cell.strip("*") for cell in line[1:]] for line in lines}

    said, rows = table("table5")
    assert rows["ResNet18 PushPull avg3"][:6] == ["published, Table 5, CIFAR10", "7.1", "-", "98.1", "-", "93"]
    assert rows["resnet18_cifar_pushpull"][5] == "80.0"  # mean of .1 .2 .3 .4 and 0 over .25
    assert "1 - mAP@200: each image ranks the 5,000 images of split train" in said
    said, rows = table("table8")
    assert rows["ResNet18 PushPull avg3"][:6] == ["published, Table 8, CIFAR10", "7.1", "25.8", "-", "4.2", "44"]
    assert rows["resnet18_cifar_pushpull"][5] == "20.0"
    assert rows["resnet18_cifar (baseline)"][3:6] == ["100.0", "0.0", "25.0"]
    assert "**44**" in said
    assert "**42**" not in said  # impulse noise, .39 of the baseline
    assert "**20.0**" in said
    process = compare(run_inside, *files, "--paper", "table1")
    assert_one_clear_line(process, "table1 is about classification", "use table5 or table8")
    process = compare(run_inside, tmp_path / "other.json", tmp_path / "other.json", "--paper", "table5")
    assert_one_clear_line(process, "table5 is about retrieval", "use table1 or table2")
    assert_one_clear_line(compare(run_inside, *files, tmp_path / "other.json"), "cannot be compared: their task is")
