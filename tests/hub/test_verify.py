"""Verifying a release: what is right passes, and each thing that can be wrong is found and named."""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import transformers
from PIL import Image

import verify as script
from support.example_run import CLASSES, SMALL, write_run
from support.processes import assert_one_clear_line
from timm_pushpull import InputError
from timm_pushpull.benchmark import evaluate
from timm_pushpull.benchmark.results import Results
from timm_pushpull.data.loading import load_images
from timm_pushpull.hub import Release, verify
from timm_pushpull.hub.card import eval_results_yaml
from timm_pushpull.hub.release import EVAL_RESULTS
from timm_pushpull.hub.staging import save_robustness_image
from timm_pushpull.hub.verification import load_each_way, tolerance
from timm_pushpull.models.weights import load_model
from timm_pushpull.utils.files import sha256


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    write_run(folder, **SMALL)
    save_robustness_image(folder / "results.json", folder / "robustness.png")
    return folder


@pytest.fixture
def run(finished, tmp_path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


def edit(name: str, old: str, new: str):
    def spoil(run: Path) -> None:
        text = (run / name).read_text()
        assert old in text
        (run / name).write_text(text.replace(old, new, 1))

    return spoil


def change_results(**fields):
    return lambda run: dataclasses.replace(Results.load(run), **fields).save(run / "results.json")


def other_weights(run: Path) -> None:
    """Weights that the results are about, but with a NaN."""
    weights = safetensors.torch.load_file(run / "model.safetensors")
    weights["fc.bias"][0] = math.nan
    safetensors.torch.save_file(weights, run / "model.safetensors", {"avg_size": "3"})
    change_results(weights_sha256=sha256(run / "model.safetensors"))(run)


def test_a_good_run_and_what_is_said_of_it(run, run_inside):
    process = run_inside(script.main, "verify.py", run)
    assert process.returncode == 0, process.stderr
    for words in (
        "resnet18_cifar_pushpull.photos",
        "through timm, the registry, transformers",
        "all numbers in README.md and its metadata agree with results.json",
        "robustness.png shows results.json",
        "the dataset was not found",
    ):
        assert words in process.stdout


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda run: (run / "config.json").unlink(), ["lacks config.json"]),
        (lambda run: (run / "config.json").write_text("[]"), ["is not the config of a timm model"]),
        (lambda run: (run / "recipe.yaml").write_text("- a\n"), ["is not a recipe"]),
        (lambda run: (run / "recipe.yaml").write_text("a: !!python/object/apply:os.getcwd []\n"), ["damaged file"]),
        (edit("config.json", '"resnet18_cifar_pushpull"', '"../../evil"'), ["'../../evil', which is not registered"]),
        (edit("config.json", '"tag": "photos"', '"tag": "../../evil"'), ["has the tag '../../evil'"]),
        (edit("config.json", '"avg_size": 3', '"avg_size": 3, "num_classes": 2'), ["num_classes also in model_args"]),
        (edit("config.json", '"interpolation"', '"x"'), ["lacks pretrained_cfg.interpolation"]),
        (edit("config.json", '"num_features": ', '"num_features": null, "x": '), ["lacks num_features"]),
        (edit("config.json", '"avg_size": 3', '"features_only": true'), ["has features_only among its model_args"]),
        (edit("config.json", "{", '{"auto_map": {"AutoConfig": "evil.Config"},'), ["has the entry 'auto_map'"]),
        (edit("config.json", "{", '{"attn_implementation": "kernels-community/x",'), ["has the entry 'attn_implem"]),
        (
            edit("config.json", '"avg_size": 3', '"avg_size": 5'),
            ["avg_size is 5 but these weights were trained with 3"],
        ),
        (change_results(model="resnet18_cifar"), ["holds files of two models"]),
        (change_results(weights_sha256="1" * 64), ["does not hold the weights that results.json is about"]),
        (other_weights, ["logits that are not finite"]),
        (edit("README.md", "| 5.00%", "| 4.00%"), ["README.md", "4.00"]),
        (edit("README.md", "value: 0.05\n", "value: 0.04\n"), ["README.md", "0.04"]),
        (change_results(clean_error=0.06), ["README.md"]),
        (lambda run: (run / "robustness.png").write_bytes(b"GIF89a"), ["is not an image"]),
        (lambda run: Image.new("RGB", (9, 9)).save(run / "robustness.png"), ["shows other results"]),
    ],
)
def test_what_is_wrong_is_named(run, run_inside, spoil, words):
    spoil(run)
    assert_one_clear_line(run_inside(script.main, "verify.py", run), *words)


def test_eval_results_are_compared_with_the_results(run, run_inside):
    release = Release.load(run)
    path = run / EVAL_RESULTS
    path.parent.mkdir()
    path.write_text(eval_results_yaml(release.results, release.name))
    assert f"{EVAL_RESULTS} agrees with results.json" in list(verify(release))
    path.write_text(path.read_text().replace("value: 0.05", "value: 0.04", 1))
    assert_one_clear_line(run_inside(script.main, "verify.py", run), EVAL_RESULTS, "holds other results")


