"""A network of timm with its stem converted: trained, measured, staged, published and loaded from the Hub."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import ModelCard

import publish as publish_script
import stage as stage_script
from support.example_training import TRAIN
from support.processes import run_command
from timm_pushpull.benchmark.results import Results
from timm_pushpull.cli import main as command
from timm_pushpull.layers.push_pull_base import push_pull_layers
from timm_pushpull.models.weights import load_model, name_of
from train.initial import read_initial
from train.settings import Settings

NAME = "convnext_atto_pushpull_stem"
ONE_CELL = ["--preset", "cifar10-c", "--corruptions", "fog", "--severities", "3", "--limit", "20"]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run of one tiny epoch on digits."""
    folder = tmp_path_factory.mktemp("converted") / "run"
    process = run_command(
        TRAIN, "--model", "convnext_atto", "--convert-stem", "--model-args", "avg_size=5", "--output", folder,
        "--epochs", "1", "--limit", "40", "-b", "20", "--img-size", "32", "--opt", "adamw", "--lr", "1e-3",
        "--precision", "fp32", "--benchmark-limit", "1", "--half-weights",
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    for line in (f"networks: {NAME}", f"{NAME}: epoch 1/1", f"{NAME}: clean error"):
        assert line in process.stdout + process.stderr
    return folder


def test_the_run_says_which_network_it_is(run):
    config = json.loads((run / "config.json").read_text())
    assert config["architecture"] == "pushpull_stem"
    assert config["model_args"] == {"base": "convnext_atto", "avg_size": 5}
    assert Results.load(run).model == NAME
    card = (run / "README.md").read_text()
    assert f"# Model card for {NAME}.digits" in card
    assert "It is `convnext_atto` of timm, made a push-pull network by `timm_pushpull.convert_stem`." in card
    assert ModelCard(card).data.model_name == f"{NAME}.digits"
    model, _ = load_model(f"local-dir:{run}")
    assert name_of(model) == NAME
    assert [unit.avg_size for unit in push_pull_layers(model)] == [5]
    given = Settings(models=("pushpull_stem",), initial_checkpoint=str(run))
    assert read_initial(given, "pushpull_stem").record.name == f"{NAME}.digits"


@pytest.mark.parametrize("form", ["folder", "weights of a folder", "file"])
def test_it_is_measured(run, tmp_path, run_inside, form):
    converted = ["--model", "convnext_atto", "--convert-stem", "--model-args", "avg_size=5"]
    model = {
        "folder": ["--model", f"local-dir:{run}"],
        "weights of a folder": [*converted, "--weights", f"local-dir:{run}"],
        "file": [*converted, "--weights", run / "model.safetensors", "--image-size", "32"],
    }[form]
    output = tmp_path / "results.json"
    process = run_inside(
        command, "timm-pushpull", "benchmark", *model, "--dataset", "digits", *ONE_CELL, "--output", output
    )
    assert process.returncode == 0, process.stderr
    results, trained = Results.load(output), Results.load(run)
    assert (results.model, results.weights_sha256) == (NAME, trained.weights_sha256)
    assert results.errors["fog"][2] is not None


def test_a_run_is_staged_published_and_comes_back_converted(run, hub, run_inside, tmp_path):
    releases = tmp_path / "releases"
    process = run_inside(stage_script.main, "stage.py", run, "--releases", releases, "--cards", tmp_path / "cards")
    assert process.returncode == 0, process.stderr
    assert (tmp_path / "cards" / f"{NAME}.digits.md").is_file()
    process = run_inside(publish_script.main, "publish.py", releases / f"{NAME}.digits", "--namespace", "me")
    assert process.returncode == 0, process.stderr
    assert f'"hf-hub:me/{NAME}.digits"' in hub[f"me/{NAME}.digits"].files()["README.md"].decode()
    pulled = timm.create_model(f"hf-hub:me/{NAME}.digits@v1", pretrained=True).eval()
    local = timm.create_model(f"local-dir:{run}", pretrained=True).eval()
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(pulled(x), local(x))
    (unit,) = push_pull_layers(pulled)
    assert unit.avg_size == 5


def test_a_place_of_weights_cannot_be_converted(run, tmp_path, run_inside):
    given = ["--model", f"local-dir:{run}", "--convert-stem", "--dataset", "digits", "--output", tmp_path / "r.json"]
    process = run_inside(command, "timm-pushpull", "benchmark", *given)
    assert process.returncode == 2
    assert "--convert-stem is for a registered name, not for 'local-dir:" in process.stderr
