"""What a model is for and what not, and the terms of it and of its data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from timm_pushpull.benchmark.results import Results
from timm_pushpull.hub.card.markdown import code


def intended_use(results: Results, config: Mapping[str, Any]) -> str:
    task = f"classify images like those of its training set into its {config['num_classes']:,} classes"
    unknown = "images that show none of its classes: it names one of them for every image"
    if results.retrieval:
        task = "retrieve images of the classes of its training set"
        unknown = "images that show none of the classes it was trained on: it retrieves something for every image"
    height, width = config["pretrained_cfg"]["input_size"][-2:]
    lines = [
        f"- **For** research on robustness to common image corruptions, as a starting point for fine-tuning, and to "
        f"{task}.",
        "- **Not for** decisions about people, nor where an error does harm.",
        f"- **Not tested** against adversarial examples, other domains (drawings, scans, medical or aerial images), or "
        f"{unknown}.",
    ]
    if max(height, width) <= 64:
        lines.append(
            f"- **Low resolution:** it sees {height} x {width} px; larger images are scaled down and lose detail."
        )
    return "\n".join(lines)


def limits(results: Results) -> str:
    """How far the figures go, and the licences."""
    lines = [
        "- One training run, one seed: differences of a few percent between variants can be chance.",
        "- Weights, code and this card: Apache-2.0.",
        f"- Data: {_terms(results.dataset)}",
    ]
    if results.errors:
        lines.insert(
            0,
            "- Robustness to these corruptions says nothing about other changes of the image, and single corruptions "
            "differ from their mean, as the table shows.",
        )
    return "\n".join(lines)


def _terms(dataset: str) -> str:
    name = dataset.split("/")[-1].lower()
    if name.startswith("cifar"):
        return (
            "CIFAR comes without a stated licence; cite Krizhevsky, *Learning Multiple Layers of Features from Tiny "
            "Images*, 2009."
        )
    if "imagenet" in name:
        return (
            "ImageNet and what is made from it, Tiny ImageNet too, is for non-commercial research and education only. "
            "Whether such terms reach weights trained on the images is not settled: judge for yourself."
        )
    return f"{code(dataset)} has its own terms."
