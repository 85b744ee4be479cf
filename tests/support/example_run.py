"""A finished run folder without a training: random weights, real everything else."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import yaml

from timm_pushpull.benchmark.results import Results, RetrievalSettings, Training
from timm_pushpull.corruptions import CORRUPTIONS
from timm_pushpull.data.preprocessing import ResizeCenterCrop
from timm_pushpull.hub.card import card_of
from timm_pushpull.models.weights import CONFIG, create_model, save_model

CLASSES = ("dark", "light")
#: A ResNet of a few thousand weights, for what is not about the network.
SMALL = {"layers": (1, 1, 1, 1), "channels": (8, 8, 8, 8)}
#: One to train, as train.py's --model-args takes it.
SMALL_ARGS = ["layers=[1,1,1,1]", "channels=[16,16,16,16]"]
#: What results of retrieval say of the database.
RETRIEVAL = RetrievalSettings(hash_bits=64, top=200, database_split="train", database_images=5000)
TRAINING = Training(
    images=100,
    epochs=1,
    seconds=2.0,
    processes=1,
    hardware="a machine",
    precision="fp32",
    origin="drawn at random",
    overrides=["epochs is 1, not 30"],
    versions={"torch": "2.9.1", "timm": "1.0.31"},
    commit="5" * 40,
)


def some_results(model: str = "resnet18_cifar_pushpull", **changes) -> Results:
    errors = {name: [0.1, 0.2, 0.3, 0.4, 0.01 * i] for i, name in enumerate(CORRUPTIONS)}
    return Results(
        **{
            "model": model,
            "weights_sha256": "0" * 64,
            "dataset": "photos",
            "split": "test",
            "preset": "cifar10-c",
            "seed": 0,
            "num_images": 100,
            "clean_error": 0.05,
            "errors": errors,
            "hardware": "a machine",
            "versions": {"python": "3.12.3", "torch": "2.8.0"},
            "command": "timm-pushpull benchmark --model resnet18_cifar_pushpull",
            "commit": "0" * 40,
            **changes,
        }
    )


def write_run(
    folder: Path,
    name: str = "resnet18_cifar_pushpull",
    baseline: Results | None = None,
    classes: tuple[str, ...] = CLASSES,
    retrieval: RetrievalSettings | None = None,
    **options,
) -> torch.nn.Module:
    """Write a run folder, of that task where `retrieval` is given, with `options` for the model; returns the model."""
    folder.mkdir(parents=True)
    outputs = retrieval.hash_bits if retrieval else len(classes)
    model = create_model(name, num_classes=outputs, **options).eval()
    sha256 = save_model(
        model,
        folder,
        classes=None if retrieval else classes,
        geometry=ResizeCenterCrop(32, 36),
        mean=(0.1, 0.2, 0.3),
        std=(0.4, 0.5, 0.6),
        tag="photos",
        model_args=options,
    )
    results = some_results(
        name,
        weights_sha256=sha256,
        training=TRAINING,
        baseline=baseline.as_baseline() if baseline else None,
        task="retrieval" if retrieval else "classification",
        retrieval=retrieval,
    )
    recipe = {"epochs": 1, "num_classes": len(classes), "seed": 7}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    results.save(folder / "results.json")
    config = json.loads((folder / CONFIG).read_text())
    (folder / "README.md").write_text(card_of(model, results=results, recipe=recipe, config=config))
    return model
