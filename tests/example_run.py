"""A finished run folder without a training: random weights, real everything else."""

from __future__ import annotations

from pathlib import Path

import torch

from timm_pushpull.card import model_card
from timm_pushpull.corruptions import CORRUPTIONS
from timm_pushpull.preprocess import Geometry
from timm_pushpull.results import Results
from timm_pushpull.weights import create_model, pooling, save_model

CLASSES = ("dark", "light")


def some_results(model: str = "resnet18_cifar_pushpull", **changes) -> Results:
    errors = {name: [0.1, 0.2, 0.3, 0.4, 0.01 * i] for i, name in enumerate(CORRUPTIONS)}
    return Results(
        **{
            "model": model,
            "weights_sha256": "0" * 64,
            "dataset": "pictures",
            "split": "test",
            "preset": "cifar10-c",
            "seed": 0,
            "num_images": 100,
            "clean_error": 0.05,
            "errors": errors,
            "hardware": "a machine",
            **changes,
        }
    )


def write_run(
    folder: Path, name: str = "resnet18_cifar_pushpull", baseline: Results | None = None, **options
) -> torch.nn.Module:
    """Write a run folder, with `options` for the model; returns the model in it."""
    folder.mkdir(parents=True)
    model = create_model(name, num_classes=len(CLASSES), **options).eval()
    sha256 = save_model(
        model,
        folder,
        classes=CLASSES,
        geometry=Geometry(32, 36),
        mean=(0.1, 0.2, 0.3),
        std=(0.4, 0.5, 0.6),
        tag="pictures",
    )
    results = some_results(name, weights_sha256=sha256)
    card = model_card(
        results,
        title=f"{name}.pictures",
        recipe={"epochs": 1, "num_classes": 2},
        training="None.",
        avg_size=pooling(model),
        parameters=1,
        baseline=baseline,
    )
    (folder / "README.md").write_text(card)
    (folder / "recipe.yaml").write_text("epochs: 1\n")
    results.save(folder / "results.json")
    return model