def test_the_owner_s_own_words_are_welcome(run):
    edit("README.md", "## Citation", "## Thanks\n\nTo my three cats, born in 2019.\n\n## Citation")(run)
    assert list(verify(Release.load(run)))


def test_another_way_of_loading_with_other_logits(run, monkeypatch):
    def noisy(folder: Path, release: Release):
        model = load_model(f"local-dir:{folder}")[0]
        model.fc.bias.data[0] += 1e-3
        return model

    monkeypatch.setattr("timm_pushpull.hub.verification._by_transformers", noisy)
    with pytest.raises(InputError, match=r"gives other logits through transformers than through timm, by up to 0.001"):
        dict(load_each_way(run, Release.load(run)))


def test_transformers_sees_nothing_but_config_and_weights(run, monkeypatch):
    seen = []

    def look(folder: str, **options) -> None:
        seen.append((sorted(os.listdir(folder)), options["trust_remote_code"]))
        raise InputError("enough")

    (run / "adapter_config.json").write_text('{"base_model_name_or_path": "evil/base"}')
    monkeypatch.setattr(transformers.AutoModelForImageClassification, "from_pretrained", look)
    with pytest.raises(InputError, match="enough"):
        dict(load_each_way(run, Release.load(run)))
    assert seen == [(["config.json", "model.safetensors"], False)]


@pytest.fixture
def measured(run, image_folder) -> Path:
    """The run with results of its own weights on images that exist."""
    images = load_images(str(image_folder))
    model = load_model(f"local-dir:{run}")[0]
    found = evaluate(model, images, preset="cifar10-c", corruptions=["contrast"], severities=[3], progress=False)
    errors = Results.load(run).errors | {"contrast": [0.1, 0.2, found.errors["contrast"][2], 0.4, 0.5]}
    change_results(clean_error=found.clean_error, errors=errors, num_images=len(images))(run)
    (run / "README.md").write_text(Release.load(run).render(image="robustness.png"))
    save_robustness_image(run / "results.json", run / "robustness.png")
    assert tuple(images.classes) == CLASSES
    return run


def test_errors_are_measured_again_where_the_data_are_there(measured, image_folder, run_inside):
    process = run_inside(script.main, "verify.py", measured, "--dataset", image_folder)
    assert process.returncode == 0, process.stderr
    assert process.stdout.count("on 10 images, ") == 2


@pytest.mark.parametrize("which", ["clean_error", "contrast"])
def test_errors_that_the_weights_do_not_make(measured, image_folder, which):
    results = Results.load(measured)
    flipped = {"clean_error": (results.clean_error + 0.5) % 1}
    if which == "contrast":
        row = [(error + 0.5) % 1 for error in results.errors["contrast"]]
        flipped = {"errors": {**results.errors, "contrast": row}}
    dataclasses.replace(results, **flipped).save(measured / "results.json")
    (measured / "README.md").write_text(Release.load(measured).render(image="robustness.png"))
    save_robustness_image(measured / "results.json", measured / "robustness.png")
    with pytest.raises(InputError, match=f"the .*{which.replace('_', ' ')}.* more than chance allows"):
        list(verify(Release.load(measured), str(image_folder)))


def test_other_data_than_those_of_the_results(measured, run_inside):
    assert_one_clear_line(run_inside(script.main, "verify.py", measured, "--dataset", "digits"), "digits")
    process = run_inside(script.main, "verify.py", measured, "--dataset", measured / "nowhere")
    assert_one_clear_line(process, "nowhere")


def test_how_far_a_sub_sample_may_be_off():
    assert tolerance(0.3, 1000, 1000) == 2 / 1000
    assert tolerance(0.0, 100, 10_000) == 2 / 100
    rng = np.random.default_rng(0)
    wrong = rng.permutation(10_000) < 3000
    off = [abs(wrong[rng.choice(10_000, 500, replace=False)].mean() - 0.3) for _ in range(2000)]
    assert max(off) <= tolerance(0.3, 500, 10_000) < 4 * np.std(off) * 2


def test_transformers_reads_half_precision_as_timm_does(tmp_path):
    folder = tmp_path / "run"
    write_run(folder, **SMALL)
    weights = {k: t.half() if t.is_floating_point() else t for k, t in torch_file(folder).items()}
    safetensors.torch.save_file(weights, folder / "model.safetensors", {"format": "pt", "avg_size": "3"})
    change_results(weights_sha256=sha256(folder / "model.safetensors"))(folder)
    assert list(dict(load_each_way(folder, Release.load(folder)))) == ["timm", "the registry", "transformers"]


def torch_file(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "model.safetensors")
