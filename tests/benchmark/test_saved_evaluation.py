"""From Python to a results file: what `evaluate` returns prints as a table and is saved as the command saves it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import timm
import torch

import timm_pushpull
from support.example_run import SMALL, write_run
from timm_pushpull import InputError, cli
from timm_pushpull.benchmark import CLEAN, Evaluation, Results, evaluate, retrieval
from timm_pushpull.data import ResizeCenterCrop, load_images
from timm_pushpull.models.weights import current_weights_hash, weights_hash
from timm_pushpull.utils.files import sha256

CELLS = {"corruptions": ["fog", "contrast"], "severities": [1, 3]}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "unit"
    write_run(folder, classes=tuple("0123456789"), **SMALL)
    return folder


def measure(model, **options):
    images = load_images("digits").subset(20)
    return evaluate(model, images, preset="cifar10-c", progress=False, **CELLS, **options)


def test_saved_results_are_those_of_the_command(run, tmp_path, run_inside):
    model = timm.create_model(f"local-dir:{run}", pretrained=True)
    saved = measure(model).save(tmp_path / "python.json", model)
    command = f"benchmark --model local-dir:{run} --dataset digits --preset cifar10-c --limit 20 --precision fp32"
    command += f" --corruptions fog contrast --severities 1 3 --output {tmp_path / 'command.json'}"
    process = run_inside(lambda: cli.main(None), "timm-pushpull", *command.split())
    assert process.returncode == 0, process.stderr
    there, here = Results.load(tmp_path / "command.json"), Results.load(tmp_path / "python.json")
    assert here == saved
    same = {"seconds": None, "command": ""}
    assert replace(here, **same) == replace(there, **same)
    process = run_inside(lambda: cli.main(None), "timm-pushpull", "compare", *[tmp_path / "python.json"] * 2)
    assert process.returncode == 0, process.stderr


def test_other_weights_have_another_hash(run):
    model = timm.create_model(f"local-dir:{run}", pretrained=True)
    evaluation = measure(model)
    assert evaluation.results(model).weights_sha256 == weights_hash(model)
    timm_pushpull.set_inhibition(model, 2.0)
    changed = evaluation.results(model, name="unit, alpha 2")
    assert changed.weights_sha256 != weights_hash(model)
    assert changed.model == "unit, alpha 2"


def test_a_compiled_model_has_the_hash_of_its_file(run):
    model = timm.create_model(f"local-dir:{run}", pretrained=True)
    assert (
        current_weights_hash(torch.compile(model)) == current_weights_hash(model) == sha256(run / "model.safetensors")
    )


def test_it_prints_as_a_table(run):
    evaluation = measure(timm.create_model(f"local-dir:{run}", pretrained=True))
    lines = str(evaluation).splitlines()
    rows = [[cell.strip(" -") for cell in line.split("|")[1:-1]] for line in lines]
    assert [row[0] for row in rows] == ["error (%)", "", "clean", "fog", "contrast", "mCE"]
    assert rows[-1][rows[0].index("mean")] == f"{100 * evaluation.mce:.2f}"
    assert max(map(len, lines)) <= 100


def test_results_of_retrieval():
    model = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten())  # a hash of 48 bits
    given = {"geometry": ResizeCenterCrop(32, 32), "mean": (0.5,) * 3, "std": (0.5,) * 3, "progress": False}
    task = retrieval(model, load_images("digits", "train").subset(200), top=50, **given)
    images = load_images("digits").subset(20)
    results = evaluate(model, images, task=task, corruptions=["fog"], severities=[1], **given).results(model)
    assert (results.model, results.task, results.error_name) == ("Sequential", "retrieval", "1 - mAP@50")
    assert vars(results.retrieval) == {"hash_bits": 48, "top": 50, "database_split": "train", "database_images": 200}


def test_what_cannot_be_saved_is_refused(tmp_path):
    evaluation = Evaluation({CLEAN: np.zeros(3, bool)})
    with pytest.raises(InputError, match=r"as a torch.nn.Module, not builtin_function_or_method"):
        evaluation.save(tmp_path / "results.json", len)
    with pytest.raises(InputError, match="take one that `evaluate` returns"):
        evaluation.save(tmp_path / "results.json", torch.nn.Linear(1, 1))
    assert not list(tmp_path.iterdir())
