"""Model cards: every figure from the results, snippets that run, and text that stays text."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries
from markdown_it import MarkdownIt
from PIL import Image

from support.example_card import BASELINE, CONFIG, PAIR, RECIPE, TITLE, card_of, row_of, snippets
from support.example_run import CLASSES, TRAINING, some_results, write_run
from support.paths import needs_releases
from timm_pushpull import InputError, metrics
from timm_pushpull.benchmark.results import InitialWeights, Intervals
from timm_pushpull.hub.card import discrepancies, eval_results_yaml, metadata, robustness_figure
from timm_pushpull.models import RELEASES
from timm_pushpull.models.weights import load_model

RELEASE = RELEASES / "resnet18_cifar_pushpull.cifar10"


def body(card: str) -> str:
    return card.split("\n---\n", 1)[1]


def test_metadata_round_trip():
    card = ModelCard(card_of(PAIR))
    assert (card.data.library_name, card.data.license, card.data.datasets) == ("timm", "apache-2.0", None)
    assert {"timm", "image-classification"} <= set(card.data.tags)
    values = {(e.dataset_config, e.metric_type): e.metric_value for e in card.data.eval_results}
    assert values[None, "error"] == PAIR.clean_error
    assert values[None, "accuracy"] == 1 - PAIR.clean_error
    assert values["cifar10-c", "mce"] == round(PAIR.mce, 6)
    for corruption, row in PAIR.errors.items():
        for severity, error in enumerate(row, start=1):
            assert values[f"{corruption}-{severity}", "error"] == round(error, 6)
    assert len(values) == 3 + 75
    assert metadata(PAIR, TITLE).to_yaml() in card.content


def test_training_and_test_images_of_other_sizes():
    whole = card_of(PAIR)
    assert "trained on `photos` at 32 x 32 px. " in whole
    same = card_of(PAIR, recipe={**RECIPE, "img_size": 32, "test_img_size": 32})
    assert "trained on `photos` at 32 x 32 px. " in same
    other = card_of(PAIR, recipe={**RECIPE, "img_size": 24, "test_img_size": 32})
    assert "trained on `photos` at 24 x 24 px and tested at 32 x 32 px. " in other


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({}, None),
        ({"smoothing": 0.1}, "cross-entropy, label smoothing 0.1"),
        ({"bce_loss": True}, "binary cross-entropy of each class"),
        ({"bce_loss": True, "smoothing": 0.1}, "binary cross-entropy of each class, label smoothing 0.1"),
    ],
)
def test_the_loss(settings, line):
    card = card_of(PAIR, recipe={**RECIPE, **settings})
    assert re.findall(r"- \*\*Loss:\*\* (.*)", card) == ([line] if line else [])


def test_tables_beside_the_baseline():
    card = card_of(PAIR)
    relative = metrics.relative_corruption_errors(PAIR.errors, BASELINE.errors)
    for corruption, row in PAIR.errors.items():
        shown = [float(cell) for cell in row_of(card, corruption, "corruption")]
        expected = [*(100 * e for e in row), 100 * metrics.mean_error(row), 40, 100 * relative[corruption]]
        assert all(abs(a - b) <= 0.051 for a, b in zip(shown, expected, strict=True))
    last = [float(cell) for cell in row_of(card, "mean", "corruption")]
    np.testing.assert_allclose(last, [10, 20, 30, 40, 7, 21.4, 40, 53.5], atol=0.051)
    mrce = metrics.mean_relative_corruption_error(PAIR.errors, BASELINE.errors)
    r_net = ((0.04 - 0.05) / 0.04 + 0.4 / 0.04 * (0.4 - PAIR.mce) / 0.4) / 2  # Eq. 13 with beta = mCE0 / E0
    assert row_of(card, PAIR.model, "model") == ["5.00%", f"{PAIR.mce:.2%}", f"{mrce:.1%}", f"{r_net:.1%}"]
    assert row_of(card, "resnet18_cifar (baseline)", "model") == ["4.00%", "40.00%", "100.0%", "0.0%"]
    assert "its error is lower than the baseline's" in card
    assert "mCE 19.1% to 20.9%" in card
    worse = replace(PAIR, errors={name: [0.5] * 5 for name in PAIR.errors})
    assert "its error is higher than the baseline's" in card_of(worse)
    same = replace(PAIR, errors=BASELINE.errors, intervals=None)
    assert "its error is equal to the baseline's" in card_of(same)
    near = {name: [0.39] * 5 for name in PAIR.errors}
    alike = card_of(replace(PAIR, errors=near, intervals=Intervals(mce=(0.37, 0.41))))
    assert "its error is about equal to the baseline's" in alike
    assert "may be chance" in alike
    assert "The difference may be chance" not in card


@pytest.mark.parametrize(
    ("model", "printed"),
    [
        # R_net by hand from Table 1: ((.069 - .071) / .069 + .2853 / .069 * (.2853 - .2728) / .2853) / 2 = 0.0761
        ("resnet18_cifar_pushpull", ["7.1%", "27.28%", "97.0%", "7.6%"]),
        ("resnet18_cifar", ["6.9%", "28.53%", "100.0%", "0.0%"]),
    ],
)
def test_beside_the_paper(model, printed):
    results = some_results(model, dataset="uoft-cs/cifar10", training=TRAINING)
    card = card_of(results)
    label = "paper, Table 1: ResNet18" + " PushPull avg3" * ("pushpull" in model)
    assert row_of(card, label, "source") == printed
    ours = ["5.00%", f"{results.mce:.2%}", *(("100.0%", "0.0%") if model == "resnet18_cifar" else ("-", "-"))]
    assert row_of(card, "this model", "source") == ours
    assert "not list R_net; it is computed here" in card
    assert "in this training, epochs is 1, not 30" in card
    assert "Comparison with the paper" not in card_of(replace(results, errors={"fog": [0.1] * 5}))
    assert "Comparison with the paper" not in card_of(PAIR)


def test_what_the_reader_must_know_comes_first():
    card = card_of(PAIR, image="robustness.png")
    first, use = card.split("\n## ")[:2]
    assert "epochs is 1, not 30" in first
    assert "](robustness.png)" in first
    assert use.startswith("Intended use")
    assert "adversarial" in use
    assert "input is 32 x 32 px" in use
    assert "50 images/s" in card
    assert "7 for training, 0 for the corruptions" in card
    assert "drawn at random" in card
    assert f"- **Versions:** torch 2.9.1, timm 1.0.31; commit `{'5' * 40}`" in card
    assert "Params (M): 11.2" in card
    assert "GMACs: 0.56" in card
    assert "averaged over 3 x 3 positions" in card
    assert PAIR.command in card
    assert "clip_grad" not in card


def test_a_card_says_no_more_than_the_results():
    bare = some_results(errors={}, hardware=None, commit=None)
    card = card_of(bare, recipe={}, macs=None, config=CONFIG | {"label_names": None, "model_args": {}})
    for absent in (
        "mCE",
        "baseline",
        "GMACs",
        "images/s",
        "push-pull unit",
        "None",
        "corruption |",
        "differ from the recipe",
    ):
        assert absent not in body(card).replace("the baseline for the push-pull", "")
    assert "tested on clean images only" in card
    assert discrepancies(card, card) == []
    assert {e.metric_type for e in ModelCard(card).data.eval_results} == {"error", "accuracy"}
    assert "a plain network" in card

    partial = some_results(errors={"contrast": [0.1, None, 0.3, None, None]}, frost="procedural, ours")
    card = card_of(partial)
    assert row_of(card, "contrast", "corruption") == ["10.0", "-", "30.0", "-", "-", "20.0"]
    assert row_of(card, "mean", "corruption") == ["10.0", "-", "30.0", "-", "-", "20.0"]
    assert "**Partial**" in card
    assert "gaussian_noise" in card
    assert "**Frost** was procedural, ours" in card
    assert "mce" not in {e.metric_type for e in ModelCard(card).data.eval_results}
    assert "Partial" not in card_of(PAIR)
    assert "as JPEG of quality 85" in card_of(replace(partial, jpeg_quality=85))

    perfect = replace(
        PAIR, baseline=replace(PAIR.baseline, clean_error=0.0, errors={n: [0.0] * 5 for n in PAIR.errors})
    )
    assert row_of(card_of(perfect), PAIR.model, "model")[2:] == ["-", "-"]
    with pytest.raises(InputError, match="measure both alike"):
        card_of(replace(PAIR, baseline=replace(PAIR.baseline, errors={"fog": [0.1] * 5})))


@pytest.mark.parametrize(
    ("dataset", "terms"),
    [
        ("uoft-cs/cifar10", "Krizhevsky"),
        ("tiny-imagenet-200", "non-commercial research and education only"),
        ("digits", "`digits` has its own terms"),
    ],
)
def test_terms_of_the_data(dataset, terms):
    assert terms in card_of(some_results(dataset=dataset))


@pytest.mark.parametrize(("dataset", "repo"), [("imagenette", "frgfm/imagenette"), ("cifar10", "uoft-cs/cifar10")])
def test_a_known_folder_is_also_named_as_on_the_hub(dataset, repo):
    card = card_of(some_results(dataset=dataset))
    data = ModelCard(card).data
    assert data.datasets == [repo]
    assert {result.dataset_type for result in data.eval_results} == {repo}
    assert f"- **Dataset:** `{dataset}` ([`{repo}`](https://huggingface.co/datasets/{repo}) on the Hub)" in card


def test_snippets_run(tmp_path, monkeypatch, capsys):
    model = write_run(tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    Image.effect_noise((50, 40), 80).convert("RGB").save("image.png")
    classify, features, embed = snippets(Path("README.md").read_text())
    spaces = []
    for snippet in (classify, features, embed):
        spaces.append({"__name__": "__main__"})
        exec(snippet, spaces[-1])
    printed = capsys.readouterr().out.splitlines()
    inputs = spaces[0]["transform"](spaces[0]["image"]).unsqueeze(0)
    assert tuple(inputs.shape) == (1, 3, 32, 32)
    with torch.inference_mode():
        probabilities = model(inputs).softmax(1)[0]
        expected = [(f"{p:.1%}", name) for p, name in sorted(zip(probabilities.tolist(), CLASSES, strict=True))[::-1]]
    assert [tuple(line.split()) for line in printed[:2]] == expected
    assert printed[2:-1] == [str(tuple(maps.shape)) for maps in spaces[1]["maps"]]
    assert len(printed[2:-1]) == 5
    assert printed[-1] == "(1, 512)"


def test_classes_with_wordnet_ids_are_named_in_words(tmp_path, monkeypatch, capsys):
    write_run(tmp_path / "run", classes=("n01440764", "n02102040"))
    monkeypatch.chdir(tmp_path / "run")
    assert "- **Classes:** 2: tench, English springer\n" in Path("README.md").read_text()
    Image.effect_noise((50, 40), 80).convert("RGB").save("image.png")
    exec(snippets(Path("README.md").read_text())[0], {"__name__": "__main__"})
    printed = [line.split(maxsplit=1)[1] for line in capsys.readouterr().out.splitlines()]
    assert sorted(printed) == ["English springer, English springer spaniel", "tench, Tinca tinca"]


@needs_releases
@pytest.mark.parametrize("release", [RELEASE, RELEASES / "resnet18_pushpull.imagenette"], ids=lambda path: path.name)
def test_snippet_for_transformers_runs(tmp_path, monkeypatch, capsys, release):
    pytest.importorskip("transformers")
    config = json.loads((release / "config.json").read_text())
    card = card_of(PAIR, config=config, source="hf-hub:some/model")
    assert len(snippets(card)) == 4
    assert 'name = "hf-hub:some/model"' in card
    assert len(snippets(card_of(PAIR))) == 3
    monkeypatch.chdir(tmp_path)
    Image.effect_noise((32, 32), 80).convert("RGB").save("image.png")
    space = {"__name__": "__main__"}
    exec(snippets(card)[3].replace('"some/model"', repr(str(release))), space)
    model, _ = load_model(f"local-dir:{release}")
    with torch.inference_mode():
        logits = model(space["processor"](space["image"], return_tensors="pt")["pixel_values"])
    assert torch.equal(space["logits"], logits)  # half-precision weights, computed in float32
    words = config["label_descriptions"].values() if "label_descriptions" in config else config["label_names"]
    assert capsys.readouterr().out.strip() in words


def test_only_datasets_of_the_hub_are_listed():
    for name, listed in (("photos", None), ("cifar10", ["uoft-cs/cifar10"]), ("me/photos", ["me/photos"])):
        assert metadata(some_results(dataset=name), "title").datasets == listed


def test_the_configuration_of_the_dataset_is_on_the_card():
    card = card_of(some_results(dataset="me/photos", dataset_config="160px"))
    configs = {entry.dataset_config for entry in ModelCard(card).data.eval_results}
    assert {"160px", "160px, fog-1"} <= configs
    assert "images of `me/photos`, configuration `160px`, split" in card


@pytest.mark.parametrize(
    ("licence", "known", "words"),
    [
        ("apache-2.0", "apache-2.0", "Weights, code and this card: Apache-2.0."),
        ("cc-by-nc-4.0", "cc-by-nc-4.0", "Weights: `cc-by-nc-4.0`, the licence of the weights that"),
        (None, "unknown", "it was not recorded. Code and this card: Apache-2.0."),
    ],
)
def test_the_licence_is_that_of_the_weights_it_started_from(licence, known, words):
    initial = InitialWeights("a.b", "0" * 64, license=licence)
    card = card_of(some_results(training=replace(TRAINING, initial_weights=initial)))
    assert ModelCard(card).data.license == known
    assert words in card


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet18_cifar", "It is a plain network, the baseline"),
        ("resnet18_cifar_pushpull2020", "It is a network with the push-pull layer of Strisciuglio et al. (2020)"),
        ("resnet50_blurconv1", "**First layer:** that of a network anti-aliased as by Zhang (2019)"),
        ("resnet50_blurconv2", "anti-aliased as by Vasconcelos"),
    ],
)
def test_networks_of_other_papers_are_not_called_plain(name, words):
    config = {key: value for key, value in CONFIG.items() if key != "model_args"} | {"architecture": name}
    card = card_of(some_results(name), config=config)
    assert words in card
    assert ("plain network, the baseline" in card) == (name == "resnet18_cifar")


HOSTILE = "a|b `c` <script>alert(1)</script>\n\n## *No* [x](y) \\|<img src=x> --- ```"


def test_text_of_strangers_stays_text():
    hostile = some_results(
        model=HOSTILE,
        dataset=HOSTILE,
        split=HOSTILE,
        preset=HOSTILE,
        frost=HOSTILE,
        corrupted=HOSTILE,
        command=HOSTILE,
        commit=HOSTILE,
        hardware=HOSTILE,
        precision=HOSTILE,
        fingerprint=HOSTILE,
        weights_sha256=HOSTILE,
        versions={HOSTILE: HOSTILE},
        errors={HOSTILE: [0.1] * 5},
        training=replace(
            TRAINING, hardware=HOSTILE, precision=HOSTILE, origin=HOSTILE, overrides=[HOSTILE], commit=HOSTILE
        ),
    )
    hostile = replace(hostile, baseline=hostile.as_baseline())
    config = json.loads(json.dumps(CONFIG)) | {"label_names": [HOSTILE]}
    config["pretrained_cfg"] |= {"interpolation": HOSTILE, "mean": [HOSTILE]}
    config["model_args"] = {"avg_size": HOSTILE}
    recipe = {HOSTILE: HOSTILE, "train_split": HOSTILE, "seed": HOSTILE}
    card = card_of(hostile, title=HOSTILE, recipe=recipe, config=config, source=f"hf-hub:{HOSTILE}", image=HOSTILE)

    assert discrepancies(card, card) == []
    assert ModelCard(card).data.eval_results[0].dataset_type == HOSTILE
    tokens = MarkdownIt("commonmark").enable("table").parse(body(card))
    html = [t.content.strip() for t in tokens if t.type == "html_block"]
    assert html == ["<details><summary>All settings (<code>recipe.yaml</code>)</summary>", "</details>"]
    inline = [child for token in tokens for child in token.children or ()]
    assert {child.content for child in inline if child.type == "html_inline"} <= {"<code>", "</code>"}
    assert [child.attrGet("href") for child in inline if child.type == "link_open"] == [
        "https://arxiv.org/abs/2408.04077"
    ]
    headings = [tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"]
    calm = MarkdownIt("commonmark").parse(body(card_of(PAIR, source="hf-hub:some/model")))
    assert headings[1:] == [calm[i + 1].content for i, t in enumerate(calm) if t.type == "heading_open"][1:]
    rows = [len(re.findall(r"\|", line)) for line in card.splitlines() if line.startswith(f"| {headings[0][15:18]}")]
    assert set(rows) <= {3, 6, 10}  # settings, summary, corruptions
    text = "".join(child.content for child in inline if child.type == "text")
    assert text.count("<script>alert(1)</script>") > 20  # shown, not run
    for snippet in snippets(card):
        compile(snippet, "snippet", "exec")


def test_robustness_figure():
    pytest.importorskip("matplotlib")
    figure = robustness_figure(PAIR)
    relative = metrics.relative_corruption_errors(PAIR.errors, BASELINE.errors)
    assert len(figure.axes) == 15
    for panel, (name, row) in zip(figure.axes, PAIR.errors.items(), strict=True):
        baseline, own = panel.lines
        assert panel.get_title() == name.replace("_", " ")
        np.testing.assert_allclose(own.get_ydata(), [5, *(100 * error for error in row)])
        np.testing.assert_allclose(baseline.get_ydata(), [4] + [40] * 5)
        assert panel.texts[0].get_text() == f"{100 * relative[name]:.0f} %"
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["resnet18_cifar (baseline)", "resnet18_cifar_pushpull"]
    assert "%" in figure.get_supylabel()
    alone = robustness_figure(some_results(errors={"fog": [0.1, None, 0.3, None, None]}))
    assert [len(panel.lines) for panel in alone.axes] == [1]
    with pytest.raises(InputError, match="clean images only"):
        robustness_figure(some_results(errors={}))


def test_eval_results_file():
    entries = parse_eval_result_entries(yaml.safe_load(eval_results_yaml(PAIR, TITLE)))
    values = {entry.task_id: entry.value for entry in entries}
    assert len(entries) == len(values) == 2 + 75
    assert (values["clean"], values["mce"], values["fog-2"]) == (PAIR.clean_error, round(PAIR.mce, 6), 0.2)
    assert {entry.dataset_id for entry in entries} == {"photos"}
    assert all(TITLE in entry.notes for entry in entries)
